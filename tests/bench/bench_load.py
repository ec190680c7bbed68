#!/usr/bin/env python3
"""How soon a model is there: the loader beside a raw O_DIRECT read of the same file, and the first token after a start beside llama.cpp's.

  bench_load.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [FILE …]

"load": GB/s of the whole load (read, packed, complete) with the file out of the page cache and in it, and its share of the raw read, measured before and after
each. "first_token": seconds from the command that starts the server (pg_ctl start; llama-completion, without its warm-up) to the first token, file cold or warm, in
turn; "restart": from the kill of a running engine to the first token of the next one, which maps the image that is in memory already.
"""
import os
import signal
import time

import bench_common as common
from bench_common import emit, median, median_ratio

PROMPT = "The capital of France is"
RAW_REPEATS = {False: 7, True: 3}


def forget(path):
    """Take a file out of the page cache."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def warm(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 22):
            pass


def prepare(path, cache):
    (warm if cache == "warm" else forget)(path)


def first_token(server):
    """Ask until there is an answer; a server that is just starting waits by itself for its model."""
    assert server.value("SELECT completion_tokens FROM qwen_chat_full(%s, max_tokens => 1)", (PROMPT,)) == 1


def our_start(server, path, cache):
    server.stop()
    prepare(path, cache)
    start = time.monotonic()
    server.start()
    first_token(server)
    return time.monotonic() - start


def peer_start(a, inside, cache):
    prepare(a.peer + inside, cache)
    start = time.monotonic()
    common.peer_output(a, "llama-completion", "-m", inside, "-t", str(a.threads), "-p", PROMPT, "-n", "1", "-no-cnv", "--no-warmup", "-c", "4096")
    return time.monotonic() - start


def engine_restart(server):
    pid = server.engine_pid()
    start = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    common.cluster_module.wait_until(lambda: server.engine_pid() not in (None, pid), 30, "the next engine")
    first_token(server)
    return time.monotonic() - start


def bench_file(a, file):
    inside = common.file_for_both(a, file)
    path, name = a.peer + inside, os.path.basename(inside)
    for cache in ("cold", "warm"):
        line = common.ours(a, "load_bench", path, "--threads", str(a.threads), "--repeat", str(RAW_REPEATS[a.quick]), *(["--warm"] if cache == "warm" else []))
        emit(**line)
    with common.our_server(a, path, qwen__kv_cache_size="512MB") as server:
        for cache in ("cold", "warm"):
            starts, theirs = [], []
            for _ in range(a.rounds):
                starts.append(our_start(server, path, cache))
                theirs.append(peer_start(a, inside, cache))
            # seconds: the ratio says how many times sooner ours is
            emit(bench="load", what="first_token", file=name, cache=cache, threads=a.threads, ours=median(starts, 3), peer=median(theirs, 3), unit="s",
                 ratio=median_ratio(theirs, starts), rounds=a.rounds)
        cold = median(starts, 3)
        restarts = [engine_restart(server) for _ in range(a.rounds)]
        emit(bench="load", what="restart", file=name, threads=a.threads, ours=median(restarts, 3), of_start=round(median(restarts, 3) / cold, 2), unit="s", rounds=a.rounds)


def main():
    a = common.parse(common.parser_for(__doc__, ["demo", "qwen3-0.6b-q4_0", "qwen3-0.6b-q8_0", "qwen3-0.6b-q4_k_m"], 5, quick_rounds=3))
    with common.processes_of(a.peer):
        for file in a.files:
            bench_file(a, file)


if __name__ == "__main__":
    main()
