"""ik_llama.cpp's side of bench.py, by the C API of its wheel. Runs in an environment that has the package.

  ik_peer.py FILE --threads N [--decode N] [--prefill N] [--batch SEQUENCES --prompt N] [--repeat N] [--repack]

One JSON line: tokens per second as llama-bench and llama-batched-bench count them (the median of the repeats), and what instructions the build uses.
--repack: matrices are put in its interleaved order when they are read, as its option -rtr does.
"""
import argparse
import ctypes
import json
import statistics
import time

from ik_llama_cpp import _ctypes_api as api

ANSWER = 64
CHUNK = 512
INSTRUCTION_SETS = ("AVX", "AVX2", "AVX_VNNI", "AVX512", "AVX512_VNNI", "AVX512_BF16", "NEON")


def instruction_sets():
    function = api._lib.llama_print_system_info
    function.restype = ctypes.c_char_p
    parts = dict(part.split("=") for part in function().decode().replace(" ", "").split("|") if "=" in part)
    return [name for name in INSTRUCTION_SETS if parts.get(name) == "1"]


class Context:
    def __init__(self, a, n_positions, n_sequences):
        api.llama_backend_init()
        params = api.llama_model_default_params()
        params.use_mmap = not a.repack
        params.repack_tensors = a.repack
        self.model = api.llama_model_load_from_file(a.file.encode(), params)
        if not self.model:
            raise SystemExit("ik_peer: cannot load the model")
        self.n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        params = api.llama_context_default_params()
        params.n_ctx = n_positions
        params.n_batch = max(CHUNK, n_sequences)
        params.n_seq_max = n_sequences
        params.n_threads = params.n_threads_batch = a.threads
        params.flash_attn = True
        self.context = api.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("ik_peer: cannot make a context")
        self.batch = api.llama_batch_init(max(CHUNK, n_sequences), 0, 1)

    def step(self, rows):
        """rows: (sequence, position, whether its logits are wanted)"""
        for i, (sequence, position, wanted) in enumerate(rows):
            self.batch.token[i] = ((position + sequence) * 7919 + 13) % self.n_vocab
            self.batch.pos[i] = position
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = sequence
            self.batch.logits[i] = wanted
        self.batch.n_tokens = len(rows)
        if api.llama_decode(self.context, self.batch) != 0:
            raise SystemExit("ik_peer: llama_decode failed")

    def read(self, sequence, n):
        for first in range(0, n, CHUNK):
            self.step([(sequence, p, p == n - 1) for p in range(first, min(first + CHUNK, n))])

    def clear(self):
        api.llama_kv_cache_clear(self.context)


def speed_of(context, a):
    """Tokens per second of one run."""
    context.clear()
    if a.prefill:
        start = time.perf_counter()
        context.read(0, a.prefill)
        return a.prefill / (time.perf_counter() - start)
    if a.decode:
        start = time.perf_counter()
        for position in range(a.decode):
            context.step([(0, position, True)])
        return a.decode / (time.perf_counter() - start)
    for sequence in range(a.batch):
        context.read(sequence, a.prompt)
    start = time.perf_counter()
    for i in range(ANSWER):
        context.step([(sequence, a.prompt + i, True) for sequence in range(a.batch)])
    return a.batch * ANSWER / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--decode", type=int, default=0)
    parser.add_argument("--prefill", type=int, default=0)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--repack", action="store_true")
    a = parser.parse_args()
    if not (a.decode or a.prefill or a.batch):
        parser.error("--decode, --prefill or --batch")
    n_sequences = a.batch or 1
    context = Context(a, n_sequences * (a.prompt + ANSWER) + 64 if a.batch else max(a.prefill, a.decode) + 64, n_sequences)
    context.clear()
    context.step([(0, 0, True)])  # the first step takes memory and reads the file
    print(json.dumps({"speed": statistics.median(speed_of(context, a) for _ in range(a.repeat)), "instruction_sets": instruction_sets()}))


if __name__ == "__main__":
    main()
