"""Odd but usable files, and memory that is promised only when it is used: what a strict machine and other people's tools bring."""
import ctypes
import os
import re
import shutil
import struct

import psycopg2
import pytest
from cluster import MODEL_FILE, model_directory, wait_until
from sessions import wait_idle

DEFAULT_MODEL = MODEL_FILE
CAPITAL = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0, model => %s)"


def array_strings(data, key):
    """(offset of the text, text) of each string of an array of the head."""
    at = data.index(key) + len(key) + 4 + 4
    (n,) = struct.unpack_from("<Q", data, at)
    at += 8
    for _ in range(n):
        (length,) = struct.unpack_from("<Q", data, at)
        yield at + 8, bytes(data[at + 8 : at + 8 + length])
        at += 8 + length


def with_metadata(data, key, kind, raw):
    """The file with one more key, before the others; its tensors move by whole alignments."""
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + raw
    n_tensors, n_values = struct.unpack_from("<QQ", data, 8)
    # of a size that moves the data by a multiple of the alignment: a key of padding makes up for the rest
    name = b"general.padding_of_the_test"
    rest = -(len(entry) + 8 + len(name) + 4 + 8) % 32
    entry += struct.pack("<Q", len(name)) + name + struct.pack("<I", 8) + struct.pack("<Q", rest) + b"x" * rest
    return data[:8] + struct.pack("<QQ", n_tensors, n_values + 2) + entry + data[24:]


@pytest.fixture(scope="module")
def odd_models():
    folder = "/tmp/qwen_pg_odd_%d" % os.getpid()
    os.makedirs(folder)
    os.chmod(folder, 0o755)
    with open(os.path.join(model_directory(), MODEL_FILE), "rb") as file:
        good = file.read()

    def write(name, content):
        with open(os.path.join(folder, name + ".gguf"), "wb") as out:
            out.write(content)

    write("good", good)
    # a key of the same length: the old one is not there any more
    write("pre", good.replace(b"tokenizer.ggml.pre", b"tokenizer.ggml.prx", 1))
    write("temp", with_metadata(good, b"general.sampling.temp", 6, struct.pack("<f", 2.5)))
    write("penalty", with_metadata(good, b"general.sampling.penalty_repeat", 6, struct.pack("<f", 0.9)))
    write("word", with_metadata(good, b"general.sampling.top_p", 8, struct.pack("<Q", 4) + b"high"))
    # the last merge's result was pruned: its token stands there twice instead, as another one of its length
    changed = bytearray(good)
    merges = list(array_strings(good, b"tokenizer.ggml.merges"))
    tokens = list(array_strings(good, b"tokenizer.ggml.tokens"))
    places = {text: at for at, text in tokens}
    product = merges[-1][1].replace(b" ", b"")
    twin = next(text for _, text in reversed(tokens[:-1]) if len(text) == len(product) and text != product)
    changed[places[product] : places[product] + len(product)] = twin
    write("pruned", bytes(changed))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def odd_server(odd_models):
    from cluster import Cluster
    from conftest import ready

    cluster = Cluster(settings={"qwen.model_directory": odd_models, "qwen.models": "chat=good.gguf", "qwen.max_models": 2})
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


@pytest.mark.parametrize(
    "file, words",
    [
        ("pre", ["tokenizer.ggml.pre is missing: qwen2 is taken"]),
        ("temp", ["general.sampling.temp is 2.5", ": 2 is used"]),
        ("penalty", ["general.sampling.penalty_repeat is 0.9", ": 1 is used"]),
        ("word", ["general.sampling.top_p is not a number"]),
        ("pruned", ["the result is not a token of the vocabulary", "is the same as token"]),
    ],
)
def test_an_odd_file_answers_and_its_oddity_is_said(odd_server, file, words):
    odd_server.query("SELECT qwen_load_model('odd', %s)", (file + ".gguf",))
    try:
        assert "Paris" in odd_server.value(CAPITAL, ("odd",))
        notices, = odd_server.query("SELECT notices FROM qwen_models WHERE name = 'odd'")[0]
        with open(odd_server.log) as log:
            warnings = [line for line in log if "WARNING" in line and '"odd"' in line]
        for word in words:
            assert word in notices
            assert any(word in line for line in warnings), warnings
        assert odd_server.value("SELECT notices FROM qwen_models WHERE name = 'chat'") is None
    finally:
        odd_server.query("SELECT qwen_unload_model('odd')")


def committed_bytes(pid):
    """Private memory that the system has promised to a process: what counts where vm.overcommit_memory is 2."""
    total = 0
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            low, high, rights = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
            if "w" in rights and "p" in rights:
                total += int(high, 16) - int(low, 16)
    return total


def test_keys_and_values_are_promised_memory_as_they_come(make_server, tmp_path):
    settings = {"qwen.kv_cache_size": "4GB", "qwen.kv_cache_type": "f16"}  # 23 MB for 1,000 tokens
    server = make_server(settings)
    idle = committed_bytes(server.engine_pid())
    assert idle < 2**30, "nothing of the 4 GB but what is used"
    server.query("SELECT qwen_generate(repeat('word ', 1000), max_tokens => 1)")
    resident = server.value("SELECT kv_bytes_resident FROM qwen_stat_engine")
    assert resident > 20e6
    assert committed_bytes(server.engine_pid()) < idle + resident + 40e6

    # a system that promises little more than the idle engine has: the request ends with an error and nothing else
    program = os.path.join(server.folder, "engine_with_a_limit")
    with open(program, "w") as file:
        file.write(f"#!/bin/sh\n[ $1 = serve ] && ulimit -d {(idle + 60 * 2**20) // 1024}\nexec {server.programs}/qwen_engine \"$@\"\n")
    os.chmod(program, 0o755)
    limited = make_server({**settings, "qwen.prefix_cache": "off", "qwen.engine_path": program})
    pid = limited.engine_pid()
    with pytest.raises(psycopg2.Error) as failure:
        limited.query("SELECT qwen_generate(repeat('word ', 7000), max_tokens => 1)")
    assert failure.value.pgcode == "58000"
    assert "the system has no memory for the keys and values of position" in str(failure.value)
    assert limited.value("SELECT qwen_generate(repeat('word ', 1000), max_tokens => 1)") is not None
    assert limited.engine_pid() == pid
    wait_idle(limited)


def test_keys_and_values_get_no_more_than_models_leave(make_server):
    with open("/proc/meminfo") as file:
        total = int(re.search(r"MemTotal:\s+(\d+) kB", file.read()).group(1)) // 1024
    server = make_server({"qwen.kv_cache_size": f"{total * 2}MB"})
    assert "Paris" in server.value(CAPITAL, ("chat",))
    given = server.value("SELECT kv_bytes_total FROM qwen_stat_engine") >> 20
    assert 16 <= given <= total * 3 // 4
    health = server.value("SELECT qwen_health()")
    memory = next(check for check in health["checks"] if check["check"] == "memory")
    assert memory["status"] == "degraded" and "Lower qwen.kv_cache_size" in memory["action"]
    assert f"of the {total * 2} MB of qwen.kv_cache_size there is room for {given}" in memory["message"]


def test_auto_is_a_share_of_memory_and_said(server):
    with open("/proc/meminfo") as file:
        total = int(re.search(r"MemTotal:\s+(\d+) kB", file.read()).group(1)) * 1024
    assert server.value("SHOW qwen.kv_cache_size") == "auto"
    cache = server.value("SELECT kv_bytes_total FROM qwen_stat_engine")
    assert 64 * 2**20 <= cache <= max(total / 8, 256 * 2**20)
    health = server.value("SELECT qwen_health()")
    assert any("MB (auto)" in check["message"] for check in health["checks"] if check["check"] == "kv_cache")
    with open(server.log) as log:
        assert re.search(r"keys and values may take \d+ MB", log.read())


def test_weights_are_locked_or_it_is_said_why_not(make_server):
    server = make_server({"qwen.lock_memory": "on"})
    with open(f"/proc/{server.engine_pid()}/status") as file:
        locked = int(re.search(r"VmLck:\s+(\d+) kB", file.read()).group(1)) * 1024
    notices, image = server.query("SELECT notices, shared_memory_bytes FROM qwen_models")[0]
    assert locked >= image if notices is None else "cannot be locked into memory" in notices


def test_weights_come_onto_huge_pages_and_stay_there(make_server):
    server = make_server()
    image = server.value("SELECT shared_memory_bytes FROM qwen_models")

    def huge_bytes():
        return server.value("SELECT huge_page_bytes FROM qwen_models")

    def mapped_huge():
        with open(f"/proc/{server.engine_pid()}/smaps_rollup") as file:
            return int(re.search(r"ShmemPmdMapped:\s+(\d+) kB", file.read()).group(1)) * 1024

    if not collapse_works():
        assert huge_bytes() == 0
        return
    # the last bytes of an image are no whole page
    wait_until(lambda: huge_bytes() > image - 2**21, 60, "huge pages")
    assert mapped_huge() > image * 0.9
    assert "Paris" in server.value(CAPITAL, ("chat",))
    pid = server.engine_pid()
    os.kill(pid, 9)
    wait_until(lambda: server.engine_pid() not in (None, pid) and server.value("SELECT state FROM qwen_models") == "serving", 30, "another engine")
    assert "Paris" in server.value(CAPITAL, ("chat",))
    wait_until(lambda: huge_bytes() > image - 2**21, 10, "the same pages")


def test_no_huge_pages_where_none_are_wanted(make_server):
    server = make_server({"qwen.huge_pages": "off"})
    assert "Paris" in server.value(CAPITAL, ("chat",))
    assert server.value("SELECT huge_page_bytes FROM qwen_models") == 0


def collapse_works():
    """Linux 6.1 and later put shared memory on huge pages when they are asked to."""
    import mmap

    descriptor = os.memfd_create("qwen_test")
    os.ftruncate(descriptor, 2**21)
    os.pwrite(descriptor, b"x" * 2**21, 0)
    place = mmap.mmap(-1, 4 * 2**20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(place))
    start = (address + 2**21 - 1) // 2**21 * 2**21
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    mapped = libc.mmap(ctypes.c_void_p(start), ctypes.c_size_t(2**21), 1, mmap.MAP_SHARED | 0x10, descriptor, ctypes.c_long(0))
    return mapped == start and libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(2**21), 25) == 0
