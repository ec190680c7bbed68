#!/usr/bin/env python3
"""Make qwen3.json: strings that are hard to tokenize, with the tokens of Hugging Face's tokenizers.

Run by hand where PyPI's `tokenizers` is installed (made with 0.23.3):  make_golden.py --cache FOLDER
Each entry has the text, its tokens as ordinary text ("plain") and, where they differ, with added tokens ("added").
"""

import argparse
import json
import random

import tokenizers

import vocabulary

FIXED = [
    "",
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    " \n",
    "\n ",
    "  \n\n  \n x",
    "\r",
    "\u00a0\u3000 \u2009",
    "\u180e \u180e",
    "\u0085x\u0085",
    "\u200b\u200d\ufeff",
    "Hello, world!",
    "I'm you're he's we've they'll I'd don't",
    "I'M YOU'RE HE'S WE'VE THEY'LL I'D DON'T",
    "'\u017f '\u017fx 'K\u212a",
    "''s '''re 'sss",
    "0123456789 3.14 1,000,000 x2 2x",
    "\u0661\u0662\u0663 \u2167 \u00bd \u2460 \uff11\uff12",
    "naïve café — “quotes” … ‘x’",
    "e\u0301 a\u0323\u0302 a\u0302\u0323 \u1ea5 \u212b \u2126 \u0958",
    "\u1100\u1161\u11a8 \u1100\u1161 \uac00\u11a8",
    "\u0301\u0301 x\u0345\u0327\u0301",
    "x\u0345\u0d3c x\u0345\u09fe \U00011935\U00011930 \U000105d2\u0307",
    "\U00031350\U00031351 \U0002ebf0 \u1c89\u1c8a \U00010d4a",
    "日本語のテキスト、全角　スペース。",
    "中文：你好，世界！今天天气怎么样？",
    "한국어 텍스트입니다. 안녕하세요?",
    "Русский текст, ещё «кавычки».",
    "Ελληνικά κείμενα · ερώτηση;",
    "النص العربي مع التشكيل: مُحَمَّد",
    "עִבְרִית עם ניקוד",
    "हिन्दी में लिखा हुआ पाठ। क्ष्म",
    "ภาษาไทยไม่มีช่องว่าง น้ำ",
    "Tiếng Việt có nhiều dấu: ngữ nghĩa",
    "தமிழ் ಕನ್ನಡ മലയാളം తెలుగు ગુજરાતી",
    "ქართული Հայերեն አማርኛ ᏣᎳᎩ",
    "👩‍👩‍👧‍👦 🇩🇪🇯🇵 👍🏽 ☺️ 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "for (int i = 0; i < n; i++)\n{\n\tsum += a[i];\n}\n",
    "def f(x):\n    return {'a': x ** 2, \"b\": [1, 2]}\n\n\n# end\r\n",
    "SELECT * FROM t WHERE a='x''y' AND b<>1;--c",
    "<div class=\"a\">&nbsp;</div>\n\n<!-- -->",
    "https://example.org/a/b?c=d&e=%20f#g",
    "a\x00b\x01\x13\x7f",
    "_____ ----- ===== ..... !!!!! ~~~~~",
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "<|im_end|><|im_end|> <|endoftext|>",
    "<<|im_end|>> <|im_<|im_end|>",
    "<|im_end| <|im_end >",
    "<think>x</think ></think>",
    "<|im_end|>\u0338 e<think>\u0301",
    "  <tool_call>  {\"name\": 1}  </tool_call>  ",
    "[PAD151669] [UNK] <unk> </s>",
    "pneumonoultramicroscopicsilicovolcanoconiosis",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" * 4,
    "a" * 300,
    " " * 300 + "x",
    "\n" * 40 + " " * 40 + "\n",
    "!" * 200,
]

SCRIPTS = [
    (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE00), (0xE00, 0x1000),
    (0x1000, 0x1200), (0x1E00, 0x2000), (0x2000, 0x2100), (0x2100, 0x2800), (0x3000, 0x3400), (0x4E00, 0xA000),
    (0xAC00, 0xD7A4), (0xF900, 0x10000), (0x10000, 0x12000), (0x1D000, 0x1D800), (0x1F000, 0x1FB00),
]  # fmt: skip

PIECES = [
    " ", "  ", "\n", "\r\n", "\t", "\u3000", "'s", "'T", "'ll", "1", "42", " the", "word", " Word", ".", "...", " (",
    "é", "e\u0301", "\u0301", "日本", "한", "ไทย", "हि", "👍🏽", "<|im_end|>", "<think>", "<|im_", "_", "\u200d", "\x00",
]  # fmt: skip


def make_strings():
    """The fixed strings, and random ones of a few kinds (always the same)."""
    generator = random.Random(20240601)
    strings = list(FIXED)
    for script in SCRIPTS:
        for length in (3, 12, 30):
            strings.append("".join(chr(generator.randrange(*script)) for _ in range(length)))
    for _ in range(120):
        strings.append("".join(generator.choice(PIECES) for _ in range(generator.randrange(2, 25))))
    for _ in range(40):
        strings.append("".join(chr(generator.randrange(*generator.choice(SCRIPTS))) for _ in range(12)))
    for _ in range(20):
        code_points = (generator.randrange(0x110000) for _ in range(12))
        strings.append("".join(chr(c) for c in code_points if not 0xD800 <= c < 0xE000))
    return strings


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", required=True, help="folder that keeps the fetched tokenizer.json")
    arguments = parser.parse_args()
    path = vocabulary.fetch("qwen3", arguments.cache)
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    with_added = tokenizers.Tokenizer.from_str(json.dumps(content))
    content["added_tokens"] = []
    plain = tokenizers.Tokenizer.from_str(json.dumps(content))

    lines = []
    for text in make_strings():
        entry = {"text": text, "plain": plain.encode(text, add_special_tokens=False).ids}
        added = with_added.encode(text, add_special_tokens=False).ids
        if added != entry["plain"]:
            entry["added"] = added
        lines.append(json.dumps(entry, separators=(",", ":")))
    head = {
        "package": vocabulary.package("qwen3"),
        "tokenizers": tokenizers.__version__,
        "made_by": "tests/golden/tokenizer/make_golden.py",
    }
    with open(vocabulary.GOLDEN, "w", encoding="ascii", newline="\n") as file:
        file.write(json.dumps(head)[:-1] + ', "strings": [\n' + ",\n".join(lines) + "\n]}\n")
    print(f"{len(lines)} strings in {vocabulary.GOLDEN}")


if __name__ == "__main__":
    main()
