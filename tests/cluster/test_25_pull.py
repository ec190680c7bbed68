"""qwen-pg-pull against a server on this machine that breaks off, lies about lengths and hashes, changes its file and redirects."""
import hashlib
import http.server
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import types
import urllib.parse

import pytest

PROGRAM = os.path.join(os.environ.get("QWEN_TEST_SOURCE_DIR") or os.path.join(os.path.dirname(__file__), "..", ".."), "src", "pull", "qwen-pg-pull")
SOURCES = os.path.join(os.path.dirname(PROGRAM), "..", "..")


def text_of(text):
    return struct.pack("<Q", len(text)) + text


def tensor(name, dimensions, kind, offset):
    return text_of(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)


def gguf(values, tensors, n_values=None, n_tensors=None, version=3):
    """The head of a GGUF file, up to where its tensors begin."""
    counts = struct.pack("<IQQ", version, len(tensors) if n_tensors is None else n_tensors, len(values) if n_values is None else n_values)
    return b"GGUF" + counts + b"".join(values) + b"".join(tensors)


def strings(*texts):
    return text_of(b"tokens") + struct.pack("<IIQ", 9, 8, len(texts)) + b"".join(map(text_of, texts))


ALIGNED = text_of(b"general.alignment") + struct.pack("<II", 4, 64)
VALUES = [text_of(b"general.architecture") + struct.pack("<I", 8) + text_of(b"qwen3"), strings(b"a", b"", b"ccc"), text_of(b"sizes") + struct.pack("<IIQ3H", 9, 2, 3, 1, 2, 3),
          text_of(b"one") + struct.pack("<Id", 12, 1.0), ALIGNED]
# of F32, of Q4_K, and of a type that nobody knows
HEAD = gguf(VALUES, [tensor(b"embd", (256, 1000), 0, 0), tensor(b"a", (512, 1000), 12, 256 * 1000 * 4), tensor(b"b", (7,), 77, 256 * 1000 * 4 + 2000 * 144)])
LEAST = -(-len(HEAD) // 64) * 64 + 256 * 1000 * 4 + 2000 * 144
CONTENT = HEAD + bytes(range(256)) * 12000  # 3 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = b"GGUF another file"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the first word of the path; what was asked stands in server.asked."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, body, status=200, length=None, headers=()):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers:
            self.send_header(key, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.close_connection = True

    def redirect(self, to):
        self.send(b"", 302, headers=[("Location", to)])

    def ranged(self, content, tag, cut=None, headers=()):
        """As a good server would: ranges, an ETag; `cut` breaks off after so many bytes."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted.group(1)) if wanted else 0
        tags = [("ETag", tag), *headers]
        if start >= len(content) and wanted:
            self.send(b"", 416, headers=[("Content-Range", f"bytes */{len(content)}"), *tags])
            return
        body = content[start:]
        if wanted:
            tags.append(("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"))
        self.send(body[:cut] if cut else body, 206 if wanted else 200, len(body), tags)

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        kind = self.path.split("/")[1]
        n = sum(path == self.path for path, _, _ in server.asked)
        if kind == "good" or kind.startswith("part"):
            self.ranged(CONTENT, '"one"')
        elif kind == "breaks":
            self.ranged(CONTENT, '"one"', cut=1 << 20)
        elif kind == "changes":
            self.ranged(CONTENT if n > 1 else CONTENT[:-5] + b"other", '"two"' if n > 1 else '"one"', cut=None if n > 1 else 1 << 20)
        elif kind == "no-ranges":
            self.send(CONTENT if n > 1 else CONTENT[: 1 << 20], length=len(CONTENT), headers=[("ETag", '"one"')])
        elif kind == "no-memory":
            # breaks off after 0.7 MB, and each answer is of another version
            self.ranged(CONTENT, f'"{len(server.asked)}"', cut=700000)
        elif kind == "no-tag":
            self.send(CONTENT[:700000], length=len(CONTENT), headers=[("ETag", 'W/"one"')] if "weak" in self.path else [])
        elif kind == "ignores":
            self.send(CONTENT[:700000], length=len(CONTENT), headers=[("ETag", '"one"')])
        elif kind == "ends":
            # 0.7 MB, then nobody is there
            if n > 1:
                self.send(b"", 503)
            else:
                self.ranged(CONTENT, '"one"', cut=700000)
        elif kind == "stalls":
            # half of a block, then silence on an open connection
            if n == 1:
                self.ranged(CONTENT, 'W/"one"' if "weak" in self.path else '"one"', cut=500000)
                server.silence.wait(30)
            else:
                self.ranged(CONTENT, '"one"')
        elif kind == "no-range":
            self.send(b"", 416)
        elif kind == "says":
            self.wfile.write(urllib.parse.unquote_to_bytes(self.path.split("/")[2]))
            self.close_connection = True
        elif kind == "short":
            self.send(CONTENT[:-100], length=len(CONTENT), headers=[("ETag", '"one"')])
        elif kind == "huge":
            self.send(CONTENT, length=1 << 50)
        elif kind == "wrong-range":
            if n == 1:
                self.ranged(CONTENT, '"one"', cut=1 << 20)
            else:
                self.send(CONTENT[:1000], 206, headers=[("Content-Range", f"bytes 0-999/{len(CONTENT)}"), ("ETag", '"one"')])
        elif kind == "hub":
            self.send(b"", 302, headers=[("Location", f"/good/{server.name}"), ("X-Linked-ETag", f'"{SHA256}"'), ("X-Linked-Size", str(len(CONTENT)))])
        elif kind == "lying-hub":
            self.send(b"", 302, headers=[("Location", f"/good/{server.name}"), ("X-Linked-ETag", '"%s"' % ("0" * 64))])
        elif kind == "page":
            self.send(b"<html>please log in</html>" * 1000)
        elif kind == "round":
            self.redirect(self.path)
        elif kind == "away":
            self.redirect("http://models.invalid/m.gguf")
        elif kind == "to-file":
            self.redirect("file:///etc/passwd")
        elif kind == "busy" and n < 3:
            self.send(b"", 503)
        elif kind == "busy":
            self.ranged(CONTENT, '"one"')
        elif kind == "own-hash":
            # what a hub redirects to names the hash of what it sends instead
            self.send(OTHER, headers=[("X-Linked-ETag", f'"{hashlib.sha256(OTHER).hexdigest()}"')])
        elif kind == "hub-to-liar":
            self.send(b"", 302, headers=[("Location", "/own-hash/m.gguf"), ("X-Linked-ETag", f'"{SHA256}"')])
        elif kind == "open-range":
            # a range of a file whose whole length is not told, and that breaks off
            self.send(CONTENT[: 1 << 20], 206, len(CONTENT), headers=[("Content-Range", f"bytes 0-{len(CONTENT) - 1}/*")])
        elif kind == "says-length":
            self.send(CONTENT, length=urllib.parse.unquote(self.path.split("/")[2], "latin-1"))
        elif kind == "says-linked":
            self.send(CONTENT, headers=[("X-Linked-Size", "\xb2"), ("Transfer-Encoding", "chunked")])
        elif kind == "says-range":
            self.send(CONTENT, 206, headers=[("Content-Range", "bytes 0-9/" + "9" * 5000)])
        elif kind == "chunks":
            self.send(b"-5\r\nGGUF", length=0, headers=[("Transfer-Encoding", "chunked")])
        elif kind == "to-user":
            self.redirect("https://user:secret@models.invalid/m.gguf")
        elif kind == "to":
            self.redirect(urllib.parse.unquote(self.path[4:], "latin-1"))
        elif kind == "colours":
            self.send_response(404, "\x1b[31mgone\x07")
            self.end_headers()
        elif kind == "unsaid":
            # HTTP/1.0: the file ends where the connection does, after so many bytes; at the last of so many tries it is whole
            _, _, cut, whole, _ = self.path.split("/")
            self.wfile.write(b'HTTP/1.0 200 OK\r\nETag: "one"\r\n\r\n' + (CONTENT if n == int(whole) else CONTENT[: int(cut)]))
            self.close_connection = True
        elif kind == "unsaid-ranges":
            # nobody says the length, until what is missing is asked for
            if n > 1:
                self.ranged(CONTENT, '"one"')
            else:
                self.wfile.write(b'HTTP/1.0 200 OK\r\nETag: "one"\r\n\r\n' + CONTENT[: LEAST - 1])
                self.close_connection = True
        elif kind == "gives":
            self.send(server.given)
        elif kind == "gives-unsaid":
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + server.given)
            self.close_connection = True
        elif kind == "closed":
            self.send(b"", 401)
        elif kind == "removes":
            # somebody clears the directory meanwhile
            os.unlink(server.part)
            self.send(b"", 404)
        elif kind == "takes":
            # … and another one begins to fetch the same
            os.unlink(server.part)
            with open(server.part, "wb") as file:
                file.write(b"of another")
            self.ranged(CONTENT, '"one"')
        else:
            self.send(b"", 404)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    name = "m.gguf"

    def handle_error(self, *_):
        pass


def serve(context=None):
    server = Server(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.asked, server.silence = [], threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def server():
    server = serve()
    yield server
    server.silence.set()
    server.shutdown()
    server.server_close()


def run(server, folder, path, *arguments, scheme="http", program=PROGRAM, **environment):
    """(exit status, what it said) of qwen-pg-pull."""
    source = path if "://" in path or not path.startswith("/") else f"{scheme}://127.0.0.1:{server.server_port}{path}"
    env = {"PATH": os.environ["PATH"], "QWEN_PG_PULL_NO_WAIT": "1", "QWEN_PG_HUB": f"{scheme}://127.0.0.1:{server.server_port}/hub", **environment}
    owner = ["--owner", "root"] if os.geteuid() == 0 and "--owner" not in arguments else []
    done = subprocess.run([sys.executable, program, source, *owner, "--directory", str(folder), *arguments], capture_output=True, text=True, env=env, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def nothing_but(folder, *names):
    assert sorted(os.listdir(folder)) == sorted(names)


def test_a_file_arrives_whole_and_is_not_fetched_twice(server, tmp_path):
    status, said = run(server, tmp_path, "/good/m.gguf")
    assert status == 0 and SHA256 in said and "qwen.models = 'm=m.gguf'" in said and "qwen_check_model('m.gguf')" in said
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT
    nothing_but(tmp_path, "m.gguf")
    asked = len(server.asked)
    status, said = run(server, tmp_path, "/good/m.gguf", "--sha256", SHA256.upper())
    assert status == 0 and "there already" in said and len(server.asked) == asked
    status, said = run(server, tmp_path, "/good/m.gguf", "--sha256", "1" * 64)
    assert status == 1 and "exists with another SHA-256" in said
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT


@pytest.mark.parametrize("path, content, message", [
    ("/good/m.gguf", b"<html>please log in</html>", "no GGUF file: it begins with b'<htm'"),
    ("/good/m.gguf", b"", "no GGUF file"),
    ("/missing/m.gguf", CONTENT[: LEAST - 1], f"is there already and not whole: the file ends after {LEAST - 1} of at least {LEAST} bytes"),
    ("/good/m.gguf", CONTENT[:-7], f"with {len(CONTENT) - 7} bytes, and http://127.0.0.1:"),
    ("/hub/m.gguf", CONTENT[:-1] + b"?", "another SHA-256 than http://127.0.0.1:"),
    ("/lying-hub/m.gguf", CONTENT, "another SHA-256 than http://127.0.0.1:"),
], ids=["page", "empty", "half", "shorter", "other-bytes", "other-hash"])
def test_another_file_of_that_name_is_refused(server, tmp_path, path, content, message):
    """Whatever had the name was taken for the model, without a look."""
    (tmp_path / "m.gguf").write_bytes(content)
    status, said = run(server, tmp_path, path)
    assert status == 1 and message in said and "delete it, or take another name by --as" in said, said
    assert (tmp_path / "m.gguf").read_bytes() == content
    nothing_but(tmp_path, "m.gguf")


@pytest.mark.parametrize("path, message", [
    ("/hub/m.gguf", "with the SHA-256 that http://127.0.0.1:"),
    ("/good/m.gguf", "names none; the length is right"),
    ("/chunks/m.gguf", "names none; nor a length"),
    ("/missing/m.gguf", "not checked: http://127.0.0.1:"),
    ("/says/SSH-2.0%0D%0A/m.gguf", "the answer is no HTTP"),
    ("http://127.0.0.1:1/m.gguf", "not checked against http://127.0.0.1:1/m.gguf: "),
])
def test_what_is_there_is_held_against_the_hub_and_what_could_not_be_is_said(server, tmp_path, path, message):
    (tmp_path / "m.gguf").write_bytes(CONTENT)
    status, said = run(server, tmp_path, path)
    assert status == 0 and "is there already (" in said and message in said and "qwen.models = 'm=m.gguf'" in said, said
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT


def test_a_folder_of_that_name_is_no_file(server, tmp_path):
    (tmp_path / "m.gguf").mkdir()
    status, said = run(server, tmp_path, "/good/m.gguf")
    assert status == 1 and "no plain file" in said


def test_what_breaks_off_goes_on_where_it_ended(server, tmp_path):
    status, said = run(server, tmp_path, "/breaks/m.gguf")
    assert status == 0 and "the connection ended after 1048576 of" in said
    assert [range_ for _, range_, _ in server.asked] == [None, "bytes=1048576-", "bytes=2097152-"]
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT


@pytest.mark.parametrize("cut, lack", [
    (2, "the file ends after 2 bytes, within its head"), (100, "the file ends after 100 bytes, within its head"), (len(HEAD) - 1, f"the file ends after {len(HEAD) - 1} bytes, within its head"),
    (len(HEAD), f"the file ends after {len(HEAD)} of at least {LEAST} bytes"), (LEAST - 1, f"the file ends after {LEAST - 1} of at least {LEAST} bytes"),
])
def test_half_of_a_file_whose_length_nobody_says_gets_no_name(server, tmp_path, cut, lack):
    """1,000 of 300,024 bytes of an HTTP/1.0 server were taken for a file."""
    status, said = run(server, tmp_path, f"/unsaid/{cut}/0/m.gguf", "--tries", "2")
    assert status == 1 and said.count(lack) == 3 and "this server cannot go on" in said, said
    nothing_but(tmp_path)
    status, said = run(server, tmp_path, f"/unsaid/{cut}/2/n.gguf")
    assert status == 0 and f"{lack}; trying again" in said, said
    assert (tmp_path / "n.gguf").read_bytes() == CONTENT
    status, said = run(server, tmp_path, f"/unsaid-ranges/{cut}.gguf", "--as", "p.gguf")
    assert status == 0 and server.asked[-1][1] == f"bytes={LEAST - 1}-"
    assert (tmp_path / "p.gguf").read_bytes() == CONTENT
    # no more than that can be known
    assert run(server, tmp_path, f"/unsaid/{LEAST}/0/o.gguf")[0] == 0
    nothing_but(tmp_path, "n.gguf", "o.gguf", "p.gguf")


@pytest.mark.parametrize("kind", ["gives", "gives-unsaid"])
@pytest.mark.parametrize("given, why", [
    (CONTENT[: LEAST - 1], f"the file ends after {LEAST - 1} of at least {LEAST} bytes"),
    (gguf([], [], n_tensors=1 << 60), f"{1 << 60} tensors, at most 65536 are possible"),
    (gguf([], [], n_values=1 << 63), f"{1 << 63} metadata entries, at most 65536 are possible"),
    (gguf([text_of(b"k") + struct.pack("<IQ", 8, (1 << 64) - 1)], []), "it would have more than 256 MB"),
    (gguf([struct.pack("<Q", 1 << 62)], []), "it would have more than 256 MB"),
    (gguf([text_of(b"k") + struct.pack("<IIQ", 9, 8, 1 << 50)], []), f"{1 << 50} elements of an array, at most 67108864 are possible"),
    (gguf([text_of(b"k") + struct.pack("<IIQ", 9, 12, 1 << 26)], []), "it would have more than 256 MB"),
    (gguf([text_of(b"k") + struct.pack("<IIQ", 9, 8, (1 << 22) + 1)], []), f"its arrays have more than {1 << 22} strings"),
    (gguf([text_of(b"k") + struct.pack("<IIQ", 9, 9, 1)], []), "an array of the unknown type 9"),
    (gguf([text_of(b"k") + struct.pack("<I", 13)], []), "metadata of the unknown type 13"),
    (gguf([text_of(b"general.alignment") + struct.pack("<II", 4, 0)], []), "general.alignment is no number"),
    (gguf([], [tensor(b"t", (1 << 62, 1 << 62), 0, 0)]), "a tensor of an impossible size"),
    (gguf([], [tensor(b"t", (1,) * 5, 0, 0)]), "a tensor of 5 dimensions"),
    (gguf([], [], version=1), "GGUF version 1"),
], ids=["shorter", "tensors", "keys", "string", "key", "array", "wide-array", "strings", "nested", "type", "alignment", "shape", "dimensions", "version"])
def test_a_head_that_no_whole_file_has_is_refused(server, tmp_path, kind, given, why):
    server.given = given
    status, said = run(server, tmp_path, f"/{kind}/m.gguf", "--tries", "1")
    assert status == 1 and why in said, said
    assert "nothing was kept" in said or "at least" in said, said
    nothing_but(tmp_path)


def test_a_part_without_tensors_and_a_head_of_many_strings(server, tmp_path):
    """A split file's first part may have none; a vocabulary is passed over in a second."""
    for server.given in (gguf(VALUES, []), gguf([strings(*[b"token"] * 300000)], [tensor(b"t", (1,), 0, 0)]) + bytes(100)):
        assert run(server, tmp_path, "/gives-unsaid/m.gguf")[0] == 0
        assert (tmp_path / "m.gguf").read_bytes() == server.given
        os.unlink(tmp_path / "m.gguf")


def test_blocks_and_limits_are_those_of_the_server():
    """The program has them once more, as it is one by itself."""
    pull = types.ModuleType("pull")
    with open(PROGRAM, encoding="utf-8") as file:
        exec(compile(file.read(), PROGRAM, "exec"), pull.__dict__)
    texts = {}
    for name in ("kernels/kernels.h", "kernels/formats.h", "src/model/gguf.h"):
        with open(os.path.join(SOURCES, name), encoding="utf-8") as file:
            texts[name] = file.read()
    ids = dict(re.findall(r"\bTENSOR_(\w+) = (\d+)", texts["kernels/kernels.h"]))
    rows = re.findall(r"\bROW\((\w+), (?:[a-z]\w*, )?(\d+), (\d+)\b(?! *\*)", texts["kernels/formats.h"])
    blocks = {int(ids[name]): (int(elements), int(n_bytes)) for name, elements, n_bytes in rows if name in ids}
    assert len(blocks) == len(ids) and pull.BLOCKS == blocks
    limits = {name: eval(value.replace("(uint64_t) ", "")) for name, value in re.findall(r"#define GGUF_MAX_(\w+) (.*)", texts["src/model/gguf.h"])}
    assert (limits["HEAD_BYTES"], limits["KEYS"], limits["TENSORS"], limits["ARRAY"], limits["DIMS"]) == (pull.HEAD_MOST, pull.KEYS_MOST, pull.TENSORS_MOST, pull.ARRAY_MOST, pull.DIMENSIONS_MOST)


def test_the_same_command_goes_on_with_what_stayed(server, tmp_path):
    status, said = run(server, tmp_path, "/breaks/m.gguf", "--tries", "1")
    assert status == 0, "progress gives tries back"
    os.unlink(tmp_path / "m.gguf")
    (tmp_path / "m.gguf.part").write_bytes(CONTENT[:100])
    (tmp_path / "m.gguf.part.etag").write_text('"one"')
    server.asked.clear()
    status, said = run(server, tmp_path, "/good/m.gguf")
    assert status == 0 and [range_ for _, range_, _ in server.asked] == ["bytes=100-"]
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT
    # all had arrived, only the name was missing
    os.rename(tmp_path / "m.gguf", tmp_path / "m.gguf.part")
    (tmp_path / "m.gguf.part.etag").write_text('"one"')
    assert run(server, tmp_path, "/good/m.gguf")[0] == 0
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT
    nothing_but(tmp_path, "m.gguf")


def test_a_file_that_changes_meanwhile_is_begun_anew(server, tmp_path):
    status, said = run(server, tmp_path, "/changes/m.gguf")
    assert status == 0 and "has changed" in said
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT


def test_a_file_that_changes_with_each_answer_comes_to_an_end(server, tmp_path):
    """It was begun anew for ever: each beginning was progress."""
    status, said = run(server, tmp_path, "/no-memory/m.gguf", "--tries", "3")
    assert status == 1 and "the file has become another one 3 times while it was fetched; nothing was kept, the same command begins anew" in said, said
    assert len(server.asked) == 6
    nothing_but(tmp_path)


@pytest.mark.parametrize("path, why", [
    ("/no-tag/m.gguf", "it gives no ETag, or a weak one"),
    ("/no-tag/weak.gguf", "it gives no ETag, or a weak one"),
    ("/ignores/m.gguf", "it ignores Range"),
])
def test_a_server_that_cannot_go_on_promises_nothing(server, tmp_path, path, why):
    status, said = run(server, tmp_path, path, "--tries", "2")
    assert status == 1 and f"this server cannot go on where a download ended ({why}): the same command begins anew" in said, said
    assert "goes on" not in said and "stay in" not in said
    nothing_but(tmp_path)


def test_what_arrived_before_a_silence_is_kept(server, tmp_path):
    """Blocks of 1 MB were waited for in full, and what there was of one was dropped at the timeout."""
    with open(PROGRAM, encoding="utf-8") as file:
        text = file.read()
    assert text.count("\nTIMEOUT = 60 ") == 1
    impatient = tmp_path / "impatient"
    impatient.write_text(text.replace("\nTIMEOUT = 60 ", "\nTIMEOUT = 1 "))
    status, said = run(server, tmp_path / "models", "/stalls/m.gguf", program=str(impatient))
    assert status == 0 and "nothing came for too long" in said, said
    assert [range_ for _, range_, _ in server.asked] == [None, "bytes=500000-"]
    assert (tmp_path / "models" / "m.gguf").read_bytes() == CONTENT


@pytest.mark.parametrize("name, said, left", [
    ("m.gguf", "interrupted; 0.5 MB have arrived and stay in ", ["m.gguf.part", "m.gguf.part.etag"]),
    ("weak.gguf", "the same command begins anew", []),
])
def test_an_interruption_says_what_the_same_command_does(server, tmp_path, name, said, left):
    owner = ["--owner", "root"] if os.geteuid() == 0 else []
    program = subprocess.Popen([sys.executable, PROGRAM, f"http://127.0.0.1:{server.server_port}/stalls/{name}", *owner, "--directory", str(tmp_path)], stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 20
        while not (tmp_path / f"{name}.part").exists() or (tmp_path / f"{name}.part").stat().st_size < 500000:
            assert time.monotonic() < until and program.poll() is None
            time.sleep(0.02)
        program.send_signal(signal.SIGINT)
        _, printed = program.communicate(timeout=20)
    finally:
        program.kill()
    assert program.returncode == 130 and said in printed, printed
    nothing_but(tmp_path, *left)


@pytest.mark.parametrize("path, message", [
    ("/says/SSH-2.0-OpenSSH_9.2%0D%0A/m.gguf", 'the answer is no HTTP: it begins with "SSH-2.0-OpenSSH_9.2"; trying again'),
    ("/says/%1B[31mred%07%0D%0A/m.gguf", 'the answer is no HTTP: it begins with "?[31mred?"; trying again'),
    (f"/says/{'x' * 5000}%0D%0A/m.gguf", f'begins with "{"x" * 160}…"; trying again'),
    ("/no-range/m.gguf", "416 (no such range), though the whole file was asked for; nothing has arrived"),
], ids=["ssh", "colours", "long", "416"])
def test_answers_that_are_none_are_said_in_short_lines(server, tmp_path, path, message):
    status, said = run(server, tmp_path, path, "--tries", "2")
    assert status == 1 and message in said and said.count("\n") == 2 and "another version" not in said, said
    nothing_but(tmp_path)


def test_a_directory_that_is_a_file(server, tmp_path):
    (tmp_path / "afile").write_bytes(b"")
    for folder in ("afile", "afile/models"):
        status, said = run(server, tmp_path / folder, "/good/m.gguf")
        assert status == 1 and "is no directory" in said and "make it" not in said and said.count("\n") == 1, said


def test_a_server_without_ranges_is_asked_for_all(server, tmp_path):
    assert run(server, tmp_path, "/no-ranges/m.gguf")[0] == 0
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["short", "wrong-range"])
def test_lengths_that_lie_leave_no_file(server, tmp_path, kind):
    status, said = run(server, tmp_path, f"/{kind}/m.gguf", "--tries", "2")
    assert status == 1 and ("connection ended" in said or "another part" in said or "416" in said)
    assert "m.gguf" not in os.listdir(tmp_path)


def test_room_is_looked_for_before_the_first_byte(server, tmp_path):
    status, said = run(server, tmp_path, "/huge/m.gguf")
    assert status == 1 and "are needed" in said and "make room" in said
    nothing_but(tmp_path)


@pytest.mark.parametrize("path, arguments, message", [
    ("/lying-hub/m.gguf", (), "expected 0000"),
    ("/good/m.gguf", ("--sha256", "2" * 64), "expected 2222"),
    ("/page/m.gguf", (), "no GGUF file"),
    ("/hub-to-liar/m.gguf", (), f"expected {SHA256}"),
])
def test_what_is_not_what_was_wanted_is_thrown_away(server, tmp_path, path, arguments, message):
    status, said = run(server, tmp_path, path, *arguments)
    assert status == 1 and message in said and "nothing was kept" in said
    nothing_but(tmp_path)


def test_a_repository_of_the_hub(server, tmp_path):
    status, said = run(server, tmp_path, "Qwen/Some-GGUF", "m.gguf", HF_TOKEN="secret")
    assert status == 0 and SHA256 in said and "nothing said" not in said
    assert server.asked[0] == ("/hub/Qwen/Some-GGUF/resolve/main/m.gguf", None, "Bearer secret")
    server.asked.clear()
    status, said = run(server, tmp_path, "qwen3-4b")
    assert status == 0 and server.asked[0][0] == "/hub/Qwen/Qwen3-4B-GGUF/resolve/main/Qwen3-4B-Q4_K_M.gguf"
    nothing_but(tmp_path, "m.gguf", "Qwen3-4B-Q4_K_M.gguf")


def test_a_token_is_not_told_to_others(server, tmp_path):
    status, said = run(server, tmp_path, "/good/m.gguf", HF_TOKEN="secret", QWEN_PG_HUB="https://hub.invalid")
    assert status == 0 and server.asked[0][2] is None


def test_all_parts_of_a_split_file_come(server, tmp_path):
    status, said = run(server, tmp_path, "/part/big-00002-of-00003.gguf")
    assert status == 0 and "big-00001-of-00003.gguf'" in said
    nothing_but(tmp_path, *[f"big-0000{i}-of-00003.gguf" for i in (1, 2, 3)])


@pytest.mark.parametrize("path, message", [
    ("/round/m.gguf", "more than 10 redirects"),
    ("/away/m.gguf", "only https:// is fetched"),
    ("/to-file/m.gguf", "only https:// is fetched"),
    ("/missing/m.gguf", "404"),
    ("/closed/m.gguf", "HF_TOKEN"),
    ("ftp://127.0.0.1/m.gguf", "only https:// is fetched"),
    ("http://models.invalid/m.gguf", "only https:// is fetched"),
    ("https:///m.gguf", "only https:// is fetched"),
    ("nonsense", "no name of --list"),
    ("/good/", "no name for a file"),
    ("/good/..", "no name for a file"),
])
def test_where_nothing_is_fetched_from(server, tmp_path, path, message):
    status, said = run(server, tmp_path, path)
    assert status == 1 and message in said
    nothing_but(tmp_path)


def test_what_has_arrived_stays_and_what_is_empty_does_not(server, tmp_path):
    """An empty .part of mode 600 lay in the directory after a 404."""
    for path, left in (("/missing/m.gguf", []), ("/chunks/m.gguf", []), ("/ends/m.gguf", ["m.gguf.part", "m.gguf.part.etag"]), ("/short/n.gguf", ["m.gguf.part", "m.gguf.part.etag"])):
        status, said = run(server, tmp_path, path, "--tries", "1")
        assert status == 1 and ("stay in" in said) == ("ends" in path)
        nothing_but(tmp_path, *left)


@pytest.mark.parametrize("path", ["file:///srv/my%20model.gguf", "/srv/my model.gguf", "./my model.gguf"])
def test_a_file_that_is_here_is_copied(tmp_path, path):
    done = subprocess.run([sys.executable, PROGRAM, path, "--directory", str(tmp_path)], capture_output=True, text=True, check=False)
    place = "." if path.startswith(".") else "/srv"
    assert done.returncode == 1 and f"install -o postgres -m 644 '{place}/my model.gguf' {tmp_path}/" in done.stderr
    nothing_but(tmp_path)


def said_of(folder, *arguments, **environment):
    """What it says without a server, in that folder; it fails in a line."""
    done = subprocess.run([sys.executable, PROGRAM, *arguments, "--directory", str(folder)], capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, **environment})
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_a_name_takes_no_file(tmp_path):
    assert said_of(tmp_path, "qwen3-0.6b", "extra") == 'qwen-pg-pull: "qwen3-0.6b" is a name of --list, which takes no FILE ("extra"); --as names the file\n'
    assert "no name of --list" in said_of(tmp_path, "qwen3", "extra")


def test_the_version_is_the_extensions():
    done = subprocess.run([sys.executable, PROGRAM, "--version"], capture_output=True, text=True, check=False)
    with open(os.path.join(SOURCES, "qwen_pg.control"), encoding="utf-8") as control:
        version = re.search("default_version = '(.*)'", control.read())[1]
    assert (done.returncode, done.stdout) == (0, f"qwen-pg-pull {version}\n")


@pytest.mark.parametrize("source, message", [
    ("file://[", "no address that can be fetched"),
    ("file://\u2100/m.gguf", "no address that can be fetched"),
    ("FILE://models.invalid/m.gguf", "only https:// is fetched"),
    ("file:", "no name of --list"),
    ("file://", "only https:// is fetched"),
    ("file:-x.gguf", "install -o postgres -m 644 ./-x.gguf "),
    ("file://localhost/a%3F.gguf", "install -o postgres -m 644 '/a?.gguf' "),
    ("~/m.gguf", "install -o postgres -m 644 /home/of/m.gguf "),
])
def test_what_is_no_file_of_this_machine_is_said_and_what_is_can_be_pasted(tmp_path, source, message):
    said = said_of(tmp_path, source, HOME="/home/of")
    assert message in said and ("install" in said) == ("install" in message)


def test_a_name_of_the_list_is_no_file_of_the_current_folder(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("qwen3-8b", "mine.gguf"):
        (tmp_path / name).write_bytes(b"")
    status, said = run(server, tmp_path / "models", "qwen3-8b", QWEN_PG_HUB=f"http://127.0.0.1:{server.server_port}/good")
    assert status == 0, said
    nothing_but(tmp_path / "models", "Qwen3-8B-Q4_K_M.gguf")
    assert "install" in said_of(tmp_path, "mine.gguf")


def test_a_part_that_is_taken_away_hides_no_error(server, tmp_path):
    server.part = str(tmp_path / "m.gguf.part")
    status, said = run(server, tmp_path, "/removes/m.gguf")
    assert status == 1 and "404" in said and "No such file" not in said
    nothing_but(tmp_path)
    status, said = run(server, tmp_path, "/takes/m.gguf")
    assert status == 1 and "was removed while it was fetched" in said
    assert (tmp_path / "m.gguf.part").read_bytes() == b"of another" and not (tmp_path / "m.gguf").exists()


def test_a_hub_that_is_no_address(server, tmp_path):
    status, said = run(server, tmp_path, "/good/m.gguf", HF_TOKEN="secret", QWEN_PG_HUB="https://[bad")
    assert status == 0 and server.asked[0][2] is None, said
    status, said = run(server, tmp_path, "qwen3-8b", QWEN_PG_HUB="https://[bad")
    assert status == 1 and "no address that can be fetched" in said


@pytest.mark.parametrize("name", ["it's.gguf", "a,b.gguf", "a{context=1}.gguf", "a\\b.gguf", " a.gguf"])
def test_a_name_that_breaks_the_setting_is_refused(server, tmp_path, name):
    """The last line is pasted into postgresql.conf."""
    status, said = run(server, tmp_path, "/good/" + urllib.parse.quote(name))
    assert status == 1 and "cannot stand in qwen.models" in said and "--as" in said
    nothing_but(tmp_path)
    assert run(server, tmp_path, "/good/" + urllib.parse.quote(name), "--as", "a.gguf")[0] == 0
    folder = tmp_path / "it's"
    status, said = run(server, folder, "/good/m.gguf", "--as", "x" * 80 + ".gguf")
    assert status == 0 and "it''s', qwen.models = '" + "x" * 63 + "=" in said


@pytest.mark.parametrize("path, message", [
    ("/open-range/m.gguf", "another part"),
    ("/says-length/%B2/m.gguf", "as a length"),
    (f"/says-length/{'9' * 5000}/m.gguf", "are needed"),
    (f"/says-length/{'9' * 400}/m.gguf", "are needed"),
    ("/says-range/m.gguf", "another part"),
    ("/chunks/m.gguf", "nothing has arrived"),
    ("/to/https:%2F%2F[bad/m.gguf", "no address that can be fetched"),
    ("/to/https:%2F%2Fmodels.invalid:999999/m.gguf", "no address that can be fetched"),
    ("/to/https:%2F%2Fmodels.invalid:abc/m.gguf", "no address that can be fetched"),
    ("/to-user/m.gguf", "no address that can be fetched"),
    ("https://[bad/m.gguf", "no address that can be fetched"),
    ("https://user:secret@models.invalid/m.gguf", "no address that can be fetched"),
    ("/good/a%0Ab.gguf", "no name for a file"),
    ("/colours/m.gguf", "404 ?[31mgone?"),
])
def test_what_lies_in_headers_and_addresses_is_said_in_a_line(server, tmp_path, path, message):
    status, said = run(server, tmp_path, path, "--tries", "2")
    assert status == 1 and message in said and "secret" not in said
    assert not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize("path", ["/to/%2Fgood%2Fm m.gguf", "/to/%2Fgood%2Fm\u00e4.gguf"])
def test_addresses_with_letters_that_must_be_quoted(server, tmp_path, path):
    assert run(server, tmp_path, path, "--as", "m.gguf")[0] == 0
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server, tmp_path):
    assert run(server, tmp_path, "/busy/m.gguf")[0] == 0
    assert len(server.asked) == 3


def test_nobody_at_the_other_end(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

        class Nobody:
            server_port = port

        status, said = run(Nobody, tmp_path, "/good/m.gguf", "--tries", "2")
    assert status == 1 and "Connection refused" in said and "nothing has arrived" in said
    nothing_but(tmp_path)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = serve(context)
    folder = tmp_path / "models"
    try:
        status, said = run(server, folder, "/good/m.gguf", "--tries", "1", scheme="https")
        assert status == 1 and "certificate verify failed" in said
        status, said = run(server, folder, "/good/m.gguf", scheme="https", SSL_CERT_FILE=str(certificate))
        assert status == 0 and (folder / "m.gguf").read_bytes() == CONTENT
    finally:
        server.shutdown()
        server.server_close()


def test_links_in_the_directory_are_not_followed(server, tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"do not touch")
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("m.gguf.part", "m.gguf.part.etag"):
        os.symlink(precious, folder / name)
        status, said = run(server, folder, "/good/m.gguf")
        assert status == 1 and "is a link" in said
        os.unlink(folder / name)
        os.link(precious, folder / name)
        status, said = run(server, folder, "/good/m.gguf")
        assert status == 1 and "second name" in said
        os.unlink(folder / name)
    assert precious.read_bytes() == b"do not touch" and precious.stat().st_nlink == 1


def test_two_at_a_time_do_not_mix(server, tmp_path):
    import fcntl

    with open(tmp_path / "m.gguf.part", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        status, said = run(server, tmp_path, "/good/m.gguf")
        assert status == 1 and "another qwen-pg-pull" in said


def test_an_owner_that_is_not_there(server, tmp_path):
    status, said = run(server, tmp_path, "/good/m.gguf", "--owner", "nobody-of-that-name")
    assert status == 1 and "does not exist" in said
    nothing_but(tmp_path)
