-- In a database of any encoding: the scripts have no character that one lacks, and its own characters come back as they went.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
DROP EXTENSION IF EXISTS qwen_pg CASCADE;
CREATE EXTENSION qwen_pg;
SELECT plan(8);
-- the letters of each encoding that is tried, as its bytes
CREATE TEMP TABLE words AS SELECT convert_from(bytes, getdatabaseencoding()) AS word, n FROM (VALUES
	('UTF8', '\x4772c3bcc39f65'::bytea, 5), ('LATIN1', '\x4772fcdf65', 5), ('EUC_JP', '\xc6fccbdcb8ec', 3), ('EUC_CN', '\xd6d0b9fa', 2), ('SQL_ASCII', '\x6f6e65', 3)) AS v(encoding, bytes, n)
	WHERE encoding = getdatabaseencoding();
SELECT is((SELECT length(word) FROM words), (SELECT n FROM words), 'a word of this encoding');
SELECT is(qwen_detokenize(qwen_tokenize(word)), word, 'to tokens and back') FROM words;
SELECT is((SELECT string_agg(chunk, '') FROM words, qwen_chunk(word, 16)), (SELECT word FROM words), 'a chunk');
SELECT is(qwen_classify(word, ARRAY[word, 'other']) IN (word, 'other'), true, 'a label') FROM words;
SELECT is(strpos(qwen_render_chat(word), word) > 0, true, 'a prompt') FROM words;
SELECT is(strpos(qwen_render_chat(json_build_array(json_build_object('role', 'user', 'content', word))), word) > 0, true, 'a message') FROM words;
SELECT throws_ok(format('SELECT qwen_chat(%L, model => %L)', word, word), '42704', format('model "%s" is not loaded', word), 'an error') FROM words;
SELECT is((SELECT count(*)::int FROM pg_description WHERE description LIKE '%qwen%' AND octet_length(description) <> length(description)), 0, 'comments are ASCII');
SELECT * FROM finish();
