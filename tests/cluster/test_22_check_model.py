"""qwen_check_model: what loading would say, and what a file is, without loading it; by a process that may die of it."""
import os
import random
import shutil
import struct
import sys

import psycopg2
import pytest
from cluster import MODEL_FILE, Cluster, model_directory, server_programs, wait_until
from conftest import ready
from sessions import Background, held, is_gone
from test_02_models import make_sparse_model

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import reexpress  # noqa: E402

DEFAULT_MODEL = MODEL_FILE
CHECK = "SELECT item, value, problem FROM qwen_check_model(%s)"


@pytest.fixture(scope="module")
def folder():
    """The demo model, files that are wrong in several ways, and an engine program that can be told to misbehave."""
    path = "/tmp/qwen_pg_check_%d" % os.getpid()
    os.makedirs(path)
    os.chmod(path, 0o755)
    source = os.path.join(model_directory(), MODEL_FILE)
    shutil.copy(source, os.path.join(path, "good.gguf"))
    with open(source, "rb") as file:
        data = file.read()

    def write(name, content, mode=0o644):
        with open(os.path.join(path, name), "wb") as out:
            out.write(content)
        os.chmod(os.path.join(path, name), mode)

    write("empty.gguf", b"")
    write("truncated.gguf", data[: len(data) // 2])
    write("text.gguf", b"this is no model at all, just text\n" * 100)
    write("llama.gguf", data.replace(b"\x05\0\0\0\0\0\0\0qwen2", b"\x05\0\0\0\0\0\0\0llama", 1))
    write("drafter.gguf", data.replace(b"\x05\0\0\0\0\0\0\0qwen2", b"\x06\0\0\0\0\0\0\0eagle3", 1) + bytes(64))
    write("counts.gguf", data[:8] + struct.pack("<QQ", 2**60, 2**60) + data[24:])
    write("renamed.gguf", data.replace(b"blk.3.attn_q.bias", b"blk.3.Attn_q.bias").replace(b"blk.17.ffn_up.weight", b"blk.17.ffn_UP.weight"))
    write("pre.gguf", data.replace(b"tokenizer.ggml.pre", b"tokenizer.ggml.prx", 1))
    at = data.index(b"tokenizer.chat_template") + len(b"tokenizer.chat_template") + 4 + 8
    write("template.gguf", data[:at] + b"{% macro %}" + data[at + 11 :])
    os.symlink("/etc/passwd", os.path.join(path, "link_out.gguf"))
    os.mkdir(os.path.join(path, "folder.gguf"))
    os.mkfifo(os.path.join(path, "fifo.gguf"))
    write("engine", f'#!/bin/sh\n[ "$1" = check ] && [ -e {path}/broken ] && . {path}/broken\nexec {server_programs()}/qwen_engine "$@"\n'.encode(), 0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def checking(folder):
    cluster = Cluster(settings={"qwen.model_directory": folder, "qwen.models": "chat=good.gguf", "qwen.max_models": 2, "qwen.engine_path": f"{folder}/engine",
                                "qwen.kv_cache_size": "64MB"})
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


def check(server, file):
    """{item: (value, problem)} of a file, the first of each."""
    items = {}
    for item, value, problem in server.query(CHECK, (file,)):
        items.setdefault(item, (value, problem))
    return items


def why_not(server, file):
    """What loading a file says, or None."""
    try:
        server.query("SELECT qwen_load_model('tried', %s)", (file,))
    except psycopg2.Error as error:
        return error.diag.message_detail.splitlines()[0]  # behind it is where the file lies
    server.query("SELECT qwen_unload_model('tried')")
    return None


def test_a_good_file_is_told_as_it_is_when_loaded(checking):
    found, before = check(checking, "good.gguf"), checking.query("SELECT name, state FROM qwen_models")
    assert found["loads"] == ("true", None)
    names = "architecture, parameters, quantization, context_length, embedding_size, file_bytes, shared_memory_bytes"
    loaded = dict(zip(names.split(", "), checking.query(f"SELECT {names} FROM qwen_models")[0]))
    assert {name: found[name] for name in loaded} == {name: (str(value), None) for name, value in loaded.items()}
    # 30 layers of 3 heads of 64 elements, keys and values: blocks of 32 tokens in whole pages, 1088 bytes for 32 elements of them in q8_0
    a_token = -(-30 * 3 * 2 * 2 * 1088 // 4096) * 4096 // 32
    assert found["kv_bytes_per_token"] == (str(a_token), None)
    value, problem = found["kv_bytes_of_context"]
    assert int(value) == 8192 * a_token and f"qwen.kv_cache_size (64 MB) holds {(64 << 20) // a_token // 32 * 32} tokens" in problem
    assert found["tensor_types"] == ("F32 151, Q4_1 210, Q8_0 1", None)
    assert found["tokenizer"] == ("qwen2", None) and found["chat_template"] == ("of the file", None)
    assert int(found["weight_bytes_per_token"][0]) < int(found["shared_memory_bytes"][0])
    assert checking.query("SELECT name, state FROM qwen_models") == before


@pytest.mark.parametrize("file, words", [
    ("empty.gguf", "is empty"), ("truncated.gguf", "would end at byte"), ("text.gguf", "not a GGUF file"), ("llama.gguf", "supported are qwen2"),
    ("drafter.gguf", "a drafter (EAGLE-3)"), ("counts.gguf", "more than it can hold"), ("renamed.gguf", "blk.3.attn_q.bias"), ("folder.gguf", "not a regular file"),
    ("fifo.gguf", "not a regular file"), ("pre.gguf", None), ("template.gguf", None),
])  # fmt: skip
def test_the_verdict_is_what_loading_says(checking, file, words):
    value, problem = check(checking, file)["loads"]
    assert (value == "true") == (problem is None)
    assert problem == why_not(checking, file)
    assert words is None or words in problem


def test_all_that_is_wrong_is_told(checking):
    rows = checking.query(CHECK, ("renamed.gguf",))
    wrong = {value: problem for item, value, problem in rows if item == "tensor"}
    assert set(wrong) == {"blk.3.attn_q.bias", "blk.17.ffn_up.weight", "blk.3.Attn_q.bias", "blk.17.ffn_UP.weight"}
    assert wrong["blk.17.ffn_up.weight"] == 'tensor "blk.17.ffn_up.weight" is missing'
    assert "is not part of architecture qwen2" in wrong["blk.3.Attn_q.bias"]
    found = check(checking, "template.gguf")
    assert found["loads"] == ("true", None) and "line 1" in found["chat_template"][1]
    found = check(checking, "pre.gguf")
    assert found["loads"] == ("true", None) and "tokenizer.ggml.pre is missing" in found["notice"][0]


def test_layers_of_a_hybrid_are_told(checking, folder, make_server):
    """How many are delta nets, and whether there is one that guesses tokens ahead; one whose tensors were left out is told of."""
    demo = os.path.join(model_directory(), MODEL_FILE)
    for name, architecture in (("none", "qwen35moe"), ("guessing", "qwen35moe+head")):
        shutil.copy(os.path.join(model_directory(), "models", reexpress.cached(model_directory(), demo, architecture)), os.path.join(folder, f"{name}.gguf"))
    with open(os.path.join(folder, "guessing.gguf"), "rb") as file:
        values, tensors = reexpress.read_gguf(file.read())
    reexpress.write_gguf(os.path.join(folder, "bare.gguf"), values, [tensor for tensor in tensors if not tensor[0].startswith("blk.40.")])
    found = {name: check(checking, f"{name}.gguf") for name in ("none", "guessing", "bare")}
    # a server that guesses otherwise loads no such layer, and counts none; the file has it all the same
    other = make_server({"qwen.model_directory": folder, "qwen.models": "", "qwen.speculation": "off"}, prepared=False)
    other.query("CREATE EXTENSION qwen_pg")
    unwanted = {name: check(other, f"{name}.gguf") for name in found}
    other.query("SELECT qwen_load_model('guessing', 'guessing.gguf')")
    loaded = str(other.value("SELECT shared_memory_bytes FROM qwen_models"))
    assert unwanted["guessing"]["shared_memory_bytes"] == (loaded, None) == unwanted["bare"]["shared_memory_bytes"] < found["guessing"]["shared_memory_bytes"]
    assert unwanted["guessing"]["parameters"] == unwanted["bare"]["parameters"] and all(unwanted[name]["guessing_layers"] == found[name]["guessing_layers"] for name in found)
    for name in found:
        os.unlink(os.path.join(folder, f"{name}.gguf"))
        assert found[name]["loads"] == ("true", None) and found[name]["layers"] == ("40", None) and found[name]["delta_net_layers"] == ("10", None)
    assert found["none"]["guessing_layers"] == ("0", None) and found["guessing"]["guessing_layers"] == ("1", None)
    value, problem = found["bare"]["guessing_layers"]
    assert value == "1" and "left out of the file" in problem
    assert "guessing_layers" not in check(checking, "good.gguf")


@pytest.mark.parametrize("architecture", ["qwen2", "qwen"])
def test_room_for_outliers_of_keys_is_counted(checking, folder, architecture):
    """A pair of dimensions whose bias stands far out, as in Qwen2.5: eight bits keep it apart, in room of its own. In "qwen" the bias is part of a fused one."""
    with open(os.path.join(model_directory(), MODEL_FILE), "rb") as file:
        values, tensors = reexpress.read_gguf(file.read())
    at = next(i for i, tensor in enumerate(tensors) if tensor[0] == "blk.17.attn_k.bias")
    name, dims, kind, data = tensors[at]
    bias = list(struct.unpack(f"<{len(data) // 4}f", data))
    bias[64 + 3], bias[64 + 32 + 3] = 120.0, -90.0
    tensors[at] = (name, dims, kind, struct.pack(f"<{len(bias)}f", *bias))
    reexpress.write_gguf(os.path.join(folder, "far.gguf"), values, tensors)
    if architecture == "qwen":
        reexpress.reexpress(os.path.join(folder, "far.gguf"), os.path.join(folder, "fused.gguf"), architecture)
        os.rename(os.path.join(folder, "fused.gguf"), os.path.join(folder, "far.gguf"))
    found = check(checking, "far.gguf")
    checking.query("SELECT qwen_load_model('far', 'far.gguf')")
    in_force = checking.value("SELECT kv_bytes_per_token FROM qwen_models WHERE name = 'far'")
    checking.query("SELECT qwen_unload_model('far')")
    os.unlink(os.path.join(folder, "far.gguf"))
    assert found["kv_bytes_per_token"] == (str(in_force), None)
    heads = 9 if architecture == "qwen" else 3
    assert in_force == -(-30 * heads * (4 * 1088 + 4 * 32 * 2) // 4096) * 4096 // 32


def test_too_little_room_for_keys_and_values_is_in_the_verdict(checking, folder):
    """One block of 32 positions needs more than the whole KV cache."""
    make_sparse_model(os.path.join(folder, "wide.gguf"), layers=125, hidden=32, ffn=32, heads=32, head_dim=256)
    found, why = check(checking, "wide.gguf"), why_not(checking, "wide.gguf")
    os.unlink(os.path.join(folder, "wide.gguf"))
    assert "but the KV cache has %d" % (64 << 20) in why and found["loads"] == ("false", why)
    assert found["kv_bytes_per_token"] == (None, why)


def test_more_than_memory_is_told_with_the_numbers(checking, folder):
    make_sparse_model(os.path.join(folder, "huge.gguf"))
    found = check(checking, "huge.gguf")
    os.unlink(os.path.join(folder, "huge.gguf"))
    value, problem = found["shared_memory_bytes"]
    assert int(value) > 1 << 40 and "MB of memory, but only" in problem
    assert found["loads"][0] == "false" and found["loads"][1].endswith(problem)


def test_a_mixture_reads_less_than_it_has(checking, folder):
    file = reexpress.cached(model_directory(), os.path.join(model_directory(), MODEL_FILE), "qwen3moe")
    shutil.copy(os.path.join(model_directory(), "models", file), os.path.join(folder, "mixture.gguf"))
    found = check(checking, "mixture.gguf")
    os.unlink(os.path.join(folder, "mixture.gguf"))
    assert found["experts"] == ("2 of 3 in each layer", None) and found["loads"] == ("true", None)
    whole, token = int(found["shared_memory_bytes"][0]), int(found["weight_bytes_per_token"][0])
    # a third of the experts' matrices, which are 3 copies of 49 MB, is not read
    assert 40 << 20 < whole - token < 60 << 20


@pytest.mark.parametrize("file, code", [("missing.gguf", "42704"), ("link_out.gguf", "42501"), ("../../../etc/passwd", "42501"), ("/etc/passwd", "42501")])
def test_paths_are_those_of_qwen_load_model(checking, file, code):
    checking.query("DO $$ BEGIN CREATE ROLE searcher LOGIN; EXCEPTION WHEN duplicate_object THEN END $$; SELECT qwen_grant('searcher', 'admin')")
    for user, shown in ((None, True), ("searcher", False)):
        with pytest.raises(psycopg2.Error) as failure:
            checking.query(CHECK, (file,), user=user)
        assert failure.value.pgcode == code and failure.value.diag.message_primary == f'model file "{file}" could not be looked at'
        assert ("/tmp/" in str(failure.value)) == shown, "directories are for those who may see settings"


def test_parts_of_a_split_file(checking, folder):
    with open(os.path.join(folder, "good.gguf"), "rb") as file:
        data = file.read()
    n_values, = struct.unpack_from("<Q", data, 16)
    key = lambda name, kind, raw: struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + raw  # noqa: E731
    keys = key(b"split.count", 2, struct.pack("<H", 2)) + key(b"split.no", 2, struct.pack("<H", 0)) + key(b"split.tensors.count", 5, struct.pack("<i", 999))
    with open(os.path.join(folder, "split-00001-of-00002.gguf"), "wb") as out:
        out.write(data[:16] + struct.pack("<Q", n_values + 3) + keys + data[24:])
    value, problem = check(checking, "split-00001-of-00002.gguf")["loads"]
    assert value == "false" and "split-00002-of-00002.gguf" in problem
    os.unlink(os.path.join(folder, "split-00001-of-00002.gguf"))


def test_many_files_in_one_statement(checking):
    rows = checking.query("""SELECT f, c.value, c.problem IS NULL FROM unnest(ARRAY['good.gguf', 'text.gguf', 'pre.gguf', 'llama.gguf']) f,
        qwen_check_model(f) c WHERE c.item = 'loads' ORDER BY f""")
    assert rows == [("good.gguf", "true", True), ("llama.gguf", "false", False), ("pre.gguf", "true", True), ("text.gguf", "false", False)]


def test_hostile_heads_get_a_verdict(checking, folder):
    numbers, pid = random.Random(11), checking.engine_pid()
    with open(os.path.join(folder, "good.gguf"), "rb") as file:
        data = bytearray(file.read())
    head, verdicts = data.index(b"token_embd.weight") + 20000, []
    with open(os.path.join(folder, "flipped.gguf"), "wb") as out:
        out.write(data)
    for _ in range(10):
        at = numbers.choice((numbers.randrange(2000), numbers.randrange(head)))
        with open(os.path.join(folder, "flipped.gguf"), "r+b") as out:
            out.seek(at)
            out.write(bytes([data[at] ^ 1 << numbers.randrange(8)]))
            out.flush()
            verdicts.append(check(checking, "flipped.gguf")["loads"][0])
            out.seek(at)
            out.write(data[at : at + 1])
    assert set(verdicts) == {"true", "false"}
    assert checking.engine_pid() == pid
    os.unlink(os.path.join(folder, "flipped.gguf"))


def test_a_reader_that_fails_is_an_error_and_no_more(checking, folder):
    broken = os.path.join(folder, "broken")
    for script, words in (("exit 3", "It exited with code 3."), ("kill -11 $$", "terminated by signal 11"), ("exit 0", "without an end"),
                          ("head -c 100 /dev/urandom >&5; exit 0", "without an end"), ("head -c 3000000 /dev/zero >&5; exit 0", "wrote more than")):  # fmt: skip
        with open(broken, "w") as file:
            file.write(script + "\n")
        with pytest.raises(psycopg2.Error) as failure:
            checking.query(CHECK, ("good.gguf",))
        assert failure.value.pgcode == "58000" and words in str(failure.value), script
    os.unlink(broken)
    assert check(checking, "good.gguf")["loads"] == ("true", None)


def test_cancel_ends_the_reader(checking, folder):
    broken, noted = os.path.join(folder, "broken"), "/tmp/qwen_pg_check_pid_%d" % os.getpid()
    with open(broken, "w") as file:
        # the signals of both ends go to the session's whole process group
        file.write(f"trap '' INT TERM\necho $$ > {noted}\nexec sleep 100\n")
    pids = []
    for end in ("pg_cancel_backend", "pg_terminate_backend"):
        call = Background(checking, "SELECT * FROM qwen_check_model('good.gguf')")
        wait_until(lambda: os.path.exists(noted) and os.stat(noted).st_size > 1)
        with open(noted) as file:
            pids.append(int(file.read()))
        assert not is_gone(pids[-1])
        checking.query(f"SELECT {end}(%s)", (call.pid,))
        assert call.join().error is not None
        wait_until(lambda: is_gone(pids[-1]))
        os.unlink(noted)
    os.unlink(broken)


def test_a_reader_that_does_not_end_can_be_cancelled(checking, folder):
    """All has come, but it does not go; then it is killed, and the kernel does not let it go either."""
    broken, noted = os.path.join(folder, "broken"), "/tmp/qwen_pg_check_pid_%d" % os.getpid()

    def start(call):
        with open(broken, "w") as file:
            file.write(f"trap '' INT\necho $$ > {noted}\nexec 5>&-\nexec sleep 100\n")
        call.start("SELECT * FROM qwen_check_model('good.gguf')")
        wait_until(lambda: os.path.exists(noted) and os.stat(noted).st_size > 1)
        with open(noted) as file:
            pid = int(file.read())
        os.unlink(noted)
        os.unlink(broken)
        return pid

    call = Background(checking, "SELECT 1").join()
    reader = start(call)
    checking.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    assert call.join().error.pgcode == "57014" and call.seconds < 10
    wait_until(lambda: is_gone(reader))
    reader = start(call)
    with held(reader):
        checking.query("SELECT pg_cancel_backend(%s)", (call.pid,))
        assert call.join().error.pgcode == "57014" and call.seconds < 10
        # it is waited for later, at the next look at a file
        assert call.again("SELECT item FROM qwen_check_model('good.gguf')")[0] == ("loads",)
        assert os.path.exists(f"/proc/{reader}")
    assert call.again("SELECT item FROM qwen_check_model('good.gguf')")[0] == ("loads",)
    assert not os.path.exists(f"/proc/{reader}")


def test_only_administrators_look_at_files(checking):
    checking.query("CREATE ROLE looker LOGIN; SELECT qwen_grant('looker', 'use')")
    with pytest.raises(psycopg2.Error) as failure:
        checking.query(CHECK, ("good.gguf",), user="looker")
    assert failure.value.pgcode == "42501"
    checking.query("SELECT qwen_grant('looker', 'admin')")
    assert checking.query(CHECK, ("good.gguf",), user="looker")[0] == ("loads", "true", None)
