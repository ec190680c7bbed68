"""What an engine has given up: privileges, system calls, the right to write to weights; and how its program is built."""
import os
import re
import subprocess

import pytest
from cluster import MODEL_FILE, server_programs
from conftest import let_others_in
from sessions import descriptors

DEFAULT_MODEL = MODEL_FILE
CAPITAL = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0)"


def status_of(pid, task=None):
    """The lines of /proc/PID/status as a dictionary."""
    with open(f"/proc/{pid}/task/{task}/status" if task else f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def test_every_thread_of_the_engine_is_in_the_sandbox(server):
    pid = server.engine_pid()
    assert "Paris" in server.value(CAPITAL)
    tasks = os.listdir(f"/proc/{pid}/task")
    assert tasks
    for task in tasks:
        status = status_of(pid, task)
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1"), status["Name"]
    assert "without the whole sandbox" not in server.read_log()


def test_models_can_be_loaded_and_everything_asked_inside(make_server):
    server = make_server({"qwen.max_models": 2})
    pid = server.engine_pid()
    assert status_of(pid)["Seccomp"] == "2"
    # a model that is opened by an engine which cannot open files, and everything that may want one
    server.query("SELECT qwen_load_model('second', %s)", (MODEL_FILE,))
    assert "Paris" in server.value("SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0, model => 'second')")
    assert server.value("SELECT count(*) FROM qwen_chunk(repeat('One sentence. Another one. ', 50), 64, 8)") > 1
    assert len(server.value("SELECT qwen_embed('text')")) > 100
    assert server.value("SELECT qwen_classify('I like it', ARRAY['good', 'bad'])") in ("good", "bad")
    assert server.value("SELECT qwen_render_chat('[{\"role\": \"user\", \"content\": \"x\"}]'::json)")
    server.query("SELECT qwen_unload_model('second')")
    assert server.engine_pid() == pid
    assert "without the whole sandbox" not in server.read_log()


def test_sandbox_can_be_left_out(make_server):
    server = make_server({"qwen.engine_sandbox": "off"})
    status = status_of(server.engine_pid())
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("0", "0")
    assert "Paris" in server.value(CAPITAL)


def denying_program(folder, call):
    """The engine program behind a filter that lets a system call fail with EACCES, as some containers do."""
    path = os.path.join(folder, "engine")
    with open(path, "w") as file:
        file.write(
            f"""#!/usr/bin/python3
import ctypes, os, struct, sys
# load the call's number; if it is the one: EACCES, else allow
code = b"".join(struct.pack("<HBBI", *i) for i in ((0x20, 0, 0, 0), (0x15, 0, 1, {call}), (0x06, 0, 0, 0x00050000 | 13), (0x06, 0, 0, 0x7FFF0000)))
libc, buffer = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", 4, ctypes.addressof(buffer)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0
os.execv("{server_programs()}/qwen_engine", ["qwen_engine"] + sys.argv[1:])
"""
        )
    os.chmod(path, 0o755)
    return path


SECCOMP_CALL = {"x86_64": 317, "aarch64": 277}.get(os.uname().machine)


@pytest.mark.skipif(SECCOMP_CALL is None, reason="the filter is written for x86-64 and aarch64")
def test_system_that_refuses_a_filter_is_served_without_and_said(make_server, tmp_path):
    let_others_in(tmp_path)
    server = make_server({"qwen.engine_path": denying_program(str(tmp_path), SECCOMP_CALL)})
    assert "Paris" in server.value(CAPITAL)
    assert "serving without the whole sandbox: system calls cannot be filtered: Permission denied" in server.read_log()


def test_engine_cannot_write_to_weights(server):
    pid = server.engine_pid()
    assert "Paris" in server.value(CAPITAL)
    with open(f"/proc/{pid}/maps") as file:
        weights = [line for line in file if "/memfd:qwen_pg_model" in line]
    assert weights, "the engine maps no model"
    assert all(line.split()[1] == "r--s" for line in weights), weights
    slots = [path for path, link in descriptors(pid).items() if "/memfd:qwen_pg_model" in link]
    assert slots
    for path in slots:
        with open(path.replace("/fd/", "/fdinfo/")) as file:
            flags = int(re.search(r"flags:\s*(\d+)", file.read()).group(1), 8)
        assert flags & os.O_ACCMODE == os.O_RDONLY, path


def test_engine_has_no_descriptor_that_it_does_not_need(server):
    pid = server.engine_pid()
    kinds = [link for path, link in descriptors(pid).items() if int(os.path.basename(path)) > 2]
    for kind in kinds:
        assert re.match(r"socket:|pipe:|/memfd:|anon_inode:\[?(eventpoll|signalfd|eventfd)", kind), kinds


def elf(*arguments):
    return subprocess.run(["readelf", "-W", *arguments, f"{server_programs()}/qwen_engine"], check=True, capture_output=True, text=True).stdout


def test_program_is_built_hard_to_break():
    assert re.search(r"Type:\s+DYN \(Position-Independent Executable", elf("-h"))
    dynamic = elf("-d")
    assert re.search(r"FLAGS.*BIND_NOW|FLAGS_1.*NOW", dynamic) and "PIE" in dynamic
    segments = elf("-l")
    assert "GNU_RELRO" in segments
    assert re.search(r"GNU_STACK.*\bRW\b", segments) and not re.search(r"GNU_STACK.*RWE", segments)
    assert not re.search(r"LOAD.*\bRWE\b", segments)
    symbols = elf("-s", "--dyn-syms")
    assert "__stack_chk_fail" in symbols
    assert re.search(r"__(memcpy|snprintf|fprintf|vsnprintf|memmove|strcat)_chk", symbols), "no call is fortified"
