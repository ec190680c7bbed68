-- pg_dump leaves the rows of these two tables out, and logical replication brings none
CREATE TABLE qwen_job_table (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	owner oid NOT NULL,
	session_role oid NOT NULL,
	outer_role oid NOT NULL,
	state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
	source text,
	source_relation oid,
	search_path text NOT NULL,
	target oid NOT NULL,
	target_column text,
	key_columns text[] NOT NULL,
	key_types text[] NOT NULL,
	prompt text NOT NULL,
	function text NOT NULL,
	system text,
	instruction text,
	max_words int NOT NULL,
	dimensions int NOT NULL,
	priority int NOT NULL,
	max_attempts int NOT NULL,
	model text, max_tokens int, temperature float8, top_p float8, min_p float8, top_k int,
	repetition_penalty float8, presence_penalty float8, frequency_penalty float8, seed bigint, stop text[],
	thinking boolean, thinking_budget int, response_format json, adapter text,
	position text[],
	exhausted boolean NOT NULL DEFAULT false,
	total bigint NOT NULL,
	done bigint NOT NULL DEFAULT 0,
	failed bigint NOT NULL DEFAULT 0,
	prompt_tokens bigint NOT NULL DEFAULT 0,
	completion_tokens bigint NOT NULL DEFAULT 0,
	busy_ms float8 NOT NULL DEFAULT 0,
	submitted timestamptz NOT NULL DEFAULT now(),
	started timestamptz,
	ended timestamptz,
	error text,
	options json,
	truncated bigint NOT NULL DEFAULT 0,
	note text,
	arguments json,
	target_columns text[],
	CHECK (num_nulls(target_column, target_columns) = 1)
) WITH (fillfactor = 50);
CREATE INDEX qwen_job_table_active ON qwen_job_table (owner) WHERE state IN ('queued', 'running');
COMMENT ON TABLE qwen_job_table IS 'jobs of qwen_submit; the view qwen_jobs shows them';

CREATE TABLE qwen_job_row (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	owner oid NOT NULL,
	job bigint,
	relation oid,
	trigger text,
	key text[] NOT NULL,
	queued timestamptz NOT NULL DEFAULT now(),
	attempts int NOT NULL DEFAULT 0,
	next_try timestamptz,
	dead boolean NOT NULL DEFAULT false,
	failed_at timestamptz,
	sqlstate text,
	error text,
	trigger_oid oid,
	key_numbers smallint[],
	via bigint[],
	target_numbers smallint[]
);
CREATE INDEX qwen_job_row_waiting ON qwen_job_row (owner, id) WHERE NOT dead;
CREATE INDEX qwen_job_row_job ON qwen_job_row (job, id) WHERE job IS NOT NULL;
CREATE INDEX qwen_job_row_dead ON qwen_job_row (relation, key) WHERE dead;
CREATE INDEX qwen_job_row_failed ON qwen_job_row (relation, failed_at) WHERE failed_at IS NOT NULL;
CREATE INDEX qwen_job_row_key ON qwen_job_row (relation, hash_array(key)) WHERE relation IS NOT NULL;
COMMENT ON TABLE qwen_job_row IS 'rows that job workers work on, and those that failed for good';

@functions jobs

CREATE VIEW qwen_jobs WITH (security_barrier) AS
SELECT j.id,
	CASE WHEN j.state IN ('queued', 'running') AND (w.state IN ('no slot', 'limited', 'failed') OR w.role IS NULL AND u.state = 'no worker') THEN 'no worker'
		-- a job that has come to its end says whether its rows have
		WHEN j.state = 'done' AND j.failed > 0 THEN CASE WHEN j.done = 0 THEN 'failed' ELSE 'done with failures' END
		ELSE j.state END AS state,
	j.total, j.done, j.failed,
	-- with casts, so that each operator is PostgreSQL's own, whatever stands in the schema
	CASE WHEN j.busy_ms > 0::float8 THEN round(((CASE WHEN j.completion_tokens > 0::bigint THEN j.completion_tokens ELSE j.prompt_tokens END)::float8 * 1000::float8 / j.busy_ms)::numeric, 1)::float8 END AS tokens_per_s,
	CASE WHEN j.state IN ('queued', 'running') AND j.done + j.failed > 0
		THEN date_trunc('second', greatest(j.total - j.done - j.failed, 0)::float8 * (j.busy_ms / (j.done + j.failed)::float8) * interval '1 millisecond') END AS eta,
	pg_get_userbyid(j.owner) AS owner,
	coalesce(CASE WHEN j.state NOT IN ('queued', 'running') THEN NULL
		WHEN pg_is_in_recovery() THEN 'this server is a standby: jobs run on the primary'
		WHEN w.role IS NULL THEN u.trouble
		ELSE coalesce((SELECT 'rows are tried again: '::text || r.error FROM qwen_job_row r
			WHERE r.job = j.id AND NOT r.dead AND r.next_try IS NOT NULL ORDER BY r.failed_at DESC LIMIT 1), w.trouble) END, nullif(pg_catalog.concat_ws('; ', j.error,
		CASE WHEN j.state = 'done' AND j.failed > 0 AND j.done = 0 THEN coalesce('all rows failed: qwen_dead_letters has them; the first: '::text ||
			(SELECT r.error FROM qwen_job_row r WHERE r.job = j.id AND r.dead ORDER BY r.job, r.id LIMIT 1), 'all rows failed') END, j.note), '')) AS error,
	j.function, coalesce(j.source, j.source_relation::regclass::text) AS source, j.target::regclass AS target,
	coalesce(j.target_column, array_to_string(j.target_columns, ', ')) AS target_column, j.prompt, j.priority, j.prompt_tokens, j.completion_tokens, j.submitted, j.started, j.ended,
	w.pid AS worker_pid, j.truncated, coalesce(j.target_columns, ARRAY[j.target_column]) AS target_columns
FROM qwen_job_table j CROSS JOIN _qwen_job_unserved() u LEFT JOIN _qwen_job_workers() w ON w.role = j.owner
WHERE pg_has_role(j.owner, 'USAGE');
COMMENT ON VIEW qwen_jobs IS 'your jobs, with their progress';

CREATE VIEW qwen_job_list WITH (security_barrier) AS
SELECT j.id, j.state, j.done, j.failed, j.total, j.eta, j.target,
	-- a long one in lines: nothing of it is lost, and the table stays narrow
	rtrim(regexp_replace(regexp_replace(j.error, '(\S{24})'::text, '\1 '::text, 'g'::text), '(.{1,24})( +|$)'::text, '\1'::text || chr(10), 'g'::text), chr(10)) AS error
FROM qwen_jobs j;
COMMENT ON VIEW qwen_job_list IS 'your jobs in few columns; qwen_jobs has all';

CREATE VIEW qwen_dead_letters WITH (security_barrier) AS
SELECT r.id, r.job, coalesce(r.relation, j.target)::regclass AS relation,
	coalesce(t.tgname::text COLLATE "default", r.trigger) AS trigger, r.key, r.attempts, r.sqlstate, r.error, r.queued, r.failed_at
FROM qwen_job_row r LEFT JOIN qwen_job_table j ON j.id = r.job LEFT JOIN pg_trigger t ON t.oid = r.trigger_oid
-- with a table go its rows; those of a trigger that was dropped stay, with that as the reason of what was not filled in
WHERE r.dead AND pg_has_role(r.owner, 'USAGE') AND EXISTS (SELECT FROM pg_class c WHERE c.oid = coalesce(r.relation, j.target));
COMMENT ON VIEW qwen_dead_letters IS 'rows of your jobs and of your tables'' triggers that failed for good';

CREATE VIEW qwen_trigger_backlog WITH (security_barrier) AS
SELECT b.relation::regclass AS relation, b.trigger, b.waiting, b.retrying, b.dead, now() - b.first_queued AS oldest,
	(SELECT e.error FROM qwen_job_row e LEFT JOIN pg_trigger et ON et.oid = e.trigger_oid
		WHERE e.relation = b.relation AND coalesce(et.tgname::text COLLATE "default", e.trigger) = b.trigger AND e.failed_at IS NOT NULL
		ORDER BY e.failed_at DESC LIMIT 1) AS last_error,
	CASE WHEN b.waiting = 0 THEN NULL WHEN pg_is_in_recovery() THEN 'this server is a standby: rows are filled in on the primary'
		ELSE coalesce((SELECT coalesce(w.trouble, w.state) FROM _qwen_job_workers() w WHERE w.role = b.owner LIMIT 1),
			(SELECT u.trouble FROM _qwen_job_unserved() u)) END AS worker
FROM (SELECT r.owner, r.relation, coalesce(t.tgname::text COLLATE "default", r.trigger) AS trigger,
		count(*) FILTER (WHERE NOT r.dead) AS waiting,
		count(*) FILTER (WHERE NOT r.dead AND r.attempts > 0) AS retrying, count(*) FILTER (WHERE r.dead) AS dead,
		min(r.queued) FILTER (WHERE NOT r.dead) AS first_queued
	FROM qwen_job_row r LEFT JOIN pg_trigger t ON t.oid = r.trigger_oid
	WHERE r.job IS NULL AND EXISTS (SELECT FROM pg_class c WHERE c.oid = r.relation) GROUP BY 1, 2, 3) b
WHERE pg_has_role(b.owner, 'USAGE');
COMMENT ON VIEW qwen_trigger_backlog IS 'what your tables'' triggers have queued and is not filled in yet';
