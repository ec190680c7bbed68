"""What forms of answers have done, in the statistics: tokens that they constrained, those of which they left no choice, and the time for that."""
import json

import pytest

FORM = '{"type": "object", "properties": {"a_long_name_of_a_member": {"type": "integer", "minimum": 0, "maximum": 9}, "b": {"const": "always the same"}}, "required": ["a_long_name_of_a_member", "b"], "additionalProperties": false}'
COLUMNS = "constrained_tokens, forced_tokens, mask_ms"
TOTALS = "SELECT calls, completion_tokens, " + COLUMNS + " FROM qwen_stat_requests WHERE function = %s"


def engine(server):
    return server.query(f"SELECT {COLUMNS}, forms, form_bytes FROM qwen_stat_engine")[0]


@pytest.fixture
def asked(server):
    server.query("SELECT qwen_stat_reset()")
    server.query("DROP TABLE IF EXISTS forms; CREATE TABLE forms (id int PRIMARY KEY, body text); INSERT INTO forms SELECT i, 'Say ' || i FROM generate_series(1, 6) i")
    yield server
    server.query("DROP TABLE forms")


def test_constrained_and_forced_tokens_are_counted_by_role_function_and_engine(asked):
    before = engine(asked)
    answer = asked.value("SELECT qwen_chat('Say 1', response_format => %s)", (FORM,))
    ((calls, tokens, constrained, forced, mask_ms),) = asked.query(TOTALS, ("qwen_chat",))
    assert json.loads(answer)["b"] == "always the same" and calls == 1
    # all but the digit is given; the end is no token of the form's
    assert 0 < forced < constrained <= tokens and forced >= constrained - 2 and 0 < mask_ms < 5000
    after = engine(asked)
    assert (after[0] - before[0], after[1] - before[1]) == (constrained, forced) and after[2] > before[2]
    assert after[3] >= 1 and after[4] > 1000
    # free answers count nothing, in any view, and are counted beside
    asked.query("SELECT qwen_chat('Say 1', max_tokens => 4)")
    ((calls, more_tokens, *rest),) = asked.query(TOTALS, ("qwen_chat",))
    assert (calls, more_tokens) == (2, tokens + 4) and rest == [constrained, forced, mask_ms]
    assert asked.query(f"SELECT {COLUMNS} FROM qwen_stat_roles") == [(constrained, forced, mask_ms)]
    asked.query("SELECT qwen_stat_reset()")
    assert asked.query(TOTALS, ("qwen_chat",)) == []


def test_the_counts_are_the_same_in_any_company(asked):
    """Whether guesses are made or not, alone and beside others."""
    def count(sql):
        asked.query("SELECT qwen_stat_reset()")
        asked.query(sql, (FORM,))
        return asked.query("SELECT sum(constrained_tokens)::int, sum(forced_tokens)::int FROM qwen_stat_requests")[0]

    ask = "SELECT qwen_chat(body, temperature => 0, response_format => %s) FROM forms"
    batched = count(ask)
    assert batched == count("SET qwen.batch_plans = off; " + ask)


def test_an_answer_that_is_completed_was_forced_to(asked):
    asked.query("SELECT qwen_chat('Say 1', temperature => 0, max_tokens => 40, response_format => %s)", ('{"type": "array", "items": {"const": "word"}, "minItems": 3}',))
    ((_, tokens, constrained, forced, _),) = asked.query(TOTALS, ("qwen_chat",))
    assert 0 < forced <= constrained <= tokens <= 40


def test_explain_shows_them_where_a_form_is_used(asked):
    lines = [line for line, in asked.query("EXPLAIN (ANALYZE) SELECT qwen_chat(body, response_format => %s) FROM forms", (FORM,))]
    found = [line.split() for line in lines if "Constrained" in line]
    assert len(found) == 1 and found[0][0::3][:3] == ["Constrained", "Forced", "Mask"], lines
    assert int(found[0][2]) > int(found[0][5]) > 0 and found[0][-1] == "ms"
    assert not [line for line, in asked.query("EXPLAIN (ANALYZE) SELECT qwen_chat(body, max_tokens => 2) FROM forms") if "Constrained" in line]
    assert not [line for line, in asked.query("EXPLAIN (ANALYZE, TIMING off) SELECT qwen_chat(body, response_format => %s) FROM forms", (FORM,)) if "Mask Time" in line]
    plan = asked.value("EXPLAIN (ANALYZE, FORMAT json) SELECT qwen_chat(body, response_format => %s) FROM forms", (FORM,))[0]["Plan"]
    assert plan["Constrained Tokens"] > plan["Forced Tokens"] > 0 and plan["Mask Time"] > 0, plan


def test_jobs_and_extractions_count_too(asked):
    asked.query("ALTER TABLE forms ADD n int, ADD b boolean")
    job = asked.value("SELECT qwen_submit('forms', 'body', 'forms', target_columns => '{n,b}', function => 'extract')")
    assert asked.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    ((constrained, forced, tokens),) = asked.query("SELECT sum(constrained_tokens)::int, sum(forced_tokens)::int, sum(completion_tokens)::int FROM qwen_stat_requests")
    assert 0 < forced < constrained <= tokens
