-- Triggers that queue: what they refuse, when they queue, and that what is queued is filled in.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(53);

CREATE TABLE queued (id int PRIMARY KEY, title text, body text, summary text, embedding real[], number int, made text GENERATED ALWAYS AS (upper(body)) STORED);
CREATE TABLE keyless (id int, body text, summary text);
CREATE FUNCTION pg_temp.insert_with(function text, arguments text, moment text DEFAULT 'AFTER INSERT', level text DEFAULT 'ROW', tab text DEFAULT 'queued') RETURNS text LANGUAGE plpgsql AS $$
DECLARE said text;
BEGIN
	EXECUTE format('CREATE TRIGGER wrong %s ON %s FOR EACH %s EXECUTE FUNCTION %s(%s)', moment, tab, level, function, arguments);
	EXECUTE format('INSERT INTO %s (id, body) VALUES (99, ''x'')', tab);
	RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || SQLERRM || CASE WHEN said <> '' THEN ' | ' || said ELSE '' END;
END $$;
CREATE FUNCTION pg_temp.filled_in() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 3000 LOOP
		IF NOT EXISTS (SELECT 1 FROM qwen_trigger_backlog WHERE waiting > 0) THEN RETURN true; END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END $$;
CREATE FUNCTION pg_temp.expected(prompt text) RETURNS text LANGUAGE sql AS $$ SELECT qwen_chat(prompt, max_tokens => 4, temperature => 0) $$;

-- refused at the first row, naming what is wrong
SELECT throws_ok($$SELECT qwen_enqueue_trigger()$$, '22023', 'qwen_enqueue_trigger must be called as a trigger');
SELECT throws_ok($$SELECT qwen_embed_trigger()$$, '22023', 'qwen_embed_trigger must be called as a trigger');
SELECT is(pg_temp.insert_with('qwen_enqueue_trigger', $$'summary', '{body}'$$, 'BEFORE INSERT'), '22023 qwen_enqueue_trigger must be an AFTER INSERT OR UPDATE trigger FOR EACH ROW');
SELECT is(pg_temp.insert_with('qwen_enqueue_trigger', $$'summary', '{body}'$$, 'AFTER INSERT', 'STATEMENT'), '22023 qwen_enqueue_trigger must be an AFTER INSERT OR UPDATE trigger FOR EACH ROW');
SELECT is(pg_temp.insert_with('qwen_enqueue_trigger', $$'summary'$$), '22023 qwen_enqueue_trigger takes 2 or more arguments, not 1');
SELECT is(pg_temp.insert_with('qwen_enqueue_trigger', $$'nobody', '{body}'$$), '22023 target: table "queued" has no column "nobody"');
SELECT is(pg_temp.insert_with('qwen_enqueue_trigger', $$'number', '{body}'$$), '22023 target: column "number" of table "queued" is of type integer, which does not take text');
SELECT is(pg_temp.insert_with('qwen_enqueue_trigger', $$'made', '{body}'$$), '22023 target: column "made" of table "queued" is a generated column');
SELECT is(pg_temp.insert_with('qwen_enqueue_trigger', $$'summary', '{text}'$$),
	'22023 qwen_enqueue_trigger: the placeholder {text} is no column | The columns are "id", "title", "body", "summary", "embedding", "number", "made".');
SELECT is(pg_temp.insert_with('qwen_enqueue_trigger', $$'summary', 'nothing'$$),
	'22023 qwen_enqueue_trigger: "nothing" is neither a column nor a template with a {column} | The columns are "id", "title", "body", "summary", "embedding", "number", "made".');
SELECT is(pg_temp.insert_with('qwen_enqueue_trigger', $$'summary', '{summary}'$$), '22023 qwen_enqueue_trigger: the answer of column "summary" cannot be made from the column itself');
SELECT is(pg_temp.insert_with('qwen_enqueue_trigger', $$'summary', '{body}', 'colour=red'$$), '22023 qwen_enqueue_trigger: the argument "colour=red" is not known');
SELECT matches(pg_temp.insert_with('qwen_enqueue_trigger', $$'summary', '{body}', 'temperature=9'$$), '^22023 temperature');
SELECT matches(pg_temp.insert_with('qwen_enqueue_trigger', $$'summary', '{body}', 'max_tokens=many'$$), '^22P02');
SELECT is(pg_temp.insert_with('qwen_enqueue_trigger', $$'summary', '{body}', 'max_attempts=0'$$), '22023 qwen_enqueue_trigger: max_attempts must be between 1 and 100, not 0');
SELECT matches(pg_temp.insert_with('qwen_enqueue_trigger', $$'{{summary},{title}}', '{body}', 'function=extract'$$), 'target columns must be an array of one dimension, not of 2', 'columns in a square');
SELECT matches(pg_temp.insert_with('qwen_enqueue_trigger', $$'summary', '{body}'$$, 'AFTER INSERT', 'ROW', 'keyless'), '^22023 qwen_enqueue_trigger: table "keyless" has no primary key');
SELECT is(pg_temp.insert_with('qwen_enqueue_embed_trigger', $$'summary', '{body}'$$), '22023 target: column "summary" of table "queued" is of type text, which does not take real[]');
SELECT is(pg_temp.insert_with('qwen_enqueue_embed_trigger', $$'embedding', '{body}', 'temperature=0'$$), '22023 qwen_enqueue_embed_trigger: the argument "temperature=0" is not known');
SELECT is(pg_temp.insert_with('qwen_embed_trigger', $$'body', 'embedding'$$), '22023 qwen_embed_trigger must be a BEFORE INSERT OR UPDATE trigger FOR EACH ROW');
SELECT is(pg_temp.insert_with('qwen_embed_trigger', $$'body'$$, 'BEFORE INSERT'), '22023 qwen_embed_trigger takes 2 or more arguments, not 1');
SELECT is(pg_temp.insert_with('qwen_embed_trigger', $$'number', 'embedding'$$, 'BEFORE INSERT'), '22023 qwen_embed_trigger: column "number" of table "queued" is not of type text or varchar');
SELECT is(pg_temp.insert_with('qwen_embed_trigger', $$'body', 'embedding', 'size=3'$$, 'BEFORE INSERT'), '22023 qwen_embed_trigger: the argument "size=3" is not known');
SELECT is((SELECT count(*)::int FROM qwen_trigger_backlog), 0, 'nothing of all this was queued');

-- queued and filled in
CREATE TRIGGER summarise AFTER INSERT OR UPDATE ON queued FOR EACH ROW
	EXECUTE FUNCTION qwen_enqueue_trigger('summary', 'Say {body} of {title}', 'max_tokens=4', 'temperature=0');
INSERT INTO queued (id, title, body) VALUES (1, 'one', 'first'), (2, NULL, 'second'), (3, NULL, NULL);
SELECT ok(pg_temp.filled_in(), 'what is inserted is filled in');
SELECT is((SELECT summary FROM queued WHERE id = 1), pg_temp.expected('Say first of one'), 'with the template''s prompt');
SELECT is((SELECT summary FROM queued WHERE id = 2), pg_temp.expected('Say second of '), 'a NULL among others is nothing');
SELECT is((SELECT summary FROM queued WHERE id = 3), NULL, 'no source, no answer');
BEGIN;
UPDATE queued SET number = 1;
UPDATE queued SET summary = 'by hand' WHERE id = 1;
UPDATE queued SET body = body;
SELECT is((SELECT count(*)::int FROM qwen_trigger_backlog), 0, 'only changes of source columns queue');
UPDATE queued SET body = 'other' WHERE id = 1;
SELECT results_eq('SELECT relation::text, trigger, waiting, dead FROM qwen_trigger_backlog', $$VALUES ('queued', 'summarise', 1::bigint, 0::bigint)$$, 'a change does, in the same transaction');
SAVEPOINT s;
UPDATE queued SET body = 'never' WHERE id = 2;
ROLLBACK TO s;
SELECT is((SELECT waiting::int FROM qwen_trigger_backlog), 1, 'what is rolled back was never queued');
COMMIT;
SELECT ok(pg_temp.filled_in(), 'an update is filled in');
SELECT is((SELECT summary FROM queued WHERE id = 1), pg_temp.expected('Say other of one'), 'with the new text');
UPDATE queued SET title = NULL, body = NULL WHERE id = 1;
SELECT ok(pg_temp.filled_in(), 'sources that are gone');
SELECT is((SELECT summary FROM queued WHERE id = 1), NULL, 'take the answer with them');
BEGIN;
UPDATE queued SET id = 20 WHERE id = 2;
SELECT is((SELECT waiting::int FROM qwen_trigger_backlog), NULL, 'a new key alone is nothing to be answered');
COMMIT;
SELECT ok(pg_temp.filled_in(), 'and is not');
UPDATE queued SET id = 2 WHERE id = 20;
SELECT ok(pg_temp.filled_in(), 'under whatever key');
DELETE FROM queued WHERE id = 3;
INSERT INTO queued (id, body) VALUES (3, 'gone');
DELETE FROM queued WHERE id = 3;
SELECT ok(pg_temp.filled_in(), 'a deleted row leaves the queue');

-- embeddings, queued and at once
CREATE TRIGGER embed AFTER INSERT OR UPDATE OF body ON queued FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_embed_trigger('embedding', '{title} {body}');
INSERT INTO queued (id, title, body) VALUES (4, 'a', 'b');
SELECT ok(pg_temp.filled_in(), 'two triggers of a table');
SELECT ok((SELECT embedding = qwen_embed('a b') AND summary IS NOT NULL FROM queued WHERE id = 4), 'both fill in their column');
CREATE TABLE at_once (id int PRIMARY KEY, body text, embedding real[]);
CREATE TRIGGER embed BEFORE INSERT OR UPDATE ON at_once FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'embedding');
INSERT INTO at_once (id, body) VALUES (1, 'one'), (2, NULL);
SELECT results_eq('SELECT embedding = qwen_embed(body) FROM at_once ORDER BY id', ARRAY[true, NULL], 'an embedding in the same transaction');
UPDATE at_once SET embedding = '{1}', body = 'one' WHERE id = 1;
SELECT is((SELECT embedding FROM at_once WHERE id = 1), '{1}'::real[], 'which stays while the text is the same');
UPDATE at_once SET body = 'two' WHERE id = 1;
SELECT ok((SELECT embedding = qwen_embed('two') FROM at_once WHERE id = 1), 'and is made again when it changes');

-- errors are kept with the row
UPDATE queued SET body = repeat('word ', 100000) WHERE id = 2;
SELECT ok(pg_temp.filled_in(), 'a text that is too long');
SELECT results_eq('SELECT sqlstate, trigger FROM qwen_dead_letters WHERE job IS NULL ORDER BY trigger', $$VALUES ('54000', 'embed'), ('54000', 'summarise')$$, 'is a dead letter of each trigger');
UPDATE queued SET body = 'short' WHERE id = 2;
SELECT ok(pg_temp.filled_in(), 'a text that is shortened');
SELECT is((SELECT count(*)::int FROM qwen_dead_letters WHERE job IS NULL), 0, 'is filled in, and is no dead letter any more');

-- a type that takes real[] by an assignment cast of three arguments, as pgvector's vector does
CREATE TYPE pseudo_vector AS (numbers real[]);
CREATE FUNCTION to_pseudo_vector(real[], int, boolean) RETURNS pseudo_vector LANGUAGE sql AS $$ SELECT ROW($1)::public.pseudo_vector $$;
CREATE CAST (real[] AS pseudo_vector) WITH FUNCTION to_pseudo_vector(real[], int, boolean) AS ASSIGNMENT;
CREATE TABLE vectors (id int PRIMARY KEY, body text, at_once pseudo_vector, later pseudo_vector, by_job pseudo_vector);
CREATE TRIGGER at_once BEFORE INSERT ON vectors FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'at_once', 'dimensions=8');
CREATE TRIGGER later AFTER INSERT ON vectors FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_embed_trigger('later', 'body', 'dimensions=8');
INSERT INTO vectors (id, body) VALUES (1, 'one');
SELECT ok((SELECT (at_once).numbers = qwen_embed('one', dimensions => 8) FROM vectors), 'an embedding at once');
SELECT ok(pg_temp.filled_in(), 'and one later');
SELECT ok((SELECT later = at_once FROM vectors), 'are the same');
SELECT qwen_submit('vectors', 'body', 'vectors', 'by_job', function => 'embed', dimensions => 8) AS job \gset
SELECT is(qwen_wait(:job, '60 s'), 'done', 'as one by a job');
SELECT ok((SELECT by_job = at_once FROM vectors), 'is');
SELECT * FROM finish();
DROP TABLE queued, keyless, at_once, vectors;
DROP TYPE pseudo_vector CASCADE;
