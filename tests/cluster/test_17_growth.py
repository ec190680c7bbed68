"""Time and memory of every function by the size of what it is given: nothing that a user sends takes more than n log n, stays in memory or holds
up others.

Every function that takes a text or JSON meets every nasty text in growing sizes while another session's answer is streamed. QWEN_GROWTH=full (make
check-growth) takes 1, 4 and 16 MB of all, or a part of them with QWEN_GROWTH_PART=2/5; otherwise some in smaller sizes, for half a minute."""
import os
import statistics
import threading
import time

import psycopg2
import pytest


FULL = os.environ.get("QWEN_GROWTH") == "full"
MB = 1 << 20
PART, PARTS = map(int, os.environ.get("QWEN_GROWTH_PART", "1/1").split("/"))
SIZES = (MB, 4 * MB, 16 * MB) if FULL else (MB // 4, MB)

# a unit that is repeated
TEXTS = {
    "one letter": "a",
    "letters without a break": "qwertzuiopasdfghjklyxcvbnm",
    "spaces": " ",
    "tabs": "\t",
    "spaces and tabs between sentences": "Aa." + "".join(" \t"[i * 7919 // 8 % 2] for i in range(200)),
    "lines": "\n",
    "marks": "e" + "\u0301\u0323" * 20,
    "marks without end": "\u0301\u0323",
    "look-alikes of special tokens": "<|im_start|><|im_",
    "emoji that are joined": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "CJK": "\u65e5\u672c\u8a9e",
    "Thai": "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22",
    "digits": "1234567890",
    "sentences": "This is a sentence, and it is followed by others. ",
    "full stops": "x.",
}

# SQL over a text in t.body
OF_TEXT = {
    "count_tokens": "qwen_count_tokens(body)",
    "tokenize": "array_length(qwen_tokenize(body, special => true), 1)",
    "detokenize": "length(qwen_detokenize(qwen_tokenize(body)))",
    "chunk": "(SELECT count(*) FROM qwen_chunk(body, 512, 64))",
    "small chunks": "(SELECT count(*) FROM qwen_chunk(body, 16))",
    "render_chat": "length(qwen_render_chat(body))",
    "chat": "qwen_chat(body, max_tokens => 1)",
    "system": "qwen_chat('Hi', system => body, max_tokens => 1)",
    "generate": "qwen_generate(body, max_tokens => 1)",
    "translate": "qwen_translate(body, 'French', max_tokens => 1)",
    "classify": "qwen_classify(body, ARRAY['a', 'b'])",
    "filter": "qwen_filter(body, 'It is long.')",
    "embed": "qwen_embed(body)",
    "similarity": "qwen_similarity(body, body)",
    "logprobs": "(SELECT count(*) FROM qwen_logprobs(body))",
    "rerank": "(SELECT count(*) FROM qwen_rerank('Hi', ARRAY[body, 'b']))",
    "rerank_score": "qwen_rerank_score(body, 'b')",
    "fill_in": "qwen_fill_in(body, 'b', max_tokens => 1)",
    "batch": "qwen_generate_batch(ARRAY[body], max_tokens => 1)",
    "embed_batch": "qwen_embed_batch(ARRAY[body])",
    "a label": "qwen_classify('Hi', ARRAY[body, 'b'])",
    "a stop string": "qwen_chat('Hi', max_tokens => 1, stop => ARRAY[body])",
}
QUICK = ("count_tokens", "chunk", "render_chat")

# JSON of n bytes: SQL over n
JSON = {
    "values in a member": "'[{\"role\":\"user\",\"content\":\"Hi\",\"x\":[' || repeat('{},', n / 3) || '{}]}]'",
    "deep": "'[{\"role\":\"user\",\"content\":\"Hi\",\"x\":' || repeat('[', n / 2) || repeat(']', n / 2) || '}]'",
    "deep objects": "'[{\"role\":\"user\",\"content\":\"Hi\",\"x\":' || repeat('{\"a\":', n / 6) || '1' || repeat('}', n / 6) || '}]'",
    "members": "'[{\"role\":\"user\",\"content\":\"Hi\"' || (SELECT string_agg(format(',\"m%s\":1', i), '') FROM generate_series(1, n / 11) i) || '}]'",
    "messages": "'[' || repeat('{\"role\":\"user\",\"content\":\"Hi\"},', n / 32) || '{\"role\":\"user\",\"content\":\"Hi\"}]'",
    "parts": "'[{\"role\":\"user\",\"content\":[' || repeat('{\"type\":\"text\",\"text\":\"a\"},', n / 27) || '{\"type\":\"text\",\"text\":\"a\"}]}]'",
    "numbers": "'[{\"role\":\"user\",\"content\":\"Hi\",\"x\":[' || repeat('1,', n / 2) || '1]}]'",
    "a content": "'[{\"role\":\"user\",\"content\":\"' || repeat('x', n) || '\"}]'",
    "escapes": "'[{\"role\":\"user\",\"content\":\"' || repeat('\\u00e9', n / 6) || '\"}]'",
}
OF_JSON = {
    "render_chat": "length(qwen_render_chat((SELECT body FROM t)::json))",
    "render_chat of jsonb": "length(qwen_render_chat((SELECT body FROM t)::jsonb))",
    "chat": "qwen_chat((SELECT body FROM t)::json, max_tokens => 1)",
    "tools": "qwen_chat('[{\"role\":\"user\",\"content\":\"Hi\"}]'::json, ((SELECT '[{\"name\":\"f\",\"parameters\":{\"examples\":' || body || '}}]' FROM t))::json, max_tokens => 1, options => '{\"tool_choice\":\"none\"}')",
}

# many of something: SQL over n bytes
MANY = {
    "labels": "qwen_classify('Hi', (SELECT array_agg('label ' || i) FROM generate_series(1, n / 12) i))",
    "stop strings": "qwen_chat('Hi', max_tokens => 1, stop => (SELECT array_agg('stop ' || i) FROM generate_series(1, n / 12) i))",
    "choices of a form": "qwen_chat('Hi', max_tokens => 1, response_format => (SELECT json_build_object('type', 'choice', 'choices', array_agg('choice ' || i)) FROM generate_series(1, n / 12) i))",
    "members of a form": "qwen_chat('Hi', max_tokens => 1, response_format => (SELECT json_build_object('type', 'object', 'properties', json_object_agg('m' || i, '{\"type\":\"integer\"}'::json)) FROM generate_series(1, n / 30) i))",
    "letters of a pattern": "qwen_chat('Hi', max_tokens => 1, response_format => json_build_object('type', 'regex', 'pattern', repeat('a', n)))",
    "faults of a form": "(SELECT count(*) FROM qwen_check_format((SELECT json_build_object('type', 'object', 'properties', json_object_agg('m' || i, '{\"type\":1}'::json)) FROM generate_series(1, n / 20) i)))",
    "tokens": "length(qwen_detokenize((SELECT array_agg(mod(i, 1000)) FROM generate_series(1, n / 4) i)))",
}

SLACK_S = 0.5  # noise of a busy machine, and what does not grow
GROWTH = 2.5  # log n and noise, beside the growth of the size
KEPT_MB = 20


class Stream(threading.Thread):
    """An answer that is streamed again and again; the longest time between two pieces."""

    SQL = "SELECT qwen_chat_stream('Tell a long story about the sea.', temperature => 0, max_tokens => 400, stop => ARRAY['never-said'])"

    def __init__(self, server):
        super().__init__()
        self.server, self.stopping, self.gaps = server, False, []

    def run(self):
        connection = self.server.connect()
        connection.autocommit = False
        while not self.stopping:
            pieces = connection.cursor("pieces")
            pieces.itersize = 1
            pieces.execute(self.SQL)
            last = None
            for _ in pieces:
                now = time.monotonic()
                if last is not None:
                    self.gaps.append(now - last)
                last = now
                if self.stopping:
                    break
            pieces.close()
        connection.close()

    def take(self):
        gaps, self.gaps = self.gaps, []
        return gaps


def engine_mb(server):
    with open(f"/proc/{server.engine_pid()}/status") as status:
        return sum(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) / 1024


def cases():
    for text, unit in TEXTS.items():
        for function, sql in OF_TEXT.items():
            if FULL or function in QUICK:
                yield f"{function} of {text}", f"WITH t AS MATERIALIZED (SELECT repeat(%s, %s / {len(unit.encode())}) AS body) SELECT {sql} FROM t", unit
    for kind, made in JSON.items():
        for function, sql in OF_JSON.items():
            if FULL or function == "render_chat":
                yield f"{function} of {kind}", f"WITH t AS MATERIALIZED (SELECT {made.replace('%', '%%')} AS body FROM (SELECT %s AS unit, %s AS n) s) SELECT {sql}", ""
    for kind, sql in MANY.items():
        yield f"many {kind}", f"SELECT {sql} FROM (SELECT %s AS unit, %s AS n) s", ""


class Sweep:
    def __init__(self, server):
        self.server = server
        self.slow, self.kept, self.held_up, self.refused = [], [], [], []
        self.timings = {}
        self.connection = server.connect()
        self.cursor = self.connection.cursor()
        self.cursor.execute("SET statement_timeout = '120s'")

    def run_one(self, sql, unit, size):
        start = time.monotonic()
        try:
            self.cursor.execute(sql, (unit, size))
            self.cursor.fetchall()
            code = None
        except psycopg2.Error as error:
            code = error.pgcode
        return time.monotonic() - start, code

    def run(self):
        before = engine_mb(self.server)
        engine = self.server.engine_pid()
        stream = Stream(self.server)
        stream.start()
        time.sleep(3)
        quiet = stream.take()
        self.step = statistics.median(quiet)
        self.longest_quiet = max(quiet)
        for name, sql, unit in list(cases())[PART - 1 :: PARTS]:
            times = []
            for size in SIZES:
                stream.take()
                seconds, code = self.run_one(sql, unit, size)
                gaps = stream.take()
                times.append(seconds)
                self.refused.append((name, size, code)) if code not in (None, "54000", "22023", "0A000", "22P02", "54001") else None
                if gaps and max(gaps) > 3 * max(self.step, 0.001) + 0.25:
                    self.held_up.append((name, size, round(max(gaps), 3)))
            self.timings[name] = times
            for i in range(1, len(times)):
                if times[i] > times[i - 1] * SIZES[i] / SIZES[i - 1] * GROWTH + SLACK_S:
                    # beside other work anything may take long once: what is slow stays slow
                    again = [min(self.run_one(sql, unit, size)[0] for _ in range(2)) for size in SIZES[i - 1 : i + 1]]
                    if again[1] > again[0] * SIZES[i] / SIZES[i - 1] * GROWTH + SLACK_S:
                        self.slow.append((name, [round(t, 3) for t in times]))
            stop = time.monotonic() + 5
            while engine_mb(self.server) > before + KEPT_MB and time.monotonic() < stop:
                time.sleep(0.05)
            if engine_mb(self.server) > before + KEPT_MB:
                self.kept.append((name, round(before), round(engine_mb(self.server))))
        stream.stopping = True
        stream.join()
        self.same_engine = self.server.engine_pid() == engine
        return self


@pytest.fixture(scope="module")
def sweep(server):
    return Sweep(server).run()


def test_time_grows_no_faster_than_n_log_n(sweep):
    if FULL:
        for name, times in sorted(sweep.timings.items(), key=lambda item: -item[1][-1])[:40]:
            print(f"{name}: {' '.join(f'{t:.3f}' for t in times)}")
    assert sweep.slow == []
    assert sweep.refused == []
    assert sweep.same_engine


def test_memory_is_given_back(sweep):
    assert sweep.kept == []


def test_an_answer_is_not_held_up(sweep):
    print(f"step {sweep.step:.4f} s, longest quiet gap {sweep.longest_quiet:.4f} s")
    assert sweep.held_up == []
