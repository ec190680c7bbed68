-- What CREATE EXTENSION makes: functions, their volatility and cost, views, settings.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
DROP EXTENSION IF EXISTS qwen_pg CASCADE;
CREATE EXTENSION qwen_pg;
SELECT plan(22);

-- the names, so that a function is added here knowingly
SELECT is((SELECT array_agg(DISTINCT proname::text ORDER BY proname::text) FROM pg_proc WHERE proname LIKE '%qwen\_%' AND provolatile = 'v' AND procost = 10000),
	ARRAY['_qwen_chat_agg_final', '_qwen_summarize_agg_final', 'qwen_chat', 'qwen_chat_full', 'qwen_chat_stream', 'qwen_classify', 'qwen_classify_multi', 'qwen_entities', 'qwen_extract', 'qwen_fill_in', 'qwen_filter', 'qwen_generate', 'qwen_generate_batch', 'qwen_redact', 'qwen_score', 'qwen_sentiment', 'qwen_summarize', 'qwen_translate'],
	'what generates is volatile and costs 10000');
SELECT is((SELECT array_agg(DISTINCT proname::text ORDER BY proname::text) FROM pg_proc WHERE proname LIKE '%qwen\_%' AND provolatile = 's' AND procost >= 100),
	ARRAY['qwen_check_format', 'qwen_chunk', 'qwen_classify_multi_scores', 'qwen_classify_scores', 'qwen_count_tokens', 'qwen_detokenize', 'qwen_embed', 'qwen_embed_batch', 'qwen_logprobs', 'qwen_moderate', 'qwen_render_chat', 'qwen_rerank', 'qwen_rerank_score',
	'qwen_similarity',
	'qwen_similarity_to', 'qwen_tokenize', 'qwen_type_schema'], 'embeddings, tokens and scores are stable');
SELECT is((SELECT count(*)::int FROM pg_proc WHERE proname LIKE '%qwen\_%' AND proisstrict), 0, 'nothing is strict');
SELECT is((SELECT count(*)::int FROM pg_proc WHERE proname LIKE '%qwen\_%' AND proparallel = 'u' AND prorettype <> 'trigger'::regtype AND
	proname NOT IN ('qwen_submit', 'qwen_cancel', 'qwen_wait', 'qwen_retry', 'qwen_retry_table', 'qwen_enqueue', 'qwen_forget', 'qwen_forget_table')
	AND prorettype <> 'anyelement'::regtype AND qwen_privilege_of(proname) NOT IN ('owner', 'admin')), 0,
	'nothing but triggers, what changes tables and what runs checks of domains is parallel unsafe');
SELECT is((SELECT count(*)::int FROM pg_proc p WHERE proname LIKE '%qwen\_%' AND obj_description(p.oid, 'pg_proc') IS NULL), 0,
	'every function has a comment');
SELECT is((SELECT string_agg(c.relname || '.' || a.attname, ', ') FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'qwen_pg' JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relkind IN ('v', 'c') AND col_description(c.oid, a.attnum) IS NULL), NULL, 'every column of a view has a comment');
SELECT is((SELECT string_agg(c.relname, ', ') FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'qwen_pg' WHERE c.relkind IN ('v', 'r') AND obj_description(c.oid, 'pg_class') IS NULL), NULL, 'every view has one');
SELECT is((SELECT string_agg(proname, ', ') FROM pg_proc WHERE proname LIKE 'qwen\_%' AND ('internal'::regtype = ANY (proargtypes) OR prorettype IN ('record'::regtype, 'internal'::regtype)
	AND NOT 't' = ANY (proargmodes))), NULL, 'functions behind views, aggregates and the planner are out of the way of \df qwen_*');
SELECT has_view('qwen_models');
SELECT has_view('qwen_adapters');
SELECT has_view('qwen_model_list');
SELECT has_view('qwen_job_list');
SELECT has_view('qwen_top');
SELECT has_view('qwen_stat_engine');
SELECT has_type('qwen_response');
SELECT is((SELECT array_agg(name ORDER BY name) FROM pg_settings WHERE name LIKE 'qwen.%'),
	ARRAY['qwen.adapters',
	'qwen.allowed_models',
	'qwen.batch_plans',
	'qwen.batch_window',
	'qwen.default_embedding_model',
	'qwen.default_max_concurrent',
	'qwen.default_max_tokens',
	'qwen.default_model',
	'qwen.default_priority',
	'qwen.default_requests_per_minute',
	'qwen.default_rerank_model',
	'qwen.default_tokens_per_day',
	'qwen.default_tokens_per_minute',
	'qwen.draft_models',
	'qwen.engine_path',
	'qwen.engine_priority',
	'qwen.engine_sandbox',
	'qwen.huge_pages',
	'qwen.io_method',
	'qwen.job_retention', 'qwen.job_window',
	'qwen.kv_cache_size',
	'qwen.kv_cache_type',
	'qwen.limit_action',
	'qwen.lock_memory',
	'qwen.log_requests',
	'qwen.max_adapters',
	'qwen.max_job_workers',
	'qwen.max_limited_roles',
	'qwen.max_models',
	'qwen.max_running',
	'qwen.max_tokens',
	'qwen.model_directory',
	'qwen.models',
	'qwen.on_error',
	'qwen.prefill_chunk',
	'qwen.prefix_cache',
	'qwen.queue_size', 'qwen.queue_timeout',
	'qwen.speculation',
	'qwen.stat_max',
	'qwen.state_type',
	'qwen.threads',
	'qwen.watchdog_timeout'], 'the settings are those of docs/settings.md');
SELECT is_empty($$SELECT c.relname, a.attname FROM pg_depend d JOIN pg_class c ON c.oid = d.objid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	JOIN pg_get_keywords() k ON k.word = a.attname AND k.catcode IN ('R', 'T')
	WHERE d.deptype = 'e' AND d.classid = 'pg_class'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'qwen_pg')$$,
	'no column must be quoted');
-- pg_dump and pg_upgrade write GRANT ON FUNCTION with the arguments' names, which PostgreSQL does not quote: FORMAT before JSON is a clause from 16 on
SELECT is((SELECT string_agg(p.oid::regprocedure::text || ' ' || name, ', ') FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'qwen_pg', unnest(proargnames) name WHERE name IN ('format', 'nulls', 'with', 'without', 'not')), NULL,
	'no argument has a name by which a dump cannot be restored');
SELECT throws_ok($$SET qwen.max_tokens = 0$$, '22023', NULL, 'a setting out of its range is refused');
SELECT is((SELECT count(*)::int FROM qwen_models WHERE name = 'chat'), 1, 'the configured model is listed');
SELECT is((SELECT state FROM qwen_stat_engine), 'running', 'the engine runs');
SELECT is(qwen_health() ->> 'status', CASE WHEN (SELECT state FROM qwen_models) = 'serving' THEN 'healthy' ELSE 'degraded' END, 'health says so');
SELECT * FROM finish();
