"""Model files, good and bad, through qwen_load_model and qwen.models."""
import os
import shutil
import struct
import time

import psycopg2
import pytest
from cluster import MODEL_FILE, model_directory, wait_until
from sessions import LONG, Background, wait_idle, wait_running

DEFAULT_MODEL = MODEL_FILE
CAPITAL = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0, model => %s)"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model directory with the demo model and broken variants of it."""
    folder = "/tmp/qwen_pg_models_%d" % os.getpid()
    os.makedirs(folder)
    os.chmod(folder, 0o755)
    source = os.path.join(model_directory(), MODEL_FILE)
    good = os.path.join(folder, "good.gguf")
    shutil.copy(source, good)
    with open(source, "rb") as file:
        data = file.read()

    def write(name, content):
        with open(os.path.join(folder, name), "wb") as out:
            out.write(content)

    write("empty.gguf", b"")
    write("truncated.gguf", data[: len(data) // 2])
    write("header.gguf", data[:1000])
    write("text.gguf", b"this is no model at all, just text\n" * 100)
    write("llama.gguf", data.replace(b"\x05\0\0\0\0\0\0\0qwen2", b"\x05\0\0\0\0\0\0\0llama", 1))
    write("version.gguf", data[:4] + struct.pack("<I", 9) + data[8:])
    write("counts.gguf", data[:8] + struct.pack("<QQ", 2**60, 2**60) + data[24:])
    # a vocabulary of which one string claims to be huge
    at = data.index(b"tokenizer.ggml.tokens") + len(b"tokenizer.ggml.tokens") + 4 + 4 + 8
    write("string.gguf", data[:at] + struct.pack("<Q", 2**62) + data[at + 8 :])
    os.symlink("/etc/passwd", os.path.join(folder, "link_out.gguf"))
    os.symlink("good.gguf", os.path.join(folder, "link_in.gguf"))
    os.mkdir(os.path.join(folder, "folder.gguf"))
    os.mkfifo(os.path.join(folder, "fifo.gguf"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def loading_server(models):
    from cluster import Cluster
    from conftest import ready

    cluster = Cluster(settings={"qwen.model_directory": models, "qwen.models": "chat=good.gguf", "qwen.max_models": 3})
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


@pytest.mark.parametrize(
    "file, code, words",
    [
        ("empty.gguf", "22023", "is empty"),
        ("truncated.gguf", "22023", "would end at byte"),
        ("header.gguf", "22023", "ends at byte"),
        ("text.gguf", "22023", "not a GGUF file"),
        ("llama.gguf", "0A000", "supported are qwen2"),
        ("version.gguf", "0A000", "GGUF version 9"),
        ("counts.gguf", "22023", "more than it can hold"),
        ("string.gguf", "22023", "inside an array"),
        ("link_out.gguf", "42501", "not below the model directory"),
        ("folder.gguf", "22023", "not a regular file"),
        ("fifo.gguf", "22023", "not a regular file"),
        ("missing.gguf", "42704", "No such file"),
        ("../../../etc/passwd", "42501", "not below"),
        ("/etc/passwd", "42501", "not below"),
    ],
)
def test_bad_file_is_refused_and_nothing_else_suffers(loading_server, file, code, words):
    with pytest.raises(psycopg2.Error) as failure:
        loading_server.query("SELECT qwen_load_model('bad', %s)", (file,))
    assert failure.value.pgcode == code, failure.value
    assert words in str(failure.value)
    assert [row[0] for row in loading_server.query("SELECT name FROM qwen_models")] == ["chat"]
    assert "Paris" in loading_server.value(CAPITAL, ("chat",))


def test_flipped_bits_never_harm(loading_server, models):
    """Flips over the head of the file: refused with one of our codes or loaded, the server and the engine stay."""
    import random

    random.seed(5)
    pid = loading_server.engine_pid()
    with open(os.path.join(models, "good.gguf"), "rb") as file:
        data = bytearray(file.read())
    head = data.index(b"token_embd.weight") + 20000
    refused = 0
    for _ in range(25):
        at = random.randrange(head)
        data[at] ^= 1 << random.randrange(8)
        with open(os.path.join(models, "flipped.gguf"), "wb") as out:
            out.write(data)
        data[at] = data[at]
        try:
            loading_server.query("SELECT qwen_load_model('flipped', 'flipped.gguf')")
            loading_server.query("SELECT qwen_unload_model('flipped')")
        except psycopg2.Error as error:
            assert error.pgcode in ("22023", "0A000", "54000", "58000"), error
            refused += 1
    assert refused > 0
    assert loading_server.engine_pid() == pid
    assert "Paris" in loading_server.value(CAPITAL, ("chat",))


def test_model_larger_than_memory_is_refused_with_the_numbers(loading_server, models):
    """A sparse file whose head promises a terabyte of weights."""
    head = make_sparse_model(os.path.join(models, "huge.gguf"))
    assert head > 0
    start = time.monotonic()
    with pytest.raises(psycopg2.Error) as failure:
        loading_server.query("SELECT qwen_load_model('huge', 'huge.gguf')")
    os.unlink(os.path.join(models, "huge.gguf"))
    assert failure.value.pgcode == "54000"
    assert "MB of memory, but only" in str(failure.value)
    assert time.monotonic() - start < 10


def make_sparse_model(path, layers=200, hidden=16384, ffn=65536, heads=128, head_dim=128):
    """The head of a qwen2 model in F32 over a file of holes; bytes of the head. As it stands by far too large for any memory."""

    def text(raw):
        return struct.pack("<Q", len(raw)) + raw

    def value(key, kind, raw):
        return text(key) + struct.pack("<I", kind) + raw

    vocab, width = 300, heads * head_dim
    arch = b"qwen2."
    values = [value(b"general.architecture", 8, text(b"qwen2"))]
    for key, number in (
        (b"block_count", layers),
        (b"embedding_length", hidden),
        (b"feed_forward_length", ffn),
        (b"context_length", 4096),
        (b"attention.head_count", heads),
        (b"attention.key_length", head_dim),
        (b"attention.value_length", head_dim),
    ):
        values.append(value(arch + key, 4, struct.pack("<I", number)))
    values.append(value(arch + b"attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-6)))
    values.append(value(b"tokenizer.ggml.model", 8, text(b"gpt2")))
    values.append(value(b"tokenizer.ggml.pre", 8, text(b"qwen2")))
    tokens = [b"t%d" % i for i in range(vocab)]
    values.append(value(b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, vocab) + b"".join(map(text, tokens))))
    values.append(value(b"tokenizer.ggml.token_type", 9, struct.pack("<IQ", 5, vocab) + struct.pack("<i", 1) * vocab))
    values.append(value(b"tokenizer.ggml.merges", 9, struct.pack("<IQ", 8, 0)))
    tensors = [("token_embd.weight", (hidden, vocab)), ("output_norm.weight", (hidden,))]
    for i in range(layers):
        b = f"blk.{i}."
        tensors += [(b + "attn_norm.weight", (hidden,)), (b + "ffn_norm.weight", (hidden,))]
        tensors += [(b + f"attn_{x}.weight", (hidden, width)) for x in "qkv"] + [(b + "attn_output.weight", (width, hidden))]
        tensors += [(b + f"attn_{x}.bias", (width,)) for x in "qkv"]
        tensors += [(b + "ffn_gate.weight", (hidden, ffn)), (b + "ffn_up.weight", (hidden, ffn)), (b + "ffn_down.weight", (ffn, hidden))]
    infos, offset = b"", 0
    for name, dims in tensors:
        infos += text(name.encode()) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", 0, offset)
        size = 4
        for d in dims:
            size *= d
        offset += size
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)) + b"".join(values) + infos
    with open(path, "wb") as out:
        out.write(head)
        out.truncate(len(head) + 64 + offset)
    return len(head)


def test_second_model_loads_and_unloads_while_the_first_serves(loading_server):
    call = Background(loading_server, LONG.replace("temperature", "model => 'chat', temperature"))
    wait_running(loading_server, 1)
    loading_server.query("SELECT qwen_load_model('second', 'link_in.gguf')")
    assert loading_server.value(CAPITAL, ("second",)) == loading_server.value(CAPITAL, ("chat",))
    assert call.thread.is_alive()
    with pytest.raises(psycopg2.Error) as failure:
        loading_server.query("SELECT qwen_load_model('second', 'good.gguf')")
    assert failure.value.pgcode == "22023"
    loading_server.query("SELECT qwen_unload_model('second')")
    with pytest.raises(psycopg2.Error) as failure:
        loading_server.query(CAPITAL, ("second",))
    assert failure.value.pgcode == "42704"
    assert "Loaded models: chat." in str(failure.value)
    loading_server.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    call.join()
    wait_idle(loading_server)


def test_unloading_waits_for_running_requests(loading_server):
    loading_server.query("SELECT qwen_load_model('third', 'good.gguf')")
    call = Background(loading_server, "SELECT qwen_generate('Once', model => 'third', temperature => 0, max_tokens => 100)")
    wait_running(loading_server, 1)
    loading_server.query("SELECT qwen_unload_model('third')")
    assert call.join().error is None and len(call.rows[0][0]) > 50


def test_no_slot_left(loading_server):
    for name in ("second", "third"):
        loading_server.query("SELECT qwen_load_model(%s, 'good.gguf')", (name,))
    with pytest.raises(psycopg2.Error) as failure:
        loading_server.query("SELECT qwen_load_model('fourth', 'good.gguf')")
    assert failure.value.pgcode == "54000" and "qwen.max_models" in str(failure.value)
    for name in ("second", "third"):
        loading_server.query("SELECT qwen_unload_model(%s)", (name,))


def test_reload_of_the_configuration_changes_the_models(make_server):
    server = make_server({"qwen.max_models": 2})
    server.reload(qwen__models=f"chat={MODEL_FILE}, other={MODEL_FILE}")
    wait_until(lambda: server.query("SELECT name, state FROM qwen_models ORDER BY 1") == [("chat", "serving"), ("other", "serving")], 20)
    server.reload(qwen__models=f"other={MODEL_FILE}")
    wait_until(lambda: server.query("SELECT name, state FROM qwen_models") == [("other", "serving")], 20)
    assert "Paris" in server.value(CAPITAL, ("other",))


def test_configured_model_that_is_missing_is_an_error_with_the_reason(make_server):
    server = make_server({"qwen.models": "chat=nothing.gguf"}, prepared=False)
    server.query("CREATE EXTENSION qwen_pg")
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_chat('x')")
    assert failure.value.pgcode == "42704" and "No such file" in str(failure.value)
    assert server.value("SELECT state FROM qwen_models") == "failed"


def test_call_waits_for_a_model_that_is_being_loaded(make_server):
    server = make_server(prepared=False)
    server.query("CREATE EXTENSION qwen_pg")
    assert "Paris" in server.value(CAPITAL, ("chat",))


def test_pread_gives_the_same_answers_and_one_log_line(make_server, server):
    other = make_server({"qwen.io_method": "pread"})
    question = "SELECT qwen_generate('Once upon a time', temperature => 0, max_tokens => 60)"
    assert other.value(question) == server.value(question)
    lines = [line for line in other.read_log().splitlines() if "read and packed" in line]
    assert len(lines) == 1 and "pread" in lines[0] and "io_uring: switched off" in lines[0]
    assert other.value("SELECT load_method FROM qwen_models") == "pread"
