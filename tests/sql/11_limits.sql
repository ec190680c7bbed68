-- Limits per role: setting them, whose hold, what errors say, who sees what.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(52);
CREATE ROLE limit_a LOGIN;
CREATE ROLE limit_b;
CREATE ROLE limit_group;
CREATE ROLE limit_other_group;
CREATE ROLE limit_boss;
CREATE ROLE limit_ops;
SELECT qwen_grant(r::regrole, 'use') FROM unnest('{limit_a,limit_b}'::text[]) r \g /dev/null
-- messages of an error in another role
CREATE FUNCTION refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws('|', state, message, detail, hint);
END $$;

-- arguments
SELECT throws_ok($$SELECT qwen_set_limit(NULL)$$, '22023', 'role must not be null');
SELECT throws_ok($$SELECT qwen_set_limit(4294967295)$$, '42704', NULL, 'a role that does not exist');
SELECT throws_ok($$SELECT qwen_set_limit('nobody_of_this_name')$$, '42704', NULL, 'a name that does not exist');
SELECT throws_ok($$SELECT qwen_set_limit('limit_a', requests_per_minute => -1)$$, '22023', 'requests_per_minute must be at least 0, not -1');
SELECT throws_ok($$SELECT qwen_set_limit('limit_a', tokens_per_day => -5)$$, '22023', 'tokens_per_day must be at least 0, not -5');
SELECT throws_ok($$SELECT qwen_set_limit('limit_a', priority => 1001)$$, '22023', 'priority must be between -1000 and 1000, not 1001');
SELECT throws_ok($$SELECT qwen_grant('limit_a', 'everything')$$, '22023', 'privilege must be use, monitor or admin, not ''everything''');
SELECT throws_ok($$SELECT qwen_grant(NULL, 'use')$$, '22023', 'role must not be null', 'no role is not taken for a wrong privilege');
SELECT throws_ok($$SELECT qwen_revoke(NULL, 'use')$$, '22023', 'role must not be null');

-- setting, setting anew, clearing
SELECT lives_ok($$SELECT qwen_set_limit('limit_a', 10, 1000, 5000000000, 4, 100, 7)$$, 'all limits can be set');
SELECT results_eq($$SELECT role::text, requests_per_minute, tokens_per_minute, tokens_per_day, max_concurrent, max_tokens, priority FROM qwen_limits$$,
	$$VALUES ('limit_a', 10, 1000, 5000000000, 4, 100, 7)$$, 'and are shown');
SELECT lives_ok($$SELECT qwen_set_limit('limit_a', requests_per_minute => 2)$$, 'they can be set anew');
SELECT results_eq($$SELECT requests_per_minute, tokens_per_minute FROM qwen_limits$$, $$VALUES (2, NULL::int)$$, 'all of them');
SELECT results_eq($$SELECT allowed FROM qwen_usage WHERE role = 'limit_a'::regrole$$, $$SELECT 0::bigint WHERE false$$, 'who has used nothing has no usage');

-- requests per minute
SET ROLE limit_a;
SELECT lives_ok($$SELECT qwen_generate('x', max_tokens => 1)$$, 'the first request');
SELECT lives_ok($$SELECT qwen_embed('x')$$, 'an embedding is a request too');
SELECT matches(refusal($$SELECT qwen_generate('x', max_tokens => 1)$$),
	'^53400\|role "limit_a" has reached its limit of requests_per_minute\|Limit requests_per_minute: 2 used, 1 asked for, 2 allowed\.\|Try again in [56]\d seconds, or SET qwen\.limit_action = ''wait''\.$',
	'the third one says what, how much and when');
SELECT lives_ok($$SELECT qwen_count_tokens('x')$$, 'what needs no model is not limited');
SELECT results_eq($$SELECT limit_name, used, reserved, allowed, remaining, rejected FROM qwen_usage
	WHERE role = 'limit_a'::regrole AND limit_name = 'requests_per_minute'$$,
	$$VALUES ('requests_per_minute', 2::bigint, 0::bigint, 2::bigint, 0::bigint, 1::bigint)$$, 'the usage says so');
SELECT ok((SELECT bool_and(role IN ('limit_a'::regrole, session_user::regrole)) FROM qwen_usage), 'a role sees its own usage, and that of the session''s user');
SELECT throws_ok($$SELECT qwen_set_limit('limit_a')$$, '42501', NULL, 'and cannot change its limits');
SELECT throws_ok($$DELETE FROM qwen_role_limit$$, '42501', NULL, 'nor the table');
SELECT throws_ok($$SELECT * FROM qwen_role_limit$$, '42501', NULL, 'nor read it');
SELECT throws_ok($$SET qwen.default_tokens_per_day = 5$$, '42501', NULL, 'nor the defaults');
SELECT throws_ok($$SET qwen.allowed_models = ''$$, '42501', NULL, 'nor the models');
SELECT throws_ok($$SET qwen.log_requests = off$$, '42501', NULL, 'nor the log');
SELECT lives_ok($$SET qwen.limit_action = 'error'$$, 'but what its requests do');
RESET ROLE;
SELECT qwen_clear_limit('limit_a') \g /dev/null
SET ROLE limit_a;
SELECT lives_ok($$SELECT qwen_generate('x', max_tokens => 1)$$, 'cleared limits do not hold any more');
RESET ROLE;

-- tokens of an answer
SELECT qwen_set_limit('limit_b', max_tokens => 3) \g /dev/null
SET ROLE limit_b;
SELECT matches(refusal($$SELECT qwen_generate('x', max_tokens => 4)$$),
	'^53400\|a request of role "limit_b" asks for more than its limit of max_tokens allows\|Limit max_tokens: 4 asked for, 3 allowed\.\|Ask for at most 3 tokens with max_tokens\.$', 'a longer answer is refused');
SELECT is((qwen_chat_full('Tell me a story.')).completion_tokens, 3, 'who asks for no length gets the longest that is allowed');
SELECT is((qwen_chat_full('Tell me a story.')).finish_reason, 'length', 'which the finish reason shows');
RESET ROLE;

-- tokens per minute: the prompt and the longest answer must fit
SELECT qwen_set_limit('limit_b', tokens_per_minute => 50) \g /dev/null
SET ROLE limit_b;
SELECT matches(refusal($$SELECT qwen_generate('one two three', max_tokens => 60)$$), '^53400\|a request of role "limit_b" asks for more .*\|It can never be met: use a shorter prompt or a lower max_tokens\.$',
	'what can never fit is said so');
RESET ROLE;
SELECT qwen_set_limit('limit_b', tokens_per_minute => 0) \g /dev/null
SET ROLE limit_b;
SELECT matches(refusal($$SELECT qwen_embed('x')$$), '^53400\|.*the role may use nothing\.$', 'nothing is nothing');
SELECT matches(refusal($$SET LOCAL qwen.limit_action = wait; SELECT qwen_embed('x')$$), '^53400\|.*the role may use nothing\.$', 'not even by waiting');
RESET ROLE;
SELECT qwen_set_limit('limit_b', max_tokens => 0) \g /dev/null
SET ROLE limit_b;
SELECT matches(refusal($$SELECT qwen_generate('x')$$), '^53400\|.*\|It can never be met: the role may use nothing\.$', 'nor is an answer of no tokens one');
RESET ROLE;
SELECT qwen_set_limit('limit_b', max_tokens => 1) \g /dev/null
SET ROLE limit_b;
SELECT matches(refusal($$SELECT qwen_generate('x', max_tokens => 2)$$), '\|Ask for at most 1 tokens? with max_tokens\.$', 'one is');
RESET ROLE;

-- membership: the tightest of each kind
SELECT qwen_clear_limit('limit_b') \g /dev/null
GRANT limit_group, limit_other_group TO limit_b;
SELECT qwen_set_limit('limit_group', requests_per_minute => 100, max_concurrent => 5) \g /dev/null
SELECT qwen_set_limit('limit_other_group', requests_per_minute => 200, max_concurrent => 3, tokens_per_day => 9000) \g /dev/null
SET ROLE limit_b;
SELECT results_eq($$SELECT limit_name, allowed FROM qwen_usage WHERE role = 'limit_b'::regrole AND allowed IS NOT NULL ORDER BY 1$$,
	$$VALUES ('max_concurrent', 3::bigint), ('requests_per_minute', 100::bigint), ('tokens_per_day', 9000::bigint)$$, 'the tightest of the roles it is a member of');
RESET ROLE;
REVOKE limit_other_group FROM limit_b;
SET ROLE limit_b;
SELECT results_eq($$SELECT limit_name, allowed FROM qwen_usage WHERE role = 'limit_b'::regrole AND allowed IS NOT NULL ORDER BY 1$$,
	$$VALUES ('max_concurrent', 5::bigint), ('requests_per_minute', 100::bigint)$$, 'as long as it is one');
RESET ROLE;
REVOKE limit_group FROM limit_b;
SET qwen.default_tokens_per_day = 7777;
SET ROLE limit_b;
SELECT results_eq($$SELECT limit_name, allowed FROM qwen_usage WHERE role = 'limit_b'::regrole AND allowed IS NOT NULL$$,
	$$VALUES ('tokens_per_day', 7777::bigint)$$, 'then the settings');
RESET ROLE;
RESET qwen.default_tokens_per_day;

-- SET ROLE and SECURITY DEFINER gain nothing
SELECT qwen_set_limit('limit_a', requests_per_minute => 0) \g /dev/null
CREATE FUNCTION as_definer() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT qwen_generate('x', max_tokens => 1) $$;
SET SESSION AUTHORIZATION limit_a;
SELECT throws_ok($$SELECT as_definer()$$, '53400', NULL, 'a function of a role without limits does not help');
RESET SESSION AUTHORIZATION;
GRANT limit_b TO limit_ops;
SELECT qwen_set_limit('limit_ops', requests_per_minute => 0) \g /dev/null
SET SESSION AUTHORIZATION limit_ops;
SET ROLE limit_b;
SELECT throws_ok($$SELECT qwen_generate('x', max_tokens => 1)$$, '53400', NULL, 'SET ROLE to one without limits neither');
RESET ROLE;
RESET SESSION AUTHORIZATION;

-- a limit that was not committed is gone
BEGIN;
SELECT qwen_set_limit('limit_b', requests_per_minute => 0) \g /dev/null
SET LOCAL ROLE limit_b;
SELECT throws_ok($$SELECT qwen_generate('x', max_tokens => 1)$$, '53400', NULL, 'a limit holds in its own transaction');
ROLLBACK;
SET ROLE limit_b;
SELECT lives_ok($$SELECT qwen_generate('x', max_tokens => 1)$$, 'and is gone with it');
RESET ROLE;

-- models
SET qwen.allowed_models = 'other, another';
SELECT throws_ok($$SELECT qwen_embed('x')$$, '42501', 'model "chat" is not allowed', 'a model that is not allowed');
SELECT throws_ok($$SELECT qwen_count_tokens('x', model => 'chat')$$, '42501', NULL, 'for nothing');
SET qwen.allowed_models = 'other,chat';
SELECT lives_ok($$SELECT qwen_embed('x')$$, 'one that is');
RESET qwen.allowed_models;

-- monitor and admin
SELECT qwen_grant('limit_ops', 'monitor') \g /dev/null
SET ROLE limit_ops;
SELECT ok((SELECT count(DISTINCT role) FROM qwen_usage) >= 3 AND (SELECT count(*) FROM qwen_limits) >= 3, 'monitor sees all roles');
SELECT throws_ok($$SELECT qwen_set_limit('limit_a')$$, '42501', NULL, 'and changes nothing');
RESET ROLE;
SELECT qwen_revoke('limit_ops', 'monitor') \g /dev/null
SET ROLE limit_ops;
SELECT ok(NOT EXISTS (SELECT FROM qwen_limits WHERE role = 'limit_group'::regrole), 'until it is revoked');
RESET ROLE;
SELECT qwen_grant('limit_boss', 'admin') \g /dev/null
SET ROLE limit_boss;
SELECT lives_ok($$SELECT qwen_set_limit('limit_a', requests_per_minute => 5)$$, 'admin sets limits');
SELECT throws_ok($$SELECT qwen_grant('limit_a', 'admin')$$, '42501', NULL, 'but grants nothing');
RESET ROLE;

-- a role that is gone leaves no limits behind
CREATE ROLE limit_gone;
SELECT qwen_set_limit('limit_gone', requests_per_minute => 1) \g /dev/null
DROP ROLE limit_gone;
SELECT qwen_clear_limit('limit_a') \g /dev/null
SELECT is((SELECT count(*)::int FROM qwen_role_limit l WHERE NOT EXISTS (SELECT FROM pg_roles WHERE oid = l.role)), 0, 'rows of dropped roles go');

DELETE FROM qwen_role_limit;
DROP FUNCTION as_definer(), refusal(text);
SELECT qwen_revoke(r::regrole, 'use') FROM unnest('{limit_a,limit_b}'::text[]) r \g /dev/null
SELECT qwen_revoke('limit_boss', 'admin') \g /dev/null
DROP ROLE limit_a, limit_b, limit_group, limit_other_group, limit_boss, limit_ops;
SELECT * FROM finish();
