-- The summary trigger and the columns it writes: lengths, unchanged rows, wrong use.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(15);

CREATE TEMP TABLE notes (id int PRIMARY KEY, body text, summary text, short varchar(3), number int);
CREATE TRIGGER summary BEFORE INSERT OR UPDATE ON notes FOR EACH ROW
	EXECUTE FUNCTION qwen_summarize_trigger('body', 'summary', '20');

INSERT INTO notes (id, body) VALUES (1, NULL), (2, 'The old bridge is closed for repairs until spring; drivers take the northern route.');
SELECT is((SELECT summary FROM notes WHERE id = 1), NULL, 'no body, no summary');
SELECT matches((SELECT summary FROM notes WHERE id = 2), 'bridge', 'a body is summarised');

UPDATE notes SET summary = 'by hand' WHERE id IN (1, 2);
SELECT results_eq('SELECT summary FROM notes ORDER BY id', ARRAY['by hand', 'by hand'], 'a summary written by hand stays while the body is the same');
UPDATE notes SET number = 1;
SELECT results_eq('SELECT summary FROM notes ORDER BY id', ARRAY['by hand', 'by hand'], 'an update of another column changes nothing');
UPDATE notes SET summary = NULL WHERE id = 2;
SELECT matches((SELECT summary FROM notes WHERE id = 2), 'bridge', 'a summary that was taken away is made again');
UPDATE notes SET body = NULL WHERE id = 2;
SELECT is((SELECT summary FROM notes WHERE id = 2), NULL, 'a body that was taken away takes its summary with it');

DROP TRIGGER summary ON notes;
CREATE TRIGGER short BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body', 'short');
SELECT throws_ok($$INSERT INTO notes (id, body) VALUES (3, 'The old bridge is closed for repairs until spring.')$$, '22001',
	'value too long for type character varying(3)', 'a summary that does not fit its column is not cut');
SELECT lives_ok($$INSERT INTO notes (id, body) VALUES (3, NULL)$$, 'none fits always');
DROP TRIGGER short ON notes;

SELECT throws_ok($$SELECT qwen_summarize_trigger()$$, '22023', 'qwen_summarize_trigger must be called as a trigger');

-- each wrong use: the trigger's arguments, and what an insert says
CREATE FUNCTION pg_temp.insert_with(arguments text, moment text DEFAULT 'BEFORE INSERT', level text DEFAULT 'ROW') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER wrong %s ON notes FOR EACH %s EXECUTE FUNCTION qwen_summarize_trigger(%s)', moment, level, arguments);
	INSERT INTO notes (id, body) VALUES (9, 'x');
	RETURN 'nothing';
EXCEPTION WHEN invalid_parameter_value THEN
	RETURN SQLERRM;
END $$;
SELECT is(pg_temp.insert_with($$'body'$$), 'qwen_summarize_trigger takes 2 or more arguments, not 1');
SELECT matches(pg_temp.insert_with($$'nobody', 'summary'$$), '^qwen_summarize_trigger: table "notes" has no column "nobody"$');
SELECT matches(pg_temp.insert_with($$'body', 'number'$$), 'column "number" of table "notes" is not of type text or varchar');
SELECT is(pg_temp.insert_with($$'body', 'summary', 'many'$$), 'qwen_summarize_trigger: max words must be a number between 1 and 10000, not "many"');
SELECT is(pg_temp.insert_with($$'body', 'summary'$$, 'AFTER INSERT'), 'qwen_summarize_trigger must be a BEFORE INSERT OR UPDATE trigger FOR EACH ROW');
SELECT is(pg_temp.insert_with($$'body', 'summary'$$, 'BEFORE INSERT', 'STATEMENT'), 'qwen_summarize_trigger must be a BEFORE INSERT OR UPDATE trigger FOR EACH ROW');
SELECT * FROM finish();
