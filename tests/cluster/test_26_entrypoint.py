"""The container's entrypoint without a container: its folders are a test's, and the server that it becomes says with what it was started."""
import fcntl
import os
import shutil
import subprocess
import tempfile

import pytest
from cluster import as_server_user, server_programs

SCRIPT = os.path.join(os.environ.get("QWEN_TEST_SOURCE_DIR") or os.path.join(os.path.dirname(__file__), "..", ".."), "docs", "containers", "entrypoint")


class Container:
    """Folders of a container that has a cluster, as far as the entrypoint looks into it."""

    def __init__(self, folder):
        self.models, self.data, self.bin = (os.path.join(folder, name) for name in ("models", "data", "bin"))
        for path in (self.models, self.data, self.bin):
            os.mkdir(path)
        for name, text in (("PG_VERSION", "15\n"), ("postgresql.conf", "")):
            self.write(os.path.join(self.data, name), text)
        # settings are asked of the server itself
        self.program("postgres", f'[ "$1" = -C ] && exec {server_programs()}/postgres "$@"\nprintf "%s\\n" "$@"\n')
        with open(SCRIPT) as file:
            script = file.read()
        for place, own in (("/var/lib/qwen_pg", self.models), ("/usr/lib/postgresql/*/bin", self.bin)):
            assert place in script
            script = script.replace(place, own)
        self.program("entrypoint", script.removeprefix("#!/bin/sh\n"))
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "postgres", folder], check=True)

    @staticmethod
    def write(path, text):
        with open(path, "w") as file:
            file.write(text)

    def program(self, name, text):
        path = os.path.join(self.bin, name)
        self.write(path, "#!/bin/sh\n" + text)
        os.chmod(path, 0o755)

    def file(self, name):
        """A file of the volume; name: bytes."""
        with open(os.path.join(self.models.encode(), name), "w"):
            pass

    def start(self, *arguments, status=0, **environment):
        """What the server is started with, {setting: value} of its -c and the rest; and what was said."""
        command = as_server_user(["env", f"PGDATA={self.data}", *(f"{key}={value}" for key, value in environment.items()), os.path.join(self.bin, "entrypoint"), "postgres", *arguments])
        done = subprocess.run(command, cwd="/tmp", capture_output=True, check=False)
        said = done.stderr.decode(errors="replace")
        assert done.returncode == status, said
        words = done.stdout.decode().splitlines()
        return dict(word.split("=", 1) for before, word in zip(words, words[1:]) if before == "-c"), said


@pytest.fixture
def container():
    folder = tempfile.mkdtemp(prefix="qwen_pg_entrypoint_", dir="/tmp")
    os.chmod(folder, 0o755)
    yield Container(folder)
    shutil.rmtree(folder)


FIVE = ", ".join(f"m{i}=f.gguf {{context=512, threads=1}}" for i in range(5))


def test_there_are_places_for_all_that_is_listed(container):
    """Those of QWEN_MODELS were not counted, and the fifth was not served."""
    assert container.start(QWEN_MODELS=FIVE)[0] == {"qwen.models": FIVE, "qwen.max_models": "5"}
    assert container.start(QWEN_MODELS=FIVE.rpartition(", m")[0] + ", ,")[0].keys() == {"qwen.models"}
    # an argument's list is the one that holds, and so is its number of places, which stands behind ours
    six = ",".join(f"m{i}=f.gguf" for i in range(6))
    assert container.start("-c", f"qwen.models={six}", QWEN_MODELS=FIVE)[0] == {"qwen.models": six, "qwen.max_models": "6"}
    assert container.start("-c", "qwen.max_models=2", QWEN_MODELS=FIVE)[0]["qwen.max_models"] == "2"
    container.write(os.path.join(container.data, "postgresql.conf"), "qwen.max_models = 7\n")
    assert container.start(QWEN_MODELS=FIVE)[0].keys() == {"qwen.models"}
    # what no server takes is refused by it, for what it is
    assert container.start(QWEN_MODELS=", ".join(f"m{i}=f.gguf" for i in range(40)))[0]["qwen.max_models"] == "32"
    assert container.start()[0] == {"qwen.models": ""}


def test_files_that_no_list_can_hold_are_passed_over(container):
    for name in (b"a.gguf", b"b\xff\xfe.gguf", "\u00e4.gguf".encode(), b"c,d.gguf", b"e\nf.gguf", b"A.gguf", b"big-00001-of-00002.gguf", b"big-00002-of-00002.gguf"):
        container.file(name)
    for language in ("C", "C.UTF-8"):
        settings, said = container.start(LC_ALL=language)
        files = {entry.partition("=")[2] for entry in settings.pop("qwen.models").split(", ")}
        assert settings == {} and files - {"a.gguf", "A.gguf"} == {"\u00e4.gguf", "big-00001-of-00002.gguf"} and len(files) == 3
        assert said.count("is not served: qwen.models cannot hold the name of this file") == 3 and said.count("there is a model a already") == 1


def test_another_container_is_told_from_a_file_system_without_locks(container):
    folder = os.open(container.data, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    assert "another container" in container.start(status=1)[1]
    os.close(folder)
    container.program("flock", "echo 'flock: 9: No locks available' >&2\nexit 71\n")
    said = container.start(status=1)[1]
    assert "another container" not in said and "No locks available" in said and f"no lock can be had on {container.data}" in said
