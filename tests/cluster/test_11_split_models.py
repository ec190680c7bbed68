"""Models in several files, and files of the older format, through qwen_load_model."""
import os
import shutil
import struct
import sys

import psycopg2
import pytest
from cluster import MODEL_FILE, Cluster, model_directory
from conftest import ready

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import demo_model  # noqa: E402

DEFAULT_MODEL = MODEL_FILE
N_PARTS = 3
CAPITAL = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0, model => %s)"
U16, I32 = 2, 5  # as llama-gguf-split writes the numbers


def part_name(number, n_parts=N_PARTS):
    return f"split-{number:05d}-of-{n_parts:05d}.gguf"


def write_parts(source, folder):
    """The model in parts: all metadata in the first one, a share of the tensors in each."""
    with open(source, "rb") as file:
        values, tensors = demo_model.read_gguf(file.read())
    for part in range(N_PARTS):
        numbers = {
            "split.no": (U16, struct.pack("<H", part)), "split.count": (U16, struct.pack("<H", N_PARTS)),
            "split.tensors.count": (I32, struct.pack("<i", len(tensors))),
        }  # fmt: skip
        share = tensors[len(tensors) * part // N_PARTS : len(tensors) * (part + 1) // N_PARTS]
        demo_model.write_gguf(os.path.join(folder, part_name(part + 1)), {**(values if part == 0 else {}), **numbers}, share)


@pytest.fixture(scope="module")
def folder():
    """A model directory with the demo model whole, in parts, and in version 2 of the format."""
    path = f"/tmp/qwen_pg_split_{os.getpid()}"
    os.makedirs(path)
    os.chmod(path, 0o755)
    source = os.path.join(model_directory(), MODEL_FILE)
    shutil.copy(source, os.path.join(path, "whole.gguf"))
    with open(source, "rb") as file:
        data = file.read()
    with open(os.path.join(path, "version2.gguf"), "wb") as file:
        file.write(data[:4] + struct.pack("<I", 2) + data[8:])
    write_parts(source, path)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def split_server(folder):
    cluster = Cluster(settings={"qwen.model_directory": folder, "qwen.models": "chat=whole.gguf", "qwen.max_models": 2})
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


@pytest.mark.parametrize("file", [part_name(1), part_name(3), "version2.gguf"])
def test_answers_are_those_of_the_whole_file(split_server, folder, file):
    split_server.query("SELECT qwen_load_model('other', %s)", (file,))
    try:
        assert split_server.value(CAPITAL, ("other",)) == split_server.value(CAPITAL, ("chat",))
        assert "Paris" in split_server.value(CAPITAL, ("other",))
    finally:
        split_server.query("SELECT qwen_unload_model('other')")


def test_a_missing_or_wrong_part_is_named(split_server, folder):
    second = os.path.join(folder, part_name(2))
    os.rename(second, second + ".away")
    try:
        with pytest.raises(psycopg2.Error) as failure:
            split_server.query("SELECT qwen_load_model('other', %s)", (part_name(1),))
        assert failure.value.pgcode == "42704"
        assert part_name(2) in str(failure.value) and "No such file" in str(failure.value)

        shutil.copy(os.path.join(folder, part_name(3)), second)
        with pytest.raises(psycopg2.Error) as failure:
            split_server.query("SELECT qwen_load_model('other', %s)", (part_name(1),))
        assert failure.value.pgcode == "22023"
        assert f'"{part_name(2)}": it says that it is part 3 of the model' in str(failure.value)

        os.truncate(second, os.path.getsize(second) // 2)
        with pytest.raises(psycopg2.Error) as failure:
            split_server.query("SELECT qwen_load_model('other', %s)", (part_name(3),))
        assert failure.value.pgcode == "22023" and part_name(2) in str(failure.value)
    finally:
        os.rename(second + ".away", second)
    assert [row[0] for row in split_server.query("SELECT name FROM qwen_models")] == ["chat"]
    assert "Paris" in split_server.value(CAPITAL, ("chat",))
