"""What the benches share: the peer's programs, the files both sides read, our engine's programs, medians, servers, and the arguments that all of them take."""
import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

import bench_models

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import cluster as cluster_module  # noqa: E402


def parser_for(description, files, rounds, quick_rounds=1):
    """Arguments of every bench; files: what it runs on unless told, so many rounds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True, help="the folder of engine_bench and load_bench")
    parser.add_argument("--model", required=True, help="the demo model")
    parser.add_argument("--peer", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, help=f"default: {rounds}, with --quick {quick_rounds}")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("files", nargs="*", help="demo, all, or names of bench_models.py")
    parser.set_defaults(files_unless_told=files, rounds_unless_told=rounds, quick_rounds=quick_rounds)
    return parser


def parse(parser):
    a = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are stopped on the way out
    a.rounds = a.rounds or (a.quick_rounds if a.quick else a.rounds_unless_told)
    a.files = ["demo", *bench_models.NAMES] if a.files == ["all"] else a.files or a.files_unless_told
    return a


def emit(**line):
    print(json.dumps(line), flush=True)


def median(values, digits=2):
    return round(statistics.median(values), digits)


def median_ratio(ours, theirs):
    """Of the rounds' ratios: what the machine did meanwhile hit both sides of a round."""
    return median([one / other for one, other in zip(ours, theirs)])


def file_for_both(a, name):
    """A file's path inside the peer's folder; made, or copied there, when it is not there."""
    if name != "demo":
        return bench_models.ensure(name, a.cache, a.peer)
    inside = "/" + os.path.basename(a.model)
    if not os.path.exists(a.peer + inside):
        shutil.copy(a.model, a.peer + inside)
    return inside


@contextlib.contextmanager
def processes_of(peer):
    """llama.cpp looks at /proc for the processors."""
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    mounted = not os.path.ismount(f"{peer}/proc")
    if mounted:
        subprocess.run([*as_root, "mount", "-t", "proc", "proc", f"{peer}/proc"], check=True)
    try:
        yield
    finally:
        if mounted:
            subprocess.run([*as_root, "umount", f"{peer}/proc"], check=False)


def ours(a, program, path, *work):
    """One run of one of our programs: its JSON line."""
    command = [os.path.join(a.programs, program), "--model", path, *work]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout)


def peer_output(a, *command):
    return subprocess.run(bench_models.chroot(a.peer, *command), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def peer_bench(a, inside, *work, repeat=3, threads=None):
    """llama-bench: tokens per second."""
    out = peer_output(a, "llama-bench", "-m", inside, "-t", str(threads or a.threads), "-r", str(repeat), "-o", "json", *work)
    return json.loads(out)[0]["avg_ts"]


def peer_batch(a, inside, sequences, prompt=128, answer=64, extra=(), threads=None):
    """llama-batched-bench: tokens per second of the answers together."""
    out = peer_output(a, "llama-batched-bench", "-m", inside, "-t", str(threads or a.threads), "-c", str(sequences * (prompt + answer) + 64),
                      "-npp", str(prompt), "-ntg", str(answer), "-npl", str(sequences), "--output-format", "jsonl", *extra)
    return json.loads(next(line for line in out.splitlines() if line.startswith("{")))["speed_tg"]


# ---- servers ----
class PeerServer:
    """llama-server on a port of its own; started() when it answers."""

    def __init__(self, a, inside, *options):
        self.port = cluster_module.free_port()
        command = ["llama-server", "-m", inside, "--host", "127.0.0.1", "--port", str(self.port), "-t", str(a.threads), "-tb", str(a.threads), "--no-webui", *options]
        self.process = subprocess.Popen(bench_models.chroot(a.peer, *command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        cluster_module.wait_until(self.is_healthy, 300, "llama-server")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:  # it waits for requests that nobody reads any more
            self.process.kill()
            self.process.wait()

    def is_healthy(self):
        if self.process.poll() is not None:
            raise RuntimeError("llama-server ended")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def post(self, path, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3600)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        if response.status != 200:
            raise RuntimeError(f"llama-server: {answer}")
        return answer


@contextlib.contextmanager
def our_server(a, path, warm="SELECT qwen_generate('warm', max_tokens => 1)", **settings):
    """A private PostgreSQL with one model, loaded, and the extension; its settings with __ for the dot."""
    values = {
        "qwen.models": f"bench={os.path.basename(path)}",
        "qwen.model_directory": os.path.dirname(path),
        "qwen.threads": a.threads,
        "qwen.kv_cache_size": "2GB",
        **{key.replace("__", "."): value for key, value in settings.items()},
    }
    server = cluster_module.Cluster(settings=values)
    try:
        server.start()
        server.query("CREATE EXTENSION qwen_pg")
        server.query(warm)
        yield server
    finally:
        server.remove()


def seconds_of(work):
    start = time.monotonic()
    result = work()
    return time.monotonic() - start, result
