"""A database's manners: privileges on the socket, not preloaded, dump, and answers that do not depend on company."""
import os
import socket
import struct
import subprocess

import psycopg2
import pytest
from cluster import server_user, wait_until
from sessions import Background, wait_idle

GREEDY = "SELECT qwen_generate('Once upon a time, in a small village, ', temperature => 0, max_tokens => 60)"
LONG_PROMPT = "SELECT qwen_generate(repeat('The quick brown fox jumps over the lazy dog. ', 40), temperature => 0, max_tokens => 30)"


def test_not_preloaded_says_what_to_add(make_server):
    server = make_server(prepared=False, preload=False)
    server.query("CREATE EXTENSION qwen_pg")
    for call in ("qwen_chat('x')", "qwen_embed('x')", "qwen_count_tokens('x')", "qwen_load_model('a', 'b')"):
        with pytest.raises(psycopg2.Error) as failure:
            server.query(f"SELECT {call}")
        assert failure.value.pgcode == "55000"
        assert "shared_preload_libraries = 'qwen_pg'" in str(failure.value)
    assert server.value("SELECT qwen_health() ->> 'status'") == "unhealthy"


def test_answers_do_not_depend_on_neighbours(server):
    alone, alone_long = server.value(GREEDY), server.value(LONG_PROMPT)
    calls = [Background(server, LONG_PROMPT if i % 2 else GREEDY) for i in range(8)]
    for i, call in enumerate(calls):
        assert call.join(60).rows == [(alone_long if i % 2 else alone,)]


@pytest.mark.parametrize("chunk", [16, 64, 512])
def test_answers_do_not_depend_on_chunks(make_server, server, chunk):
    other = make_server({"qwen.prefill_chunk": chunk})
    assert other.value(GREEDY) == server.value(GREEDY)
    assert other.value(LONG_PROMPT) == server.value(LONG_PROMPT)


def test_seeds_do_not_depend_on_neighbours(server):
    seeded = "SELECT qwen_chat('Tell me a story.', seed => 42, temperature => 1, max_tokens => 50)"
    alone = server.value(seeded)
    calls = [Background(server, seeded if i == 0 else GREEDY) for i in range(6)]
    assert calls[0].join(60).rows == [(alone,)]
    for call in calls:
        call.join(60)


def socket_path(server):
    return os.path.join(server.data, "pgsql_tmp_qwen_pg.sock")


def speak(server, data):
    """Send bytes to the engine as the server's own user; what comes back until it closes (or 2 s)."""
    program = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(2); s.connect(sys.argv[1]); s.sendall(bytes.fromhex(sys.argv[2]))\n"
        "got = b''\n"
        "try:\n"
        "    while True:\n"
        "        part = s.recv(65536)\n"
        "        if not part: print('closed', got.hex()); break\n"
        "        got += part\n"
        "except socket.timeout: print('open', got.hex())\n"
        "except ConnectionResetError: print('closed', got.hex())\n"
    )
    command = ["/usr/bin/python3", "-c", program, socket_path(server), data.hex()]
    if os.geteuid() == 0:
        command = ["runuser", "-u", server_user(), "--"] + command
    return subprocess.run(command, cwd="/tmp", capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    "data",
    [
        os.urandom(64),
        b"\xff" * 16,
        bytes.fromhex("ffffff7f 01000000 0100 0200 00000000".replace(" ", "")),  # a body of 2 GB
        bytes.fromhex("04000000 01000000 0100 0900 00000000 00000000".replace(" ", "")),  # another version
        bytes.fromhex("08000000 01000000 0100 0200 00000000 0102030405060708".replace(" ", "")),  # a malformed request
        bytes.fromhex("00000000 01000000 1000 0200 00000000".replace(" ", "")),  # what only engines say
    ],
    ids=["random", "ones", "two_gigabytes", "version", "request", "engine"],
)
def test_malformed_bytes_close_that_connection_only(server, data):
    session = Background(server, "SELECT qwen_count_tokens('one')").join()
    pid = server.engine_pid()
    assert speak(server, data)[0] == "closed"
    assert session.again("SELECT qwen_count_tokens('one')") == [(1,)]
    assert server.engine_pid() == pid


def test_half_a_message_disturbs_nobody(server):
    assert speak(server, bytes.fromhex("ff000000 01000000 0100 0200 00000000 00".replace(" ", "")))[0] == "open"
    assert server.value("SELECT qwen_count_tokens('one')") == 1


def test_go_and_cancel_for_nothing_are_ignored(server):
    go = bytes.fromhex("00000000 07000000 0200 0200 00000000".replace(" ", ""))
    cancel = bytes.fromhex("00000000 07000000 0300 0200 00000000".replace(" ", ""))
    assert speak(server, go + cancel) == ["open"] or speak(server, go + cancel)[0] == "open"


def frame(request_id, kind, body=b""):
    return struct.pack("<IIHHI", len(body), request_id, kind, 2, 0) + body


def endless_request(text):
    """The body of a REQUEST for 4,000 tokens after a text, as decode_request() of src/protocol reads it."""
    not_given = struct.pack("<I", 0xFFFFFFFF)
    options = struct.pack("<IidddidddqBid", 1 | 2, 4000, 0.0, 0.0, 0.0, 0, 1.0, 0.0, 0.0, 0, 0, 0, 0.0)
    return (struct.pack("<BII", 2, 0, 10) + 2 * not_given + struct.pack("<I", len(text)) + text + 6 * not_given + struct.pack("<5I", 0, 0, 0, 0, 0) + options
            + struct.pack("<iB", 0, 0) + 2 * not_given + b"\0" + not_given)


def test_a_connection_that_ends_without_a_word_frees_all_of_its_requests(server):
    pid = server.engine_pid()
    requests = b"".join(frame(i, 1, endless_request(b"Once upon a time")) + frame(i, 2) for i in range(1, 6))
    before = server.value("SELECT generated_tokens FROM qwen_stat_engine")
    state, got = speak(server, requests)
    # all were taken, none has ended (types 16, ACCEPTED, and 20, ERROR, at bytes 8 and 9 of a frame)
    assert state == "open" and len(got) == 5 * 2 * (16 + 8), got
    wait_idle(server)
    assert server.engine_pid() == pid
    assert server.value("SELECT generated_tokens FROM qwen_stat_engine") > before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_cannot_reach_the_engine(server):
    assert os.stat(socket_path(server)).st_mode & 0o777 == 0o600
    program = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    done = subprocess.run(["runuser", "-u", "nobody", "--", "/usr/bin/python3", "-c", program, socket_path(server)], cwd="/tmp", capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "PermissionError" in done.stderr
    # not even root, who may open everything: the engine speaks to its own user only
    with socket.socket(socket.AF_UNIX) as other:
        other.settimeout(5)
        other.connect(socket_path(server))
        assert other.recv(1) == b""


def test_drop_and_create_and_dump(server):
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("CREATE DATABASE dumped")
    environment = dict(server.environment(), PGDATABASE="dumped")
    psql = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"]
    script = "CREATE EXTENSION qwen_pg; DROP EXTENSION qwen_pg; CREATE EXTENSION qwen_pg; CREATE TABLE t AS SELECT 1 AS a;"
    subprocess.run(psql, input=script, env=environment, text=True, check=True, capture_output=True)
    dump = subprocess.run([f"{server.programs}/pg_dump"], env=environment, text=True, check=True, capture_output=True).stdout
    assert "CREATE EXTENSION IF NOT EXISTS qwen_pg" in dump and "FUNCTION public.qwen_chat" not in dump
    cursor.execute("CREATE DATABASE restored")
    subprocess.run(psql, input=dump, env=dict(environment, PGDATABASE="restored"), text=True, check=True, capture_output=True)
    for name in ("dumped", "restored"):
        cursor.execute(f"DROP DATABASE {name}")


def test_server_encoding_other_than_utf8(server):
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    script = "CREATE EXTENSION qwen_pg; SELECT qwen_detokenize(qwen_tokenize('Gr' || chr(252) || chr(223) || 'e')) = 'Gr' || chr(252) || chr(223) || 'e';"
    done = subprocess.run(["psql", "-XAtq"], input=script, env=dict(server.environment(), PGDATABASE="latin"), text=True, check=True, capture_output=True)
    assert done.stdout.strip() == "t", done
    cursor.execute("DROP DATABASE latin")


def test_one_megabyte_of_text(server):
    assert server.value("SELECT qwen_count_tokens(repeat('lorem ipsum ', 87382))") > 150000
    wait_idle(server)


def test_restart_keeps_the_configuration(make_server):
    server = make_server()
    server.restart()
    wait_until(lambda: server.value("SELECT state FROM qwen_models") == "serving", 20)
    assert server.value(GREEDY) is not None


# ---- statements that are gone when they end ----
def message(kind, *parts):
    body = b"".join(part if isinstance(part, bytes) else part.encode() + b"\0" for part in parts)
    return kind + struct.pack("!I", len(body) + 4) + body


def answer_of(session):
    """What comes until the server is ready for more."""
    got = b""
    while not got.endswith(b"Z\0\0\0\5I"):
        more = session.recv(65536)
        assert more, "the server has closed the connection"
        got += more
    return got


def test_a_procedure_may_give_up_the_statement_that_called_it(server):
    """What it rolls back releases the plan, DEALLOCATE frees it, and others take its memory: nobody looks at it afterwards."""
    server.query("""CREATE PROCEDURE gives_up(n int, size int) LANGUAGE plpgsql AS $$BEGIN ROLLBACK; EXECUTE 'DEALLOCATE ALL';
        FOR i IN 1 .. n LOOP EXECUTE 'PREPARE t' || i || ' AS SELECT ' || quote_literal(repeat('z', size)); EXECUTE 'EXECUTE t' || i; END LOOP; END$$""")
    with socket.socket(socket.AF_UNIX) as session:
        session.connect(f"{server.folder}/.s.PGSQL.{server.port}")
        session.sendall(message(b"", struct.pack("!I", 3 << 16), "user", server.environment()["PGUSER"], "database", "postgres", b"\0"))
        answer_of(session)
        for i in range(150):
            session.sendall(message(b"P", "called", f"CALL gives_up({1 + i % 20}, {20 + i * 7})", b"\0\0") + message(b"B", "", "called", b"\0" * 6) +
                            message(b"E", "", b"\0" * 4) + message(b"S"))
            answer = answer_of(session)
            assert b"CALL\0" in answer, answer
    server.query("DROP PROCEDURE gives_up")


def test_a_session_that_is_terminated_in_its_middle_drops_its_temporary_tables_quietly(server):
    """Termination unwinds nothing: of the statement that ran there is only freed memory left when, on the way out, triggers are dropped."""
    bystander = Background(server, "SELECT 1").join()
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("CREATE TEMP TABLE t (a int PRIMARY KEY, b text)")
    # other catalog entries, whose loading asks for memory, go in turn with the triggers
    cursor.execute("""DO $$BEGIN FOR j IN 1 .. 20 LOOP
        EXECUTE format('CREATE TRIGGER x%s AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger(''b'', ''{a}'')', j);
        EXECUTE format('CREATE INDEX i%s ON t (a)', j); END LOOP; END$$""")
    cursor.execute("DO $$BEGIN FOR j IN 1 .. 20 LOOP EXECUTE format('ALTER INDEX i%s SET (fillfactor = 80)', j); END LOOP; END$$")
    cursor.execute("CREATE TEMP TABLE z (a int); CREATE INDEX zi ON z (a); DROP INDEX zi; DROP TABLE z")
    with pytest.raises(psycopg2.OperationalError):
        cursor.execute("EXPLAIN ANALYZE SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(1)")
    wait_until(lambda: server.value("SELECT count(*) FROM pg_class WHERE relname = 'i20'") == 0, what="the end of the session")
    assert bystander.again("SELECT 1") == [(1,)], "no crash has ended all sessions"
