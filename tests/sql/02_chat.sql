-- Real answers of the demo model through every generating function.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(37);

SELECT matches(qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0), 'Paris', 'the capital of France is Paris');
SELECT matches(qwen_chat('[{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]'::json, temperature => 0), 'Paris',
	'json messages');
SELECT is(qwen_chat('[{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]'::jsonb, temperature => 0),
	qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0), 'jsonb messages give the same answer');
SELECT is(qwen_chat(messages => '[{"role": "user", "content": "Say hi."}]', temperature => 0, max_tokens => 5),
	qwen_chat(prompt => 'Say hi.', temperature => 0, max_tokens => 5), 'named notation resolves untyped literals');
SELECT is(qwen_chat(NULL::text), NULL, 'NULL gives NULL');
SELECT is(qwen_chat(NULL::json), NULL, 'NULL messages give NULL');
SELECT is((qwen_chat_full(NULL::text)).content, NULL, 'NULL gives NULL in full');
SELECT is(qwen_chat('Tell me a story.', seed => 7, max_tokens => 30), qwen_chat('Tell me a story.', seed => 7, max_tokens => 30),
	'the same seed gives the same answer');
SELECT isnt(qwen_chat('Tell me a story.', seed => 7, max_tokens => 30, temperature => 2, top_p => 1, top_k => 0),
	qwen_chat('Tell me a story.', seed => 8, max_tokens => 30, temperature => 2, top_p => 1, top_k => 0), 'another seed gives another answer');

SELECT results_eq($$SELECT finish_reason, model, completion_tokens, cached_tokens % 32, thinking, tool_calls
	FROM qwen_chat_full('Tell me a story.', temperature => 0, max_tokens => 9)$$,
	$$VALUES ('length', 'chat', 9, 0, NULL::text, NULL::jsonb)$$, 'max_tokens ends an answer with finish_reason length');
SELECT is((SELECT prompt_tokens FROM qwen_chat_full('Tell me a story.', temperature => 0, max_tokens => 1)),
	array_length(qwen_tokenize(qwen_render_chat('Tell me a story.'), special => true), 1),
	'prompt tokens are those of the rendered prompt');
SELECT ok((SELECT ttft_ms > 0 AND total_ms >= ttft_ms AND queue_ms >= 0 FROM qwen_chat_full('Hi', max_tokens => 4)), 'times are given and in order');
SELECT is((SELECT string_agg(piece, '') FROM qwen_chat_stream('Tell me a story.', temperature => 0, max_tokens => 30) piece),
	qwen_chat('Tell me a story.', temperature => 0, max_tokens => 30), 'the pieces of a stream are the answer');
SELECT cmp_ok((SELECT count(*) FROM qwen_chat_stream('Tell me a story.', temperature => 0, max_tokens => 30) piece), '>', 10::bigint,
	'a stream comes in pieces');
SELECT is((SELECT count(*)::int FROM qwen_chat_stream(NULL::text)), 0, 'a stream of NULL is empty');
SELECT is((SELECT count(*)::int FROM (SELECT qwen_chat_stream('Tell me a story.', temperature => 0) LIMIT 2) s), 2, 'a stream may be left early');

SELECT is(position('the' IN qwen_generate('Once upon a time', temperature => 0, max_tokens => 40, stop => ARRAY['the', 'zebra'])), 0,
	'an answer stops before a stop string');
SELECT is((SELECT rtrim(left(full_answer, position('thriving metropolis' IN full_answer) - 1)) FROM
	(SELECT qwen_generate('Once upon a time', temperature => 0, max_tokens => 40) AS full_answer) s),
	rtrim(qwen_generate('Once upon a time', temperature => 0, max_tokens => 40, stop => ARRAY['thriving metropolis'])),
	'a stop string over token boundaries is found, and what is before it is whole');
SELECT cmp_ok(length(qwen_generate('Once upon a time', temperature => 0, max_tokens => 40)), '>', 40, 'generation without a template');
CREATE TEMP TABLE scored AS SELECT * FROM qwen_chat_full('Why is the sky blue?', temperature => 0, max_tokens => 8, logprobs => 3);
SELECT is((SELECT jsonb_array_length(logprobs) FROM scored), (SELECT completion_tokens FROM scored), 'a log-probability for each token of the answer');
SELECT is((SELECT string_agg(token->>'token', '' ORDER BY n) FROM scored, jsonb_array_elements(logprobs) WITH ORDINALITY t(token, n) WHERE token->>'token' !~ '^<.*>$'), (SELECT content FROM scored), 'their texts are the answer');
SELECT ok((SELECT bool_and((token->>'logprob')::float8 <= 0 AND jsonb_array_length(token->'top') = 3 AND token->'top'->0->>'token' = token->>'token' AND token->'top'->0->'logprob' = token->'logprob'
	AND (token->'top'->0->>'logprob')::float8 >= (token->'top'->1->>'logprob')::float8 AND (token->'top'->1->>'logprob')::float8 >= (token->'top'->2->>'logprob')::float8)
	FROM scored, jsonb_array_elements(logprobs) token), 'a greedy token is the likeliest, and the others follow in order');
SELECT is((SELECT content FROM scored), qwen_chat('Why is the sky blue?', temperature => 0, max_tokens => 8), 'the answer is the same without');
SELECT ok((SELECT abs((r.logprobs->0->>'logprob')::float8 - (scored.logprobs->0->>'logprob')::float8) < 1e-6 AND NOT r.logprobs->0 ? 'top' FROM scored,
	qwen_chat_full('Why is the sky blue?', temperature => 0, repetition_penalty => 1, max_tokens => 1, logprobs => 0) r), 'without alternatives');
SELECT is((SELECT logprobs FROM qwen_chat_full('x', max_tokens => 1)), NULL, 'not asked for, not given');
SELECT throws_ok($$SELECT qwen_chat_full('x', logprobs => 21)$$, '22023', 'logprobs must be between 0 and 20, not 21', 'at most 20 alternatives');
SELECT throws_ok($$SELECT qwen_chat_full('x', logprobs => -1)$$, '22023', NULL, 'no negative number of them');
SELECT is(qwen_generate(qwen_render_chat('Why is the sky blue?'), special => true, temperature => 0, max_tokens => 12), qwen_chat('Why is the sky blue?', temperature => 0, max_tokens => 12),
	'special tokens of a rendered chat are tokens');
SELECT is((SELECT array_agg(qwen_generate(p, special => s, temperature => 0, max_tokens => 3) = qwen_generate(p, temperature => 0, max_tokens => 3) ORDER BY s) FROM (VALUES ('plain text', true), ('<|im_start|>', false)) v(p, s)),
	ARRAY[true, true], 'without special tokens, or without special, nothing changes');
SELECT is((SELECT sum(prompt_tokens) FROM qwen_chat_full('<|im_start|>', max_tokens => 1)) - (SELECT sum(prompt_tokens) FROM qwen_chat_full('.', max_tokens => 1)), qwen_count_tokens('<|im_start|>')::bigint - qwen_count_tokens('.')::bigint, 'a chat''s text has none');
SELECT is(qwen_generate('', temperature => 0, max_tokens => 5), NULL, 'an empty prompt is no prompt');
SELECT is(qwen_chat('', temperature => 0, max_tokens => 5), NULL, 'an empty question is no question');
SELECT matches(qwen_summarize('The city council met on Tuesday evening and decided to close the old bridge for repairs until spring. Drivers will have to take the northern route.'),
	'bridge', 'a summary says what the text is about');
SELECT is(qwen_summarize(NULL), NULL, 'a summary of NULL');

-- users cannot write special tokens
SELECT is(array_length(qwen_tokenize('<|im_end|>'), 1) > 3, true, '<|im_end|> typed by a user is ordinary characters');
SELECT is((SELECT count(*)::int FROM regexp_matches(qwen_render_chat('a <|im_end|> b'), '<\|im_end\|>', 'g')), 3, 'it stays in the text of the prompt');
SELECT is((qwen_chat_full('x<|im_end|>', max_tokens => 1)).prompt_tokens - (qwen_chat_full('x', max_tokens => 1)).prompt_tokens,
	array_length(qwen_tokenize('x<|im_end|>'), 1) - 1, 'and it costs its ordinary tokens');
SELECT * FROM finish();
