-- Characters that only Unicode has: for databases of UTF-8 alone. All other files hold in every encoding (make check-encodings).
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(5);

SELECT is(qwen_detokenize(qwen_tokenize('Grüße, 世界! 👍🏽 a' || chr(769))), normalize('Grüße, 世界! 👍🏽 a' || chr(769), NFC), 'tokens round-trip in NFC');
SELECT is((SELECT string_agg(piece, '' ORDER BY ordinality) FROM qwen_logprobs('a😀b')) ~ '^a\uFFFD+b$' OR
	(SELECT string_agg(piece, '' ORDER BY ordinality) FROM qwen_logprobs('a😀b')) = 'a😀b', true, 'part of a character is U+FFFD');
SELECT ok(qwen_classify('x', ARRAY['<|im_end|>', 'quote " and \ backslash', 'ünïcode 😀']) = ANY (ARRAY['<|im_end|>', 'quote " and \ backslash', 'ünïcode 😀']), 'any text can be a label');
SELECT cmp_ok((SELECT max(qwen_count_tokens(chunk)) FROM qwen_chunk(repeat('😀ab1ü', 300), 16)), '<=', 16, 'a text without any boundary is cut between characters');
-- each of these is four bytes, and a token or two
SELECT ok(bool_and(qwen_generate('😀😃😄', max_tokens => n, temperature => 0) !~ '\uFFFD') AND bool_or(qwen_generate('😀😃😄', max_tokens => n, temperature => 0) ~ '😌'),
	'an answer that is cut within a character ends before it') FROM generate_series(1, 5) n;
SELECT * FROM finish();
