#!/usr/bin/env python3
"""Make the kept inputs of the fuzz targets (tests/fuzz/corpus) anew. Needs nothing but Python. Inputs that once broke something are
kept beside them and are not made here."""
import math
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def save(target, name, data):
    os.makedirs(os.path.join(HERE, target), exist_ok=True)
    with open(os.path.join(HERE, target, name), "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())


# ---- protocol: the layouts of src/protocol/encode.c --------------------------------------------------------------------
def span(text):
    return struct.pack("<I", 0xFFFFFFFF) if text is None else struct.pack("<I", len(text.encode())) + text.encode()


def request(kind, flags=0, model=None, adapter=None, text=None, messages=None, tools=None, instruction=None, query=None, suffix=None, candidates=None, tokens=(), dimensions=0,
            chunk=(0, 0), stops=(), given=0, thinking=0, shared=None, form=None, choice=0, name=None):
    body = struct.pack("<BII", kind, flags | (4 if form or tools else 0), 10) + b"".join(span(s) for s in (model, adapter, text, messages, tools, instruction, query, suffix, candidates))
    body += struct.pack(f"<I{len(tokens)}i", len(tokens), *tokens) + struct.pack("<IIII", dimensions, *chunk, len(stops))
    body += b"".join(span(s) for s in stops)
    body += struct.pack("<IidddidddqBid", given, 50, 0.7, 0.9, 0.05, 20, 1.1, 0.5, 0.5, 42, thinking, 100, 0.5)
    return body + struct.pack("<iB", 0, 1) + span(shared) + span(form) + bytes([choice]) + span(name)


def frame(kind, body, number=7):
    return struct.pack("<IIHHI", len(body), number, kind, 2, 0) + body


def protocol():
    messages = '[{"role":"user","content":"Hi"}]'
    requests = {
        "chat": request(1, 1, "chat", "legal", messages=messages, tools="[]", stops=("END", "\n"), given=0xFFF, thinking=1, shared="[]"),
        "call": request(1, messages=messages, tools='[{"name":"f"}]', choice=4, name="f"),
        "generate": request(2, text="Once upon"),
        "fill_in": request(2, text="Once upon", suffix=", he was king."),
        "form": request(2, text="Once upon", form='{"type":"json_object"}'),
        "check_format": request(12, text="{}"),
        "embed": request(3, text="é", instruction="find", dimensions=8),
        "detokenize": request(5, tokens=(1, 2, -3)),
        "score": request(9, messages=messages, candidates='["a","b"]'),
        "chunk": request(10, text="One. Two.", chunk=(32, 4)),
        "rerank": request(11, text="A document.", query="What?", instruction="find"),
    }
    for name, body in requests.items():
        save("protocol", f"request_{name}", b"\x02" + body)
    save("protocol", "stream_client", b"\x00" + frame(1, requests["generate"]) + frame(2, struct.pack("<I", 3)) + frame(3, b"", 8))
    done = struct.pack("<BIIIQQQIIQ", 2, 5, 3, 9, 1, 2, 3, 8, 4, 6) + span("chat") + span("text") + span("thought") + span("[]") + span("[]")
    piece, error = b"\x01" + span("pièce"), struct.pack("<H", 1) + span("wrong") + span(None) + span("hint")
    accepted = struct.pack("<II", 5, 100)
    save("protocol", "stream_engine", b"\x01" + frame(16, accepted) + frame(17, piece) + frame(18, done))
    bodies = {"go": b"\x03" + struct.pack("<I", 9), "accepted": b"\x04" + accepted, "piece": b"\x05" + piece, "done": b"\x06" + done}
    bodies["result_tokens"] = b"\x07" + struct.pack("<BIII3i", 1, 0, 0, 3, 1, 2, 3)
    bodies["result_text"] = b"\x07" + struct.pack("<BIII", 2, 0, 0, 0) + span("text")
    bodies["result_logprobs"] = b"\x07" + struct.pack("<BIIIifii", 5, 1, 0, 1, 7, -0.5, 1, 2) + span("ab")
    bodies["error"] = b"\x08" + error
    for name, body in bodies.items():
        save("protocol", name, body)


# ---- text --------------------------------------------------------------------------------------------------------------
def small_texts():
    save("configured_models", "two", "chat=a.gguf, embed = sub/b c.gguf ,,")
    save("configured_models", "twice", "a=b,a=c")
    stretched = "context=131072, rope_scaling=yarn, rope_factor=4, rope_original_context=32768"
    save("configured_models", "settings", "chat=a.gguf {%s}, b=c {kv_cache_type=q8_0, huge_pages=off,threads=2}" % stretched)
    save("configured_models", "settings_alone", "a=b{rope_scaling=none,context=64},c=d { }")
    save("stop_matcher", "three", b"\x03\x01\n\n\x02END\x05ENDING\x02one\ntwo\n\nthree ENDING")
    save("stop_matcher", "self_similar", b"\x01\x03aaab\x00aaaaaaabaa")
    for name, text in (("object", '{"type":"object","properties":{"a":{"type":"integer","minimum":3},"b":{"enum":["x",1]}},"required":["a"],"additionalProperties":false}'),
                       ("alternatives", '{"oneOf":[{"type":"string","pattern":"^a+(?!b)$"},{"not":{"multipleOf":2.5}},{"$ref":"#/$defs/x"}],"$defs":{"x":{"minItems":1}}}'),
                       ("members", '{"if":{"properties":{"k":{"const":1}}},"then":{"required":["z"]},"patternProperties":{"^x":{}},"propertyNames":{"maxLength":4},"unevaluatedProperties":false}'),
                       ("regex", '{"type":"regex","pattern":"[a-c]{2,4}\\\\d|(?:x|\\u00e9)*"}'), ("choice", '{"type":"choice","choices":["foo","foobar"]}'),
                       ("copy", '{"type":"copy","text":"e\\u0301 \\ue002 z","kinds":["a","ab"],"open":"\\ue000","close":"\\ue001"}')):
        save("format", name, b"\x07" + text.encode())
    tools = '[{"name":"f","parameters":{"properties":{"a":{"type":["string","integer"]},"b":{"enum":["x",null]}},"required":["a"]}},{"function":{"name":"g"}}]'
    for name, how in (("calls_json", b"\x61"), ("calls_tags", b"\xe0"), ("calls_lenient", b"\xd5")):
        save("format", name, how + tools.encode())
    for name, text in (("classes", "^[^a-z\\d]\\w+\\s?$|\\p{Lu}{2,3}"), ("ahead", "^(?!x)(?=..b)[a-z]+(?:$|q)"), ("counts", "(a{2}|b{1,}?){0,3}\\x41\\u{1f600}")):
        save("pattern", name, text)
    # bytes choose keywords by their place in fuzz_schema.c
    save("schema", "members", bytes((9, 0, 4, 2, 2, 0, 1, 0, 0, 2, 1, 1, 0, 5, 3, 1, 0, 4, 0, 9, 1, 1, 0, 1)))
    save("schema", "strings", bytes((5, 1, 30, 4, 3, 0, 0, 30, 2, 28, 1, 29, 4)))
    save("schema", "alternatives", bytes((77, 0, 2, 33, 2, 1, 0, 0, 1, 0, 1, 1, 22, 3, 35, 1, 21, 2, 6)))
    save("schema", "names", bytes((3, 0, 4, 0, 5, 6, 1, 30, 2, 7, 3, 4, 1, 0, 4, 5, 1, 5, 1, 0, 2)))
    save("detokenizer", "cut", b"\x02caf\xc3\xa9 \xf0\x9f\x91\x8d\xe2\x82")
    save("detokenizer", "ill_formed", b"\x00\xf0\x80\x80\xed\xa0\x80\xff\xc0\xafA\xe2\x28\xa1")


    save("tokenizer", "words", b"\x20\x04\x00\x0cHello wor. It's <|im_end|> 12 aaaa\r\n\n  caf\xc3\xa9<thi")
    save("tokenizer", "compose", b"\x10\x00\x00\xffe\xcc\x81<thi\xe1\x84\x80\xe1\x85\xa1\xf0\x9f\x98\x80\xc2\xa0x")
    save("answer", "thinks", b"\x02\xffEND\x00<think>\nHm.\n</think>\n\nIt is so. END more")
    save("answer", "budget", b"\x01\x03\x000123456789</think>x")
    save("answer", "calls", b'\x06\xff\x00a <tool_call>{"name":"f","arguments":{"x":1}}</tool_call> b')
    call = '<tool_call>\n{"name": "f", "arguments": {"a": 0.1, "b": [1, "x"]}}\n</tool_call>'
    coder = "<tool_call><function=f><parameter=n>\n12\n</parameter><parameter=s>x</parameter></function></tool_call>"
    schema = '[{"type":"function","function":{"name":"f","parameters":{"properties":{"n":{"type":"integer"}}}}}]'
    typed = ('[{"name":"f","parameters":{"$defs":{"D":{"enum":[1,2]}},"properties":{"n":{"type":"integer"},"s":{"type":"string"},'
             '"u":{"anyOf":[{"type":"integer"},{"type":"null"}]},"a":{"items":{"type":"number"}},"r":{"$ref":"#/$defs/D"}}}}]')  # fmt: skip
    save("tool_calls", "json", f"\0so {call}{call} and")
    save("tool_calls", "coder", f"{schema}\0{coder} then <tool_call>no</tool_call>")
    save("tool_calls", "text_arguments", '\0<tool_call>{"name":"f","arguments":"{\\"a\\":null}"}')
    broken = """<tool_call>{'name': 'f', 'parameters': {"n": "5", 's': "a </tool_call> b", "u": None, "a": ["1", 2.50,],}\n{"name":"f","arguments":{"n":[1"""
    save("tool_calls", "broken_json", f"{typed}\0{broken}")
    inner = "<tool_call>\n<function=g>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>"
    last = "<function=f>{\"r\": \"2\"}</function></tool_call> "
    save("tool_calls", "broken_tags", f"{typed}\0<function=f>\n<parameter=n>\n5\n<parameter=s>\n{inner}\n</parameter>\n<parameter=a>\n['1']\n</function>\n{last}")
    cut = "<function=f>\n<parameter=n>\n5\n</parameter>\n</function>\n<function=f>\n<parameter=s>\nhi\n</para"
    save("tool_calls", "cut", f"{typed}\0so <tool_call>\n{cut} ")


# ---- templates ---------------------------------------------------------------------------------------------------------
MESSAGES = '[{"role":"system","content":"Be <|im_end|> brief."},{"role":"user","content":"Hi é"},{"role":"assistant","content":"<think>x</think>y"}]'
TOOLS = '[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"a":{"type":"string"}}}}}]'
CALLS = """[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":null,
"tool_calls":[{"type":"function","function":{"name":"f","arguments":{"a":[1,2.5,true,null,"x"]}}}]},{"role":"tool","content":"{}"}]"""
BEGUN = '[{"role":"developer","content":"x"},{"role":"user","content":"Hi"},{"role":"assistant","content":"<think>a\x7f"}]'
TEXT_ARGUMENTS = """[{"role":"user","content":"a"},{"role":"assistant","thinking":"t","tool_calls":[{"id":"1","function":{"name":"f",
"arguments":"{\\"a\\":[1e400,12345678901234567890,0.1234567890123456789]}"}},{"name":"g","arguments":""}]},{"role":"tool","content":"1","name":"f"}]"""
CHATML = (
    "{%- if tools %}{{- '# Tools' }}{% for tool in tools %}{{ tool | tojson(indent=2) }}{% endfor %}{% endif -%}"
    "{% for m in messages if m.content is string %}{{'<|im_start|>' + m['role'] + '\\n' + m.content.split('</think>')[-1].strip() + '<|im_end|>\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n{% endif %}{% endif %}"
)
OTHERS = (
    "{% macro f(x, y=2) -%}{{ x ~ y }}{%- endmacro %}{% set ns = namespace(n=0, l=[1, 2]) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}"
    "{{ f(loop.index, y=loop.last) }}{% endfor %}{{ ns.n // 2 % 3 }}{{ messages[::-1][0].role | upper }}{{ [3,1,2] | sort | join(',') }}"
    "{{ 'x' if ns.n > 1 else raise_exception('no') }}{% filter trim %} a {% endfilter %}{# c #}{{ {'a': 1}.items() | list }}"
)


def templates():
    save("template", "chatml", f"\x04{CHATML}\0{MESSAGES}\0{TOOLS}")
    save("template", "constructs", f"\x00{OTHERS}")
    for i, name in enumerate(("coder", "distill", "instruct2507", "qwq", "default")):
        save("messages", name, bytes([32 | i]) + f"{MESSAGES if i % 2 else CALLS}\0{TOOLS}".encode())
    # bit 5: with a generation prompt; i + 5: the same template, thinking
    save("messages", "begun", bytes([32 | 2]) + f"{BEGUN}\0".encode())
    save("messages", "begun_thinking", bytes([32 | 8]) + BEGUN.replace("content", "reasoning_content").encode() + b"\0")
    save("messages", "begun_alone", bytes([32 | 4]) + b'[{"role":"assistant","content":"The\x7f answer \\n"}]\0')
    save("messages", "text_arguments", bytes([32 | 2]) + f"{TEXT_ARGUMENTS}\0".encode())


# ---- models: heads of GGUF files ---------------------------------------------------------------------------------------
def string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def entry(key, kind, value):
    return string(key) + struct.pack("<I", kind) + value


def array(key, kind, values):
    packed = b"".join(string(v) for v in values) if kind == 8 else struct.pack(f"<{len(values)}i", *values)
    return entry(key, 9, struct.pack("<IQ", kind, len(values)) + packed)


def alphabet():
    """The 256 bytes as GPT-2 spells them."""
    prints = [33 <= b <= 126 or 161 <= b <= 172 or b >= 174 for b in range(256)]
    spare = iter(range(256, 512))
    return [chr(b) if prints[b] else chr(next(spare)) for b in range(256)]


def head(architecture, entries, tensors):
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries)
    at = 0
    for name, dims, kind, n_bytes in tensors:
        out += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, at)
        at += (n_bytes + 31) // 32 * 32
    return out


def model(architecture, kind, block, block_bytes, size=32, template=None, merged=False, head_dim=16):
    number = lambda key, value: entry(f"{architecture}.{key}", 4, struct.pack("<I", value))
    added, merges = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "[PAD]"], ["h e", "l l", "he ll"]
    tokens = alphabet() + ["he", "ll", "hell"] + added
    entries = [entry("general.architecture", 8, string(architecture)), number("block_count", 1), number("context_length", 128)]
    entries += [number("embedding_length", size), number("feed_forward_length", 2 * size if architecture == "qwen" else size), number("attention.head_count", 2)]
    entries += [number("attention.head_count_kv", 1), number("attention.key_length", head_dim), number("attention.value_length", head_dim)]
    entries += [entry(f"{architecture}.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-6))]
    entries += [entry(f"{architecture}.rope.scaling.type", 8, string("yarn")), entry(f"{architecture}.rope.scaling.factor", 6, struct.pack("<f", 4))]
    entries += [entry("tokenizer.ggml.model", 8, string("gpt2")), entry("tokenizer.ggml.pre", 8, string("qwen2"))]
    entries += [array("tokenizer.ggml.tokens", 8, tokens), array("tokenizer.ggml.token_type", 5, [1] * 259 + [3, 3, 3, 5])]
    entries += [array("tokenizer.ggml.merges", 8, merges), entry("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 261))]
    experts = architecture.endswith("moe")
    if "vl" in architecture:
        entries.append(array(f"{architecture}.rope.dimension_sections", 5, [3, 3, 2, 0]))
    if experts:
        entries += [number("expert_count", 4), number("expert_used_count", 2), number("expert_feed_forward_length", size)]
    if template:
        entries.append(entry("tokenizer.chat_template", 8, string(template)))
    tensors = []

    def matrix(name, columns, rows):
        tensors.append((name, (columns, rows), kind, columns // block * block_bytes * rows))

    def vector(name, n):
        tensors.append((name, (n,), 0, n * 4))

    matrix("token_embd.weight", size, len(tokens))
    vector("output_norm.weight", size)
    if architecture == "qwen":
        matrix("blk.0.attn_qkv.weight", size, 64)
        vector("blk.0.attn_qkv.bias", 64)
    for part, rows in (("q", 2 * head_dim), ("k", head_dim), ("v", head_dim)) if architecture != "qwen" else ():
        matrix(f"blk.0.attn_{part}.weight", size, rows)
        if architecture.startswith("qwen2"):
            vector(f"blk.0.attn_{part}.bias", rows)
        elif part != "v":
            vector(f"blk.0.attn_{part}_norm.weight", head_dim)
    matrix("blk.0.attn_output.weight", 2 * head_dim, size)
    for part in ("gate_up", "down") if merged else ("gate", "up", "down"):
        if experts:
            rows = 2 * size if part == "gate_up" else size
            tensors.append((f"blk.0.ffn_{part}_exps.weight", (size, rows, 4), kind, size // block * block_bytes * rows * 4))
        if not experts or architecture == "qwen2moe":
            matrix(f"blk.0.ffn_{part}{'_shexp' if experts else ''}.weight", size, size)
    if experts:
        tensors.append(("blk.0.ffn_gate_inp.weight", (size, 4), 0, size * 4 * 4))
    if architecture == "qwen2moe":
        vector("blk.0.ffn_gate_inp_shexp.weight", size)
    if architecture in ("qwen", "qwen2moe"):
        matrix("output.weight", size, len(tokens))
    for part in ("attn", "ffn"):
        vector(f"blk.0.{part}_norm.weight", size)
    if architecture == "qwen35":
        entries[1] = number("block_count", 2)
        sizes = {"conv_kernel": 4, "state_size": 32, "group_count": 1, "time_step_rank": 2, "inner_size": 64}
        entries += [number(f"ssm.{key}", value) for key, value in sizes.items()]
        entries += [number("full_attention_interval", 2), number("rope.dimension_count", head_dim // 2)]
        tensors = with_delta_net(tensors, kind, block, block_bytes, size)
    return head(architecture, entries, tensors)


def with_delta_net(tensors, kind, block, block_bytes, size):
    """The tensors of a layer, as the second one of a hybrid, and before it one with a delta net of one key head and two value heads of 32 elements."""
    name_of = lambda name, layer: name.replace("blk.0.", f"blk.{layer}.").replace("ffn_norm", "post_attention_norm")  # noqa: E731
    both = [(name_of(name, 1), *rest) for name, *rest in tensors]
    both += [(name_of(name, 0), *rest) for name, *rest in tensors if name.startswith(("blk.0.ffn", "blk.0.attn_norm"))]
    for i, (name, dims, kind_, n_bytes) in enumerate(both):
        if name == "blk.1.attn_q.weight":
            both[i] = (name, (dims[0], 2 * dims[1]), kind_, 2 * n_bytes)
    for name, columns, rows in (("attn_qkv", size, 128), ("attn_gate", size, 64), ("ssm_beta", size, 2), ("ssm_alpha", size, 2), ("ssm_out", 64, size)):
        both.append((f"blk.0.{name}.weight", (columns, rows), kind, columns // block * block_bytes * rows))
    both.append(("blk.0.ssm_conv1d.weight", (4, 128), 0, 4 * 128 * 4))
    return both + [(f"blk.0.{name}", (n,), 0, n * 4) for name, n in (("ssm_dt.bias", 2), ("ssm_a", 2), ("ssm_norm.weight", 32))]


def models():
    save("gguf", "empty", head("", [], []))
    scalars = [entry(f"k{kind}", kind, bytes(size)) for kind, size in enumerate((1, 1, 2, 2, 4, 4, 4, 1)) if size]
    scalars += [array("a", 5, [1, 2]), array("s", 8, ["x", ""]), entry("general.alignment", 4, struct.pack("<I", 64)), entry("d", 12, bytes(8))]
    save("gguf", "scalars", head("", scalars, [("t", (32, 2), 8, 68), ("v", (3,), 0, 12)]))
    save("gguf", "qwen3", model("qwen3", 8, 32, 34))
    save("loader", "qwen2_f16", model("qwen2", 1, 1, 2, template="{{ messages[0].content }}"))
    save("loader", "qwen3_q8_0", model("qwen3", 8, 32, 34))
    save("loader", "qwen2_q5_1", model("qwen2", 7, 32, 24))
    save("loader", "qwen2moe_q8_0", model("qwen2moe", 8, 32, 34))
    save("loader", "qwen3moe_q4_0", model("qwen3moe", 2, 32, 18))
    save("loader", "qwen_q8_0", model("qwen", 8, 32, 34))
    save("loader", "qwen2vl_f16", model("qwen2vl", 1, 1, 2))
    save("loader", "qwen3vlmoe_merged_q8_0", model("qwen3vlmoe", 8, 32, 34, merged=True))
    save("loader", "qwen35_q8_0", model("qwen35", 8, 32, 34))
    save("loader", "qwen3moe_mxfp4", model("qwen3moe", 39, 32, 17))
    for name, kind, n_bytes in (("iq2_xxs", 16, 66), ("iq2_xs", 17, 74), ("iq2_s", 22, 82), ("iq3_xxs", 18, 98), ("iq3_s", 21, 110)):
        save("loader", f"qwen2moe_{name}", model("qwen2moe", kind, 256, n_bytes, size=256, head_dim=128))


# ---- adapters: a byte for the model of fuzz_adapter.c, one for the scale, then the head of a file ------------------------
def adapter(architecture, pairs, kind=1, n_bytes=2, alpha=8.0, more=()):
    """pairs: (name of the model's tensor, dimensions of A, dimensions of B)"""
    entries = [entry("general.type", 8, string("adapter")), entry("general.architecture", 8, string(architecture)), entry("adapter.type", 8, string("lora"))]
    entries += [entry("adapter.lora.alpha", 6, struct.pack("<f", alpha)), *more]
    tensors = [(f"{name}.lora_{which}", dims, kind, math.prod(dims) * n_bytes) for name, *both in pairs for which, dims in zip("ab", both)]
    return head(architecture, entries, tensors)


def pair(name, n_in, n_out, rank=2, experts=()):
    if name == "token_embd.weight":
        return name, (rank, n_out), (rank, n_in)
    return name, (n_in, rank, *experts), (rank, n_out, *experts)


def adapters():
    """The models are 32 wide, with heads of 16 and, where there are experts, 4 of them."""
    tokens, experts = 263, (4,)
    dense = [pair("token_embd.weight", 32, tokens), pair("blk.0.attn_q.weight", 32, 32), pair("blk.0.attn_k.weight", 32, 16, 3), pair("blk.0.attn_output.weight", 32, 32), pair("blk.0.ffn_down.weight", 32, 32, 1)]
    save("adapter", "dense", b"\x00\x20" + adapter("qwen3", dense))
    save("adapter", "numbers", b"\x00\x7f" + adapter("qwen3", dense[1:3], 0, 4, 1e6) + b"\x7f")
    save("adapter", "norm", b"\x00\x10" + adapter("qwen3", dense[1:2], 30, 2)[:-1] + b"\x00")
    fused = [pair("blk.0.attn_qkv.weight", 32, 64, 2), pair("output.weight", 32, tokens, 1), pair("blk.0.ffn_gate.weight", 32, 32)]
    save("adapter", "fused", b"\x01\xf0" + adapter("qwen", fused, 0, 4))
    parts = [pair(f"blk.0.ffn_{part}_exps.weight", 32, 32, 2, experts) for part in ("gate", "up", "down")]
    mixture = [*parts, pair("blk.0.ffn_gate_inp.weight", 32, 4), pair("blk.0.ffn_up_shexp.weight", 32, 32), pair("blk.0.ffn_gate_inp_shexp.weight", 32, 1), pair("output.weight", 32, tokens)]
    save("adapter", "mixture", b"\x02\x20" + adapter("qwen2moe", mixture))
    save("adapter", "merged", b"\x03\x20" + adapter("qwen3vlmoe", [pair("blk.0.ffn_gate_up_exps.weight", 32, 64, 2, experts), parts[2]]))
    delta = [pair("blk.0.attn_qkv.weight", 32, 128), pair("blk.0.attn_gate.weight", 32, 64), pair("blk.0.ssm_beta.weight", 32, 2), pair("blk.0.ssm_out.weight", 64, 32), pair("blk.1.attn_q.weight", 32, 64)]
    save("adapter", "hybrid", b"\x04\x20" + adapter("qwen35", delta))
    # what lies: another number of experts, ranks that do not fit, a rank of none, one of a vector, one beyond all memory
    save("adapter", "experts", b"\x02\x20" + adapter("qwen2moe", [pair("blk.0.ffn_up_exps.weight", 32, 32, 2, (5,))]))
    save("adapter", "ranks", b"\x00\x20" + adapter("qwen3", [("blk.0.attn_q.weight", (32, 2), (3, 32))]))
    save("adapter", "no_rank", b"\x00\x20" + adapter("qwen3", [pair("blk.0.attn_q.weight", 32, 32, 0)]))
    save("adapter", "vector", b"\x00\x20" + adapter("qwen3", [pair("blk.0.attn_q_norm.weight", 16, 1)]))
    save("adapter", "large", b"\x00\x20" + adapter("qwen3", [pair("blk.0.attn_q.weight", 32, 32, 1 << 40)]))
    activated = array("adapter.alora.invocation_tokens", 5, [1, 2])
    save("adapter", "activated", b"\x00\x20" + adapter("qwen3", dense, more=[activated]))


def main():
    protocol()
    small_texts()
    templates()
    models()
    adapters()


if __name__ == "__main__":
    main()
