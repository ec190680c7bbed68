-- qwen_submit and its companions: what they refuse, and a job from end to end.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(54);

CREATE TABLE job_rows (id int PRIMARY KEY, body text, title text, summary text, number int, short varchar(5), embedding real[],
	made text GENERATED ALWAYS AS (upper(body)) STORED);
CREATE TABLE job_no_key (id int, body text, summary text);
CREATE TEMP TABLE job_temp (id int PRIMARY KEY, body text, summary text);
CREATE VIEW job_view AS SELECT id, body FROM job_rows;
INSERT INTO job_rows (id, body, title) VALUES (1, 'one', 'a'), (2, 'two', NULL), (3, NULL, NULL);

-- arguments
SELECT throws_ok($$SELECT qwen_submit(NULL, 'body', 'job_rows', 'summary')$$, '22023', 'source must not be null');
SELECT throws_ok($$SELECT qwen_submit('job_rows', NULL, 'job_rows', 'summary')$$, '22023', 'prompt must not be null');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', NULL, 'summary')$$, '22023', 'target must not be null');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', NULL)$$, '22023', 'target_column must not be null');
SELECT throws_ok($$SELECT qwen_submit('nothing', 'body', 'job_rows', 'summary')$$, '42P01', 'relation "nothing" does not exist');
SELECT throws_ok($$SELECT qwen_submit('SELECT 1 AS id; DROP TABLE job_rows', 'id', 'job_rows', 'summary')$$, '22023', 'source must be one query, not 2 statements', 'one query, not two');
SELECT throws_ok($$SELECT qwen_submit('SELECT * FROM job_rows) q; DELETE FROM (job_rows', 'body', 'job_rows', 'summary')$$, '42601', NULL, 'nor two in disguise');
SELECT throws_ok($$SELECT qwen_submit('SELECT nobody FROM job_rows', 'nobody', 'job_rows', 'summary')$$, '42703', NULL, 'a query must be right');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'summary', function => 'sing')$$, '22023',
	'function must be chat, generate, fill_in, summarize, translate, classify, filter, sentiment, classify_multi, score, redact, extract, embed, similarity_to or rerank_score, not "sing"');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'summary', max_words => 5)$$, '22023', 'max_words means nothing with function => ''chat''');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'embedding', function => 'embed', system => 'x')$$, '22023',
	'system means nothing with function => ''embed''');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'summary', max_attempts => 0)$$, '22023', 'max_attempts must be between 1 and 100, not 0');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'summary', priority => 5000)$$, '22023', 'priority must be between -1000 and 1000, not 5000');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'summary', temperature => 3)$$, '22023', NULL, 'the common arguments are checked');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'summary', model => 'nobodys')$$, '42704', 'model "nobodys" is not loaded');

-- templates
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'Say {text} and {title}', 'job_rows', 'summary')$$, '22023', 'prompt: the placeholder {text} is no column');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'Say {body', 'job_rows', 'summary')$$, '22023', 'prompt: the template has a { without a }: "Say {body"');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'Say {body}}', 'job_rows', 'summary')$$, '22023', 'prompt: the template has a } without a {: "Say {body}}"');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'Say something', 'job_rows', 'summary')$$, '22023',
	'prompt: "Say something" is neither a column nor a template with a {column}');
SELECT throws_ok($$SELECT qwen_submit('job_rows', '{body} {summary}', 'job_rows', 'summary')$$, '22023',
	'prompt: the answer of column "summary" cannot be made from the column itself');
CREATE FUNCTION pg_temp.detail_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE said text;
BEGIN
	EXECUTE statement;
	RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
	RETURN said;
END $$;
SELECT is(pg_temp.detail_of($$SELECT qwen_submit('job_no_key', '{text}', 'job_rows', 'summary', key_columns => '{id}')$$),
	'The columns are "id", "body", "summary".', 'the columns there are, are named');

-- source, keys and target
SELECT throws_ok($$SELECT qwen_submit('job_no_key', 'body', 'job_no_key', 'summary')$$, '22023', 'table "job_no_key" has no primary key');
SELECT throws_ok($$SELECT qwen_submit('job_view', 'body', 'job_no_key', 'summary')$$, '22023', 'view "job_view" has no primary key', 'a view is called one');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'summary', key_columns => '{{id}}')$$, '22023', 'key_columns must be an array of one dimension, not of 2');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', function => 'extract', target_columns => '{{title},{summary}}')$$, '22023', 'target_columns must be an array of one dimension, not of 2');
SELECT throws_ok($$SELECT qwen_submit('job_no_key', 'body', 'job_no_key', 'summary', key_columns => '{id}')$$, '22023',
	'target: table "job_no_key" has no unique index on the key columns');
SELECT throws_ok($$SELECT qwen_submit('SELECT body FROM job_rows', 'body', 'job_rows', 'summary')$$, '22023', 'the source has no key column "id"');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'nobody')$$, '22023', 'target: table "job_rows" has no column "nobody"');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'number')$$, '22023',
	'target: column "number" of table "job_rows" is of type integer, which does not take text');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'summary', function => 'embed')$$, '22023',
	'target: column "summary" of table "job_rows" is of type text, which does not take real[]');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'made')$$, '22023', 'target: column "made" of table "job_rows" is a generated column');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'body', key_columns => '{id}')$$, '22023', NULL, 'nor from itself by a column''s name');
SELECT throws_ok($$SELECT qwen_submit('job_temp', 'body', 'job_temp', 'summary')$$, '0A000', NULL, 'temporary tables cannot be seen by workers');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_view', 'body')$$, '22023', 'target: "job_view" is not a table');
SELECT throws_ok($$SELECT qwen_submit('job_rows', 'body', 'job_rows', 'summary', key_columns => '{}')$$, '22023', 'key_columns must have 1 to 8 elements, not 0');

-- what is not there
SELECT throws_ok($$SELECT qwen_cancel(987654)$$, '42704', 'job 987654 does not exist');
SELECT throws_ok($$SELECT qwen_wait(987654)$$, '42704', 'job 987654 does not exist');
SELECT throws_ok($$SELECT qwen_retry(987654)$$, '42704', 'job 987654 does not exist');
SELECT throws_ok($$SELECT qwen_cancel(NULL)$$, '22023', 'id must not be null');
SELECT throws_ok($$SELECT qwen_retry_table(0)$$, '42P01', 'the table does not exist');
SELECT throws_ok($$SELECT qwen_retry_table('pg_class')$$, '42704', 'table "pg_class" has no trigger that queues its rows, and no dead letters', 'as qwen_enqueue says it');
SELECT throws_ok($$SELECT qwen_retry_table('job_no_key')$$, '42704', 'table "job_no_key" has no trigger that queues its rows, and no dead letters');
CREATE TRIGGER queues AFTER INSERT ON job_rows FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('summary', 'body');
SELECT is(qwen_retry_table('job_rows'), 0::bigint, 'of a table that queues there may be nothing to retry');
DROP TRIGGER queues ON job_rows;
SELECT is(qwen_forget_table('job_rows'), 0::bigint, 'and forgetting what is not there is done');
CREATE FUNCTION pg_temp.hint_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE said text;
BEGIN
	EXECUTE statement;
	RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_HINT;
	RETURN said;
END $$;
SELECT matches(pg_temp.hint_of('SELECT qwen_wait(987654)'), 'once the transaction that submitted it has committed', 'a job may be one that is to come');
SELECT is((SELECT count(*)::int FROM qwen_jobs), 0, 'nothing of all this is a job');

-- from end to end: a view as source, a template with a NULL among others, one row without anything
SELECT qwen_submit('job_rows', 'Repeat: {body} {title}', 'job_rows', 'summary', max_tokens => 3, temperature => 0) AS job \gset
SELECT is(qwen_wait(:job, '60 s'), 'done', 'a job ends');
SELECT results_eq('SELECT summary IS NOT NULL FROM job_rows ORDER BY id', ARRAY[true, true, false], 'its rows are filled in; NULL gives NULL');
SELECT is((SELECT summary FROM job_rows WHERE id = 2), qwen_chat('Repeat: two ', max_tokens => 3, temperature => 0), 'a NULL among others is nothing');
SELECT is(qwen_cancel(:job), false, 'what has ended cannot be cancelled');
SELECT qwen_submit('job_view', 'body', 'job_rows', 'title', key_columns => '{id}', system => 'Answer with one word.', max_tokens => 3, temperature => 0) AS job \gset
SELECT is(qwen_wait(:job, '60 s'), 'done', 'a view is a source, too');
SELECT is((SELECT title FROM job_rows WHERE id = 1), qwen_chat('one', 'Answer with one word.', max_tokens => 3, temperature => 0), 'with a system prompt');
SELECT qwen_submit('TABLE job_rows', 'body', 'job_rows', 'short', max_tokens => 20, temperature => 0, max_attempts => 1, priority => 7) AS job \gset
SELECT is(qwen_wait(:job, '60 s'), 'done with failures', 'answers that do not fit');
SELECT is((SELECT array_agg(sqlstate ORDER BY key) FROM qwen_dead_letters WHERE job = :job), ARRAY['22001', '22001'], 'are dead letters, and never cut');
SELECT * FROM finish();
DROP VIEW job_view;
DROP TABLE job_rows, job_no_key;
