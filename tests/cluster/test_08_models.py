"""Several models at once: which are there, what they take, and what those who ask see while the list changes."""
import os
import re
import shutil
import signal
import struct
import tempfile
import threading
import time

import psycopg2
import pytest
from cluster import MODEL_FILE, model_directory, wait_until
from sessions import LONG, Background, image_files, wait_idle, wait_running

DEFAULT_MODEL = MODEL_FILE
STORY = "SELECT qwen_generate('Once upon a time, in a small village, ', temperature => 0, max_tokens => 60, model => %s)"
COUNT = "SELECT qwen_count_tokens('one', model => %s)"
USED_MODEL = "SELECT model FROM qwen_chat_full('Hi', max_tokens => 1)"


@pytest.fixture(scope="module")
def folder():
    """The demo model under several names, one of them in a folder of its own and one with a short context."""
    path = tempfile.mkdtemp(prefix="qwen_pg_several_", dir="/tmp")
    os.chmod(path, 0o755)
    source = os.path.join(model_directory(), MODEL_FILE)
    os.mkdir(os.path.join(path, "deep"))
    for name in ("a.gguf", "b.gguf", "deep/c.gguf"):
        shutil.copy(source, os.path.join(path, name))
    with open(source, "rb") as file:
        data = bytearray(file.read())
    # the same model with another context: key, type 4 (uint32), value
    at = data.index(b"qwen2.context_length") + len(b"qwen2.context_length")
    assert struct.unpack_from("<I", data, at)[0] == 4
    struct.pack_into("<I", data, at + 4, 128)
    with open(os.path.join(path, "short.gguf"), "wb") as file:
        file.write(data)
    yield path
    shutil.rmtree(path)


def models(server):
    return server.query("SELECT name, file, state FROM qwen_models ORDER BY name")


def wait_models(server, *expected):
    wanted = [(name, file, "serving") for name, file in expected]
    wait_until(lambda: models(server) == wanted, 30, f"{wanted}")


def images(server):
    """Bytes of shared memory that all models take, by the kernel's count."""
    files = image_files(server.engine_pid())
    assert all(status.st_blocks * 512 >= status.st_size for status in files)
    return sum(status.st_blocks * 512 for status in files)


def mapped(server):
    """Bytes of the engine's shared memory that is mapped and present."""
    with open(f"/proc/{server.engine_pid()}/status") as file:
        return int(re.search(r"RssShmem:\s+(\d+) kB", file.read()).group(1)) * 1024


# ---- which models there are -------------------------------------------------------------------------------------------
def test_three_models_are_loaded_served_and_served_again(make_server, folder):
    server = make_server({"qwen.model_directory": folder, "qwen.models": "one=a.gguf, two=b.gguf, three=deep/c.gguf", "qwen.max_models": 3})
    wait_models(server, ("one", "a.gguf"), ("three", "c.gguf"), ("two", "b.gguf"))
    assert server.value(USED_MODEL) == "one"
    stories = {server.value(STORY, (name,)) for name in ("one", "two", "three")}
    assert len(stories) == 1
    # all in one batch
    calls = [Background(server, STORY.replace("%s", f"'{name}'")) for name in ("one", "two", "three") * 2]
    assert {call.join(60).rows[0][0] for call in calls} == stories
    wait_idle(server)
    os.kill(server.engine_pid(), signal.SIGKILL)
    assert {server.value(STORY, (name,)) for name in ("one", "two", "three")} == stories
    assert server.read_log().count("read and packed") == 3


def test_more_models_than_places(make_server, folder):
    server = make_server({"qwen.model_directory": folder, "qwen.models": "one=a.gguf, two=b.gguf, three=deep/c.gguf", "qwen.max_models": 2})
    wait_models(server, ("one", "a.gguf"), ("two", "b.gguf"))
    with pytest.raises(psycopg2.Error) as failure:
        server.query(COUNT, ("three",))
    assert failure.value.pgcode == "54000"
    assert 'model "three" is not loaded: 2 other models take all places' in str(failure.value)
    assert "Raise qwen.max_models" in str(failure.value)
    assert 'no slot is free for model "three"' in server.read_log()
    places = "SELECT status, message, action FROM qwen_health_checks WHERE name = 'places'"
    status, message, action = server.query(places)[0]
    assert status == "degraded" and message == 'no place is left for 1 of qwen.models, the first of them "three": qwen.max_models is 2' and "Raise qwen.max_models" in action
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_load_model('four', 'a.gguf')")
    assert failure.value.pgcode == "54000" and "Raise qwen.max_models" in str(failure.value)
    # a place that becomes free is taken
    server.query("SELECT qwen_unload_model('two')")
    assert server.value(COUNT, ("three",)) == 1
    wait_models(server, ("one", "a.gguf"), ("three", "c.gguf"))
    assert server.query(places) == []
    # nor while a place becomes free
    server.reload(qwen__models="one=a.gguf, two=b.gguf, three=deep/c.gguf")
    wait_until(lambda: server.query(places) and 'them "two"' in server.query(places)[0][1])
    server.reload(qwen__models="one=a.gguf, two=b.gguf", qwen__adapters=", ".join(f"a{i}=x.gguf@one" for i in range(10)))
    wait_until(lambda: [row[1] for row in server.query(places)] == ['no place is left for 2 of qwen.adapters, the first of them "one+a8": qwen.max_adapters is 8'])


# ---- memory -----------------------------------------------------------------------------------------------------------
def test_memory_is_the_file_s_bytes_and_a_tenth_and_the_kv_cache(make_server):
    server = make_server()
    server.query("SELECT qwen_generate('Once upon a time ' || i, max_tokens => 30) FROM generate_series(1, 20) i")
    wait_idle(server)
    with open(f"/proc/{server.engine_pid()}/smaps_rollup") as file:
        whole = int(re.search(r"^Rss:\s+(\d+) kB", file.read(), re.MULTILINE).group(1)) * 1024
    weights, cache, buffers = server.query("SELECT weight_bytes, kv_bytes_resident, buffer_bytes FROM qwen_stat_engine")[0]
    size = os.path.getsize(os.path.join(model_directory(), MODEL_FILE))
    assert weights <= 1.02 * size and 1 << 20 < cache <= 512 << 20
    # of a file this small what every engine has (libraries, rows of a step) is more than a tenth
    assert whole <= 1.02 * size + cache + max(size // 10, 24 << 20), (whole, weights, cache, buffers, size)
    assert abs(whole - weights - cache - buffers) < 8 << 20


def test_memory_is_given_back(make_server, folder):
    server = make_server({"qwen.model_directory": folder, "qwen.models": "one=a.gguf", "qwen.max_models": 3})
    server.value(STORY, ("one",))
    in_view = "SELECT sum(shared_memory_bytes)::bigint FROM qwen_models"
    size, in_files, in_engine = server.value(in_view), images(server), mapped(server)
    assert size > os.path.getsize(os.path.join(folder, "a.gguf")) // 2
    assert size <= in_files < size + (1 << 20)
    for name in ("two", "three"):
        server.query("SELECT qwen_load_model(%s, 'b.gguf')", (name,))
        server.value(STORY, (name,))
    assert server.value(in_view) == 3 * size and images(server) == 3 * in_files
    assert mapped(server) > in_engine + 1.8 * size
    for name in ("two", "three"):
        server.query("SELECT qwen_unload_model(%s)", (name,))
    assert server.value(in_view) == size and images(server) == in_files
    assert mapped(server) < in_engine + size // 10
    # a load that fails or is given up leaves nothing either
    with open(os.path.join(folder, "cut.gguf"), "wb") as out, open(os.path.join(folder, "a.gguf"), "rb") as whole:
        out.write(whole.read()[:-1000])
    with pytest.raises(psycopg2.Error):
        server.query("SELECT qwen_load_model('cut', 'cut.gguf')")
    assert images(server) == in_files
    server.query("SELECT qwen_unload_model('one')")
    assert images(server) == 0


# ---- loading and unloading while others serve ---------------------------------------------------------------------------
def test_answers_go_on_while_others_are_loaded_and_unloaded(make_server, folder):
    server = make_server({"qwen.model_directory": folder, "qwen.models": "one=a.gguf", "qwen.max_models": 3})
    expected, stop, seen, errors = server.value(STORY, ("one",)), threading.Event(), [], []

    def ask():
        connection = server.connect()
        cursor = connection.cursor()
        while not stop.is_set() and not errors:
            try:
                cursor.execute(STORY, ("one",))
                seen.append(cursor.fetchone()[0])
            except psycopg2.Error as error:
                errors.append(error)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        server.query("SELECT qwen_load_model('guest', 'b.gguf')")
        assert server.value(STORY, ("guest",)) == expected
        server.query("SELECT qwen_unload_model('guest')")
        with pytest.raises(psycopg2.Error) as failure:
            server.query(COUNT, ("guest",))
        assert failure.value.pgcode == "42704"
    stop.set()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(seen) > 3 and set(seen) == {expected}
    wait_idle(server)


def test_unloading_lets_running_requests_end_and_takes_no_new_ones(make_server, folder):
    server = make_server({"qwen.model_directory": folder, "qwen.models": "one=a.gguf, two=b.gguf", "qwen.max_models": 2})
    whole = server.value("SELECT qwen_generate('Once', model => 'one', temperature => 0, max_tokens => 300)")
    calls = [Background(server, "SELECT qwen_generate('Once', model => 'two', temperature => 0, max_tokens => 300)") for _ in range(2)]
    wait_running(server, 2)
    server.reload(qwen__models="one=a.gguf")
    wait_until(lambda: ("two", "b.gguf", "unloading") in models(server))
    with pytest.raises(psycopg2.Error) as failure:
        server.query(COUNT, ("two",))
    assert failure.value.pgcode == "42704" and "Loaded models: one." in str(failure.value)
    for call in calls:
        assert call.join(60).error is None and call.rows == [(whole,)]
    wait_models(server, ("one", "a.gguf"))


# ---- the list changes ---------------------------------------------------------------------------------------------------
def test_reload_with_changed_renamed_removed_and_repointed_entries(make_server, folder):
    server = make_server({"qwen.model_directory": folder, "qwen.models": "one=a.gguf, two=b.gguf", "qwen.max_models": 3})
    wait_models(server, ("one", "a.gguf"), ("two", "b.gguf"))
    # one more, and another order: the first is the default
    server.reload(qwen__models="three=deep/c.gguf, one=a.gguf, two=b.gguf")
    wait_models(server, ("one", "a.gguf"), ("three", "c.gguf"), ("two", "b.gguf"))
    assert server.value(USED_MODEL) == "three"
    assert server.read_log().count("read and packed") == 3
    # another name for the same file
    server.reload(qwen__models="third=deep/c.gguf, one=a.gguf, two=b.gguf")
    wait_models(server, ("one", "a.gguf"), ("third", "c.gguf"), ("two", "b.gguf"))
    with pytest.raises(psycopg2.Error) as failure:
        server.query(COUNT, ("three",))
    assert failure.value.pgcode == "42704"
    # the same name for another file: those who ask wait for it
    server.reload(qwen__models="third=deep/c.gguf, one=short.gguf, two=b.gguf")
    wait_models(server, ("one", "short.gguf"), ("third", "c.gguf"), ("two", "b.gguf"))
    assert server.value("SELECT context_length FROM qwen_models WHERE name = 'one'") == 128
    # gone
    server.reload(qwen__models="two=b.gguf")
    wait_models(server, ("two", "b.gguf"))
    assert server.value(USED_MODEL) == "two"
    # a line that cannot be read changes nothing and says why
    server.reload(qwen__models="two=b.gguf, two=a.gguf")
    wait_until(lambda: 'The name "two" stands twice.' in server.read_log())
    assert server.value(COUNT, ("two",)) == 1
    assert models(server) == [("two", "b.gguf", "serving")]


def test_calls_wait_while_the_only_place_changes_its_model(make_server, folder):
    server = make_server({"qwen.model_directory": folder, "qwen.models": "one=a.gguf", "qwen.max_models": 1})
    for file in ("b.gguf", "a.gguf", "deep/c.gguf"):
        server.reload(qwen__models=f"one={file}")
        shown = os.path.basename(file)
        deadline = time.monotonic() + 30
        while models(server) != [("one", shown, "serving")]:
            assert server.value(COUNT, ("one",)) == 1
            assert time.monotonic() < deadline


def test_entry_that_is_repointed_while_it_is_loaded(make_server, folder):
    server = make_server({"qwen.model_directory": folder, "qwen.models": "one=a.gguf", "qwen.max_models": 2, "qwen.io_method": "pread", "qwen.threads": 1})
    server.reload(qwen__models="one=a.gguf, two=b.gguf")
    wait_until(lambda: server.query("SELECT 1 FROM qwen_models WHERE name = 'two'"))
    server.reload(qwen__models="one=a.gguf, two=deep/c.gguf")
    wait_models(server, ("one", "a.gguf"), ("two", "c.gguf"))


# ---- what a context leaves ----------------------------------------------------------------------------------------------
def test_default_of_max_tokens_fits_every_context(make_server, folder):
    server = make_server({"qwen.model_directory": folder, "qwen.models": "one=short.gguf"})
    row = server.query("SELECT prompt_tokens, completion_tokens, finish_reason FROM qwen_chat_full('Tell me a very long story.', temperature => 0)")[0]
    assert row[0] + row[1] <= 128 and (row[2] == "stop" or row[0] + row[1] == 128)
    ramble = "SELECT qwen_generate(repeat('one two three four ', 25), temperature => 0, stop => ARRAY['never-said'])"
    assert server.value(ramble)
    # what was asked for by name is taken at its word
    assert server.value("SELECT qwen_generate('Once', max_tokens => 128)")
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_generate('Once', max_tokens => 129)")
    assert failure.value.pgcode == "22023" and "max_tokens must be between 1 and 128, not 129" in str(failure.value)
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_generate(repeat('one two three four ', 40))")
    assert failure.value.pgcode == "54000" and 'but the context of model "one" holds 128' in str(failure.value)
    assert "qwen_chunk" in failure.value.diag.message_hint
    assert server.value("SELECT qwen_summarize('A cat sat on a mat. A dog came by.', max_words => 5)") is not None


def test_default_of_max_tokens_fits_the_kv_cache(make_server):
    server = make_server({"qwen.kv_cache_size": "16MB", "qwen.kv_cache_type": "f32"})
    assert server.value("SELECT qwen_generate('Once upon a time', temperature => 0, stop => ARRAY['never-said'])")
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_generate('Once upon a time', max_tokens => 4000)")
    assert failure.value.pgcode == "54000" and "but the KV cache holds" in str(failure.value)
    wait_idle(server)


@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "q4"])
def test_kv_caches_of_fewer_bits_hold_more_tokens(make_server, kv_type):
    server = make_server({"qwen.kv_cache_size": "16MB", "qwen.kv_cache_type": kv_type})
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_generate('Once upon a time', max_tokens => 8000)")
    holds = int(re.search(r"but the KV cache holds (\d+)", str(failure.value)).group(1))
    # 30 layers of 3 KV heads of 64 dimensions, keys and values: bytes of 32 x 32 of them
    a_token = 30 * 3 * 2 * 2 * {"f16": 2048, "q8_0": 1088, "q4": 576}[kv_type] // 32
    assert (16 << 20) // a_token * 0.95 <= holds <= (16 << 20) // a_token
    alone = server.value("SELECT qwen_generate('Once upon a time, number 3', max_tokens => 20, temperature => 0)")
    together = server.query("SELECT i, qwen_generate('Once upon a time, number ' || i, max_tokens => 20, temperature => 0) FROM generate_series(1, 12) i")
    assert dict(together)[3] == alone and len(alone) > 10
    wait_idle(server)


# ---- paths --------------------------------------------------------------------------------------------------------------
def test_directories_are_shown_in_the_log_only(make_server, folder):
    server = make_server({"qwen.model_directory": folder, "qwen.models": f"one={folder}/deep/nothing.gguf"}, prepared=False)
    server.query("CREATE EXTENSION qwen_pg; CREATE ROLE somebody LOGIN; GRANT EXECUTE ON FUNCTION qwen_count_tokens(text, text, json) TO somebody")
    wait_until(lambda: server.query("SELECT 1 FROM qwen_models WHERE state = 'failed'"))
    row = str(server.query("SELECT * FROM qwen_models", user="somebody"))
    assert "deep/nothing.gguf" in row and folder not in row
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_count_tokens('x')", user="somebody")
    assert "deep/nothing.gguf" in str(failure.value) and folder not in str(failure.value)
    assert folder not in str(server.query("SELECT qwen_health()", user="somebody"))
    assert f'in the directory "{folder}"' in server.read_log()
    server.reload(qwen__model_directory="/nowhere/at/all")
    wait_until(lambda: "cannot open the model directory" in str(server.query("SELECT error FROM qwen_models")))
    row = str(server.query("SELECT * FROM qwen_models", user="somebody"))
    assert "nowhere" not in row
    assert 'in the directory "/nowhere/at/all"' in server.read_log()
