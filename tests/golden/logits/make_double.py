#!/usr/bin/env python3
"""Remake double.json: what the transformer's formulas in double say about OTHER_MODELS of models.py, and about LONG_HYBRID, whose states go to states.json.

  make_double.py [--only MODEL ...]      needs numpy

Plain numpy, one sequence, softmax over the whole context; nothing of ours and nothing of llama.cpp is in between. The weights are those of models.py,
rounded to the type that the file has them in.
"""
import argparse
import sys

import numpy as np

sys.dont_write_bytecode = True
import models  # noqa: E402
from rows import keep, keep_state, read_json, write_json  # noqa: E402

EPSILON = 1e-6
ATTENDING = 1024  # positions at a time


def weights_of(name):
    """{tensor: float64 in the order of rows}"""
    m, seed = models.shape_and_seed(name)
    weights = {}
    for tensor, dims, scale, shift in models.tensors_of(m):
        kind = models.type_of(m, tensor, dims)
        data = models.tensor_bytes(kind, seed, tensor, models.count(dims), scale, shift)
        if kind == "BF16":
            values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = np.frombuffer(data, "<f2" if kind == "F16" else "<f4")
        weights[tensor] = values.astype(np.float64).reshape(dims[::-1])
    return m, weights


def norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * weight


def silu(x):
    return x / (1 + np.exp(-x))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def stretched(frequencies, base, size, stretch):
    """YaRN: frequencies, by how many turns they make within the original context, and what sines and cosines are multiplied with."""
    original, factor = stretch["rope_original_context"], stretch["rope_factor"]
    low, high = (size * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(base)) for turns in (32, 1))
    low, high = max(0, np.floor(low)), min(size - 1, np.ceil(high))
    ramp = np.clip((np.arange(size // 2) - low) / max(0.001, high - low), 0, 1)
    return frequencies * (1 - ramp + ramp / factor), 1 + 0.1 * np.log(factor)


def turn(x, base, stretch):
    """Rotate [positions][heads][size] by its positions; in text those of all axes are the same, so that sections do not matter."""
    n, _, size = x.shape
    frequencies, magnitude = base ** (-2.0 * np.arange(size // 2) / size), 1
    if stretch:
        frequencies, magnitude = stretched(frequencies, base, size, stretch)
    angles = np.outer(np.arange(n), frequencies)[:, None, :]
    cosines, sines = np.cos(angles) * magnitude, np.sin(angles) * magnitude
    a, b = np.split(x, 2, -1)
    return np.concatenate([a * cosines - b * sines, a * sines + b * cosines], -1)


def attend(q, k, v):
    """What one head sees."""
    parts = []
    for first in range(0, len(q), ATTENDING):
        end = min(len(q), first + ATTENDING)
        scores = q[first:end] @ k[:end].T
        scores[:, first:] += np.triu(np.full((end - first, end - first), -np.inf), 1)
        parts.append(softmax(scores) @ v[:end])
    return np.concatenate(parts)


def attention(m, weights, prefix, x):
    n, size, shares = len(x), m["head_dim"], m["heads"] // m["kv_heads"]
    if prefix + "attn_qkv.weight" in weights:
        whole = x @ weights[prefix + "attn_qkv.weight"].T + weights[prefix + "attn_qkv.bias"]
        q, k, v = np.split(whole, [m["heads"] * size, (m["heads"] + m["kv_heads"]) * size], -1)
    else:
        q, k, v = (x @ weights[f"{prefix}attn_{part}.weight"].T + weights.get(f"{prefix}attn_{part}.bias", 0) for part in "qkv")
    gates = 1
    if "delta" in m:
        # a query and its gate, head by head
        q, gates = np.split(q.reshape(n, -1, 2 * size), 2, -1)
        gates = sigmoid(gates).reshape(n, -1)
    q, k, v = (part.reshape(n, -1, size) for part in (q, k, v))
    if prefix + "attn_q_norm.weight" in weights:
        q, k = norm(q, weights[prefix + "attn_q_norm.weight"]), norm(k, weights[prefix + "attn_k_norm.weight"])
    base = m.get("keys", {}).get("rope.freq_base", 10000.0)
    rotated = m.get("rotated", size)
    q, k = (np.concatenate([turn(part[..., :rotated], base, m.get("set")), part[..., rotated:]], -1) for part in (q, k))
    heads = [attend(q[:, h] / size**0.5, k[:, h // shares], v[:, h // shares]) for h in range(m["heads"])]
    return (np.concatenate(heads, -1) * gates) @ weights[prefix + "attn_output.weight"].T


def unit(x):
    return x / np.sqrt((x * x).sum(-1, keepdims=True) + 1e-6)


def delta_net(m, weights, prefix, x, states):
    """Gated delta net, row by row; the last state goes to states. Value heads share key heads in groups in qwen3next, and in turns in qwen35."""
    n, d, grouped = len(x), m["delta"], m["arch"] == "qwen3next"
    n_keys, n_values, dim = d["keys"], d["values"], d["dim"]
    shares = n_values // n_keys
    if prefix + "ssm_in.weight" in weights:
        parts = np.split((x @ weights[prefix + "ssm_in.weight"].T).reshape(n, n_keys, -1), [dim, 2 * dim, (2 + shares) * dim], -1)
        whole, z = np.concatenate([part.reshape(n, -1) for part in parts[:3]], -1), parts[3].reshape(n, n_values, dim)
    else:
        whole, z = x @ weights[prefix + "attn_qkv.weight"].T, (x @ weights[prefix + "attn_gate.weight"].T).reshape(n, n_values, dim)
    if prefix + "ssm_ba.weight" in weights:
        beta, alpha = (part.reshape(n, -1) for part in np.split((x @ weights[prefix + "ssm_ba.weight"].T).reshape(n, n_keys, -1), 2, -1))
    else:
        beta, alpha = (x @ weights[f"{prefix}ssm_{part}.weight"].T for part in ("beta", "alpha"))
    taps, padded = weights[prefix + "ssm_conv1d.weight"], np.concatenate([np.zeros((3, whole.shape[1])), whole])
    mixed = silu(sum(padded[i : i + n] * taps[:, i] for i in range(4)))
    q, k, v = (part.reshape(n, -1, dim) for part in np.split(mixed, [n_keys * dim, 2 * n_keys * dim], -1))
    sharing = [head // shares if grouped else head % n_keys for head in range(n_values)]
    q, k = unit(q)[:, sharing] / dim**0.5, unit(k)[:, sharing]
    decay = np.exp(np.logaddexp(0, alpha + weights[prefix + "ssm_dt.bias"]) * weights[prefix + "ssm_a"])
    state, out = np.zeros((n_values, dim, dim)), np.zeros((n, n_values, dim))
    for t in range(n):
        state *= decay[t, :, None, None]
        learned = (v[t] - np.einsum("hk,hkv->hv", k[t], state)) * sigmoid(beta[t])[:, None]
        state += k[t, :, :, None] * learned[:, None, :]
        out[t] = np.einsum("hk,hkv->hv", q[t], state)
    states.append(state)
    return (norm(out, weights[prefix + "ssm_norm.weight"]) * silu(z)).reshape(n, -1) @ weights[prefix + "ssm_out.weight"].T


def network(x, gate, up, down):
    return (silu(x @ gate.T) * (x @ up.T)) @ down.T


def experts(m, weights, prefix, x):
    shares = softmax(x @ weights[prefix + "ffn_gate_inp.weight"].T)
    chosen = np.argsort(-shares, axis=-1, kind="stable")[:, : m["used"]]
    kept = np.zeros_like(shares)
    np.put_along_axis(kept, chosen, np.take_along_axis(shares, chosen, -1), -1)
    if m["arch"] != "qwen2moe":
        kept /= kept.sum(-1, keepdims=True)
    out = np.zeros_like(x)
    for e in range(m["experts"]):
        rows = kept[:, e] > 0
        if prefix + "ffn_gate_up_exps.weight" in weights:
            matrices = *np.split(weights[prefix + "ffn_gate_up_exps.weight"][e], 2), weights[prefix + "ffn_down_exps.weight"][e]
        else:
            matrices = (weights[f"{prefix}ffn_{part}_exps.weight"][e] for part in ("gate", "up", "down"))
        out[rows] += kept[rows, e, None] * network(x[rows], *matrices)
    if "shared" in m:
        share = 1 / (1 + np.exp(-(x @ weights[prefix + "ffn_gate_inp_shexp.weight"])))
        out += share[:, None] * network(x, *(weights[f"{prefix}ffn_{part}_shexp.weight"] for part in ("gate", "up", "down")))
    return out


def layer(m, weights, i, x, states):
    prefix = f"blk.{i}."
    normed = norm(x, weights[prefix + "attn_norm.weight"])
    x = x + (delta_net(m, weights, prefix, normed, states) if models.is_delta_layer(m, i) else attention(m, weights, prefix, normed))
    normed = norm(x, weights[prefix + ("post_attention_norm" if "delta" in m else "ffn_norm") + ".weight"])
    if "experts" in m:
        return x + experts(m, weights, prefix, normed)
    return x + network(normed, *(weights[f"{prefix}ffn_{part}.weight"] for part in ("gate", "up", "down")))


def hidden_states_of(m, weights, n, states):
    """Behind the output norm, [n][hidden] for a prompt of n tokens; states gets those of its delta nets, [head][key][value]."""
    embeddings = weights["token_embd.weight"]
    x = embeddings[list(models.prompt(n).encode())]
    for i in range(m["layers"]):
        x = layer(m, weights, i, x, states)
    return norm(x, weights["output_norm.weight"])


def logits_of(m, weights, n, states=None):
    """[n][VOCAB] for a prompt of n tokens."""
    hidden = hidden_states_of(m, weights, n, [] if states is None else states)
    return hidden @ weights.get("output.weight", weights["token_embd.weight"]).T


def guesses_of(m, weights, n):
    """Logits [n - 2][VOCAB] of the layer that guesses, at positions 1 ... n - 2, and those of position n - 1 behind its own hidden state."""
    prefix, tokens = f"blk.{m['layers']}.", list(models.prompt(n).encode())
    before = hidden_states_of(m, weights, n, [])[: n - 2]
    for _ in range(2):
        embeddings = norm(weights["token_embd.weight"][tokens[1 : len(before) + 1]], weights[prefix + "nextn.enorm.weight"])
        joined = np.concatenate([embeddings, norm(before, weights[prefix + "nextn.hnorm.weight"])], -1) @ weights[prefix + "nextn.eh_proj.weight"].T
        hidden = norm(layer(m, weights, m["layers"], joined, []), weights[prefix + "nextn.shared_head_norm.weight"])
        before = np.concatenate([before, hidden[-1:]])
    logits = hidden @ weights.get("output.weight", weights["token_embd.weight"]).T
    return logits[:-1], logits[-1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="remake these entries, and nothing else")
    a = parser.parse_args()
    golden = read_json("double.json") if a.only else {}
    for name in a.only or [*models.OTHER_MODELS, models.LONG_HYBRID]:
        (m, weights), states = weights_of(name), []
        golden[name] = {str(n): keep(logits_of(m, weights, n, states), n) for n in models.lengths_of(name)}
        if name == models.LONG_HYBRID:
            write_json("states.json", {name: {f"delta net {i}": keep_state(state) for i, state in enumerate(states)}})
        print(name, "done", flush=True)
    write_json("double.json", golden)


if __name__ == "__main__":
    main()
