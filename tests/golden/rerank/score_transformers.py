"""The transformers' half of make_golden.py: FOLDER has the weights, the rows of "yes" and "no", and the tokens of prompts; writes their scores."""
import json
import sys

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3Model

NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "token_embd.weight": "embed_tokens.weight", "output_norm.weight": "norm.weight",
}  # fmt: skip


def name_in_transformers(tensor):
    if tensor in NAMES:
        return NAMES[tensor]
    _, layer, role, kind = tensor.split(".")
    return f"layers.{layer}.{NAMES[role]}.{kind}"


def main():
    folder = sys.argv[1]
    with open(f"{folder}/work.json", encoding="ascii") as file:
        work = json.load(file)
    shape = work["shape"]
    config = Qwen3Config(
        vocab_size=work["vocab"], hidden_size=shape["hidden"], intermediate_size=shape["ffn"], num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"], num_key_value_heads=shape["kv_heads"], head_dim=shape["head_dim"], rms_norm_eps=1e-6,
        max_position_embeddings=4096, rope_parameters={"rope_type": "default", "rope_theta": shape["rope_base"]}, attn_implementation="eager", dtype=torch.float32,
    )  # fmt: skip
    model = Qwen3Model(config).eval()
    with np.load(f"{folder}/weights.npz") as weights:
        state = {name_in_transformers(name): torch.from_numpy(weights[name].copy()) for name in weights.files}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    rows = torch.from_numpy(np.load(f"{folder}/rows.npy"))
    scores = []
    with torch.inference_mode():
        for tokens in work["prompts"]:
            yes, no = rows @ model(torch.tensor([tokens])).last_hidden_state[0, -1]
            scores.append(float(torch.nn.functional.log_softmax(torch.stack([no, yes]).double(), dim=0)[1].exp()))
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
