-- Summaries by trigger and over rows.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(18);

CREATE TABLE articles (id int PRIMARY KEY, body text, summary text);
CREATE TRIGGER summarise BEFORE INSERT OR UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body', 'summary', '20');
INSERT INTO articles (id, body) VALUES (1, 'The bakery on Main Street has won the prize for the best bread of the county. People queue from six in the morning.'), (2, NULL);
SELECT matches((SELECT summary FROM articles WHERE id = 1), '[Bb]ak|bread', 'an inserted text is summarised');
SELECT is((SELECT summary FROM articles WHERE id = 2), NULL, 'NULL has no summary');
UPDATE articles SET summary = 'mine' WHERE id = 1;
SELECT is((SELECT summary FROM articles WHERE id = 1), 'mine', 'an update of other columns leaves the summary');
UPDATE articles SET body = 'A storm has closed the harbour; all ferries are cancelled until Monday.' WHERE id = 1;
SELECT matches((SELECT summary FROM articles WHERE id = 1), '[Ss]torm|harbo|ferr', 'a changed text is summarised again');
UPDATE articles SET body = NULL WHERE id = 1;
SELECT is((SELECT summary FROM articles WHERE id = 1), NULL, 'a text that is gone has no summary');
SELECT is((SELECT count(qwen_summarize(body))::int FROM (VALUES ('One short text about cats.'), ('Another one about dogs.'), (NULL)) t(body)), 2,
	'summaries over rows');

CREATE TRIGGER wrong_column BEFORE INSERT ON articles FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('text', 'summary');
SELECT throws_ok($$INSERT INTO articles VALUES (3, 'x')$$, '22023', 'qwen_summarize_trigger: table "articles" has no column "text"');
DROP TRIGGER wrong_column ON articles;
CREATE TRIGGER wrong_type BEFORE INSERT ON articles FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('id', 'summary');
SELECT throws_ok($$INSERT INTO articles VALUES (3, 'x')$$, '22023', 'qwen_summarize_trigger: column "id" of table "articles" is not of type text or varchar');
DROP TRIGGER wrong_type ON articles;
CREATE TRIGGER wrong_arguments BEFORE INSERT ON articles FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body');
SELECT throws_ok($$INSERT INTO articles VALUES (3, 'x')$$, '22023', 'qwen_summarize_trigger takes 2 or more arguments, not 1');
DROP TRIGGER wrong_arguments ON articles;
CREATE TRIGGER wrong_time AFTER INSERT ON articles FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body', 'summary');
SELECT throws_ok($$INSERT INTO articles VALUES (3, NULL)$$, '22023', 'qwen_summarize_trigger must be a BEFORE INSERT OR UPDATE trigger FOR EACH ROW');
DROP TRIGGER wrong_time ON articles;

-- an error in the middle of a statement leaves the session usable
SELECT throws_ok($$SELECT qwen_chat('x', model => m) FROM (VALUES ('chat'), ('nobody')) t(m)$$, '42704', NULL, 'a failing row fails the statement');
SELECT lives_ok($$SELECT qwen_count_tokens('still here')$$, 'and the session goes on');
DO $$
DECLARE s refcursor := 's';
BEGIN
	OPEN s FOR SELECT qwen_chat_stream('Tell me a long story.', temperature => 0, max_tokens => 400);
	MOVE 2 FROM s;
	CLOSE s;
END $$;
CREATE FUNCTION engine_is_idle() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 500 LOOP
		IF (SELECT running = 0 AND waiting = 0 AND kv_bytes_used = 0 FROM qwen_stat_engine) THEN RETURN true; END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END $$;
SELECT ok(engine_is_idle(), 'a closed cursor frees its stream');
SELECT cmp_ok((SELECT requests_cancelled FROM qwen_stat_engine), '>', 0::bigint, 'because the engine was told');
-- Partitions: a statement's own values stay, whatever else it does; a row that moves has the answer of its UPDATE.
CREATE TABLE tow (b text);
CREATE TABLE pt (id int, b text, a text) PARTITION BY RANGE (id);
CREATE TABLE pt_low PARTITION OF pt FOR VALUES FROM (0) TO (10);
CREATE TABLE pt_high PARTITION OF pt FOR VALUES FROM (10) TO (20);
CREATE TRIGGER summarise BEFORE INSERT OR UPDATE ON pt FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('b', 'a');
INSERT INTO pt VALUES (1, 'A storm has closed the harbour.', 'first');
WITH x AS (UPDATE tow SET b = b WHERE false RETURNING 1) INSERT INTO pt VALUES (2, 'text', 'mine');
WITH x AS (UPDATE pt SET b = b WHERE false RETURNING 1) INSERT INTO pt VALUES (3, 'text', 'mine');
SELECT is((SELECT array_agg(a ORDER BY id) FROM pt), '{first,mine,mine}', 'an INSERT beside a WITH that changes keeps what is given');
SELECT current_setting('server_version_num')::int >= 150000 AS has_merge \gset
\if :has_merge
MERGE INTO pt USING (VALUES (1), (4), (14)) v (id) ON v.id = pt.id WHEN MATCHED THEN UPDATE SET id = 11 WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'text', 'mine');
\else
UPDATE pt SET id = 11 WHERE id = 1;
INSERT INTO pt VALUES (4, 'text', 'mine'), (14, 'text', 'mine');
\endif
SELECT is((SELECT array_agg(a ORDER BY id) FROM pt WHERE id IN (4, 14)), '{mine,mine}', 'a MERGE keeps what it gives, beside rows that move too');
SELECT is((SELECT a FROM pt_high WHERE id = 11), 'first', 'a row that moves with its text keeps its answer');
UPDATE pt SET id = 2, b = 'The bakery on Main Street has won the prize for the best bread of the county.' WHERE id = 11;
SELECT matches((SELECT a FROM pt_low WHERE b LIKE 'The bakery%'), '[Bb]ak|bread', 'a row that moves with another text is answered');
DROP TABLE tow, pt;

SELECT * FROM finish();
