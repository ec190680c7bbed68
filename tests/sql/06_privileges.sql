-- Nothing that generates or administers is for everybody.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(15);
CREATE ROLE qwen_test_user;

SELECT is((SELECT array_agg(DISTINCT proname::text ORDER BY proname::text) FROM pg_proc p
	WHERE proname LIKE '%qwen\_%' AND has_function_privilege('qwen_test_user', p.oid, 'EXECUTE')),
	ARRAY['_qwen_activity', '_qwen_adapters_status', '_qwen_engine_forms', '_qwen_engine_guesses', '_qwen_engine_memory', '_qwen_engine_status', '_qwen_job_unserved', '_qwen_job_workers', '_qwen_load_progress', '_qwen_may_see_role', '_qwen_models_status', '_qwen_request_totals', '_qwen_role_totals', '_qwen_statement_progress', '_qwen_usage_rows', 'qwen_cosine', 'qwen_health', 'qwen_type_value'], 'PUBLIC may call what shows the state, nothing else');
SELECT is((SELECT array_agg(DISTINCT proname::text ORDER BY proname::text) FROM pg_proc WHERE proname LIKE '%qwen\_%' AND qwen_privilege_of(proname) NOT IN ('use', 'everybody')),
	ARRAY['_qwen_guard_rows', '_qwen_limits_changed', '_qwen_planner_support', 'qwen_allow_models', 'qwen_check_model', 'qwen_clear_limit', 'qwen_grant', 'qwen_load_adapter', 'qwen_load_model', 'qwen_monitor', 'qwen_privilege_of', 'qwen_revoke', 'qwen_set_limit', 'qwen_stat_reset', 'qwen_unload_adapter', 'qwen_unload_model'], 'what ''use'' does not give');
SELECT is(qwen_privilege_of('nope'), NULL, 'what is no function of ours belongs to no privilege');
SET ROLE qwen_test_user;
SELECT throws_ok($$SELECT qwen_chat('x')$$, '42501', NULL, 'chat is not for everybody');
SELECT throws_ok($$SELECT qwen_embed('x')$$, '42501', NULL, 'embedding neither');
SELECT throws_ok($$SELECT qwen_load_model('a', 'b')$$, '42501', NULL, 'nor loading');
SELECT lives_ok($$SELECT * FROM qwen_models, qwen_stat_engine, qwen_stat_activity, qwen_stat_requests, qwen_stat_roles$$, 'the views are');
SELECT lives_ok($$SELECT qwen_health()$$, 'and the health');
SELECT throws_ok(format('SHOW %s', name), '42501', NULL, name || ' has paths and is not shown') FROM unnest(ARRAY['qwen.engine_path', 'qwen.models', 'qwen.model_directory']) AS name;
SELECT is((SELECT count(*)::int FROM pg_settings WHERE name LIKE 'qwen.%' AND (setting LIKE '%.gguf%' OR setting LIKE '%/%')), 0, 'nor in pg_settings');
SELECT is((SELECT count(*)::int FROM qwen_models WHERE file LIKE '%/%' OR error LIKE '%/%'), 0, 'nor in the view of models');
RESET ROLE;
GRANT EXECUTE ON FUNCTION qwen_count_tokens(text, text, json) TO qwen_test_user;
SET ROLE qwen_test_user;
SELECT lives_ok($$SELECT qwen_count_tokens('x')$$, 'a granted function can be called');
SELECT throws_ok($$SELECT qwen_tokenize('x')$$, '42501', NULL, 'another still not');
RESET ROLE;
DROP OWNED BY qwen_test_user;
DROP ROLE qwen_test_user;
SELECT * FROM finish();
