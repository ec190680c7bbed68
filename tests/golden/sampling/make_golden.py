#!/usr/bin/env python3
"""Remake sampling.json: the distributions that Hugging Face's transformers makes of the cases of reference.py.

  make_golden.py      where torch and transformers are there: tests/golden/setup.sh makes a folder that has them
"""
import json
import os
import sys

import torch
from transformers.generation.logits_process import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

sys.dont_write_bytecode = True
import reference  # noqa: E402


class AnswerPenalties(LogitsProcessor):
    """Presence and frequency penalties, which transformers does not have, as vLLM's apply_penalties computes them."""

    def __init__(self, presence, frequency, n_prompt):
        self.presence, self.frequency, self.n_prompt = presence, frequency, n_prompt

    def __call__(self, input_ids, scores):
        counts = torch.zeros_like(scores).scatter_add_(1, input_ids[:, self.n_prompt :], torch.ones_like(input_ids[:, self.n_prompt :], dtype=scores.dtype))
        return scores - self.frequency * counts - self.presence * (counts > 0)


def distribution(case):
    option = {**reference.OFF, **{name: case[name] for name in reference.OFF if name in case}}
    steps = LogitsProcessorList()
    if option["repetition_penalty"] != 1:
        steps.append(RepetitionPenaltyLogitsProcessor(penalty=option["repetition_penalty"]))
    if option["presence_penalty"] or option["frequency_penalty"]:
        steps.append(AnswerPenalties(option["presence_penalty"], option["frequency_penalty"], len(case["prompt"])))
    if option["temperature"] != 1:
        steps.append(TemperatureLogitsWarper(float(option["temperature"])))
    if option["top_k"] > 0:
        steps.append(TopKLogitsWarper(top_k=option["top_k"]))
    if option["top_p"] < 1:
        steps.append(TopPLogitsWarper(top_p=float(option["top_p"])))
    if option["min_p"] > 0:
        steps.append(MinPLogitsWarper(min_p=float(option["min_p"])))
    ids = torch.tensor([case["prompt"] + case["answer"]])
    scores = steps(ids, torch.tensor([case["logits"]], dtype=torch.float64))
    return [round(p, 9) for p in torch.softmax(scores, dim=-1)[0].tolist()]


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sampling.json")
    with open(path, "w", encoding="ascii") as file:
        file.write("[\n" + ",\n".join(json.dumps(distribution(case)) for case in reference.cases()) + "\n]\n")


if __name__ == "__main__":
    main()
