"""docs/footprint.md adds up: under any load the engine's memory stays below what the settings allow by the page's own figures."""
import os
import re
import time

import pytest
from cluster import MODEL_FILE, Cluster, wait_until
from sessions import Background, descriptors, wait_idle

DEFAULT_MODEL = MODEL_FILE
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "footprint.md")
# the demo model
HIDDEN, HEADS, KV_HEADS, FFN, VOCABULARY = 576, 576, 192, 1536, 49152
LOAD = ("SELECT count(*) FROM qwen_generate_batch((SELECT array_agg(g || repeat(' The quick brown fox jumps over the lazy dog.', 12)) FROM generate_series(1, {0}) g),"
        " temperature => 1, top_k => 0, top_p => 1, repetition_penalty => 1.1, max_tokens => 40, stop => ARRAY['never-said'])")


def own_memory(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"RssAnon:\s+(\d+) kB", file.read()).group(1)) * 1024


def documented(max_running, prefill_chunk, kv_cache):
    """The sum of docs/footprint.md, with the figures that stand there."""
    with open(PAGE) as file:
        page = file.read()
    fixed = int(re.search(r"(\d+) MB for the program", page).group(1)) * 10**6
    rows = max_running + prefill_chunk + int(re.search(r"prefill_chunk` \+ (\d+)\)", page).group(1))
    per_answer = int(re.search(r"(\d+) bytes × vocabulary for each of `qwen.max_running`", page).group(1))
    scored = int(re.search(r"for each of (\d+) rows", page).group(1))
    step = 4 * rows * (3 * HIDDEN + 3 * HEADS + 2 * KV_HEADS + 3 * FFN)
    return fixed + step + per_answer * VOCABULARY * max_running + 4 * VOCABULARY * scored + kv_cache


@pytest.mark.parametrize("max_running, prefill_chunk, kv_megabytes", [(4, 16, 16), (32, 512, 96)])
def test_memory_stays_below_what_the_settings_allow(make_server, max_running, prefill_chunk, kv_megabytes):
    server = make_server({"qwen.max_running": max_running, "qwen.prefill_chunk": prefill_chunk, "qwen.kv_cache_size": f"{kv_megabytes}MB", "qwen.batch_window": 64})
    pid, most = server.engine_pid(), 0
    calls = [Background(server, LOAD.format(16)) for _ in range(2)]
    wait_until(lambda: server.value("SELECT running FROM qwen_stat_engine") >= 2, 20, "a batch")
    while any(call.thread.is_alive() for call in calls):
        most = max(most, own_memory(pid))
    for call in calls:
        assert call.error is None and call.rows == [(16,)], call.error
    allowed = documented(max_running, prefill_chunk, kv_megabytes * 2**20)
    print(f"max_running {max_running}, prefill_chunk {prefill_chunk}: {most / 1e6:.0f} MB of {allowed / 1e6:.0f} MB")
    assert 0.3 * allowed < most <= allowed, (most, allowed)
    assert server.value("SELECT kv_bytes_total FROM qwen_stat_engine") <= kv_megabytes * 2**20
    wait_idle(server)
    # weights: what the view says is what the files of the postmaster hold
    weights = server.value("SELECT weight_bytes FROM qwen_stat_engine")
    held = sum(os.stat(path).st_blocks * 512 for path, link in descriptors(server.postmaster_pid()).items() if "memfd:qwen" in link)
    assert weights <= held < weights + 8e6


def shared_memory(server):
    return int(server.value("SELECT sum(allocated_size) FROM pg_shmem_allocations"))


def test_shared_memory_is_what_the_page_says(make_server):
    with open(PAGE) as file:
        page = file.read()
    listed, row = (float(re.search(pattern, page).group(1)) * 1000 for pattern in (r"([\d.]+) kB for each of `qwen.max_running`", r"([\d.]+) kB for each of `qwen.stat_max`"))
    small = make_server({"qwen.stat_max": 10, "qwen.queue_size": 1, "qwen.max_running": 1}, prepared=False)
    large = make_server({"qwen.stat_max": 20010, "qwen.queue_size": 1, "qwen.max_running": 1}, prepared=False)
    queue = make_server({"qwen.stat_max": 10, "qwen.queue_size": 50001, "qwen.max_running": 1}, prepared=False)
    base = shared_memory(small)
    assert 0.8 * row <= (shared_memory(large) - base) / 20000 <= 1.05 * row
    assert 0.8 * listed <= (shared_memory(queue) - base) / 50000 <= 1.05 * listed
    # all of it beside what PostgreSQL takes by itself
    bare = Cluster(preload=False)
    try:
        bare.start()
        assert 0 < base - shared_memory(bare) < 1_000_000
    finally:
        bare.remove()


def stat_of(pid):
    """The fields of /proc/PID/stat behind the name."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()


def processor_seconds(pid):
    return (int(stat_of(pid)[11]) + int(stat_of(pid)[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_server_does_nothing_worth_the_name(server):
    wait_idle(server)
    engine = server.engine_pid()
    pids = [engine, int(stat_of(engine)[1])]  # and the supervisor, whose child it is

    def is_settled():
        before = sum(map(processor_seconds, pids))
        time.sleep(0.5)
        return sum(map(processor_seconds, pids)) == before

    # for some seconds after a start weights are put on huge pages
    wait_until(is_settled, what="weights on huge pages")
    before, start = sum(map(processor_seconds, pids)), time.monotonic()
    time.sleep(3)  # what is measured is what happens meanwhile
    assert (sum(map(processor_seconds, pids)) - before) / (time.monotonic() - start) < 0.01


def test_a_session_that_asks_nothing_has_nothing(server):
    session = Background(server, "SELECT 1").join()
    files = f"/proc/{session.pid}/fd"
    before = len(os.listdir(files))
    session.again("SELECT count(*) FROM pg_class")
    assert len(os.listdir(files)) <= before + 8, "PostgreSQL's own files alone"
    sockets = lambda: sum(link.startswith("socket:") for link in descriptors(session.pid).values())  # noqa: E731
    n = sockets()
    session.again("SELECT qwen_count_tokens('one')")
    session.again("SELECT qwen_embed('one')")
    assert sockets() == n + 1


def test_files_ports_and_catalog(server):
    """Nothing but the socket and the usage in the data directory, no port, and only our own names in the catalog."""
    wait_until(lambda: os.path.exists(os.path.join(server.data, "pgsql_tmp_qwen_pg_usage")), 20, "the file of usage")
    assert sorted(name for name in os.listdir(server.data) if "qwen" in name) == ["pgsql_tmp_qwen_pg.sock", "pgsql_tmp_qwen_pg_usage"]
    assert {os.stat(os.path.join(server.data, name)).st_mode & 0o777 for name in ("pgsql_tmp_qwen_pg.sock", "pgsql_tmp_qwen_pg_usage")} == {0o600}
    inodes = set(re.findall(r"socket:\[(\d+)\]", " ".join(descriptors(server.engine_pid()).values())))
    for table in ("tcp", "tcp6", "udp", "udp6"):
        if os.path.exists(f"/proc/net/{table}"):
            with open(f"/proc/net/{table}") as file:
                assert not inodes & {line.split()[9] for line in file.readlines()[1:]}, table
    others = server.query("SELECT classid::regclass::text, count(*) FROM pg_depend WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'qwen_pg') GROUP BY 1 ORDER BY 1")
    assert {name for name, _ in others} == {"pg_class", "pg_proc", "pg_type"}
