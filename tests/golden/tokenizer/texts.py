"""Texts for tokenizers, kept: source code of several languages, a sentence in each of many scripts, runs of white space, digits, NFC cases.

all_texts() gives them by kind; always the same.
"""
import itertools

CODE = {
    "C": "#include <stdio.h>\n\n/* Sum of a[0 … n-1]. */\nstatic double\nsum(const double *a, size_t n)\n{\n\tdouble s = 0.0;\n\n\tfor (size_t i = 0; i < n; i++)\n\t\ts += a[i];\n\treturn s; // done\n}\n",
    "C++": "template <typename T, std::size_t N>\nconstexpr auto first(const std::array<T, N> &a) noexcept -> T\n{\n    static_assert(N > 0, \"empty\");\n    return a[0];\n}\n\nint main() { std::cout << first<int, 3>({1, 2, 3}) << '\\n'; }\n",
    "Python": "from __future__ import annotations\n\n\nclass Node[T]:\n    \"\"\"A node.\"\"\"\n\n    def __init__(self, value: T, *, left=None, right=None) -> None:\n        self.value, self.left, self.right = value, left, right\n\n    def walk(self):\n        yield from (() if self.left is None else self.left.walk())\n        yield f\"{self.value!r:>10}\"\n\n\nprint([x ** 2 for x in range(10) if x % 2 == 0], sep='\\t')\n",
    "Rust": "fn longest<'a>(x: &'a str, y: &'a str) -> &'a str {\n    if x.len() >= y.len() { x } else { y }\n}\n\n#[derive(Debug, Clone)]\nenum Shape { Circle { r: f64 }, Square(f64) }\n\nlet v: Vec<_> = (0..10).map(|i| i * i).filter(|&n| n != 4).collect();\nprintln!(\"{v:?} {}\", r#\"raw \"text\"\"#);\n",
    "Go": "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tch := make(chan int, 1)\n\tgo func() { ch <- 42 }()\n\tif v, ok := <-ch; ok {\n\t\tfmt.Printf(\"%d\\n\", v)\n\t}\n}\n",
    "Java": "public final class Main {\n    private static final long LIMIT = 1_000_000L;\n\n    /** @return n! */\n    static long factorial(int n) { return n <= 1 ? 1 : n * factorial(n - 1); }\n\n    public static void main(String[] args) throws Exception {\n        System.out.println(factorial(20) > LIMIT ? \"big\" : \"small\");\n    }\n}\n",
    "JavaScript": "const debounce = (f, ms = 200) => {\n  let timer;\n  return (...args) => { clearTimeout(timer); timer = setTimeout(() => f(...args), ms); };\n};\nasync function get(url) {\n  const r = await fetch(`${url}?t=${Date.now()}`);\n  return r?.ok ?? false ? r.json() : null; // eslint-disable-line\n}\n",
    "TypeScript": "interface User<T extends object = {}> { readonly id: number; name?: string; data: T | null }\ntype Keys<T> = keyof T & string;\nexport default function pick<T, K extends Keys<T>>(o: T, ...keys: K[]): Pick<T, K> { return {} as any; }\n",
    "SQL": "WITH RECURSIVE t(n) AS (\n  VALUES (1)\n  UNION ALL\n  SELECT n + 1 FROM t WHERE n < 100\n)\nSELECT sum(n)::numeric(10,2), 'it''s', \"Mixed Case\", $$dollar$$ FROM t WHERE n <> 7 AND name !~* '^a.*z$'; -- end\n",
    "shell": "#!/bin/bash\nset -euo pipefail\nfor f in \"${files[@]:-}\"; do\n\t[[ $f == *.txt ]] && sed -n 's/^\\(.*\\)=\\(.*\\)$/\\2/p' \"$f\" | sort -u >>out 2>&1 || true\ndone\necho $((1 << 4)) $(date +%s) `id -u`\n",
    "HTML": "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset='utf-8'><style>p > a:hover { color: #f0a; margin: 0 auto !important }</style></head>\n<body onload=\"f()\"><p>A &amp; B &#x20AC; <br/></p><!-- c --></body>\n</html>\n",
    "JSON": "{\"a\": [1, 2.5e-3, true, null], \"b\": {\"c\\u00e9\": \"\\\"x\\\"\\n\"}, \"empty\": {}}\n",
    "YAML": "on: [push]\njobs:\n  build:\n    runs-on: ${{ matrix.os }}\n    steps:\n      - uses: actions/checkout@v4\n      - run: |\n          make -j2\n          make check\n",
    "Haskell": "module Main (main) where\n\nqsort :: Ord a => [a] -> [a]\nqsort []     = []\nqsort (p:xs) = qsort [x | x <- xs, x < p] ++ [p] ++ qsort [x | x <- xs, x >= p]\n\nmain :: IO ()\nmain = mapM_ print $ qsort [3, 1, 2] >>= \\x -> [x, x * 2]\n",
    "Lisp": "(defun fact (n)\n  \"Factorial of N.\"\n  (if (<= n 1)\n      1\n    (* n (fact (1- n))))) ; tail\n'(a . b) `(,x ,@xs) #'car\n",
    "LaTeX": "\\documentclass[12pt]{article}\n\\begin{document}\n\\section{Über $\\alpha_i^{2}$}\nText with \\emph{stress}, 50\\% and ``quotes''. % comment\n\\[ \\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2} \\]\n\\end{document}\n",
    "assembly": "\t.globl\tmain\nmain:\n\tpushq\t%rbp\n\tmovq\t%rsp, %rbp\n\tvpdpbusd\t64(%rdi,%rax,4), %zmm1, %zmm2{%k1}{z}\n\tjne\t.L3\n\txorl\t%eax, %eax\n\tret\n",
    "diff": "diff --git a/x.c b/x.c\nindex 83db48f..bf269f4 100644\n--- a/x.c\n+++ b/x.c\n@@ -1,4 +1,5 @@ int\n main(void)\n-\treturn 1;\n+\treturn 0;\n",
    "Makefile": "CFLAGS ?= -O2 -g\n%.o: %.c | build\n\t@$(CC) $(CFLAGS) -c $< -o $@ && echo $$HOME\n.PHONY: all clean\n",
    "Perl": "my %h = map { $_ => length } grep { !/^\\s*#/ } <STDIN>;\nprintf \"%-10s %3d\\n\", $_, $h{$_} for sort { $h{$b} <=> $h{$a} } keys %h;\n$x =~ s{(\\d+)}{$1 * 2}gex;\n",
    "regular expressions": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
}  # fmt: skip

# by script: a sentence that says something, mostly on people being born free, or on the weather
SCRIPTS = {
    "Latin": "All human beings are born free and equal in dignity and rights. Ils sont doués de raison ; ß, œ, ø, ł, ğ, ő, ŭ.",
    "Latin (Vietnamese)": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
    "Cyrillic": "Все люди рождаются свободными и равными в своём достоинстве и правах. Усі люди народжуються вільними.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Greek (polytonic)": "Μῆνιν ἄειδε θεὰ Πηληϊάδεω Ἀχιλῆος οὐλομένην, ἣ μυρί᾽ Ἀχαιοῖς ἄλγε᾽ ἔθηκε.",
    "Arabic": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق، وقد وُهبوا عقلاً وضميرًا.",
    "Arabic (Persian)": "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند. ۱۲۳۴",
    "Arabic (Urdu)": "تمام انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں۔",
    "Hebrew": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. בְּרֵאשִׁית בָּרָא אֱלֹהִים",
    "Devanagari": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। १२३",
    "Bengali": "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।",
    "Gurmukhi": "ਸਾਰਾ ਮਨੁੱਖੀ ਪਰਿਵਾਰ ਆਪਣੀ ਮਹਿਮਾ, ਸ਼ਾਨ ਅਤੇ ਹੱਕਾਂ ਦੇ ਪੱਖੋਂ ਜਨਮ ਤੋਂ ਹੀ ਆਜ਼ਾਦ ਹੈ।",
    "Gujarati": "પ્રતિષ્ઠા અને અધિકારોની દૃષ્ટિએ સર્વ માનવો જન્મથી સ્વતંત્ર અને સમાન હોય છે.",
    "Odia": "ସମସ୍ତ ମନୁଷ୍ୟ ଜନ୍ମକାଳରୁ ସ୍ୱାଧୀନ. ସେମାନଙ୍କର ମର୍ଯ୍ୟାଦା ଓ ଅଧିକାର ସମାନ.",
    "Tamil": "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; கொள்கை",
    "Telugu": "ప్రతిపత్తిస్వత్వముల విషయమున మానవులెల్లరును జన్మతః స్వతంత్రులును సమానులును నగుదురు.",
    "Kannada": "ಎಲ್ಲಾ ಮಾನವರೂ ಸ್ವತಂತ್ರರಾಗಿಯೇ ಜನಿಸಿದ್ದಾರೆ. ಹಾಗೂ ಘನತೆ ಮತ್ತು ಹಕ್ಕುಗಳಲ್ಲಿ ಸಮಾನರಾಗಿದ್ದಾರೆ.",
    "Malayalam": "മനുഷ്യരെല്ലാവരും തുല്യാവകാശങ്ങളോടും അന്തസ്സോടും സ്വാതന്ത്ര്യത്തോടുംകൂടി ജനിച്ചവരാണ്.",
    "Sinhala": "සියලු මනුෂ්‍යයෝ නිදහස්ව උපත ලබා ඇත. ගරුත්වයෙන් හා අයිතිවාසිකම්වලින් සමාන වෙති.",
    "Thai": "มนุษย์ทั้งปวงเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ๑๒๓ น้ำ",
    "Lao": "ມະນຸດທຸກຄົນເກີດມາມີກຽດສັກສີ, ສິດທິ, ເສລີພາບ ແລະຄວາມສະເໝີພາບເທົ່າທຽມກັນ.",
    "Khmer": "មនុស្សទាំងអស់កើតមកមានសេរីភាព និងភាពស្មើៗគ្នាក្នុងសេចក្ដីថ្លៃថ្នូរ និងសិទ្ធិ។",
    "Myanmar": "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း၊ တူညီလွတ်လပ်သော အခွင့်အရေးများဖြင့်",
    "Tibetan": "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས་དང༌། ཐོབ་ཐངགི་རང་དབང་",
    "Georgian": "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით. ᲗᲑᲘᲚᲘᲡᲘ",
    "Armenian": "Բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ ու իրավունքներով։",
    "Ethiopic": "የሰው፡ልጅ፡ሁሉ፡ሲወለድ፡ነጻና፡በክብርና፡በመብትም፡እኩልነት፡ያለው፡ነው።",
    "Hangul": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. ㄱㄴㄷ ㅏㅑ",
    "Japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。ｶﾞｷﾞ ㈱ ①",
    "Han (simplified)": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "Han (traditional)": "人人生而自由，在尊嚴和權利上一律平等。㐀𠀀𪚥",
    "Bopomofo": "ㄖㄣˊ ㄖㄣˊ ㄕㄥ ㄦˊ ㄗˋ ㄧㄡˊ",
    "Yi": "ꊿꂷꃅꄿꐨꐥ，ꌅꅍꂘꀕꐯꒈꃅꐥꌐ。",
    "Mongolian": "ᠬᠦᠮᠦᠨ ᠪᠦᠷ ᠲᠥᠷᠥᠵᠦ ᠮᠡᠨᠳᠡᠯᠡᠬᠦ ᠡᠷᠬᠡ ᠴᠢᠯᠥᠭᠡ ᠲᠡᠢ᠃",
    "Cherokee": "ᏂᎦᏓ ᎠᏂᏴᏫ ᎨᏥᏍᏓᎵᏴ ᎠᎴ ᎤᏂᏠᏱ ᎤᎾᏕᎿ",
    "Thaana": "ހުރިހާ އިންސާނުން ވެސް އުފަންވަނީ، މިނިވަންކަމުގަ އެވެ.",
    "Syriac": "ܟܠ ܒܪܢܫܐ ܒܪܝܠܗ ܚܐܪܐ ܘܒܪܒܪܐ ܓܘ ܐܝܩܪܐ ܘܙܕܩܐ",
    "N'Ko": "ߡߐ߱ ߓߍ߯ ߓߘߍ߬ ߣߴߊ߬ ߞߊ߲߬ߓߍ߬ߟߌ ߟߋ߬",
    "Tifinagh": "ⵉⵎⴷⴰⵏⴻⵏ, ⴰⴽⴽⴻⵏ ⵎⴰ ⵍⵍⴰⵏ ⵜⵜⵍⴰⵍⴻⵏ ⴷ ⵉⵍⴻⵍⵍⵉⵢⴻⵏ",
    "Ol Chiki": "ᱡᱚᱛᱚ ᱢᱟᱱᱢᱤ ᱜᱮ ᱯᱷᱩᱨᱜᱟᱹᱞ ᱛᱮ ᱡᱟᱱᱟᱢ ᱟᱠᱟᱱᱟ᱾",
    "Coptic": "ϩⲉⲛ ⲧⲁⲣⲭⲏ ⲛⲉ ⲡⲓⲥⲁϫⲓ ⲡⲉ ⲟⲩⲟϩ ⲡⲓⲥⲁϫⲓ",
    "Gothic": "𐌰𐍄𐍄𐌰 𐌿𐌽𐍃𐌰𐍂 𐌸𐌿 𐌹𐌽 𐌷𐌹𐌼𐌹𐌽𐌰𐌼",
    "Runic": "ᚠᛖᚩᚻ ᛒᛦᚦ ᚠᚱᚩᚠᚢᚱ ᚠᛁᚱᚪ ᚷᛖᚻᚹᛦᛚᚳᚢᛗ",
    "Ogham": "᚛ᚉᚑᚅᚔᚉᚉᚔᚋ ᚔᚈᚔ ᚍᚂᚐᚅᚑ ᚅᚔᚋᚌᚓᚅᚐ᚜",
    "Canadian syllabics": "ᐃᓅᔪᓕᒫᑦ ᐊᓂᖅᑎᕆᔪᓕᒫᑦ ᐃᓅᓚᐅᕐᒪᑕ ᐃᓱᒪᕐᓱᕐᖢᑎᒃ",
    "Javanese": "ꦱꦧꦼꦤ꧀ꦮꦺꦴꦁꦏꦭꦃꦫꦏꦺꦏꦟ꧀ꦛꦶ",
    "Cuneiform": "𒀀𒈾 𒁹 𒂍𒀀𒈾𒍢𒅕 𒆠𒁉𒈠",
    "Hieroglyphs": "𓇋𓏏𓈖 𓊪𓏏𓊖 𓂋𓏤𓈖",
    "Adlam": "𞤋𞤲𞥆𞤢𞤥𞤢 𞤢𞤣𞤫𞥅𞤶𞤭 𞤬𞤮𞤬 𞤨𞤮𞤼𞤭",
    "mathematics": "∀x ∈ ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β ⇒ ∑ᵢ₌₁ⁿ xᵢ² ≤ ∞; 𝒜 𝔹 𝖈 𝟙 ½ ⅓ x̄ ẍ",
    "emoji": "👩🏽‍🚀 flew 🇫🇷→🇧🇷 in 1️⃣0️⃣ h ❤️‍🔥 🏴󠁧󠁢󠁳󠁣󠁴󠁿 👨‍👩‍👧‍👦 ☕︎ 🫨",
}

ZEROS = (0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50, 0xED0, 0xF20, 0x1040, 0x17E0, 0x1810, 0xFF10, 0x104A0, 0x1D7CE)

# base letters and marks whose order or composition NFC changes, and what it must leave alone
NFC = [
    "e\u0301", "\u00e9", "a\u0323\u0302", "a\u0302\u0323", "\u1ead", "q\u0307\u0323", "\u1e0b\u0323", "\u212b", "\u2126", "\u212a", "\u0344", "\u0340\u0341", "\u0374", "\u037e", "\u0387",
    "\u1f71", "\u1fbe", "\u0958", "\u0928\u093c", "\u09dc", "\u0a33", "\u0b5c", "\u0f43", "\u0f73", "\u0f75", "\u0f81", "\ufb1d", "\ufb2a", "\ufb4f", "\u2adc", "\U0001d15e",
    "\U0001d1bb", "\u1100\u1161\u11a8", "\uac00\u11a8", "\u1100\u1161", "\uac00\u11a7\u11a8", "\u1112\u1175\u11c2", "\u1113\u1176\u11c3", "\uac01", "\u1100\u1100\u1161", "\u1161\u11a8", "\u304b\u3099", "\u304c", "\uff76\uff9e", "\u30cf\u309a",
    "\uf900", "\ufa0e", "\ufa30", "\U0002f800", "\U0002fa1d", "\ufb01", "\u01c4", "\u00bd", "\u3392", "\uff21", "\u2460", "\u00aa", "\u0344\u0301", "o\u0308\u0304",
    "\u022b", "\u1e69", "s\u0307\u0323", "s\u0323\u0307", "\u0061\u05ae\u0300\u0315\u0062", "\u0061\u0315\u0300\u05ae\u0062", "\u0041\u030a", "\u00c5\u0301", "\u01fa", "\u1e9b\u0323",
    "\U00011099\U000110ba", "\U00011131\U00011127", "\U00011347\U0001133e", "\U000114b9\U000114ba", "\U000115b8\U000115af", "\U00011935\U00011930", "\u0b47\u0b56", "\u0bc6\u0bbe",
    "\u0cc6\u0cc2\u0cd5", "\u0d46\u0d3e", "\u0dd9\u0dcf\u0dca", "\u1025\u102e", "\u1b05\u1b35", "<\u0338", "=\u0338", "\u2260", "\u0300", "\u0301\u0300", " \u0301", "\n\u0308x", "1\u0301",
]  # fmt: skip


def white_space_runs():
    """Every run of one to four kinds of white space, alone, before and between words and before a full stop."""
    for n in range(1, 5):
        for run in itertools.product(" \n\t\r\u3000\u00a0", repeat=n):
            run = "".join(run)
            yield from (run, f"{run}b", f"a{run}b", f"a{run}", f"a{run}.", f"1{run}2")
    for n in (5, 8, 16, 17, 31, 64, 83, 100):
        for each in (" ", "\n", "\t", "\r\n", "\u3000", " \n"):
            yield from (each * n, each * n + "x", "x" + each * n + "y")


def digits():
    """Runs of digits of many scripts, with what stands between digits."""
    for zero in ZEROS:
        run = "".join(chr(zero + i * 7 % 10) for i in range(20))
        for n in range(1, 21):
            yield from (run[:n], f" {run[:n]}", f"x{run[:n]}y")
        for between in (".", ",", " ", "_", "-", "/", ":", "e", "'", "\u00a0"):
            yield between.join(run[i : i + 3] for i in range(0, 20, 3))


def nfc_cases():
    yield from NFC
    for a, b in itertools.product(NFC, repeat=2):
        yield a + b
    for case in NFC:
        yield from (f"x{case}y", f" {case}", f"<|im_end|>{case}", f"{case}<think>{case}")


def all_texts():
    """{kind: texts}"""
    return {
        "source code": [part for text in CODE.values() for part in (text, text.replace("\n", "\r\n"), text.replace("\t", "    "), *text.splitlines(True))],
        "scripts": [part for text in SCRIPTS.values() for part in (text, text[::-1], text * 3, *text.split())],
        "white space": list(white_space_runs()),
        "digits": list(digits()),
        "NFC": list(nfc_cases()),
    }
