"""Files and settings that lie, as a user meets them: each is an ERROR that names the tensor, the key or the place; the server stays, nothing is left.

Of a model's file qwen_check_model says the same, without loading it. The files are small random mixtures and adapters for them.
"""
import os
import shutil
import struct
import sys

import psycopg2
import pytest
from cluster import MODEL_FILE, Cluster, model_directory, wait_until
from conftest import ready

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "tools"), os.path.join(HERE, "..", "golden", "logits")]
import demo_adapters  # noqa: E402
import demo_model  # noqa: E402
import models as golden_models  # noqa: E402
import numpy as np  # noqa: E402

DEFAULT_MODEL = MODEL_FILE

F32, Q8_0 = 0, 8
U32, FLOAT, BOOL, TEXT, LIST = 4, 6, 7, 8, 9
GATE, UP, DOWN, MERGED, ROUTER = (f"blk.0.ffn_{name}.weight" for name in ("gate_exps", "up_exps", "down_exps", "gate_up_exps", "gate_inp"))
COUNT, USED, SIZE = (f"qwen3moe.expert_{name}" for name in ("count", "used_count", "feed_forward_length"))
# four experts of 64 elements in a model of 64
SMALL = dict(arch="qwen3moe", layers=1, hidden=64, ffn=64, heads=2, kv_heads=1, head_dim=32, tied=True, experts=4, used=2)


def number(n):
    return (U32, struct.pack("<I", n))


def zeros(*dims):
    return (list(dims), F32, bytes(4 * int(np.prod(dims))))


@pytest.fixture(scope="module")
def whole():
    """(metadata, tensors) of the mixture as it should be."""
    path = f"/tmp/qwen_pg_liar_{os.getpid()}.gguf"
    golden_models.TYPED_MODELS["liar"] = SMALL
    try:
        golden_models.write_model("liar", path)
        with open(path, "rb") as file:
            return demo_model.read_gguf(file.read())
    finally:
        del golden_models.TYPED_MODELS["liar"]
        os.unlink(path)


@pytest.fixture(scope="module")
def lied_to(whole):
    """A server, with the mixture beside the demo model; its folder of files that lie is below the folder of models."""
    folder = os.path.join(model_directory(), "models", f"liars-{os.getpid()}")
    os.makedirs(folder)
    write(folder, "whole", *whole)
    cluster = Cluster(settings={"qwen.models": f"chat={MODEL_FILE}, mix={shown(folder, 'whole')}", "qwen.max_models": 3, "qwen.kv_cache_size": "64MB"})
    try:
        ready(cluster).query("SELECT qwen_generate('a', model => 'mix', max_tokens => 1)")
        yield cluster, folder
    finally:
        cluster.remove()
        shutil.rmtree(folder)


def write(folder, name, values, tensors):
    demo_model.write_gguf(os.path.join(folder, f"{name}.gguf"), values, tensors)
    os.chmod(os.path.join(folder, f"{name}.gguf"), 0o644)


def shown(folder, name):
    return f"models/{os.path.basename(folder)}/{name}.gguf"


def failure_of(server, sql, arguments=()):
    with pytest.raises(psycopg2.Error) as failure:
        server.query(sql, arguments)
    return failure.value


# what is changed of the metadata, of the tensors (None: it is not there), SQLSTATE, what is said
MIXTURES = {
    "flat": ({}, {GATE: zeros(64, 256)}, "22023", f'tensor "{GATE}" has the shape [256][64], expected [4][64][64]'),
    "deep": ({}, {UP: zeros(64, 64, 2, 2)}, "22023", f'tensor "{UP}" has the shape [2][2][64][64], expected [4][64][64]'),
    "fewer": ({}, {DOWN: zeros(64, 64, 3)}, "22023", f'tensor "{DOWN}" has the shape [3][64][64], expected [4][64][64]'),
    "none": ({}, {GATE: ([64, 64, 0], F32, b"")}, "22023", f'tensor "{GATE}" has an impossible shape: its dimension 3 is 0'),
    "missing": ({}, {DOWN: None}, "22023", f'tensor "{DOWN}" is missing'),
    "router": ({}, {ROUTER: zeros(64, 5)}, "22023", f'tensor "{ROUTER}" has the shape [5][64], expected [4][64]'),
    "quantized_router": ({}, {ROUTER: ([64, 4], Q8_0, bytes(34 * 8))}, "0A000", f'tensor "{ROUTER}" is quantized (Q8_0); only matrices may be, and no router'),
    "odd_merged": ({}, {GATE: None, UP: None, MERGED: zeros(64, 127, 4)}, "22023", f'tensor "{MERGED}" has the shape [4][127][64], expected [4][128][64]'),
    "half_merged": ({}, {GATE: None, MERGED: zeros(64, 128, 4)}, "22023", f'tensor "{UP}" stands twice: also in "{MERGED}"'),
    "both": ({}, {MERGED: zeros(64, 128, 4)}, "22023", f'tensor "{GATE}" stands twice: also in "{MERGED}"'),
    "dense": ({}, {"blk.0.ffn_gate.weight": zeros(64, 64)}, "0A000", 'tensor "blk.0.ffn_gate.weight" is not part of architecture qwen3moe'),
    "more_used": ({USED: number(5)}, {}, "22023", "5 experts are used, but there are 4"),
    "no_used": ({USED: number(0)}, {}, "22023", f"{USED} is 0, not a number between 1 and 64"),
    "text": ({COUNT: (TEXT, demo_model.pack_string(b"four"))}, {}, "22023", f'{COUNT} is the text "four", not a whole number between 1 and 1024'),
    "flag": ({USED: (BOOL, b"\1")}, {}, "22023", f"{USED} is true, not a whole number between 1 and 64"),
    "fraction": ({COUNT: (FLOAT, struct.pack("<f", 4.5))}, {}, "22023", f"{COUNT} is 4.5, not a whole number between 1 and 1024"),
    "huge": ({COUNT: number(2**32 - 1)}, {}, "22023", f"{COUNT} is 4294967295, not a number between 1 and 1024"),
    "list": ({COUNT: (LIST, struct.pack("<IQ2I", U32, 2, 4, 4))}, {}, "22023", f"{COUNT} is a list of 2, not a number or a list of 1 numbers"),
    "size": ({SIZE: number(100)}, {}, "0A000", "experts of 100 elements in a model of 64; supported are multiples of 32"),
    "groups": ({"qwen3moe.expert_group_count": number(4)}, {}, "0A000", "experts are chosen within 4 groups; supported are those of one group"),
}  # fmt: skip


def test_mixtures_that_lie_are_named_and_leave_nothing(lied_to, whole):
    server, folder = lied_to
    values, tensors = whole
    before, pid = server.query("SELECT weight_bytes FROM qwen_stat_engine"), server.engine_pid()
    open_files = len(os.listdir(f"/proc/{server.postmaster_pid()}/fd"))
    for name, (keys, changed, code, words) in MIXTURES.items():
        others = {tensor: (tensor, *what) for tensor, what in changed.items() if what}
        kept = [others.pop(tensor[0], tensor) for tensor in tensors if changed.get(tensor[0], True)]
        write(folder, name, values | keys, kept + list(others.values()))
        failure = failure_of(server, "SELECT qwen_load_model('liar', %s)", (shown(folder, name),))
        assert failure.pgcode == code and words in failure.diag.message_detail, (name, str(failure))
        # the same without loading it, and the file's name
        item, value, problem = server.query("SELECT item, value, problem FROM qwen_check_model(%s) LIMIT 1", (shown(folder, name),))[0]
        assert (item, value, problem) == ("loads", "false", failure.diag.message_detail.splitlines()[0]) and shown(folder, name) in problem, name
    assert server.query("SELECT name FROM qwen_models ORDER BY name") == [("chat",), ("mix",)]
    assert (server.query("SELECT weight_bytes FROM qwen_stat_engine"), server.engine_pid()) == (before, pid)
    assert len(os.listdir(f"/proc/{server.postmaster_pid()}/fd")) <= open_files
    assert server.value("SELECT qwen_chat('What is 2 plus 2?', temperature => 0, max_tokens => 8)")


@pytest.mark.parametrize("worst", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_not_served(lied_to, whole, worst):
    """A norm, a bias or a decay of NaN spoils every answer, or hides in it. (The head of a file says nothing of it.)"""
    server, folder = lied_to
    values, tensors = whole
    norm = "blk.0.ffn_norm.weight"
    spoilt = [(tensor[0], [64], F32, np.array([1.0] * 63 + [worst], np.float32).tobytes()) if tensor[0] == norm else tensor for tensor in tensors]
    assert spoilt != tensors
    write(folder, "spoilt", values, spoilt)
    failure = failure_of(server, "SELECT qwen_load_model('liar', %s)", (shown(folder, "spoilt"),))
    assert failure.pgcode == "22023" and f'tensor "{norm}" holds a number that is not finite' in failure.diag.message_detail, str(failure)


def adapter_of(tensors, architecture="qwen3moe", alpha=8.0):
    return demo_adapters.keys(architecture, alpha), [tensor for pair in tensors for tensor in demo_adapters.pair(*pair)]


def test_adapters_that_lie_are_named_and_leave_nothing(lied_to):
    """Of experts and routers; those of a dense model: test_22_adapters."""
    server, folder = lied_to
    a, b = np.ones((4, 2, 64)), np.ones((4, 64, 2))
    before, pid = server.query("SELECT weight_bytes FROM qwen_stat_engine"), server.engine_pid()
    cases = {
        "fewer": (adapter_of([(GATE, a[:3], b[:3])]), f'tensor "{GATE}.lora_a" has the shape [3][2][64], expected [4][2][64]'),
        "flat": (adapter_of([(GATE, a[0], b[0])]), f'tensor "{GATE}.lora_a" has the shape [2][64], expected [4][2][64]'),
        "mixed": (adapter_of([(UP, a, b[:2])]), f'tensor "{UP}.lora_b" has the shape [2][64][2], expected [4][64][2]'),
        "rank_0": ((demo_adapters.keys("qwen3moe", 8.0), [(f"{GATE}.lora_a", [64, 0, 4], F32, b"")]), f'tensor "{GATE}.lora_a" has an impossible shape: its dimension 2 is 0'),
        "rank_513": (adapter_of([(ROUTER, np.zeros((513, 64)), np.zeros((4, 513)))]), f'tensor "{ROUTER}.lora_a" is of rank 513; an adapter\'s is 1 to 512'),
        "router": (adapter_of([(ROUTER, np.ones((2, 64)), np.ones((5, 2)))]), f'tensor "{ROUTER}.lora_b" has the shape [5][2], expected [4][2]'),
        "dense": (adapter_of([("blk.0.ffn_gate.weight", a[0], b[0])]), 'tensor "blk.0.ffn_gate.weight.lora_a" is for a tensor that model "mix" has not'),
        "both": (adapter_of([(GATE, a, b), (MERGED, a, np.ones((4, 128, 2)))]), "have tensors"),
        "other": (adapter_of([(GATE, a, b)], architecture="qwen2moe"), 'it is for the architecture "qwen2moe", but model "mix" is of the architecture "qwen3moe"'),
        "alpha_nan": (adapter_of([(GATE, a, b)], alpha=float("nan")), "adapter.lora.alpha is no number between -1e6 and 1e6"),
        "alpha_inf": (adapter_of([(GATE, a, b)], alpha=float("inf")), "adapter.lora.alpha is no number between -1e6 and 1e6"),
        "not_finite": (adapter_of([(DOWN, a * np.nan, b)]), f'tensor "{DOWN}.lora_a" holds a number that is not finite'),
        "empty": (adapter_of([]), "it has no tensors that change a matrix"),
    }  # fmt: skip
    for name, ((keys, tensors), words) in cases.items():
        write(folder, name, keys, tensors)
        failure = failure_of(server, "SELECT qwen_load_adapter('liar', %s, 'mix')", (shown(folder, name),))
        assert failure.pgcode in ("22023", "54000") and words in str(failure) and shown(folder, name) in str(failure), (name, str(failure))
    assert server.query("SELECT count(*) FROM qwen_adapters") == [(0,)]
    assert (server.query("SELECT weight_bytes FROM qwen_stat_engine"), server.engine_pid()) == (before, pid)
    # one that is right, of experts and their router: loaded, used, gone
    write(folder, "right", *adapter_of([(GATE, a, b), (ROUTER, np.ones((2, 64)), np.ones((4, 2)))]))
    server.query("SELECT qwen_load_adapter('right', %s, 'mix')", (shown(folder, "right"),))
    embed = "SELECT qwen_embed('abc', model => 'mix', options => %s)"
    assert server.value(embed, ('{"adapter": "right", "adapter_scale": 0}',)) == server.value(embed, (None,)) != server.value(embed, ('{"adapter": "right"}',))
    server.query("SELECT qwen_unload_adapter('right', 'mix')")
    assert server.query("SELECT weight_bytes FROM qwen_stat_engine") == before


def test_settings_that_lie_are_named(lied_to):
    server, _ = lied_to
    for settings, words in (
        ("{context=-1}", 'context is "-1", not a whole number between 32 and 16777216'),
        ("{rope_factor=nan}", 'rope_factor is "nan", not a number between 1 and 1024'),
        ("{rope_scaling=yarn, rope_factor=inf}", 'rope_factor is "inf"'),
        ("{context=0x1000}", 'context is "0x1000"'),
        ("{context=4096,context=4096}", "context stands twice"),
        ("{unknown=1}", '"unknown" is no setting of a model; there are context, '),
        ("{" + ",".join(f"k{i}=1" for i in range(10000)) + "}", '"k0" is no setting of a model'),
        ("{" + "context=4096," * 10000 + "}", "context stands twice"),
        ("{context=4096", 'the "{" has no "}"'),
        ("context=4096}", 'a "}" without a "{" before it'),
        ("{{context=4096}}", 'behind "}" stands a comma or nothing'),
        ("{" * 100000, 'the "{" has no "}"'),
        ("{context}", 'settings look like "name=value", not like "context"'),
    ):
        failure = failure_of(server, "ALTER SYSTEM SET qwen.models = %s", (f"chat={MODEL_FILE} {settings}",))
        assert failure.pgcode == "22023" and words in failure.diag.message_detail and "t byte " in failure.diag.message_detail, (settings[:40], failure.diag.message_detail)
    for options, code, words in (
        ('{"context": -1}', "22023", 'options: context is "-1"'),
        ('{"rope_factor": "nan"}', "22023", 'options: rope_factor is "nan"'),
        ('{"rope_scaling": "yarn", "rope_factor": 1e400}', "22023", "options: rope_factor is \"1000"),
        ('{"context": "4096\\u0000"}', "22P05", "cannot be converted to text"),
        ('{"con\\u0000text": 4096}', "22P05", "cannot be converted to text"),
        ("{" + ",".join(f'"k{i}": 1' for i in range(10000)) + "}", "22023", 'options: "k0" is no setting of a model'),
        ('{"context": 4096', "22P02", "json"),
    ):
        failure = failure_of(server, "SELECT qwen_load_model('liar', %s, %s)", (MODEL_FILE, options))
        assert failure.pgcode == code and words in str(failure), (options[:40], str(failure))
    wait_until(lambda: server.query("SELECT name, state FROM qwen_models ORDER BY name") == [("chat", "serving"), ("mix", "serving")], 10)
    assert "PANIC" not in server.read_log() and "was terminated by signal" not in server.read_log()
