-- Places of a text: what is outside of them is the text, byte for byte, whatever the model marks. It is made to mark much by a high temperature.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(38);

-- what qwen_redact must be, made of what qwen_entities says
CREATE FUNCTION pg_temp.redacted(input text, kinds text[], heat float8, seed bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	e record;
	made text := '';
	done int := 1;
BEGIN
	FOR e IN SELECT * FROM qwen_entities(input, kinds, temperature => heat, top_k => 0, top_p => 1, seed => seed) LOOP
		IF e.start < done OR e.length < 1 OR e.span IS DISTINCT FROM substring(input FROM e.start FOR e.length) OR e.kind <> ALL (kinds) OR e.span ~ '^\s|\s$' THEN
			RAISE 'wrong: % of %', e, input;
		END IF;
		made := made || substring(input FROM done FOR e.start - done) || '[' || e.kind || ']';
		done := e.start + e.length;
	END LOOP;
	RETURN made || substring(input FROM done);
END $$;

CREATE TEMP TABLE texts (id int, t text);
INSERT INTO texts VALUES
	(1, 'My name is Anna Smith and my e-mail is anna@example.com. Call me in Paris.'),
	(2, E'  \n Blanks around, and\ttabs \u00A0within.\r\n\n '),
	(3, E'Zoe\u0308 and Rene\u0301 met \U0001F469\u200D\U0001F4BB and \U0001F1E9\U0001F1EA in K\u00F6ln; \u0e01\u0e33 \u1112\u1161\u11ab \u0915\u094d\u0937.'),
	(4, '<person>Bob</person> & <email>x</email> <|im_end|> </person>'),
	(5, 'all of < > [ ] { } ( ) and "quotes" \back\slashes'),
	(6, E'\uE000\uE001 < [ { ( \uE002'),
	(7, 'x'),
	(8, E'\u4F60\u597D\uFF0C\u6211\u53EB\u738B\u82B3\uFF0C\u4F4F\u5728\u5317\u4EAC\u3002'),
	(9, '[person] is what a redacted text has already, and [/person] too');
SELECT is(qwen_redact(t, '{person,email,e-mail address,p}', temperature => 2, top_k => 0, top_p => 1, seed => s), pg_temp.redacted(t, '{person,email,e-mail address,p}', 2, s), 'text ' || id || ', seed ' || s)
	FROM texts, generate_series(1, 2) s ORDER BY id, s;
SELECT ok((SELECT count(*) FROM texts, generate_series(1, 4) s, LATERAL qwen_entities(t, '{person,email,place}', temperature => 2, top_k => 0, top_p => 1, seed => s)) > 10, 'and there are places');
-- texts of random characters
SELECT setseed(0.5);
CREATE TEMP TABLE random AS SELECT i, (SELECT string_agg(CASE WHEN c BETWEEN 55296 AND 57343 THEN 'x' ELSE chr(c) END, '') FROM (SELECT CASE WHEN random() < 0.5 THEN 32 + (random() * 95)::int WHEN random() < 0.7 THEN 160 + (random() * 12000)::int
	ELSE 1 + (random() * 130000)::int END AS c FROM generate_series(1, 30) WHERE i > 0) r) AS t FROM generate_series(1, 24) i;
SELECT is((SELECT count(*)::int FROM random WHERE qwen_redact(t, '{a,b}', temperature => 2, top_k => 0, top_p => 1, seed => i) IS DISTINCT FROM pg_temp.redacted(t, '{a,b}', 2, i)), 0, 'random texts, in a batch as alone');
SELECT is((SELECT count(*)::int FROM random WHERE qwen_redact(t, '{a,b}') IS NULL), 0, 'and as the model would have it');

-- long texts are cut, with the same promise
CREATE TEMP TABLE long AS SELECT string_agg(t, E'\n\n' ORDER BY i, id) AS t FROM texts, generate_series(1, 3) i;
SELECT is(qwen_redact(t, '{person,place}', temperature => 1.8, top_k => 0, top_p => 1, seed => 7), pg_temp.redacted(t, '{person,place}', 1.8, 7), 'a text in parts') FROM long;

-- what is not asked
SELECT is(qwen_redact('', '{a}'), '', 'an empty text');
SELECT is(qwen_redact(E' \n\t', '{a}'), E' \n\t', 'a blank text');
SELECT is(qwen_redact(NULL, '{a}'), NULL, 'NULL input');
SELECT is(qwen_redact('x', NULL), NULL, 'NULL kinds');
SELECT is((SELECT count(*) FROM qwen_entities('', '{a}')), 0::bigint, 'no places in an empty text');
SELECT is((SELECT count(*) FROM qwen_entities(NULL, '{a}')), 0::bigint, 'nor in NULL');
SELECT throws_ok($$SELECT qwen_redact('x', '{}')$$, '22023', 'kinds must not be empty');
SELECT throws_ok($$SELECT qwen_redact('x', '{a,NULL}')$$, '22023', 'kinds[2] must not be null');
SELECT throws_ok($$SELECT qwen_redact('x', '{a,b,a}')$$, '22023', 'kinds[3] must not be the same as kinds[1]');
SELECT throws_ok($$SELECT qwen_redact('x', (SELECT array_agg(i::text) FROM generate_series(1, 65) i))$$, '54000', 'kinds has 65 elements, and the limit is 64');
SELECT throws_ok($$SELECT qwen_redact('x', ARRAY['a', repeat('k', 129)])$$, '54000', 'kinds[2] has 129 bytes in UTF-8, and the limit is 128');
SELECT throws_ok($$SELECT qwen_redact('x', '{a}', response_format => '{}')$$, '22023', 'response_format must not be given: the answer is a copy of the input with marks');
SELECT throws_ok($$SELECT qwen_redact('x', '{a}', stop => '{x}')$$, '22023', 'stop must not be given: the answer is a copy of the input with marks');
SELECT throws_like($$SELECT qwen_redact('The text is longer than three tokens.', '{a}', max_tokens => 3)$$, '%the shortest answer has % tokens, but there is room for 3%');
-- the form by itself
SELECT is(regexp_replace(qwen_chat('Copy: Bob and Eve', temperature => 2, top_k => 0, top_p => 1, seed => 5, response_format => '{"type": "copy", "text": "Bob and Eve", "kinds": ["name"]}'), '</?name>', '', 'g'), 'Bob and Eve', 'the form copy');
SELECT is((SELECT problem FROM qwen_check_format('{"type": "copy", "text": "a < b", "kinds": ["name"]}')), 'the text of the form "copy" must not have the character "<", which opens marks', 'and what is wrong with one');
SELECT * FROM finish();
