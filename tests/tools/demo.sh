#!/bin/bash
# make demo: a private server with the demo model, shown with real output and times. The server stays up for `make psql`.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-/usr/bin/python3}
cluster() { "$PYTHON" tests/tools/cluster.py "$@"; }
say() { printf '\n\033[1m-- %s\033[0m\n' "$*"; }
sql() { cluster demo-psql -q -v ON_ERROR_STOP=1 "$@"; }

say "a private PostgreSQL server with the demo model (SmolLM2-135M-Instruct in the Qwen2 architecture)"
cluster demo-start
sql <<'SQL'
\pset pager off
\pset columns 110
\pset format wrapped
\set ECHO queries
\echo
\echo '-- a chat answer'
\timing on
SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0);
\echo '-- a conversation of messages'
SELECT qwen_chat('[{"role": "system", "content": "You answer in one short sentence."},
                   {"role": "user", "content": "My name is Ada and I live in Paris."},
                   {"role": "assistant", "content": "Nice to meet you, Ada!"},
                   {"role": "user", "content": "What is my name?"}]'::json, temperature => 0, max_tokens => 40);
\echo '-- a streamed answer: pieces arrive as they are sampled (\\set FETCH_COUNT 1 makes psql show them at once)'
\set FETCH_COUNT 1
SELECT row_number() OVER () AS n, piece
  FROM (SELECT qwen_chat_stream('Name three fruits.', temperature => 0, max_tokens => 16) AS piece) s;
\set FETCH_COUNT 0
\echo '-- summaries over the rows of a table'
CREATE TABLE news (id int PRIMARY KEY, body text);
INSERT INTO news VALUES
 (1, 'The city council met on Tuesday evening and decided, after four hours of debate, to close the old bridge for repairs until spring. Drivers will have to take the northern route, which adds about ten minutes to the way to the station.'),
 (2, 'The bakery on Main Street has won the prize for the best bread of the county for the third time. Its owner says that the secret is a sourdough that her grandmother started in 1931. People queue from six in the morning.'),
 (3, 'A storm has closed the harbour since Saturday. All ferries are cancelled until Monday, and about two hundred travellers have found beds in schools and in the town hall. The wind is expected to drop during the night.');
SELECT id, qwen_summarize(body, max_words => 20) AS summary FROM news ORDER BY id;
\echo '-- a query over many rows is batched: 32 titles, first one after the other, then with 32 in flight'
CREATE TABLE notes AS SELECT i AS id, 'Letter ' || i || ' of ' || (ARRAY['Ada', 'Ben', 'Cleo', 'Dan'])[1 + i % 4] || ' about ' ||
  (ARRAY['a broken bridge', 'the new bakery', 'a stormy night', 'the library', 'lost luggage'])[1 + i % 5] || '. ' AS body FROM generate_series(1, 32) i;
SET qwen.batch_plans = off;
CREATE TABLE titles_plain AS SELECT id, qwen_generate(body, temperature => 0, max_tokens => 12) AS title FROM notes;
SET qwen.batch_plans = on;
CREATE TABLE titles AS SELECT id, qwen_generate(body, temperature => 0, max_tokens => 12) AS title FROM notes;
SELECT count(*) AS titles, count(*) FILTER (WHERE titles.title = titles_plain.title) AS the_same FROM titles JOIN titles_plain USING (id);
EXPLAIN (ANALYZE, COSTS OFF) SELECT id, qwen_generate(body, temperature => 0, max_tokens => 12) FROM notes WHERE id % 2 = 0;
\echo '-- the elements of an array, each with its own error'
SELECT ordinality, left(response, 40) AS response, left(error, 60) AS error
  FROM qwen_generate_batch(ARRAY['Name a colour.', repeat('word ', 20000), 'Name a fruit.'], temperature => 0, max_tokens => 8);
\echo '-- a trigger that summarises what is inserted'
CREATE TABLE articles (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text, summary text);
CREATE TRIGGER summarise BEFORE INSERT OR UPDATE OF body ON articles FOR EACH ROW
  EXECUTE FUNCTION qwen_summarize_trigger('body', 'summary', '20');
INSERT INTO articles (body) VALUES ('The library will open on Sundays from next month. Readers had asked for it for years, and twelve volunteers made it possible.');
SELECT summary FROM articles;
\echo '-- a trigger that queues what is inserted; a background worker fills it in after the commit'
CREATE TABLE letters (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text, answer text);
CREATE TRIGGER answer AFTER INSERT OR UPDATE ON letters FOR EACH ROW
  EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'Answer this letter in one short sentence: {body}', 'max_tokens=30', 'temperature=0');
INSERT INTO letters (body) VALUES ('When does the library open on Sunday?'), ('Who repairs the old bridge?');
SELECT relation, trigger, waiting, dead, worker FROM qwen_trigger_backlog;
\echo '-- a job over the rows of a table: 60 of them, in the background, with nothing held while the model runs'
CREATE TABLE cities AS SELECT i AS id, 'city number ' || i AS name, NULL::text AS slogan FROM generate_series(1, 60) i;
ALTER TABLE cities ADD PRIMARY KEY (id);
SELECT qwen_submit('cities', 'Write a slogan for {name}.', 'cities', 'slogan', max_tokens => 12, temperature => 0) AS job \gset
\echo '-- how far it is, with the short commands of docs/psql/qwen.psql, which docs/psql.md has on one page'
\i docs/psql/qwen.psql
SELECT qwen_wait(:job, '1 s');
:progress
:jobs
:models
:top
:health
\echo '-- an answer as it comes: :stream, the query, :endstream'
:stream
SELECT qwen_chat_stream('Name three fruits.', temperature => 0, max_tokens => 16);
:endstream
SELECT id, state, done, failed, total, round(tokens_per_s::numeric) AS tokens_per_s, eta FROM qwen_jobs;
SELECT qwen_wait(:job);
SELECT id, state, done, failed, total, round(tokens_per_s::numeric) AS tokens_per_s, ended - started AS took FROM qwen_jobs;
SELECT name, slogan FROM cities ORDER BY id LIMIT 3;
\echo '-- what the trigger queued is there by now'
SELECT body, answer FROM letters;
\echo '-- a ranking by similarity of embeddings'
SELECT id, round(qwen_similarity(body, 'a baker who makes fresh bread')::numeric, 3) AS similarity, left(body, 50) AS body
  FROM news ORDER BY similarity DESC;
\echo '-- the models and the engine'
SELECT name, architecture, quantization, context_length, shared_memory_bytes, state, round(load_ms) AS load_ms, load_method FROM qwen_models;
SELECT state, pid, isa, threads, steps, prompt_tokens, generated_tokens, round(tokens_per_second) AS tokens_per_s FROM qwen_stat_engine;
SQL
say "an UPDATE over 200 rows, watched by another session: SELECT * FROM qwen_progress \\watch 1"
sql -c "CREATE TABLE titled AS SELECT g AS id, 'Letter ' || g || ' about the new bakery. ' AS body, NULL::text AS title FROM generate_series(1, 200) g; ANALYZE titled"
sql -c "UPDATE titled SET title = qwen_generate(body, temperature => 0, max_tokens => 12)" >/dev/null 2>&1 &
update=$!
# psql repeats it until it is interrupted
echo 'SELECT * FROM qwen_progress \watch 1' | timeout -s INT 4 "$PYTHON" tests/tools/cluster.py demo-psql -q -P pager=off || true
wait "$update"
sql -c "SELECT count(*) AS rows, count(title) AS titled FROM titled"
engine=$(sql -At -c 'SELECT pid FROM qwen_stat_engine')
say "kill -9 of the engine (pid $engine): the server stays, the weights stay in memory"
kill -9 "$engine" 2>/dev/null || sudo kill -9 "$engine"
sql <<'SQL'
\timing on
\set ECHO queries
SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0);
SELECT e.state, e.pid, e.restarts, e.last_error, round(m.load_ms) AS load_ms_of_the_first_time FROM qwen_stat_engine e, qwen_models m;
SQL
say "limits: a role that may ask twice a minute asks three times"
sql <<'SQL'
\pset pager off
\set ECHO queries
\set ON_ERROR_STOP off
CREATE ROLE analyst LOGIN;
SELECT qwen_grant('analyst', 'use');
SELECT qwen_set_limit('analyst', requests_per_minute => 2, tokens_per_day => 10000, max_concurrent => 1);
\connect - analyst
SELECT qwen_chat('Say hello.', temperature => 0, max_tokens => 10);
SELECT qwen_chat('Say goodbye.', temperature => 0, max_tokens => 10);
SELECT qwen_chat('Say something else.', temperature => 0, max_tokens => 10);
SELECT * FROM qwen_usage;
SQL
say "the server stays up: make psql is a shell in it, make demo-stop ends it"
