-- What is counted of requests, and who may see and forget it.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(17);
CREATE ROLE qwen_test_watched;
GRANT EXECUTE ON FUNCTION qwen_count_tokens(text, text, json) TO qwen_test_watched;

SELECT is(count(*), 0::bigint, 'nothing runs') FROM qwen_stat_activity;
SELECT qwen_stat_reset();
SELECT is(count(*), 0::bigint, 'nothing is counted after a reset') FROM qwen_stat_requests;
SELECT qwen_generate('Once upon a time', temperature => 0, max_tokens => 7) FROM generate_series(1, 3) \g /dev/null
SELECT qwen_chat_full('[{"role": "user", "content": "Hi"}]'::json, max_tokens => 1) \g /dev/null
SELECT qwen_count_tokens('one two three') \g /dev/null
SELECT results_eq($$SELECT role, model, function, calls, errors + cancelled + rejected, completion_tokens FROM qwen_stat_requests ORDER BY function COLLATE "C"$$,
	$$VALUES (current_user::text COLLATE "default", 'chat', 'qwen_chat_full', 1::bigint, 0::bigint, 1::bigint),
		(current_user::text COLLATE "default", 'chat', 'qwen_count_tokens', 1, 0, 0), (current_user::text COLLATE "default", 'chat', 'qwen_generate', 3, 0, 21)$$, 'a row per role, model and function');
SELECT is(prompt_tokens, 3 * qwen_count_tokens('Once upon a time')::bigint, 'prompts are counted') FROM qwen_stat_requests WHERE function = 'qwen_generate';
SELECT ok(ttft_p50_ms > 0 AND ttft_p50_ms <= ttft_p95_ms AND ttft_p95_ms <= ttft_p99_ms, 'quantiles of the first token rise') FROM qwen_stat_requests WHERE function = 'qwen_generate';
SELECT ok(total_p50_ms > ttft_p50_ms AND total_ms > queue_ms, 'all of it takes longer than the first token') FROM qwen_stat_requests WHERE function = 'qwen_generate';
SELECT ok(per_token_p99_ms > 0, 'time per token') FROM qwen_stat_requests WHERE function = 'qwen_generate';
SELECT is(per_token_p50_ms, NULL, 'which one token has not') FROM qwen_stat_requests WHERE function = 'qwen_chat_full';
SELECT throws_ok($$SELECT qwen_generate('x', model => 'nobody')$$, '42704');
SELECT throws_ok($$SELECT qwen_generate(repeat('word ', 20000))$$, '54000');
SELECT is(errors_by_class, '{"42": 1, "54": 1}'::jsonb, 'errors are counted by class') FROM qwen_stat_roles;
SELECT is((SELECT sum(calls) FROM qwen_stat_requests), (SELECT sum(calls) FROM qwen_stat_roles), 'roles add up');

SET ROLE qwen_test_watched;
SELECT is(count(*), 0::bigint, 'others see nothing of it') FROM qwen_stat_requests;
SELECT qwen_count_tokens('one') \g /dev/null
SELECT results_eq($$SELECT role, calls FROM qwen_stat_roles$$, $$VALUES ('qwen_test_watched', 1::bigint)$$, 'but their own');
SELECT throws_ok($$SELECT qwen_stat_reset()$$, '42501', NULL, 'nor may they reset it');
RESET ROLE;
SELECT qwen_grant('qwen_test_watched', 'monitor');
SET ROLE qwen_test_watched;
SELECT is(count(*), 2::bigint, 'with monitor they see everybody') FROM qwen_stat_roles;
RESET ROLE;
SELECT qwen_revoke('qwen_test_watched', 'monitor');
DROP OWNED BY qwen_test_watched;
DROP ROLE qwen_test_watched;
SELECT is(count(*), 1::bigint, 'a dropped role keeps its number') FROM qwen_stat_roles WHERE role ~ '^[0-9]+$';
SELECT * FROM finish();
