"""What the benches say of their figures: which targets are met, what stands beside ours, and where a peer that does not run leaves a gap. No server runs here."""
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench")
sys.path.insert(0, BENCH)
import bench_common as common  # noqa: E402
import targets  # noqa: E402

DECODE = {"bench": "decode", "file": "qwen3-0.6b-q4_0.gguf", "threads": 2, "ours": 100.0, "peer": 50.0, "ratio": 2.0, "ik": 80.0, "ik_ratio": 1.25, "unit": "tok/s", "of_roof": 0.9}
IK_TABLE = """
main: n_kv_max = 6208, n_batch = 2048, n_ubatch = 512, flash_attn = 1, is_pp_shared = 0, n_gpu_layers = -1, n_threads = 2, n_threads_batch = 2

|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |
|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|
|   128 |     64 |   32 |   6144 |    8.192 |   500.00 |    8.000 |   256.00 |   16.192 |   379.45 |
"""
LLAMA_LINES = "llama_model_load: something\n" + json.dumps({"n_kv_max": 6208, "pp": 128, "tg": 64, "pl": 32, "speed_pp": 300.0, "speed_tg": 192.5}) + "\n"


def rows_of(lines, tmp_path):
    """The tables of these lines, as rows of cells."""
    path = tmp_path / "bench.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in targets.markdown(str(path)).splitlines() if row.startswith("|")]


@pytest.mark.parametrize("missed", [{}, {"of_roof": 0.84}, {"ratio": 1.49}, {"ik_ratio": 0.99}])
def test_a_line_is_met_only_with_all_its_targets(missed, tmp_path):
    row = rows_of([DECODE | missed], tmp_path)[-1]
    assert row[0] == "decode: qwen3-0.6b-q4_0"
    assert row[-1] == ("**no**" if missed else "yes")
    assert row[2] == f"{missed.get('of_roof', 0.9)} (0.85) of the roof" and row[4] == f"{missed.get('ratio', 2.0)} (1.5)" and row[6] == f"{missed.get('ik_ratio', 1.25)} (1.0)"


def test_a_peer_that_did_not_run_leaves_its_cells_empty(tmp_path):
    row = rows_of([{key: value for key, value in DECODE.items() if not key.startswith("ik")}], tmp_path)[-1]
    assert row[5:] == ["", "", "yes"]


def test_the_last_line_of_a_work_counts(tmp_path):
    rows = rows_of([DECODE, DECODE | {"ours": 42.0}], tmp_path)
    assert [row[1] for row in rows if row[0].startswith("decode:")] == ["42.0 tok/s"]


def test_a_thousand_embeddings_say_how_many_were_computed(tmp_path):
    line = {"bench": "feel", "what": "embeddings", "file": "qwen3-4b-q4_0.gguf", "ours": 200.0, "peer": 600.0, "ratio": 3.0, "unit": "s", "texts": 1000, "measured": 32, "tokens": 32}
    rows_of([line], tmp_path)
    text = targets.markdown(str(tmp_path / "bench.jsonl"))
    assert "| 1,000 embeddings of 32 tokens | 200.0 | 600.0 |  | 3.0 |" in text and "32 of qwen3-4b-q4_0 were computed" in text


def test_tables_go_between_the_marks_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{targets.BEGIN}\nold\n{targets.END}\nafter\n")
    targets.write_document(str(page), "new\n")
    assert page.read_text() == f"before\n{targets.BEGIN}\nnew\n{targets.END}\nafter\n"
    page.write_text("no marks\n")
    with pytest.raises(SystemExit, match="lacks the marks"):
        targets.write_document(str(page), "new\n")
    assert page.read_text() == "no marks\n"


def test_the_page_of_benchmarks_has_its_marks():
    with open(os.path.join(BENCH, "..", "..", "docs", "benchmarks.md"), encoding="utf-8") as file:
        text = file.read()
    assert text.count(targets.BEGIN) == text.count(targets.END) == 1 and text.index(targets.BEGIN) < text.index(targets.END)


@pytest.mark.parametrize("peer, out, speeds", [(common.LLAMA, LLAMA_LINES, (300.0, 192.5)), (common.IK, IK_TABLE, (500.0, 256.0))], ids=["llama.cpp", "ik_llama.cpp"])
def test_both_batched_benches_are_read(peer, out, speeds, monkeypatch):
    asked = []
    monkeypatch.setattr(common, "peer_output", lambda a, *command, peer, work: asked.append((peer, command)) or out)
    a = SimpleNamespace(threads=2)
    assert common.peer_batch(a, "/file.gguf", 32, peer=peer) == speeds[1]
    assert common.peer_batch(a, "/file.gguf", 32, peer=peer, what=None) == speeds
    assert asked[0][0] is peer and ("--output-format" in asked[0][1]) == (peer is common.LLAMA)


@pytest.mark.parametrize("kv, options", [("f16", "-ctk f16 -ctv f16"), ("q8_0", "-ctk q8_0 -ctv q8_0 -fa on")])
def test_all_sides_have_keys_and_values_of_the_same_type(kv, options, monkeypatch):
    asked = []
    monkeypatch.setattr(common, "peer_output", lambda a, *command, peer, work: asked.append(" ".join(command)) or LLAMA_LINES)
    monkeypatch.setattr(common, "ours", lambda a, program, path, *work: asked.append(" ".join(work)))
    a = SimpleNamespace(threads=2)
    common.peer_batch(a, "/file.gguf", 32, kv=kv)
    common.engine(a, "/file.gguf", "--batch", "32", kv=kv)
    assert f" {options} " in asked[0] + " " and f"--kv {kv} " in asked[1]


def test_only_llama_cpp_must_run():
    def theirs(failing):
        def run(peer):
            if peer is failing:
                raise subprocess.CalledProcessError(1, "llama-bench")
            return 50.0
        return run

    a = SimpleNamespace(rounds=2)
    both = [common.LLAMA, common.IK]
    runs, speeds = common.in_turn(a, lambda: 100.0, theirs(common.IK), both)
    assert runs == [100.0, 100.0] and speeds == {common.LLAMA: [50.0, 50.0], common.IK: [None, None]}
    assert common.figures(runs, speeds) == {"ours": 100.0, "peer": 50.0, "ratio": 2.0}
    with pytest.raises(subprocess.CalledProcessError):
        common.in_turn(a, lambda: 100.0, theirs(common.LLAMA), both)


def test_a_peer_that_dies_leaves_nobody_waiting(monkeypatch):
    # its child has what it writes to open, and does not end by itself
    monkeypatch.setattr(common.LLAMA, "command", lambda a, *command, work: ["sh", "-c", "sleep 60 & echo $!; exit 3"])
    start = time.monotonic()
    with pytest.raises(subprocess.CalledProcessError):
        common.peer_output(None, "llama-bench")
    assert time.monotonic() - start < 30


def test_a_server_that_is_told_to_end_while_it_starts_ends(monkeypatch):
    monkeypatch.setattr(common.LLAMA, "command", lambda a, *command: ["sleep", "60"])
    server = common.PeerServer(SimpleNamespace(threads=1), "/file.gguf")
    monkeypatch.setattr(server, "is_healthy", lambda: sys.exit(1))
    with pytest.raises(SystemExit):
        server.__enter__()
    assert server.process.poll() is not None


def test_both_drafts_have_a_row(tmp_path):
    line = {"bench": "draft", "task": "sampled", "unit": "tok/s", "off": 60.0}
    rows = rows_of([line | {"draft": "small", "ours": 96.0, "ratio": 1.6}, line | {"draft": "stranger", "ours": 54.0, "ratio": 0.9}], tmp_path)
    assert [(row[0], row[4], row[7]) for row in rows[2:]] == [("draft: sampled, draft small", "1.6 (1.5)", "yes"), ("draft: sampled, draft stranger", "0.9 (0.95)", "**no**")]
