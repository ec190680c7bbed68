"""No call that a serving engine makes is refused by its sandbox: a refused one is silent, and what it was for does not happen (a wait that spins).

refused_calls.c counts what the filter refuses while everything is asked of an engine, from the filter's first moment to the engine's end."""
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile

from cluster import Cluster, model_directory, plain_model, wait_until
from conftest import ready
from sessions import LONG, Background, wait_idle, wait_running

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
import calling_model  # noqa: E402

MODEL = plain_model()
N_CALLS, N_PATHS, PATH_BYTES = 1022, 64, 64  # as in refused_calls.c
LAYOUT = f"<qq{N_CALLS}qq{N_PATHS * PATH_BYTES}s"

# refused calls that cost nothing: files that may be asked for, and why
MAY_BE_ASKED_FOR = {
    "/proc/sys/vm/overcommit_memory": "the C library, when a thread's heap shrinks: refused, it gives the pages back by madvise",
    "/proc/meminfo": "how much memory is left beside a model: the loader has said it (slots.c)",
    "/proc/self/cgroup": "the same",
    "/sys/devices/system/cpu/online": "the C library counts processors when a thread allocates for the first time",
    "/proc/stat": "the same",
}

REQUESTS = (
    "SELECT qwen_chat('What is the capital of France?', temperature => 0, max_tokens => 8)",
    "SELECT qwen_chat('A poem', temperature => 1, seed => 3, top_p => 0.9, repetition_penalty => 1.1, stop => ARRAY['never-said'], max_tokens => 8)",
    "SELECT count(*) FROM qwen_chat_stream('Tell a story', max_tokens => 8)",
    """SELECT qwen_chat('[{"role": "user", "content": "Call it"}]'::json, '[{"type": "function", "function": {"name": "f"}}]'::json, max_tokens => 8)""",
    "SELECT qwen_generate('1 2 3 4 5 6 1 2 3 4 5 6 1 2 3', temperature => 0, max_tokens => 24)",
    "SELECT qwen_generate_batch(ARRAY(SELECT 'Number ' || i FROM generate_series(1, 20) i), max_tokens => 4)",
    "SELECT count(qwen_classify('Text ' || i, ARRAY['good', 'bad'])) FROM generate_series(1, 10) i",
    "SELECT count(qwen_embed('Text ' || i)) FROM generate_series(1, 10) i",
    "SELECT qwen_similarity('one', 'two')",
    "SELECT count(*) FROM qwen_logprobs('One two three four')",
    "SELECT count(*) FROM qwen_chunk(repeat('One sentence. Another one. ', 500), 64, 8)",
    "SELECT qwen_detokenize(qwen_tokenize(repeat('Some words ', 1000)))",
    "SELECT qwen_count_tokens(repeat(E'\\u65e5\\u672c\\u8a9e', 1000))",
    "SELECT qwen_render_chat('[{\"role\": \"user\", \"content\": \"x\"}]'::json)",
    "SELECT qwen_count_tokens(repeat('A large text of many words. ', 200000))",  # 5.6 MB
)


class Counters:
    """refused_calls.c, and what it has counted."""

    def __init__(self, folder):
        os.chmod(folder, 0o755)
        self.library, self.file = os.path.join(folder, "refused_calls.so"), os.path.join(folder, "counters")
        subprocess.run(["gcc", "-O1", "-Wall", "-shared", "-fPIC", os.path.join(HERE, "refused_calls.c"), "-o", self.library, "-ldl"], check=True)
        with open(self.file, "wb") as file:
            file.write(bytes(struct.calcsize(LAYOUT)))
        os.chmod(self.file, 0o666)
        numbers = subprocess.run(["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", os.devnull], check=True, capture_output=True, text=True)
        self.names = {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", numbers.stdout)}

    def starter(self):
        return ["env", f"LD_PRELOAD={self.library}", f"QWEN_REFUSED={self.file}"]

    def leave_no_descriptor(self, n):
        with open(self.file, "r+b") as file:
            file.seek(8)
            file.write(struct.pack("<q", n))

    def read(self):
        """How many filters there were, how many clients shall still find no descriptor, how often which call was refused, and what openat."""
        with open(self.file, "rb") as file:
            n_filters, no_descriptor, *refused, _, paths = struct.unpack(LAYOUT, file.read())
        return n_filters, no_descriptor, {self.names.get(number, number): n for number, n in enumerate(refused) if n > 0}, set(paths.decode().split("\0")) - {""}


def ask_everything(server, counters):
    for sql in REQUESTS:
        assert server.query(sql) != []
    # a cancel, a client that goes away, and many at once
    cancelled, gone = Background(server, LONG), Background(server, LONG)
    wait_running(server, 2)
    server.query("SELECT pg_cancel_backend(%s), pg_terminate_backend(%s)", (cancelled.pid, gone.pid))
    assert cancelled.join().error is not None and gone.join().error is not None
    wait_idle(server, 20)
    many = [Background(server, f"SELECT qwen_embed('Text {i}')") for i in range(40)]
    assert [one.join(60).error for one in many] == [None] * len(many)
    # models come and go
    server.query("SELECT qwen_load_model('second', %s)", (MODEL,))
    assert server.value("SELECT qwen_chat('Hi', model => 'second', max_tokens => 2)") is not None
    server.query("SELECT qwen_unload_model('second')")
    # no descriptor is left for the next clients at first
    counters.leave_no_descriptor(3)
    waiting = [Background(server, "SELECT qwen_chat('Hi', max_tokens => 2)") for _ in range(3)]
    assert [one.join(60).error for one in waiting] == [None] * len(waiting)
    assert counters.read()[1] == 0


def test_no_call_of_a_serving_engine_is_refused():
    with tempfile.TemporaryDirectory(prefix="qwen_pg_refused_", dir="/tmp") as folder:
        counters = Counters(folder)
        # the demo model with a template that writes tools
        file = calling_model.cached(model_directory(), os.path.join(model_directory(), MODEL), "qwen3-0.6b")
        server = Cluster(settings={"qwen.models": f"chat=models/{file}", "qwen.max_models": 2, "qwen.threads": 2, "qwen.lock_memory": "on"})
        server.starter = counters.starter()
        try:
            ready(server)
            engine = server.engine_pid()
            ask_everything(server, counters)
            assert server.engine_pid() == engine
            os.kill(engine, signal.SIGTERM)
            wait_until(lambda: counters.read()[0] == 2, what="another engine in the sandbox")
            server.stop()
        finally:
            server.remove()
        n_filters, _, refused, paths = counters.read()
    assert n_filters == 2
    assert set(refused) <= {"openat"}, refused
    assert paths <= set(MAY_BE_ASKED_FOR), paths
