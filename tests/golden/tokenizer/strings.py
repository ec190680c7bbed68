"""Strings that are hard to tokenize, and sequences of tokens to decode: a seed gives the same ones always, from a generator of their own."""

N_STRINGS = 10000
N_SEQUENCES = 2000
BLOCK = 10  # strings or sequences that share a hash in hashes.json

SCRIPTS = [
    (0x20, 0x7F), (0x80, 0x100), (0xA0, 0x250), (0x250, 0x300), (0x370, 0x400), (0x400, 0x530), (0x530, 0x590), (0x590, 0x600),
    (0x600, 0x700), (0x700, 0x750), (0x900, 0x980), (0x980, 0xA00), (0xA00, 0xB00), (0xB00, 0xC00), (0xC00, 0xD00), (0xD00, 0xE00),
    (0xE00, 0xE80), (0xE80, 0xF00), (0xF00, 0x1000), (0x1000, 0x10A0), (0x10A0, 0x1100), (0x1100, 0x1200), (0x1200, 0x1380),
    (0x13A0, 0x1400), (0x1780, 0x1800), (0x1800, 0x18B0), (0x1E00, 0x1F00), (0x1F00, 0x2000), (0x2000, 0x2070), (0x2070, 0x2100),
    (0x2100, 0x2190), (0x2190, 0x2300), (0x2460, 0x2500), (0x2500, 0x2800), (0x2C00, 0x2E00), (0x2E80, 0x3000), (0x3000, 0x3040),
    (0x3040, 0x3100), (0x3100, 0x3200), (0x3200, 0x3400), (0x4E00, 0xA000), (0xA000, 0xA4D0), (0xA640, 0xA700), (0xAC00, 0xD7A4),
    (0xD7B0, 0xD800), (0xF900, 0xFB00), (0xFB00, 0xFE00), (0xFE00, 0xFE70), (0xFE70, 0xFF00), (0xFF00, 0xFFF0), (0x10000, 0x10400),
    (0x10400, 0x10800), (0x10800, 0x11000), (0x11000, 0x12000), (0x12000, 0x13430), (0x16A00, 0x17000), (0x1B000, 0x1B300),
    (0x1D100, 0x1D200), (0x1D400, 0x1D800), (0x1E000, 0x1E960), (0x1F000, 0x1F300), (0x1F300, 0x1F650), (0x1F680, 0x1FB00),
    (0x20000, 0x2A6E0), (0x2F800, 0x2FA20), (0x30000, 0x31350), (0xE0000, 0xE01F0),
]  # fmt: skip
WORDS = (
    "the of and Hello WORLD don't I'm you'll they're we've he'd it's O'Neill rock'n'roll naïve café Straße Größe fiancée señor garçon Łódź "
    "Ångström Việt người không được Привет мир сегодня Ёлка Київ Αθήνα καλημέρα שלום עולם مرحبا بالعالم فارسی नमस्ते दुनिया বাংলা தமிழ் తెలుగు ಕನ್ನಡ "
    "മലയാളം ไทย ภาษา ລາວ မြန်မာ ខ្មែរ አማርኛ ქართული Հայերեն 日本語 こんにちは カタカナ ﾊﾝｶｸ 中文 你好 世界 繁體 한국어 안녕하세요 ᏣᎳᎩ ⲁⲛⲟⲕ 𝔘𝔫𝔦 𐌰𐌱 "
    "int main(void) self.x foo_bar fooBar HTTPServer __init__ x86_64 0x1F 1e-9 3.14 1,000 2024-01-31 12:30 50% $99 a@b.c https://x.y/z?q=1#f C++ C# "
    "qu'est-ce l'été d'accord 'tis 'Twas 'S 'LL 'Ve 'ſ K Å ﬁn ½ Ⅷ ① ² ㎏ ㍿ ™ © … — – “ ” ‘ ’ « » ¿ ¡ § ¶"
).split()
CODE = [
    "def f(x):", "return", "if (a && b)", "{", "}", "[i]", "();", "->", "=>", "==", "!=", "<=", "::", "/*", "*/", "//", "#include <x.h>", "\"s\"", "'c'", "\\n", "\\\\",
    "SELECT * FROM t;", "-- x", "<div>", "</div>", "&amp;", "$(x)", "`y`", "@z", "%d", "0b1", "+=", "|", "^", "~", "?", "...", "!!", "###", "***", "___", "\t", "    ",
    "\n", "\r\n", "\n\n", "  \n", "x", "y1", "i++",
]  # fmt: skip
BLANKS = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", "\v", "\f", "\u00a0", "\u1680", "\u2000", "\u2009", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000",
          "\u0085", "\u200b", "\u180e", "\ufeff", "\x1c", "\x1f", "\x00"]  # fmt: skip
EMOJI = ["👍", "🏽", "\u200d", "❤", "\ufe0f", "👩", "👨", "👧", "💻", "🇩", "🇪", "🇯", "🇵", "1", "#", "\u20e3", "🏴", "\U000e0067", "\U000e0062", "\U000e007f", "😀", "🤷",
         "♀", "☺", "🔥", "✈", "\ufe0e"]  # fmt: skip
MARKS = [0x300, 0x301, 0x302, 0x303, 0x304, 0x306, 0x307, 0x308, 0x30A, 0x30C, 0x31B, 0x323, 0x327, 0x328, 0x32D, 0x331, 0x338, 0x345, 0x5B0, 0x5BC, 0x5C1, 0x64B, 0x651,
         0x653, 0x654, 0x93C, 0x94D, 0x9BE, 0xB3E, 0xBBE, 0xCC2, 0xD3E, 0xDCF, 0xE38, 0xE48, 0xF71, 0xF72, 0x1161, 0x1175, 0x11A8, 0x11C2, 0x20D0, 0x3099, 0x309A,
         0x302A, 0xFE20, 0x1D165, 0x1D16D, 0x11127, 0x110BA]  # fmt: skip
BASES = "aAeEiIoOuUcCnNsSzZdDlLyYωαιρоиеуאבשاوىيकखनডভকনಕഅকஎවทกཀㄱ가각ᄀᄒかはホ≠<=>∈∅𑄱𝅗"
ADDED = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<|vision_start|>",
         "<|fim_prefix|>", "<|file_sep|>", "<|im_", "im_end|>", "<|", "|>", "<think", "</", "<tool", "<|IM_END|>", "<<", ">>"]  # fmt: skip


class Generator:
    """splitmix64 (Steele et al. 2014): the same on every machine and in every version of Python."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        x = self.state
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return (x ^ x >> 31) % n

    def between(self, low, high):
        return low + self.below(high - low)

    def pick(self, items):
        return items[self.below(len(items))]

    def times(self, low, high, make):
        return "".join(make() for _ in range(self.between(low, high)))


def code_point(g, low, high):
    while True:
        c = g.between(low, high)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def one_script(g):
    low, high = g.pick(SCRIPTS)
    return g.times(1, 40, lambda: " " if g.below(6) == 0 else code_point(g, low, high))


def mixed_scripts(g):
    return g.times(2, 20, lambda: code_point(g, *g.pick(SCRIPTS)))


def sentence(g):
    return g.times(1, 25, lambda: g.pick(WORDS) + g.pick([" "] * 8 + [", ", ". ", "! ", "? ", "; ", ": ", "\n", "", "-", "/", " (", ") ", "  "]))


def code(g):
    return g.times(2, 30, lambda: g.pick(CODE) + g.pick(["", "", " ", "\n", "\n    ", "\n\t"]))


def blanks(g):
    return g.times(1, 20, lambda: g.pick(BLANKS) if g.below(4) else g.pick(WORDS))


def emoji(g):
    return g.times(1, 15, lambda: g.pick(EMOJI) if g.below(6) else g.pick([" ", "a", "1", "\n"]))


def marks(g):
    return g.times(1, 12, lambda: g.pick(BASES) + g.times(0, 5, lambda: chr(g.pick(MARKS))) + g.pick(["", "", "", " "]))


def any_code_point(g):
    return g.times(1, 20, lambda: code_point(g, 0, 0x110000))


def added(g):
    return g.times(1, 12, lambda: g.pick(ADDED) if g.below(3) else g.pick(WORDS + BLANKS))


def numbers(g):
    return g.times(1, 12, lambda: g.pick("0123456789٣५７½Ⅳ²") + g.pick(["", "", "", ".", ",", "e", "-", " ", "x", "%"]))


def repeated(g):
    return g.pick(WORDS + CODE + BLANKS + EMOJI) * g.between(2, 120)


def contractions(g):
    return g.times(1, 10, lambda: g.pick(["'", "’", "''", "x'", "1'", " '", ".'"]) + g.pick(["s", "S", "t", "T", "re", "RE", "rE", "ve", "m", "ll", "LL", "d", "ſ", "x", "", "sx", "LLx"]))


KINDS = [one_script, one_script, mixed_scripts, sentence, sentence, code, blanks, emoji, marks, marks, any_code_point, added, numbers, repeated, contractions]


def strings(n=N_STRINGS, seed=20250715):
    g = Generator(seed)
    return [KINDS[i % len(KINDS)](g) for i in range(n)]


def sequences(n_vocab, n=N_SEQUENCES, seed=7, added=range(0)):
    """Lists of token numbers, most of them of tokens that begin or end inside a character; with added tokens among them where some are given."""
    g = Generator(seed)
    # the first 256 tokens are single bytes, those after them short pieces

    def token():
        return g.pick(added) if added and g.below(5) == 0 else g.below(g.pick([256, 256, 2000, n_vocab]))

    return [[token() for _ in range(g.between(1, 30))] for _ in range(n)]
