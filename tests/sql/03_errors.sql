-- Bad input: the right SQLSTATE, and a sentence that names what, where and the limit.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(71);

SELECT throws_ok($$SELECT qwen_chat('x', temperature => 2.5)$$, '22023', 'temperature must be between 0 and 2, not 2.5');
SELECT throws_ok($$SELECT qwen_chat('x', temperature => 'NaN')$$, '22023', NULL, 'NaN is no temperature');
SELECT throws_ok($$SELECT qwen_chat('x', top_p => -0.1)$$, '22023', 'top_p must be between 0 and 1, not -0.1');
SELECT throws_ok($$SELECT qwen_chat('x', min_p => 1.5)$$, '22023', 'min_p must be between 0 and 1, not 1.5');
SELECT throws_ok($$SELECT qwen_chat('x', top_k => -1)$$, '22023', 'top_k must be at least 0, not -1');
SELECT throws_ok($$SELECT qwen_chat('x', repetition_penalty => 3)$$, '22023', 'repetition_penalty must be between 1 and 2, not 3');
SELECT throws_ok($$SELECT qwen_chat('x', presence_penalty => -3)$$, '22023', 'presence_penalty must be between -2 and 2, not -3');
SELECT throws_ok($$SELECT qwen_chat('x', frequency_penalty => 2.1)$$, '22023', 'frequency_penalty must be between -2 and 2, not 2.1');
SELECT throws_ok($$SELECT qwen_chat('x', max_tokens => 0)$$, '22023', 'max_tokens must be at least 1, not 0');
SELECT throws_ok($$SELECT qwen_chat('x', max_tokens => 8193)$$, '22023', 'max_tokens must be between 1 and 8192, not 8193');
SELECT throws_ok($$SELECT qwen_chat('x', thinking_budget => -1)$$, '22023', 'thinking_budget must be at least 0, not -1');
SELECT throws_ok($$SELECT qwen_chat('x', stop => ARRAY['a', ''])$$, '22023', 'stop[2] must have between 1 and 1024 bytes, not 0');
SELECT throws_ok($$SELECT qwen_chat('x', stop => ARRAY['a', NULL])$$, '22023', 'stop[2] must not be null');
SELECT throws_ok($$SELECT qwen_chat('x', stop => array_fill('a'::text, ARRAY[17]))$$, '22023', 'stop must have at most 16 elements, not 17');
SELECT throws_ok($$SELECT qwen_extract('5', '{"type":"string"}'::json, max_tokens => 1)$$, '54000', '1 token is not enough for what the schema asks for', 'one is one');
SELECT throws_ok($$SELECT * FROM qwen_entities('Anna', '{person}', max_tokens => 1)$$, '54000', '1 token is not enough for the text and its marks', 'of marks, too');
-- the elements of a square would be taken for those of a line
SELECT throws_ok('SELECT * FROM ' || call, '22023', name || ' must be an array of one dimension, not of 2', call) FROM (VALUES ('qwen_chat(''x'', stop => ''{{a,b},{c,d}}'')', 'stop'),
	('qwen_classify(''x'', ''{{a,b},{c,d}}'')', 'labels'), ('qwen_classify_scores(''x'', ''{{a,b},{c,d}}'')', 'labels'), ('qwen_classify_multi(''x'', ''{{a,b},{c,d}}'')', 'labels'),
	('qwen_classify_multi_scores(''x'', ''{{a,b},{c,d}}'')', 'labels'), ('qwen_entities(''x'', ''{{a,b},{c,d}}'')', 'kinds'), ('qwen_redact(''x'', ''{{a,b},{c,d}}'')', 'kinds'),
	('qwen_type_schema(''pg_class'', ''{{relname}}'')', 'columns'),
	('qwen_allow_models(''pg_monitor'', ''{{a,b},{c,d}}'')', 'models')) AS v (call, name);
SELECT throws_ok($$SELECT qwen_chat('x', thinking => true)$$, '22023', 'thinking must not be true: model "chat" cannot think');
SELECT lives_ok($$SELECT qwen_chat('x', thinking => false, max_tokens => 1)$$, 'thinking => false is fine anywhere');
SELECT throws_ok($$SELECT qwen_chat('x', response_format => '[]')$$, '22023', 'response_format: it must be an object with a member "type", or a schema');
SELECT throws_ok($$SELECT qwen_chat('x', adapter => 'a')$$, '42704', 'adapter "a" of model "chat" is not loaded');
SELECT throws_ok($$SELECT qwen_embed('x', options => '{"adapter": "a"}')$$, '42704', 'adapter "a" of model "chat" is not loaded');
SELECT throws_ok($$SELECT qwen_chat('x', adapter => '')$$, '22023', 'adapter must have between 1 and 63 bytes, not 0');
SELECT throws_ok($$SELECT qwen_chat('x', options => '{"adapter": 1}')$$, '22023', 'options: "adapter" must be a text');
SELECT throws_ok($$SELECT qwen_chat('x', options => '{"adapter_scale": 1}')$$, '22023', 'options: "adapter_scale" is given without an adapter');
SELECT throws_ok($$SELECT qwen_chat('x', adapter => 'a', options => '{"adapter_scale": "1"}')$$, '22023', 'options: "adapter_scale" must be a number');
SELECT throws_ok($$SELECT qwen_chat('x', adapter => 'a', options => '{"adapter_scale": 8.5}')$$, '22023', 'adapter_scale must be between -8 and 8, not 8.5');
SELECT throws_ok($$SELECT qwen_chat('x', adapter => 'a', options => '{"adapter": "a"}')$$, '22023', 'options: "adapter" is given as an argument too');
SELECT lives_ok($$SELECT qwen_chat('x', max_tokens => 1, options => '{"adapter": null, "adapter_scale": null}')$$, 'null is not given');
SELECT throws_ok($$SELECT qwen_load_adapter('a', NULL)$$, '22023', 'file must not be null');
SELECT throws_ok($$SELECT qwen_load_adapter('a b', 'x.gguf')$$, '22023', '"a b" cannot be an adapter''s name');
SELECT throws_ok($$SELECT qwen_load_adapter('a', 'x.gguf', 'nobody')$$, '42704', 'model "nobody" is not loaded');
SELECT throws_ok($$SELECT qwen_unload_adapter('a')$$, '42704', 'adapter "a" of model "chat" is not loaded');
SELECT throws_ok($$SELECT qwen_chat('x', model => 'nobody')$$, '42704', 'model "nobody" is not loaded');
SELECT throws_ok($$SELECT qwen_chat('x', model => '')$$, '42704', 'model "" is not loaded');
SELECT throws_ok($$SELECT qwen_embed('x', model => 'nobody')$$, '42704', 'model "nobody" is not loaded');

SELECT throws_ok($$SELECT qwen_chat('{}'::json)$$, '22023', NULL, 'messages that are no array');
SELECT throws_ok($$SELECT qwen_chat('[]'::json)$$, '22023', NULL, 'no messages');
SELECT throws_like($$SELECT qwen_chat('[{"role": "user", "content": "a"}, {"content": "b"}]'::json)$$, '%messages[1]%role%', 'a message without a role is named');
SELECT throws_like($$SELECT qwen_chat('[{"role": "robot", "content": "a"}]'::json)$$, '%messages[0]%robot%', 'an unknown role is named');
SELECT throws_ok($$SELECT qwen_chat('[{"role": "robot", "content": "a"}]'::json)$$, '22023', NULL, 'an unknown role is 22023');
SELECT throws_ok($$SELECT qwen_chat('[{"role": "user", "content": 5}]'::json)$$, '22023', NULL, 'content must be text');
SELECT throws_ok($$SELECT qwen_chat('[1]'::jsonb)$$, '22023', NULL, 'a message must be an object');
SELECT throws_ok($$SELECT qwen_chat('nonsense'::json)$$, '22P02', NULL, 'what is no JSON is refused by the type');

SELECT throws_ok($$SELECT qwen_generate(repeat('word ', 20000))$$, '54000',
	'the prompt has 20001 tokens, but the context of model "chat" holds 8192', 'a prompt longer than the context: both numbers');
SELECT throws_like($$SELECT qwen_embed(repeat('word ', 20000))$$, 'the input has 20001 tokens, but the context of model "chat" holds 8192', 'an input too');
SELECT throws_ok($$SELECT qwen_chat(repeat('x ', 500000))$$, '54000', NULL, 'a prompt of 1 MB');
SELECT throws_ok($$SELECT length(qwen_generate(repeat('x', 70000000)))$$, '54000', NULL, 'a text over the limit of a message');
SELECT is(qwen_embed(''), NULL, 'nothing to embed');
SELECT throws_ok($$SELECT qwen_embed('x', dimensions => 577)$$, '22023', 'dimensions must be between 1 and 576, not 577');
SELECT throws_ok($$SELECT qwen_embed('x', dimensions => 0)$$, '22023', 'dimensions must be at least 1, not 0');
SELECT throws_ok($$SELECT qwen_detokenize(ARRAY[1, -5])$$, '22023', 'tokens[2] must be between 0 and 49151, not -5');
SELECT throws_ok($$SELECT qwen_detokenize(ARRAY[49152])$$, '22023', 'tokens[1] must be between 0 and 49151, not 49152');
SELECT throws_ok($$SELECT qwen_summarize('x', max_words => 0)$$, '22023', 'max_words must be between 1 and 10000, not 0');
SELECT throws_ok($$SELECT qwen_load_model('bad name', 'x')$$, '22023', '"bad name" cannot be a model''s name');
SELECT throws_ok($$SELECT qwen_load_model('m', 'nothing.gguf')$$, '42704', 'model "m" could not be loaded');
SELECT throws_ok($$SELECT qwen_load_model('m', '../../../etc/passwd')$$, '42501', 'model "m" could not be loaded', 'no way out by ..');
SELECT throws_ok($$SELECT qwen_load_model('m', '/etc/passwd')$$, '42501', 'model "m" could not be loaded', 'no way out by an absolute path');
SELECT throws_ok($$SELECT qwen_check_model(NULL)$$, '22023', 'file must not be null');
SELECT throws_ok($$SELECT qwen_check_model('')$$, '22023', 'file must have between 1 and 255 bytes, not 0');
SELECT throws_ok($$SELECT qwen_check_model('nothing.gguf')$$, '42704', NULL, 'a file that is not there');
SELECT throws_ok($$SELECT qwen_check_model('/etc/passwd')$$, '42501', NULL, 'nor does looking lead out');
SELECT throws_ok($$SELECT qwen_unload_model('m')$$, '42704', 'model "m" is not loaded');
SELECT * FROM finish();
