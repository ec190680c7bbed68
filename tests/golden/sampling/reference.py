"""The distribution that a token is drawn from, plainly, and the cases that are tried.

The order is that of Hugging Face's transformers (generation/utils.py: logits processors, then warpers): repetition penalty, temperature, top_k,
top_p, min_p; the presence and frequency penalties, which transformers does not have, come behind the repetition penalty, as in vLLM.
"""
import math
import random

N_VOCAB = 48
OFF = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0, "repetition_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0}
# each alone, some together, those that Qwen recommends, and the extremes
OPTIONS = [
    {}, {"temperature": 0.3}, {"temperature": 0.7}, {"temperature": 2.0}, {"top_k": 1}, {"top_k": 5}, {"top_k": 20}, {"top_k": 47}, {"top_k": 1000},
    {"top_p": 0.0}, {"top_p": 0.1}, {"top_p": 0.5}, {"top_p": 0.9}, {"top_p": 0.99}, {"min_p": 0.01}, {"min_p": 0.1}, {"min_p": 0.5}, {"min_p": 1.0},
    {"repetition_penalty": 1.05}, {"repetition_penalty": 1.3}, {"repetition_penalty": 2.0}, {"repetition_penalty": 0.7},
    {"presence_penalty": 0.5}, {"presence_penalty": 2.0}, {"presence_penalty": -1.0}, {"frequency_penalty": 0.3}, {"frequency_penalty": 2.0},
    {"frequency_penalty": -0.5}, {"presence_penalty": 0.7, "frequency_penalty": 0.4}, {"repetition_penalty": 1.2, "presence_penalty": 0.5},
    {"repetition_penalty": 1.5, "presence_penalty": 1.5, "frequency_penalty": 0.5}, {"temperature": 0.7, "top_p": 0.8, "top_k": 20},
    {"temperature": 0.6, "top_p": 0.95, "top_k": 20}, {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "presence_penalty": 1.5},
    {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}, {"temperature": 1.5, "min_p": 0.1},
    {"temperature": 1.5, "top_p": 0.6, "min_p": 0.05}, {"top_k": 10, "top_p": 0.5}, {"top_k": 3, "min_p": 0.3}, {"temperature": 0.5, "top_p": 0.5},
    {"temperature": 1.3, "top_k": 12, "top_p": 0.85, "min_p": 0.02, "repetition_penalty": 1.15, "presence_penalty": 0.4, "frequency_penalty": 0.2},
]  # fmt: skip


def cases():
    """Logits without equals, tokens before the draw and options; always the same."""
    generator = random.Random(42)
    for i, options in enumerate(OPTIONS):
        logits = [round(5 * (sum(generator.random() for _ in range(4)) - 2), 6) for _ in range(N_VOCAB)]  # about normal
        assert len(set(logits)) == N_VOCAB
        # the likeliest ones among them, or a penalty changes little
        order = sorted(range(N_VOCAB), key=lambda token: -logits[token])
        prompt = [generator.choice(order[:20]) for _ in range(8)]
        answer = [generator.choice(order[:12]) for _ in range(10)]
        yield {"logits": logits, "prompt": prompt, "answer": answer, "seed": 1000 + i, **options}


def probabilities(case):
    """[N_VOCAB]"""
    option = {**OFF, **{name: case[name] for name in OFF if name in case}}
    scores = list(case["logits"])
    for token in set(case["prompt"] + case["answer"]):
        scores[token] = scores[token] * option["repetition_penalty"] if scores[token] < 0 else scores[token] / option["repetition_penalty"]
    for token in set(case["answer"]):
        scores[token] -= option["presence_penalty"] + option["frequency_penalty"] * case["answer"].count(token)
    best = max(scores)
    weights = [math.exp((score - best) / option["temperature"]) for score in scores]
    kept = sorted(range(len(scores)), key=lambda token: -scores[token])
    if option["top_k"] > 0:
        kept = kept[: option["top_k"]]
    if option["top_p"] < 1:
        total, reached, n = sum(weights[token] for token in kept), 0.0, 0
        while n == 0 or (n < len(kept) and reached < option["top_p"] * total):
            reached += weights[kept[n]]
            n += 1
        kept = kept[:n]
    kept = [token for token in kept if weights[token] >= option["min_p"] * weights[kept[0]]]
    total = sum(weights[token] for token in kept)
    return [weights[token] / total if token in kept else 0.0 for token in range(len(scores))]
