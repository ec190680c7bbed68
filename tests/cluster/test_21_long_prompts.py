"""A prompt of 128K tokens: read in steps that end in bounded time, seen as it gets on, cancelled within one, in memory that was said before.

`make check-long-prompts` reads it to its end; here, after the cancel, one that is half as long goes on with what was read.
"""
import os
import time

import psycopg2
import pytest
from cluster import Cluster, model_directory, wait_until
from conftest import ready
from random_models import make_model
from sessions import Background, wait_idle

CONTEXT = 131072
PROMPT = 130000
FINISHED = PROMPT if os.environ.get("QWEN_LONG_PROMPTS") == "full" else PROMPT // 2 + 2000
# as little as a model can be, so that the prompt is read in seconds
SMALL = {"architecture": "qwen3", "layers": 1, "hidden": 32, "ffn": 32, "heads": 1, "kv_heads": 1, "head_dim": 32, "changes": {"ARCH.context_length": 40960}}
STRETCHED = f"context={CONTEXT}, rope_scaling=yarn, rope_factor=4, rope_original_context=32768"
ASK = "SELECT completion_tokens, prompt_tokens, cached_tokens FROM qwen_chat_full(repeat(' a', {}), max_tokens => 4, temperature => 0)"
PROGRESS = "SELECT state, prompt_tokens, prompt_tokens_done FROM qwen_stat_activity WHERE function LIKE 'qwen_chat%'"


@pytest.fixture(scope="module")
def long_server():
    file = "models/" + make_model.cached_model(model_directory(), "long", **SMALL)
    # exactly what the context takes: blocks of 32 positions are whole pages
    settings = {"qwen.models": f"long={file} {{{STRETCHED}}}", "qwen.kv_cache_size": "16MB"}
    cluster = Cluster(settings=settings)
    try:
        yield ready(cluster), file
    finally:
        cluster.remove()


def own_kb(pid, of="RssAnon"):
    """What a process has of its own; or of shared memory."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{of}:"))


class Watch:
    """The most that the engine and a session's backend had, by the kernel's count, and the engine by its own."""

    def __init__(self, server):
        self.server, self.engine = server, server.engine_pid()
        self.before = self.most = self.look(None)

    def look(self, backend):
        kv, buffers = self.server.query("SELECT kv_bytes_resident, buffer_bytes FROM qwen_stat_engine")[0]
        return {"engine": own_kb(self.engine), "shared": own_kb(self.engine, "RssShmem"), "backend": own_kb(backend) if backend else 0, "kv": kv // 1024, "buffers": buffers // 1024}

    def note(self, backend=None):
        seen = self.look(backend)
        self.most = {name: max(value, self.most[name]) for name, value in seen.items()}

    def growth(self, name):
        return self.most[name] - self.before[name]


def progress(server):
    rows = server.query(PROGRESS)
    return rows[0] if rows else (None, None, None)


def test_a_prompt_of_128k_tokens_gets_on_is_cancelled_and_goes_on(long_server):
    server, file = long_server
    contexts = next(row for row in server.value("SELECT qwen_health() -> 'checks'") if row["check"] == "contexts")
    assert contexts["message"] == f'"long": {CONTEXT} tokens take 16 MB; the KV cache holds 16 MB' and contexts["status"] == "healthy"
    # what buffers there are is there after a first request of some length
    server.query("SELECT qwen_generate(repeat(' a', 3000), max_tokens => 1)")
    pid, watch = server.engine_pid(), Watch(server)
    # what is said of it before: by the file alone, by the model as it is set, by the cache
    per_token = server.value("SELECT kv_bytes_per_token FROM qwen_models")
    assert server.value("SELECT value FROM qwen_check_model(%s) WHERE item = 'kv_bytes_per_token'", (file,)) == str(per_token)
    said = per_token * CONTEXT // 1024
    assert said == 16 * 1024 == server.value("SELECT kv_bytes_total FROM qwen_stat_engine") // 1024
    call = Background(server, ASK.format(PROMPT))
    session = own_kb(call.pid)
    seen, largest_step = set(), 0
    while (done := progress(server)[2] or 0) < PROMPT // 2 and call.thread.is_alive():
        if done:
            state, total, _ = progress(server)
            assert state is None or (state == "running" and PROMPT < total < PROMPT + 100)
            seen.add(done)
        watch.note(call.pid)
        largest_step = max(largest_step, server.value("SELECT batch_tokens FROM qwen_stat_engine"))
    assert call.thread.is_alive() and len(seen) > 20, (call.error, len(seen))
    assert largest_step <= 256
    # far behind, a step has fewer rows: it is over soon
    deep = [server.value("SELECT batch_tokens FROM qwen_stat_engine") for _ in range(20)]
    assert max(deep) < 256, deep
    start = time.monotonic()
    server.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    call.join(5)
    assert call.error.pgcode == "57014"
    wait_idle(server, 5)
    assert time.monotonic() - start < 5
    # what was read stays cached: a prompt that begins so goes on there
    cached = server.value("SELECT kv_bytes_cached FROM qwen_stat_engine")
    assert cached >= PROMPT // 2 * 128 * 0.9
    call = Background(server, ASK.format(FINISHED))
    while call.thread.is_alive():
        watch.note()
        call.thread.join(0.05)
    assert call.error is None and call.rows[0][0] == 4 and call.rows[0][2] >= PROMPT // 2 * 0.9
    # tokens, their text while it is taken apart, and the cache: no more than that, whoever counts
    print(f"kB before {watch.before}, at most {watch.most}; the session {session} before")
    assert watch.growth("engine") < said + 24 * 1024 and watch.most["kv"] <= said, watch.most
    assert watch.growth("buffers") < 24 * 1024 and watch.growth("shared") < 1024, (watch.before, watch.most)
    # the session has its text a few times, and nothing for each token
    assert watch.most["backend"] - session < 6 * 1024, (session, watch.most)
    assert server.engine_pid() == pid


def test_what_cannot_fit_is_refused_with_the_numbers_before_work(long_server):
    server, file = long_server
    with pytest.raises(psycopg2.Error) as failure:
        server.query(f"SELECT qwen_generate(repeat(' a', {CONTEXT}), max_tokens => 1)")
    assert failure.value.pgcode == "54000" and f'has {CONTEXT} tokens, but the context of model "long" holds {CONTEXT}' in str(failure.value)
    # twice as much memory a token: half of them fit, which is known before anybody asks
    server.reload(qwen__models=f"long={file} {{{STRETCHED}, kv_cache_type=f32}}")
    wait_until(lambda: server.query("SELECT kv_cache_type, state FROM qwen_models") == [("f32", "serving")])
    contexts = next(row for row in server.value("SELECT qwen_health() -> 'checks'") if row["check"] == "contexts")
    fit = int(contexts["message"].split(" fit")[0].split()[-1])
    assert contexts["status"] == "degraded" and fit < CONTEXT
    with pytest.raises(psycopg2.Error) as failure:
        server.query(ASK.format(PROMPT))
    assert failure.value.pgcode == "54000" and f"but the KV cache holds {fit}" in str(failure.value)
    assert server.value("SELECT qwen_generate(' a', max_tokens => 1)") is not None
