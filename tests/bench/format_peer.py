"""The peers' side of bench_format.py, in an environment that has the package: llguidance or xgrammar, on one thread.

  format_peer.py PACKAGE TOKENIZER_JSON N_VOCABULARY CASES ROUNDS      (lines of JSON)

Each schema is a process of its own, ended after FORMAT_PEER_LIMIT seconds (2 unless set), which counts as refused; no more schemas after
FORMAT_PEER_SECONDS (100).

CASES: lines of {"schema": ..., "tokens": [...]}. Both are told to keep our form where they can: separators with one space, members in order.
"""
import json
import os
import select
import signal
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"


class Llguidance:
    def __init__(self, path, n_vocabulary):
        import llguidance
        import llguidance.numpy

        self.package, self.numpy = llguidance, llguidance.numpy
        with open(path, encoding="utf-8") as file:
            self.tokenizer = llguidance.LLTokenizer(file.read(), n_vocab=n_vocabulary)
        self.bitmask = llguidance.numpy.allocate_token_bitmask(1, n_vocabulary)

    def compile(self, schema):
        wanted = dict(schema, **{"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}})
        self.matcher = self.package.LLMatcher(self.tokenizer, self.package.LLMatcher.grammar_from_json_schema(wanted))
        if self.matcher.is_error():
            raise ValueError(self.matcher.get_error())

    def mask(self):
        self.numpy.fill_next_token_bitmask(self.matcher, self.bitmask, 0)
        return self.bitmask

    def take(self, token):
        return self.matcher.consume_token(token)

    def is_complete(self):
        return self.matcher.is_accepting()


class Xgrammar:
    def __init__(self, path, n_vocabulary):
        import torch
        import transformers
        import xgrammar

        torch.set_num_threads(1)
        self.package = xgrammar
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=path)
        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=n_vocabulary, stop_token_ids=[151645])
        self.compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self.bitmask = xgrammar.allocate_token_bitmask(1, n_vocabulary)

    def compile(self, schema):
        compiled = self.compiler.compile_json_schema(json.dumps(schema), any_whitespace=False, separators=(", ", ": "), strict_mode=False)
        self.matcher = self.package.GrammarMatcher(compiled, terminate_without_stop_token=True)

    def mask(self):
        self.matcher.fill_next_token_bitmask(self.bitmask)
        return self.bitmask

    def take(self, token):
        return self.matcher.accept_token(token)

    def is_complete(self):
        return self.matcher.is_terminated()


def run(peer, case, results):
    """One case once; keeps the least of each time."""
    begin = time.thread_time_ns()
    try:
        peer.compile(case["schema"])
    except Exception as error:  # whatever a package raises for a schema that it refuses
        case["refused"] = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        return
    results["compile"] = min(results.get("compile", 1e18), time.thread_time_ns() - begin)
    masks, taking, right = [], 0, True
    for token in case["tokens"]:
        begin = time.thread_time_ns()
        try:
            bits = peer.mask()
        except Exception:
            right = False
            break
        middle = time.thread_time_ns()
        masks.append(middle - begin)
        right = bool(int(bits[0][token // 32]) >> token % 32 & 1)
        begin = time.thread_time_ns()
        right = right and peer.take(token)
        taking += time.thread_time_ns() - begin
        if not right:
            break
    results["masks"] = [min(pair) for pair in zip(masks, results.get("masks", masks))]
    results["take"] = min(results.get("take", 1e18), taking / max(1, len(case["tokens"])))
    results["right"] = right and peer.is_complete()


def line_of(peer, case, rounds):
    """What is said of a case after all rounds."""
    result = {}
    for _ in range(rounds):
        run(peer, case, result)
    return json.dumps({"refused": case.get("refused"), "right": result.get("right", False), "compile": result.get("compile", 0) / 1e3,
                       "take": result.get("take", 0) / 1e3, "masks": [each / 1e3 for each in result.get("masks", [])]})


def within(seconds, work):
    """The text that work gives, in a process of its own; None where it takes longer or dies."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as out:
                out.write(work())
        finally:
            os._exit(0)
    os.close(writer)
    text, deadline = b"", time.monotonic() + seconds
    while select.select([reader], [], [], max(0, deadline - time.monotonic()))[0]:
        piece = os.read(reader, 1 << 16)
        if not piece:
            break
        text += piece
    else:
        text = b""
        os.kill(child, signal.SIGKILL)
    os.close(reader)
    os.waitpid(child, 0)
    return text.decode() or None


def main():
    # packages print what they have to say
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = {"llguidance": Llguidance, "xgrammar": Xgrammar}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    with open(sys.argv[4], encoding="utf-8") as file:
        cases = [json.loads(line) for line in file]
    limit, deadline = float(os.environ.get("FORMAT_PEER_LIMIT", 2)), time.monotonic() + float(os.environ.get("FORMAT_PEER_SECONDS", 100))
    rounds = int(sys.argv[5])
    for case in cases:
        if time.monotonic() > deadline:
            break
        line = within(limit * rounds, lambda: line_of(peer, case, rounds))
        print(line or json.dumps({"refused": f"longer than {limit:g} s", "right": False, "compile": 0, "take": 0, "masks": []}), file=answers, flush=True)


if __name__ == "__main__":
    main()
