#!/usr/bin/env python3
"""Remake transformers.json: what Hugging Face's transformers says about the models of models.py, in F32.

  make_transformers.py      where torch and transformers are there: tests/golden/setup.sh makes a folder that has them

The weights are those of models.py under transformers' names; nothing of ours and nothing of GGUF is in between.
"""
import sys

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

sys.dont_write_bytecode = True
import models  # noqa: E402
from rows import keep, write_json  # noqa: E402

NAMES = {
    "token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate", "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj", "ffn_down_shexp": "mlp.shared_expert.down_proj",
}  # fmt: skip
CLASSES = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "qwen2moe": (Qwen2MoeConfig, Qwen2MoeForCausalLM), "qwen3moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM),
}  # fmt: skip


def name_in_transformers(tensor):
    if tensor in NAMES:
        return NAMES[tensor]
    _, layer, role, kind = tensor.split(".")
    if role.endswith("_exps"):
        return tensor  # put_experts_together() finds it
    return f"model.layers.{layer}.{NAMES[role]}.{kind}"


def rope_of(keys):
    """transformers' rope_parameters from GGUF's keys."""
    rope = {"rope_type": keys.get("rope.scaling.type", "default"), "rope_theta": keys.get("rope.freq_base", 10000.0)}
    if rope["rope_type"] != "default":
        rope["factor"] = keys["rope.scaling.factor"]
    if rope["rope_type"] == "yarn":
        rope["original_max_position_embeddings"] = keys["rope.scaling.original_context_length"]
        if "rope.scaling.attn_factor" in keys:
            # GGUF's factor comes on top of YaRN's own, transformers' takes its place
            yarn = 0.1 * torch.log(torch.tensor(rope["factor"], dtype=torch.float64)) + 1
            rope["attention_factor"] = keys["rope.scaling.attn_factor"] * float(yarn)
    return rope


def experts_of(m):
    """What configurations of mixtures have beyond; every layer is one. Qwen3's published ones divide weights by their sum, the class does not by itself."""
    if "experts" not in m:
        return {}
    keys = {"num_experts": m["experts"], "num_experts_per_tok": m["used"], "moe_intermediate_size": m["ffn"], "norm_topk_prob": "shared" not in m}
    return keys | {"decoder_sparse_step": 1, "mlp_only_layers": [], "experts_implementation": "eager"} | (
        {"shared_expert_intermediate_size": m["shared"], "qkv_bias": True} if "shared" in m else {}
    )


def put_experts_together(weights):
    """transformers keeps gate and up of all experts in one tensor."""
    for name in [name for name in weights if "_exps" in name]:
        _, layer, role, _ = name.split(".")
        experts = f"model.layers.{layer}.mlp.experts"
        if role == "ffn_down_exps":
            weights[f"{experts}.down_proj"] = weights.pop(name)
        elif role == "ffn_gate_exps":
            weights[f"{experts}.gate_up_proj"] = torch.cat([weights.pop(name), weights.pop(name.replace("gate", "up"))], dim=1)


def model_of(name):
    m, seed = models.shape_and_seed(name)
    config_class, model_class = CLASSES[m["arch"]]
    config = config_class(
        vocab_size=models.VOCAB, hidden_size=m["hidden"], intermediate_size=m["ffn"], num_hidden_layers=m["layers"], num_attention_heads=m["heads"],
        num_key_value_heads=m["kv_heads"], head_dim=m["head_dim"], rms_norm_eps=1e-6, max_position_embeddings=40960, tie_word_embeddings=m["tied"],
        rope_parameters=rope_of(m.get("keys", {})), attn_implementation="sdpa" if name in models.LONG_MODELS else "eager", dtype=torch.float32,
        **experts_of(m),
    )  # fmt: skip
    model = model_class(config).eval()
    weights = {
        name_in_transformers(tensor): torch.from_numpy(models.random_values(seed, tensor, models.count(dims), scale, shift).reshape(dims[::-1]).copy())
        for tensor, dims, scale, shift in models.tensors_of(m)
    }
    for tensor in weights:
        if tensor.endswith("shared_expert_gate.weight"):
            weights[tensor] = weights[tensor].reshape(1, -1)
    put_experts_together(weights)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= ({"lm_head.weight"} if m["tied"] else set()), f"{name}: {missing} {unexpected}"
    model.tie_weights()
    return model


def main():
    golden = {}
    for name in [*models.MODELS, *models.LONG_MODELS]:
        model, golden[name] = model_of(name), {}
        for n in models.LENGTHS if name in models.MODELS else (models.LONG_LENGTH,):
            with torch.inference_mode():
                logits = model(torch.tensor([list(models.prompt(n).encode())])).logits[0]
            golden[name][str(n)] = keep(logits.double().numpy(), n)
        print(name, "done", flush=True)
    write_json("transformers.json", golden)


if __name__ == "__main__":
    main()
