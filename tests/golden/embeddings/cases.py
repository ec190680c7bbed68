"""Small embedding models and texts, for comparing embeddings between engines. What make_golden.py and the tests share."""
import json
import os

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "embeddings.json")

ENDOFTEXT = 151643  # <|endoftext|> in the vocabularies of Qwen2.5 and Qwen3
LAST, CLS = 3, 2  # <architecture>.pooling_type

# name: options of make_model.cached_model
MODELS = {
    # as Qwen3-Embedding is published now
    "embed_last": dict(architecture="qwen3", kind="f32", changes={
        "ARCH.pooling_type": LAST, "tokenizer.ggml.eos_token_id": ENDOFTEXT, "tokenizer.ggml.add_eos_token": True,
    }),
    # as it was published first: nothing says that a token is to be appended
    "embed_last_early": dict(architecture="qwen3", kind="f32", changes={"ARCH.pooling_type": LAST}),
    # no word about pooling: the mean
    "embed_mean": dict(architecture="qwen2", kind="f32"),
    "embed_cls": dict(architecture="qwen2", kind="f32", changes={"ARCH.pooling_type": CLS}),
    "embed_last_q8_0": dict(architecture="qwen3", kind="q8_0", changes={"ARCH.pooling_type": LAST}),
    "embed_mean_q8_0": dict(architecture="qwen2", kind="q8_0"),
}  # fmt: skip
# what llama.cpp must be told where the file does not say it
PEER_POOLING = {"embed_mean": "mean", "embed_mean_q8_0": "mean"}
PEER_APPENDED = {"embed_last_early": "<|endoftext|>", "embed_last_q8_0": "<|endoftext|>"}

# the least cosine to llama.cpp's embedding, by the type of the matrices
LEAST_COSINE = {"f32": 0.99999, "q8_0": 0.999}

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
TEXTS = [
    # (text, with the instruction)
    ("The capital of France is Paris.", False),
    ("What is the capital of France?", True),
    ("x", False),
    ("  Grüße aus Köln,\n日本語のテキスト — 👍🏽 and\ta tab. ", False),
    (" ".join(f"Sentence number {i} of a long text about the weather in town {i * i}." for i in range(40)), False),
]


def load():
    with open(GOLDEN, encoding="ascii") as file:
        return json.load(file)
