"""Tokens through SQL, of a model file with the published Qwen3 tokenizer: the golden ones of Hugging Face's tokenizers."""
import json
import os
import sys
import unicodedata

import pytest
from random_models import serving

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "tokenizer"))
import strings  # noqa: E402
import vocabulary  # noqa: E402


@pytest.fixture(scope="module")
def token_server():
    cluster = serving("thinker", "caller")
    try:
        yield cluster
    finally:
        cluster.remove()


def test_tokens_are_those_of_hugging_face(token_server):
    with open(vocabulary.GOLDEN, encoding="ascii") as file:
        entries = [entry for entry in json.load(file)["strings"] if "\0" not in entry["text"]]
    assert len(entries) > 250
    texts = [entry["text"] for entry in entries]
    for special in (False, True):
        expected = [entry.get("added", entry["plain"]) if special else entry["plain"] for entry in entries]
        found = token_server.query(
            "SELECT qwen_tokenize(t, special => %s), qwen_count_tokens(t) FROM unnest(%s) WITH ORDINALITY AS u (t, i) ORDER BY i", (special, texts))
        assert [row[0] for row in found] == expected
        if not special:
            assert [row[1] for row in found] == [len(tokens) for tokens in expected]


def test_tokens_become_their_text_again(token_server):
    texts = [text for text in strings.strings()[:600] if "\0" not in text]
    rows = token_server.query("SELECT qwen_detokenize(qwen_tokenize(t)) FROM unnest(%s) WITH ORDINALITY AS u (t, i) ORDER BY i", (texts,))
    # tokens are made of the text in NFC
    assert [unicodedata.normalize("NFC", row[0]) for row in rows] == [unicodedata.normalize("NFC", text) for text in texts]


def test_models_have_their_own_added_tokens(token_server):
    """<think> is a token of Qwen3, and text for Qwen2.5."""
    sql = "SELECT qwen_tokenize('<think>', model => %s, special => true)"
    assert token_server.value(sql, ("thinker",)) == [151667]
    assert len(token_server.value(sql, ("caller",))) > 1
    assert token_server.value("SELECT qwen_tokenize('<|im_end|>', model => 'caller', special => true)") == [151645]
