"""What the benches share: the peers and their programs, the files both sides read, our engine's programs, medians, servers, and the arguments that all of them take."""
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
import tempfile
import threading
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


# The type of keys and values: of all sides where the engine alone stands beside a peer's (what the peers take by themselves), and of ours through SQL (the default)
ALONE_KV, SQL_KV = "f16", "q8_0"


def engine(a, path, *work, threads=None, repeat=1, kv=ALONE_KV):
    """One run of the engine alone with keys and values of a type: its JSON line."""
    return ours(a, "engine_bench", path, "--threads", str(threads or a.threads), "--repeat", str(repeat), "--kv", kv, *work)


def ours(a, program, path, *work):
    """One run of one of our programs: its JSON line."""
    command = [os.path.join(a.programs, program), "--model", path, *work]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout)


# ---- peers ----
LONGEST_SECONDS = 1200  # of one run of a program


class Peer:
    """One of those that we stand beside: its name in the lines, the folder of its programs inside the peer's folder, and the options that make them fast: of
    llama-bench, and of the others with one sequence and with many."""

    def __init__(self, name, folder, bench=(), one=(), many=()):
        self.name, self.folder, self.options = name, folder, {"bench": bench, "one": one, "many": many}
        self.ratio = "ratio" if name == "peer" else f"{name}_ratio"

    def command(self, a, program, *arguments, work="many"):
        return bench_models.chroot(a.peer, self.folder + program, *arguments, *self.options["bench" if program == "llama-bench" else work])


LLAMA = Peer("peer", "")
# matrices are put in its interleaved order when they are read; attention by its own kernels, but for many sequences, where they end with an assertion
IK = Peer("ik", "/opt/ik/bin/", bench=("-rtr", "1", "-fa", "1"), one=("-rtr", "-fa", "on"), many=("-rtr", "-fa", "off"))


def peers(a):
    """llama.cpp, and ik_llama.cpp where setup_ik.sh could build it."""
    return [LLAMA, IK] if os.path.exists(a.peer + "/opt/ik/mark") else [LLAMA]


def in_turn(a, our_run, their_run, beside=None, rounds=None):
    """Ours and each peer's, round by round: our runs, and what their_run(peer) gave, by peer; None from where it did not run. Only llama.cpp must run."""
    runs, theirs = [], {peer: [] for peer in (peers(a) if beside is None else beside)}
    for _ in range(rounds or a.rounds):
        runs.append(our_run())
        for peer, speeds in theirs.items():
            try:
                speeds.append(None if None in speeds else their_run(peer))
            except (OSError, subprocess.SubprocessError, RuntimeError, ValueError, StopIteration) as error:
                if peer is LLAMA:
                    raise
                print(f"{peer.name}: {type(error).__name__}: {error}", file=sys.stderr)
                speeds.append(None)
    return runs, theirs


def figures(ours, theirs, digits=1):
    """Of a line: our median, each peer's, and the ratios."""
    line = {"ours": median(ours, digits)}
    for peer, speeds in theirs.items():
        if speeds and None not in speeds:
            line[peer.name] = median(speeds, digits)
            line[peer.ratio] = median_ratio(ours, speeds)
    return line


def end_group(process):
    """What a program of a peer's started goes with it: one that dies of an assertion leaves a process that prints its last words, holds its connections, and may never end."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def peer_output(a, *command, peer=LLAMA, work="many"):
    # one of them writes its table where the other one writes what it is doing
    errors = subprocess.STDOUT if peer is IK and command[0] == "llama-batched-bench" else subprocess.DEVNULL
    command = peer.command(a, *command, work=work)
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, preexec_fn=os.setpgrp)
        try:
            code = process.wait(LONGEST_SECONDS)
        finally:
            end_group(process)
        if code != 0:
            raise subprocess.CalledProcessError(code, command)
        out.seek(0)
        return out.read()


def kv_options(kv):
    """Keys and values of a peer's programs. Values of eight bits go with its own attention alone."""
    return ["-ctk", kv, "-ctv", kv, *([] if kv == ALONE_KV else ["-fa", "on"])]


def peer_bench(a, inside, *work, repeat=3, threads=None, peer=LLAMA):
    """llama-bench: tokens per second, with keys and values of ALONE_KV."""
    out = peer_output(a, "llama-bench", "-m", inside, "-t", str(threads or a.threads), "-r", str(repeat), "-o", "json", *kv_options(ALONE_KV), *work, peer=peer)
    return json.loads(out[out.index("["):])[0]["avg_ts"]


def peer_batch(a, inside, sequences, prompt=128, answer=64, extra=(), threads=None, peer=LLAMA, what="speed_tg", kv=ALONE_KV):
    """llama-batched-bench: tokens per second of the answers together; what="speed_pp": of the prompts, None: both as a pair. Where a peer cannot have such keys and values it does not run."""
    out = peer_output(a, "llama-batched-bench", "-m", inside, "-t", str(threads or a.threads), "-c", str(sequences * (prompt + answer) + 64),
                      "-npp", str(prompt), "-ntg", str(answer), "-npl", str(sequences), *kv_options(kv), *(["--output-format", "jsonl"] if peer is LLAMA else []), *extra, peer=peer, work="one" if sequences == 1 else "many")
    if peer is LLAMA:
        line = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    else:
        # its table: PP, TG, B, N_KV, T_PP s, S_PP t/s, T_TG s, S_TG t/s, T s, S t/s
        cells = [cell.strip() for cell in next(line for line in out.splitlines() if line.startswith("|") and line[1:].lstrip()[:1].isdigit()).strip("|").split("|")]
        line = {"speed_pp": float(cells[5]), "speed_tg": float(cells[7])}
    return line[what] if what else (line["speed_pp"], line["speed_tg"])


# ---- servers ----
class PeerServer:
    """A peer's llama-server on a port of its own; it answers from __enter__ on."""

    def __init__(self, a, inside, *options, peer=LLAMA):
        self.port = cluster_module.free_port()
        command = ["llama-server", "-m", inside, "--host", "127.0.0.1", "--port", str(self.port), "-t", str(a.threads), "-tb", str(a.threads), *options]
        command += ["--no-webui"] if peer is LLAMA else ["--webui", "none"]
        self.process = subprocess.Popen(peer.command(a, *command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=os.setpgrp)
        threading.Thread(target=self.bury, daemon=True).start()

    def bury(self):
        """Once it has ended, who waits for an answer is told so."""
        self.process.wait()
        end_group(self.process)

    def __enter__(self):
        try:
            cluster_module.wait_until(self.is_healthy, 300, "llama-server")
        except BaseException:  # also who is told to end while it starts
            self.__exit__()
            raise
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
        except (OSError, http.client.HTTPException):
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
def peer_servers(a, inside, *options):
    """{peer: its server, started}; without one that did not start, unless it is llama.cpp's."""
    with contextlib.ExitStack() as stack:
        servers = {}
        for peer in peers(a):
            try:
                servers[peer] = stack.enter_context(PeerServer(a, inside, *options, peer=peer))
            except (OSError, RuntimeError) as error:
                if peer is LLAMA:
                    raise
                print(f"{peer.name}: {error}", file=sys.stderr)
        yield servers


@contextlib.contextmanager
def our_server(a, path, warm="SELECT qwen_generate('warm', max_tokens => 1)", **settings):
    """A private PostgreSQL with one model, loaded, and the extension; its settings with __ for the dot."""
    values = {
        "qwen.models": f"bench={os.path.basename(path)}",
        "qwen.model_directory": os.path.dirname(path),
        "qwen.threads": a.threads,
        "qwen.kv_cache_size": "2GB",
        "qwen.kv_cache_type": SQL_KV,
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
