"""Small models with random weights and the published tokenizers and templates, and servers that serve them.

A script (tests/tools/make_model.py) makes a model say certain words. Those of a model that thinks begin after the "\\n" with
which the template ends its prompt; where the template has closed the thinking already, after its "\\n\\n".
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import make_model  # noqa: E402
from cluster import Cluster, model_directory  # noqa: E402

THOUGHT = "Let me think: Paris, of course."
ANSWER = "The capital is Paris."
CALL_WORDS = "I will look."
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
CALL_SCRIPT = [
    "<tool_call>", '{"', "name", '":"', "get", "_weather", '","', "arguments", '":{"', "city", '"', ':"', "Paris", '"}}',
    "</tool_call>", "<|im_end|>",
]  # fmt: skip

TEMPLATES = os.path.join(make_model.HERE, "..", "golden", "template", "templates")


def template(name):
    """The text of one of tests/golden/template/templates."""
    with open(os.path.join(TEMPLATES, f"{name}.jinja"), encoding="utf-8") as file:
        return file.read()


GUARD = (
    "{{- '<|im_start|>user\n# Task:\n<BEGIN UNSAFE CONTENT CATEGORIES>\nViolent.\nPII.\n<END UNSAFE CONTENT CATEGORIES>\n\n<BEGIN CONVERSATION>\n\n' }}"
    "{%- for m in messages %}{{- ('USER: ' if m.role == 'user' else 'ASSISTANT: ') + m.content + '\n\n' }}{%- endfor %}"
    "{{- '<END CONVERSATION>\n\nSafety, then categories.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n' }}")

# name: options of make_model.cached_model
MODELS = {
    # says anything
    "random": dict(architecture="qwen3"),
    # the same with a short context: what is longer is asked about in parts
    "narrow": dict(architecture="qwen3", changes={"qwen3.context_length": 512}),
    # opens its thinking, then says anything
    "endless": dict(architecture="qwen3", script=["\n", "<think>"]),
    # thinks and answers
    "thinker": dict(architecture="qwen3", script=[
        "\n", "<think>", " \n", "Let", " me", " think", ":", " Paris", ",", " of", " course", ".\n", "</think>",
        "\n\n", "The", " capital", " is", " ", "Paris", ".", "<|im_end|>",
    ]),
    # thinks, and ends its turn before it has answered
    "quitter": dict(architecture="qwen3", script=["\n", "<think>", " \n", "Let", " me", "<|im_end|>"]),
    # its template opens the thinking of every answer
    "always": dict(architecture="qwen3", changes={"tokenizer.chat_template": template("qwq")}, script=[
        "\n", "Let", " me", " think", ":", " Paris", ",", " of", " course", ".\n", "</think>",
        "\n\n", "The", " capital", " is", " ", "Paris", ".", "<|im_end|>",
    ]),
    # its template takes the end of the thinking out of old answers, and leaves its beginning to the model
    "early_distill": dict(architecture="qwen3", changes={"tokenizer.chat_template":
        "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] + '<|im_end|>\n' }}{%- endfor %}"
        "{{- '<|im_start|>assistant\n' }}"}, script=["\n", "<think>", " \n", "Let", " me", "</think>", "\n\n", "The", "<|im_end|>"]),
    # its template knows both tags from old answers, but does not open any thinking
    "instruct": dict(architecture="qwen3", changes={"tokenizer.chat_template": template("instruct2507")}),
    # everything overflows at "!" and behind it
    "overflowing": dict(architecture="qwen3", kind="f16", overflow=["!", " !"]),
    # their template has the task of a moderator, as Qwen3Guard-Gen's; they say that all is unsafe, or safe
    "guard": dict(architecture="qwen3", changes={"tokenizer.chat_template": GUARD}, script=["\n\n", "Safety", ":", " Unsafe", "\n", "Categories"]),
    "mild_guard": dict(architecture="qwen3", changes={"tokenizer.chat_template": GUARD}, script=["\n\n", "Safety", ":", " Safe", "\n", "Categories"]),
    # no template
    "bare": dict(architecture="qwen3", changes={"tokenizer.chat_template": None}),
    # cannot think; calls a tool
    "caller": dict(architecture="qwen2", script=["\n", "I", " will", " look", ".", "\n\n"] + CALL_SCRIPT),
    # says "1" and ends its turn by a token that is not the file's end of text
    "other_end": dict(architecture="qwen2", changes={"tokenizer.ggml.eos_token_id": 151643}, script=["\n", "1", "<|im_end|>"]),
    # thinks, then calls a tool
    "thinking_caller": dict(architecture="qwen3", script=[
        "\n", "<think>", " \n", "I", " will", " look", ".\n", "</think>", "\n\n"] + CALL_SCRIPT),
    # the same from a file whose tags are control tokens
    "control_caller": dict(architecture="qwen3", control=["<think>", "</think>", "<tool_call>", "</tool_call>"], script=[
        "\n", "<think>", " \n", "I", " will", " look", ".\n", "</think>", "\n\n"] + CALL_SCRIPT),
}  # fmt: skip


def model_file(name):
    """The model's file, relative to the cache folder; made on the spot."""
    return "models/" + make_model.cached_model(model_directory(), name, **MODELS[name])


def serving(*names, settings=None):
    """A started server with the extension, whose models are these (the first is the default)."""
    models = ", ".join(f"{name}={model_file(name)}" for name in names)
    cluster = Cluster(settings={"qwen.models": models, "qwen.max_models": len(names), "qwen.kv_cache_size": "64MB", **(settings or {})})
    try:
        cluster.start()
        cluster.query("CREATE EXTENSION qwen_pg")
        for name in names:
            cluster.query("SELECT qwen_count_tokens('x', model => %s)", (name,))
    except BaseException:
        cluster.remove()
        raise
    return cluster
