"""Every Unicode code point (no surrogates) alone and doubled, in blocks."""

BLOCK = 4096  # code points that share a hash in hashes.json


def blocks():
    """[(first, last + 1)] of 272 blocks."""
    return [(first, first + BLOCK) for first in range(0, 0x110000, BLOCK)]


def strings(first, end):
    """Each code point of a block alone, then each doubled."""
    alone = [chr(c) for c in range(first, end) if not 0xD800 <= c < 0xE000]
    return alone + [text * 2 for text in alone]


def in_context(first, end):
    """Each code point where its kind decides how a text is split, or how it composes: between letters, signs, digits and blanks, and with a mark."""
    return [text for c in range(first, end) if not 0xD800 <= c < 0xE000
            for text in (f"a{chr(c)}a", f"!{chr(c)}!", f"1{chr(c)}1", f" {chr(c)} x", f"{chr(c)}\u0301", f"'{chr(c)}")]  # fmt: skip
