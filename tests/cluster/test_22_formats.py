"""The demo model with matrices of IQ2, IQ3 and MXFP4 (tests/tools/codebook_model.py) through SQL: what it says is what llama.cpp says of the same file
(tests/golden/greedy/codebooks.json) up to near ties, every function works, and the answers are the same alone, in company and after another start."""
import json
import os
import signal
import sys

import pytest
from cluster import MODEL_FILE, Cluster, model_directory, wait_until
from conftest import ready
from every_function import ANSWER, TEXTS, check_every_function, unload

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "tools"), os.path.join(HERE, "..", "golden", "greedy")]
import codebook_model  # noqa: E402
from check_greedy import NEAR, first_difference  # noqa: E402
from make_golden import N_CODEBOOK_TOKENS  # noqa: E402

DEFAULT_MODEL = MODEL_FILE

# what rounding of activations does to log-probabilities where a third of the layers has two bits: 0.15 in the median, 0.47 of nine in ten (others: 0.05, 0.15)
NEAR_OF_TWO_BITS = 2 * 0.47

with open(os.path.join(HERE, "..", "golden", "greedy", "codebooks.json"), encoding="utf-8") as golden_file:
    GOLDEN = json.load(golden_file)


@pytest.fixture(scope="module")
def written():
    """A server of the demo model as it is, beside which the others are loaded."""
    cluster = Cluster(settings={"qwen.models": f"chat={MODEL_FILE}", "qwen.max_models": 2, "qwen.kv_cache_size": "128MB",
                                "qwen.kv_cache_type": "f16"})  # as llama.cpp's words were made with
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


@pytest.fixture(scope="module", params=codebook_model.TYPES)
def typed(request, written):
    file = "models/" + codebook_model.cached(model_directory(), os.path.join(model_directory(), MODEL_FILE), request.param)
    before = written.value("SELECT weight_bytes FROM qwen_stat_engine")
    written.query("SELECT qwen_load_model('typed', %s)", (file,))
    yield request.param, file
    unload(written, "typed", before)


def test_each_type_says_what_llama_cpp_says(written, typed):
    assert GOLDEN["version"] == codebook_model.VERSION, "remake codebooks.json"
    type_name, file = typed
    layers = len(range(1, 30, codebook_model.THIRD))
    types = written.value("SELECT value FROM qwen_check_model(%s) WHERE item = 'tensor_types'", (file,))
    assert f"{type_name} {7 * layers}" in types.split(", ")
    cases, is_two_bits, off = GOLDEN["types"][type_name], type_name.startswith("IQ2"), []
    connection = written.connect()
    cursor = connection.cursor()
    texts = written.query("SELECT qwen_generate(p, model => 'typed', temperature => 0, max_tokens => %s) FROM unnest(%s) WITH ORDINALITY u (p, i) ORDER BY i", (N_CODEBOOK_TOKENS, [case["prompt"] for case in cases]))
    for case, (text,) in zip(cases, texts):
        at = None if text == case["text"] else first_difference(cursor, [token["id"] for token in case["tokens"]], text)
        if at is not None:
            (_, first), (_, second) = case["tokens"][at]["top"]
            assert first - second < (NEAR_OF_TWO_BITS if is_two_bits else NEAR), (case["prompt"], at, text, case["text"])
        # how likely each token of llama.cpp's is, as far as the text has the same tokens
        cursor.execute("SELECT token, logprob FROM qwen_logprobs(%s, model => 'typed') ORDER BY ordinality OFFSET %s", (case["prompt"] + case["text"], len(written.value("SELECT qwen_tokenize(%s)", (case["prompt"],)))))
        for token, (token_id, logprob) in zip(case["tokens"], cursor.fetchall()):
            if not token_id == token["id"] == token["top"][0][0]:
                break
            off.append(abs(logprob - token["top"][0][1]))
    connection.close()
    assert len(off) > 40 and sorted(off)[len(off) // 2] < (0.3 if is_two_bits else 0.1), sorted(off)


def test_every_function_works_with_each_type(written, typed):
    type_name, file = typed
    alone = check_every_function(written, "typed", file)
    if type_name == codebook_model.TYPES[-1]:
        # another engine, which maps the same image
        pid = written.engine_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: written.query("SELECT pid FROM qwen_stat_engine WHERE state = 'running' AND pid <> %s", (pid,)), 30)
        assert [written.value(ANSWER, (text, "typed")) for text in TEXTS] == alone
