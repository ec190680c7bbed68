#!/usr/bin/env python3
"""A conversation of ten turns with a hybrid, in the end of more than 8,000 tokens, and llama-server with the same file in turn in the same run: how many tokens of its prompt each turn computes, and
how long it takes. The demo model as qwen35moe (tests/tools/reexpress.py), stretched by YaRN to twice its context.

  bench_conversation.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE

Each side's conversation has its own answers. Before turn KILLED our engine is killed, and llama-server started again. "ours", "peer": seconds of the turn; "computed", "peer_computed": tokens
of its prompt; "new": tokens that came with it, which is what must be computed.
"""
import json
import os
import shutil
import signal
import sys

import bench_common as common
from bench_common import PeerServer, emit, median, our_server, processes_of, seconds_of

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import reexpress  # noqa: E402
from cluster import wait_until  # noqa: E402

TURNS, ANSWER, KILLED = 10, 24, 7
FACTS = "The river rises in the hills, passes two old mills and a bridge of stone, and meets the sea behind a town of fishermen. "
STRETCHED = "context=16384, rope_scaling=yarn, rope_factor=2"
PEER_STRETCHED = ["-c", "16384", "--rope-scaling", "yarn", "--rope-scale", "2", "--yarn-orig-ctx", "8192", "-np", "1", "--jinja"]


class Conversation:
    """Messages, and what came of the turns so far."""

    def __init__(self):
        self.messages, self.seconds, self.computed, self.prompts, self.answered = [], [], [], [], [0]

    def turn(self, number, sentences, ask):
        self.messages.append({"role": "user", "content": f"Part {number}. " + FACTS * sentences + "What does the river pass?"})
        seconds, (answer, prompt, computed, answered) = seconds_of(lambda: ask(self.messages))
        self.messages.append({"role": "assistant", "content": answer})
        for kept, value in ((self.seconds, seconds), (self.computed, computed), (self.prompts, prompt), (self.answered, answered)):
            kept.append(value)

    def new(self, number):
        """Tokens that came with a turn: those behind the last prompt and its answer, whose last token was never computed."""
        return self.prompts[number - 1] - (self.prompts[number - 2] + self.answered[number - 1] - 1 if number > 1 else 0)


def ask_us(server, messages):
    content, prompt, cached, completion = server.query("SELECT content, prompt_tokens, cached_tokens, completion_tokens FROM qwen_chat_full(%s::jsonb, temperature => 0, max_tokens => %s)",
                                                       (json.dumps(messages), ANSWER))[0]
    return content, prompt, prompt - cached, completion


def ask_peer(peer, messages):
    reply = peer.post("/v1/chat/completions", {"messages": messages, "temperature": 0, "max_tokens": ANSWER, "cache_prompt": True})
    timings = reply["timings"]
    return reply["choices"][0]["message"]["content"], timings["cache_n"] + timings["prompt_n"], timings["prompt_n"], timings["predicted_n"]


def killed(server):
    pid = server.engine_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.query("SELECT state = 'running' AND pid <> %s FROM qwen_stat_engine", (pid,)) == [(True,)], 20, "another engine")
    wait_until(lambda: server.query("SELECT state FROM qwen_models") == [("serving",)], 20, "the model")


def main():
    a = common.parse(common.parser_for(__doc__, ["demo"], 1))
    name = reexpress.cached(a.cache, a.model, "qwen35moe")
    path, inside = os.path.join(a.cache, "models", name), "/" + name
    if not os.path.exists(a.peer + inside):
        shutil.copy(path, a.peer + inside)
    sentences = 10 if a.quick else 31
    ours, theirs, restart = Conversation(), Conversation(), 0
    with processes_of(a.peer), our_server(a, path, qwen__models=f"bench={name} {{{STRETCHED}}}") as server:
        peer = PeerServer(a, inside, *PEER_STRETCHED).__enter__()
        try:
            for number in range(1, TURNS + 1):
                if number == KILLED:
                    restart, _ = seconds_of(lambda: killed(server))
                    peer.__exit__()
                    peer = PeerServer(a, inside, *PEER_STRETCHED).__enter__()
                ours.turn(number, sentences, lambda messages: ask_us(server, messages))
                theirs.turn(number, sentences, lambda messages: ask_peer(peer, messages))
                line = {"what": f"turn {number}" + (", engine killed" if number == KILLED else ""), "file": name, "threads": a.threads, "tokens": ours.prompts[-1], "new": ours.new(number)}
                emit(bench="conversation", **line, ours=round(ours.seconds[-1], 2), peer=round(theirs.seconds[-1], 2), unit="s", computed=ours.computed[-1], peer_computed=theirs.computed[-1])
        finally:
            peer.__exit__()
    of_turns = [i for i in range(1, TURNS) if i + 1 != KILLED]
    emit(bench="conversation", what="all turns but the first and that after the kill", file=name, threads=a.threads, tokens=ours.prompts[-1], ours=median([ours.seconds[i] for i in of_turns]),
         peer=median([theirs.seconds[i] for i in of_turns]), unit="s", ratio=round(sum(theirs.seconds[i] for i in of_turns) / sum(ours.seconds[i] for i in of_turns), 2),
         computed=sum(ours.computed[i] for i in of_turns), peer_computed=sum(theirs.computed[i] for i in of_turns), extra=sum(ours.computed[i] - ours.new(i + 1) for i in of_turns), restart_s=round(restart, 2))  # fmt: skip


if __name__ == "__main__":
    main()
