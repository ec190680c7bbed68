"""Our tokens and texts of many strings, by the program made of encode_stdin.c."""
import struct
import subprocess

ADDED, DECODE, WITHOUT_SPECIAL = 1 << 31, 1 << 30, 1 << 29


def run(program, vocabulary_file, request, n):
    """The program's n lines."""
    done = subprocess.run([program, vocabulary_file], input=bytes(request), stdout=subprocess.PIPE, check=True)
    lines = done.stdout.decode("ascii").split("\n")[:-1]
    assert len(lines) == n, "the program answered another number of strings"
    return lines


def encode(program, vocabulary_file, requests):
    """What becomes of [(text, with added tokens)]: [(the text came back, its tokens as one line)]."""
    request = bytearray()
    for text, with_added in requests:
        encoded = text.encode()
        request += struct.pack("<I", len(encoded) | (ADDED if with_added else 0)) + encoded
    return [(line[0] == "=", line[2:]) for line in run(program, vocabulary_file, request, len(requests))]


def decode(program, vocabulary_file, sequences, without_special=False):
    """The text of each list of tokens."""
    flags, request = DECODE | (WITHOUT_SPECIAL if without_special else 0), bytearray()
    for tokens in sequences:
        request += struct.pack(f"<I{len(tokens)}i", 4 * len(tokens) | flags, *tokens)
    return [bytes.fromhex(line).decode() for line in run(program, vocabulary_file, request, len(sequences))]


def tokens(line):
    """The numbers of a line."""
    return [int(number) for number in line.split()]
