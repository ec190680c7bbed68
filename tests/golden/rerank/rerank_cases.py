"""Small rerankers and pairs of queries and documents, for comparing scores between engines. What make_golden.py and the tests share."""
import json
import os

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rerank.json")

RANK = 4  # <architecture>.pooling_type
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
# as llama.cpp's converter writes it into tokenizer.chat_template.rerank, and the model cards have it
TEMPLATE = (
    '<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    f"<|im_start|>user\n<Instruct>: {INSTRUCTION}\n<Query>: {{query}}\n<Document>: {{document}}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)


def reranker(labels=("yes", "no"), **options):
    """Options of make_model.cached_model for a file as the converter writes it."""
    keys = {"ARCH.pooling_type": RANK, "ARCH.classifier.output_labels": list(labels), "tokenizer.chat_template.rerank": TEMPLATE}
    return dict(architecture="qwen3", kind="f32", classes=options.pop("classes", "copied"), changes={**keys, **options})


MODELS = {
    # converted with an output matrix that is the embedding
    "rank_classes": reranker(),
    # the other order
    "rank_reversed": reranker(labels=("no", "yes"), classes="reversed"),
    # converted with an output matrix of its own, which is left out (8B)
    "rank_own": reranker(classes="own"),
    # not converted as a reranker: the rows of the tokens
    "rank_tokens": dict(architecture="qwen3", kind="f32"),
    "rank_tokens_q8_0": dict(architecture="qwen3", kind="q8_0"),
}  # fmt: skip
LIKE = {"rank_reversed": "rank_classes", "rank_tokens": "rank_classes", "rank_tokens_q8_0": "rank_classes"}  # the same weights: the same scores
MOST_DIFFERENCE = {"f32": 1e-4, "q8_0": 0.03}

QUERY = "What is the capital of France?"
PAIRS = [
    # (query, document, instruction)
    (QUERY, "Paris is the capital of France.", None),
    (QUERY, "The moon is about 384,400 km away.", None),
    (QUERY, "x", None),
    (QUERY, "  Grüße aus Köln,\n日本語のテキスト — 👍🏽 and\ta tab. ", None),
    (QUERY, " ".join(f"Sentence number {i} of a long text about the weather in town {i * i}." for i in range(40)), None),
    ("q", "Q", None),
    (QUERY, "Paris is the capital of France.", "Find the passage that contradicts the query"),
    ("Wie weit ist der Mond?", "The moon is about 384,400 km away.", "Judge facts\tin any language"),
]


def prompt(query, document, instruction):
    """What the model reads."""
    head, rest = TEMPLATE.split("{query}")
    middle, tail = rest.split("{document}")
    return head.replace(INSTRUCTION, instruction or INSTRUCTION) + query + middle + document + tail


def load():
    with open(GOLDEN, encoding="ascii") as file:
        return json.load(file)
