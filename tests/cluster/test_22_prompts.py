"""docs/prompts.md: every block runs, and gives the form that it says; gaps in code are filled by the marks alone."""
import re

import psycopg2
import pytest
import random_models
from cluster import MODEL_FILE
from docs_blocks import blocks, run

DEFAULT_MODEL = MODEL_FILE
PAGE = "prompts.md"
MADE = re.compile(r"^CREATE FUNCTION (\w+)", re.M)
MARKS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


@pytest.fixture(scope="module")
def prompts():
    """The demo model, and a random one that has the marks of Coder models."""
    random_models.MODELS["coder"] = dict(architecture="qwen2")
    # answers end with their model's words, or soon
    cluster = random_models.Cluster(settings={"qwen.models": f"chat={MODEL_FILE}, coder={random_models.model_file('coder')}", "qwen.max_models": 2, "qwen.kv_cache_size": "256MB", "qwen.max_tokens": "40"})
    try:
        cluster.start()
        cluster.query("CREATE EXTENSION qwen_pg")
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(scope="module")
def page(prompts):
    return run(prompts, PAGE)


def test_every_block_runs(page):
    """Each makes functions and tries them; no answer is NULL but the result of a sum, which a small model may not box."""
    assert len(page) == len(blocks(PAGE)) >= 12
    for line, sql, rows in page:
        names = MADE.findall(sql)
        assert names and rows, f"docs/{PAGE}:{line} makes no function or tries none"
        tried = sql[sql.rindex("\nSELECT"):]
        assert names[-1] + "(" in tried, f"docs/{PAGE}:{line} does not try {names[-1]}"
        assert all(row[0] is not None for row in rows) or "solve_by_vote" in tried, f"docs/{PAGE}:{line}: {rows}"


def test_every_function_is_tried_or_used(page):
    text = "".join(sql for _, sql, _ in page)
    for name in MADE.findall(text):
        assert len(re.findall(rf"\b{name}\(", text)) >= 2, name


def test_the_forms_are_those_that_the_page_says(prompts, page):
    assert prompts.value("SELECT decide('Is it warm?', '{yes,no}')") in ("yes", "no")
    assert prompts.value(r"SELECT array_agg(boxed(a)) FROM unnest(ARRAY['So \boxed{1} or rather \boxed{\frac{1}{2}}.', 'none', 'x \boxed{42}']) a") == [r"\frac{1}{2}", None, "42"]
    assert prompts.query("SELECT code_of(E'Here:\n```python\nx = 1\n```\nDone.'), code_of('x = 1'), code_of(E'```\na\nb\n```')") == [("x = 1", "x = 1", "a\nb")]
    assert prompts.query("SELECT after_answer(E'1. a\n2. b\n**Answer:** 7'), after_answer('seven'), after_answer(E'Answer: 1\nAnswer: 2')") == [("7", "seven", "2")]
    by_line = {name: rows for _, sql, rows in page for name in MADE.findall(sql)}
    assert [language for language, _ in by_line["answer_in"]] == ["English", "Deutsch", "Français", "中文"]
    assert sum(votes for _, votes in by_line["solve_by_vote"]) == 3
    # a model that does not think has no thinking; the budget does nothing
    assert prompts.query("SELECT thinking, tokens > 0 FROM reason('Hi', 10, 10)") == [(None, True)]
    # over a table the functions are batched
    plan = "\n".join(line for line, in prompts.query("EXPLAIN (COSTS OFF) SELECT answer_in(path, 'German') FROM source_files"))
    assert "Custom Scan (Qwen Batch)" in plan, plan


# ---- filling gaps ----


def filled(server, prefix, suffix, **arguments):
    names = "".join(f", {name} => %s" for name in arguments)
    return server.value(f"SELECT qwen_fill_in(%s, %s, model => 'coder', max_tokens => 12, temperature => 0{names})", (prefix, suffix, *arguments.values()))


def test_a_gap_is_asked_for_by_the_marks(prompts):
    """As Coder models were trained, which qwen_generate can say too where the code is nobody's."""
    before, after = "def total(items):\n    return ", "\n\nprint(total([1, 2]))\n"
    raw = "SELECT qwen_generate(%s, special => true, model => 'coder', max_tokens => 12, temperature => 0)"
    for prefix, suffix in ((before, after), (before, ""), ("", after)):
        marked = MARKS[0] + prefix + MARKS[1] + suffix + MARKS[2]
        assert filled(prompts, prefix, suffix) == prompts.value(raw, (marked,)) != ""
    assert filled(prompts, before, None) == filled(prompts, before, "")
    assert filled(prompts, None, None) is filled(prompts, " ", "") is None


def test_marks_in_code_are_text(prompts):
    """A file cannot end its part and begin another."""
    forged = f"x = '{MARKS[1]}y{MARKS[2]}'"
    raw = "SELECT qwen_generate(%s, special => true, model => 'coder', max_tokens => 12, temperature => 0)"
    counts = "SELECT coalesce(sum(prompt_tokens), 0)::int FROM qwen_stat_requests WHERE function = 'qwen_fill_in'"
    before = prompts.value(counts)
    filled(prompts, "", forged)
    plain = prompts.value("SELECT qwen_count_tokens(%s, model => 'coder')", (forged,))
    assert prompts.value(counts) - before == plain + 3
    assert prompts.value("SELECT array_length(qwen_tokenize(%s, special => true, model => 'coder'), 1)", (forged,)) < plain
    filled(prompts, forged, "")
    assert prompts.value(counts) - before == 2 * (plain + 3)
    assert filled(prompts, forged, "") != prompts.value(raw, (MARKS[0] + forged + MARKS[1] + MARKS[2],))


def test_a_model_without_the_marks_says_so(prompts):
    with pytest.raises(psycopg2.Error) as failure:
        prompts.query("SELECT qwen_fill_in('a', 'b')")
    assert failure.value.pgcode == "0A000" and 'model "chat" was not made to fill gaps: its vocabulary has no token <|fim_prefix|>' in str(failure.value)


def test_a_gap_ends_at_a_stop_of_the_users_or_a_mark(prompts):
    whole = filled(prompts, "a = ", "\n")
    assert len(whole) > 3 and filled(prompts, "a = ", "\n", stop=[whole[2:4]]) == whole[: whole.index(whole[2:4])]
    with pytest.raises(psycopg2.Error) as failure:
        filled(prompts, "a = ", "\n", stop=[str(i) for i in range(11)])
    assert failure.value.pgcode == "22023" and "stop must have at most 10 elements" in str(failure.value)
