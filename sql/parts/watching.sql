@functions watching

CREATE VIEW qwen_stat_engine AS SELECT * FROM _qwen_engine_status(), _qwen_engine_memory(), _qwen_engine_guesses(), _qwen_engine_forms();
COMMENT ON VIEW qwen_stat_engine IS 'the engine process: state, requests, memory and tokens since it started';

CREATE VIEW qwen_top AS
SELECT e.state, e.threads, e.running, e.waiting, round(e.tokens_per_second::numeric, 1) AS tokens_per_s,
	pg_size_pretty(e.kv_bytes_used) || ' of '::text || pg_size_pretty(e.kv_bytes_total) AS keys_and_values,
	round(e.prefix_hit_rate::numeric * 100::numeric)::int AS cached_percent, e.restarts
FROM qwen_stat_engine e;
COMMENT ON VIEW qwen_top IS 'the engine in one short line; qwen_stat_engine has all';

CREATE VIEW qwen_health_checks AS
SELECT c ->> 'check'::text AS name, c ->> 'status'::text AS status, c ->> 'message'::text AS message, c ->> 'action'::text AS action
FROM jsonb_array_elements(qwen_health() -> 'checks'::text) c;
COMMENT ON VIEW qwen_health_checks IS 'the checks of qwen_health() as rows';

CREATE VIEW qwen_stat_activity AS SELECT * FROM _qwen_activity();
COMMENT ON VIEW qwen_stat_activity IS 'requests under way, of all sessions; of other roles only for those who may see them';

CREATE VIEW qwen_stat_requests AS SELECT * FROM _qwen_request_totals();
COMMENT ON VIEW qwen_stat_requests IS 'what requests have cost, per role, model and function';

CREATE VIEW qwen_stat_roles AS SELECT * FROM _qwen_role_totals();
COMMENT ON VIEW qwen_stat_roles IS 'what requests have cost, per role';

-- A row that is under way counts by what is computed of it, in tokens of an average row that is done; with casts, so that each operator is PostgreSQL's own
-- The planner may expect more rows than bigint has numbers: one such statement must not keep everybody from reading the others
CREATE VIEW qwen_progress WITH (security_barrier) AS
WITH statement AS (
	SELECT p.leader, min(p.role) AS role, min(p.function) AS function, sum(p.rows_done)::bigint AS rows_done,
		CASE WHEN count(*) = count(p.rows_expected) THEN sum(p.rows_expected)::float8 END AS rows_total,
		-- of answers that are generated, the tokens generated; else those read
		CASE WHEN sum(p.completion_tokens + p.completion_tokens_under_way) > 0::numeric THEN sum(p.completion_tokens)::float8 ELSE sum(p.prompt_tokens)::float8 END AS tokens,
		CASE WHEN sum(p.completion_tokens + p.completion_tokens_under_way) > 0::numeric THEN sum(p.completion_tokens_under_way)::float8
			ELSE sum(p.prompt_tokens_under_way)::float8 END AS under_way,
		greatest(extract(epoch FROM clock_timestamp() - min(p.started_at))::float8, 0.001::float8) AS seconds
	FROM _qwen_statement_progress() p GROUP BY p.leader),
counted AS (
	SELECT s.*, i.pid AS builder,
		s.rows_done::float8 + CASE WHEN s.tokens > 0::float8 THEN s.under_way * s.rows_done::float8 / s.tokens ELSE 0::float8 END AS equal_to,
		CASE WHEN i.pid IS NULL THEN s.rows_total ELSE i.rows END AS rows
	FROM statement s LEFT JOIN LATERAL (
		-- a table is read block by block for an index over an expression; at the first block PostgreSQL says all of them
		SELECT x.pid, CASE WHEN x.blocks_done < x.blocks_total THEN s.rows_done::float8 * x.blocks_total::float8 / (x.blocks_done::float8 + 0.5::float8) END AS rows FROM pg_stat_progress_create_index x WHERE x.pid = s.leader) i ON true)
SELECT CASE WHEN c.builder IS NULL THEN 'query'::text ELSE 'index'::text END AS kind, c.leader::bigint AS id, c.role, c.function, c.rows_done,
	CASE WHEN c.rows >= c.rows_done::float8 THEN least(round(c.rows), 9e18::float8)::bigint END AS rows_total,
	CASE WHEN c.rows >= c.rows_done::float8 AND c.rows > 0::float8 THEN round(least(c.equal_to / c.rows * 100::float8, 100::float8))::int END AS percent,
	round(((c.tokens + c.under_way) / c.seconds)::numeric, 1) AS tokens_per_s,
	CASE WHEN c.rows >= c.rows_done::float8 AND c.rows_done > 0::bigint AND c.seconds >= 1::float8
		THEN least(round(greatest(c.rows - c.equal_to, 0::float8) * c.seconds / c.equal_to), 9e18::float8)::bigint END AS seconds_left
FROM counted c
UNION ALL
SELECT 'job'::text, j.id, j.owner::text, 'qwen_'::text || j.function, j.done + j.failed, j.total,
	CASE WHEN j.total > 0::bigint THEN round(least((j.done + j.failed)::float8 / j.total::float8 * 100::float8, 100::float8))::int END,
	round(j.tokens_per_s::numeric, 1), round(extract(epoch FROM j.eta)::numeric)::bigint
FROM qwen_jobs j WHERE j.state IN ('queued', 'running', 'no worker')
UNION ALL
SELECT 'load'::text, NULL::bigint, NULL::text, l.name, NULL::bigint, NULL::bigint,
	CASE WHEN l.bytes_total > 0::bigint THEN round(l.bytes_done::float8 / l.bytes_total::float8 * 100::float8)::int END, NULL::numeric,
	CASE WHEN l.bytes_done > 0::bigint AND l.bytes_total > l.bytes_done
		THEN round(extract(epoch FROM clock_timestamp() - l.started_at)::float8 * (l.bytes_total - l.bytes_done)::float8 / l.bytes_done::float8)::bigint END
FROM _qwen_load_progress() l;
COMMENT ON VIEW qwen_progress IS 'how far queries, jobs, loads and indexes are that ask the models, and how long it takes';
