"""Adapters: what they change is what they were made for; in queries, jobs and triggers; privileges; models that go and come; files that lie."""
import json
import os
import shutil
import signal
import sys
import threading

import psycopg2
import pytest
from cluster import MODEL_FILE, Cluster, model_directory, wait_until
from sessions import Background, late_supervisor, wait_waiting

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import demo_adapters  # noqa: E402
import demo_model  # noqa: E402

DEFAULT_MODEL = MODEL_FILE
MODEL = os.path.join(model_directory(), MODEL_FILE)
ASK = "SELECT qwen_chat(%s, temperature => 0, max_tokens => 12, adapter => %s)"
EMBED = "SELECT qwen_embed(%s, options => %s)"


def adapter_file(name):
    return "models/" + demo_adapters.cached(MODEL, os.path.join(model_directory(), "models"), name)


SETTINGS = {"qwen.adapters": f"swap={adapter_file('swap')}@chat, deep={adapter_file('deep')}@chat", "qwen.kv_cache_size": "256MB"}


@pytest.fixture(scope="module")
def adapted():
    cluster = Cluster(settings=SETTINGS)
    try:
        cluster.start()
        cluster.query("CREATE EXTENSION qwen_pg")
        yield cluster
    finally:
        cluster.remove()


def refused(server, code, words, sql, arguments=(), user=None):
    with pytest.raises(psycopg2.Error) as failure:
        server.query(sql, arguments, user)
    assert failure.value.pgcode == code and words in str(failure.value), str(failure.value)
    return str(failure.value)


def with_adapter(name, scale=None):
    return json.dumps({"adapter": name, **({} if scale is None else {"adapter_scale": scale})})


def product(a, b):
    return sum(x * y for x, y in zip(a, b))


def states(server):
    return dict(server.query("SELECT name, state FROM qwen_adapters"))


# ---- what it does ----
def test_a_known_adapter_changes_answers_as_it_was_made_to(adapted):
    """With it the model takes a cat for a dog: the same vectors as of the other word, the same first words of an answer."""
    plain = {word: adapted.value(EMBED, (f"I saw a {word} today", None)) for word in ("cat", "dog", "bird")}
    swapped = {word: adapted.value(EMBED, (f"I saw a {word} today", with_adapter("swap"))) for word in ("cat", "dog", "bird")}
    assert product(swapped["cat"], plain["dog"]) > 0.9999 and product(swapped["dog"], plain["cat"]) > 0.9999
    assert product(plain["cat"], plain["dog"]) < 0.999 and swapped["bird"] == plain["bird"]
    # nothing of it, half of it
    assert adapted.value(EMBED, ("I saw a cat today", with_adapter("swap", 0))) == plain["cat"]
    half = adapted.value(EMBED, ("I saw a cat today", with_adapter("swap", 0.5)))
    assert product(half, plain["cat"]) < 0.9999 > product(half, plain["dog"])
    # the words that were read, by how likely the model finds what follows them
    likely = "SELECT array_agg(logprob ORDER BY ordinality) FROM qwen_logprobs(%s, options => %s) WHERE ordinality > 4"
    one, other = (adapted.value(likely, (text, options)) for text, options in (("I have a cat and it", with_adapter("swap")), ("I have a dog and it", None)))
    assert max(abs(a - b) for a, b in zip(one, other)) < 0.01
    answers = [adapted.value(ASK, ("Tell me about a cat.", adapter)) for adapter in (None, "swap", "deep")]
    assert len(set(answers)) == 3 and answers[1].startswith("A dog")


def test_every_function_takes_an_adapter(adapted):
    """Where it has no argument of that name, in options; and says so of one that is not there."""
    for call in ("qwen_chat('x', max_tokens => 1", "qwen_chat('[{\"role\": \"user\", \"content\": \"x\"}]'::json, max_tokens => 1", "qwen_generate('x', max_tokens => 1", "qwen_summarize('x y', max_tokens => 1",
                 "qwen_translate('x', 'French', max_tokens => 1", "qwen_classify('x', '{a,b}'", "qwen_filter('x', 'it is x'", "qwen_sentiment('x'"):
        adapted.query(f"SELECT {call}, adapter => 'deep')")
        refused(adapted, "42704", 'adapter "none" of model "chat" is not loaded', f"SELECT {call}, adapter => 'none')")
    for call in ("qwen_embed('x'", "qwen_similarity('x', 'y'", "qwen_similarity_to('x', qwen_embed('y')", "qwen_tokenize('x'", "qwen_detokenize('{5}'", "qwen_count_tokens('x'", "qwen_render_chat('x'"):
        assert adapted.value(f"SELECT {call}, options => '{with_adapter('deep')}')") is not None
        refused(adapted, "42704", 'adapter "none" of model "chat" is not loaded', f"SELECT {call}, options => '{with_adapter('none')}')")
    for call in ("qwen_embed_batch('{x}'", "qwen_logprobs('x'", "qwen_chunk('x'", "qwen_classify_scores('x', '{a,b}'", "qwen_generate_batch('{x}', max_tokens => 1"):
        assert adapted.query(f"SELECT * FROM {call}, options => '{with_adapter('deep')}')")
    aggregate = "SELECT qwen_chat_agg(t, 'Join', '{\"adapter\": %s, \"max_tokens\": 9, \"temperature\": 0}') FROM (VALUES ('a cat'), ('a dog')) v(t)"
    assert adapted.value(aggregate % '"deep"') != adapted.value(aggregate % "null")


def test_rows_with_different_adapters_share_a_batch(adapted):
    """Each row of a table names its own, or none, and has the answer that it has alone; the planner's node batches them."""
    adapted.query("CREATE TABLE cases (id int PRIMARY KEY, body text, adapter text, scale float8); INSERT INTO cases SELECT i, 'Tell me about a ' || (ARRAY['cat', 'dog', 'bird'])[i % 3 + 1], (ARRAY[NULL, 'swap', 'deep'])[i / 3 + 1], 1 FROM generate_series(0, 8) i")
    adapted.query("INSERT INTO cases SELECT 9 + i, body, adapter, 0.5 FROM cases, generate_series(0, 0) i WHERE id = 8")
    sql = "SELECT id, qwen_chat(body, temperature => 0, max_tokens => 10, adapter => adapter, options => CASE WHEN adapter IS NOT NULL THEN json_build_object('adapter_scale', scale) END) FROM cases ORDER BY id"
    together = adapted.query(sql)
    assert "Qwen" in "".join(row[0] for row in adapted.query("EXPLAIN " + sql))
    alone = [adapted.query(sql.replace("ORDER BY id", f"WHERE id = {i}"))[0] for i in range(10)]
    assert together == alone and len({answer for _, answer in together}) == 9  # a bird is a bird with "swap" too
    by_model = dict(adapted.query("SELECT model, sum(calls) FROM qwen_stat_requests WHERE function = 'qwen_chat' GROUP BY model"))
    assert {"chat", "chat+swap", "chat+deep"} <= set(by_model)


def test_jobs_and_triggers_have_their_adapter(adapted):
    adapted.query("CREATE TABLE letters (id int PRIMARY KEY, body text, answer text, other text, vector real[])")
    adapted.query("CREATE TRIGGER t AFTER INSERT ON letters FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('other', 'Tell me about a {body}', 'adapter=swap', 'temperature=0', 'max_tokens=8')")
    adapted.query("CREATE TRIGGER v BEFORE INSERT ON letters FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'vector', 'options={\"adapter\": \"swap\"}')")
    adapted.query("CREATE TABLE articles (body text, summary text); CREATE TRIGGER s BEFORE INSERT ON articles FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body', 'summary', '20', 'adapter=swap', 'max_tokens=12')")
    text = "The cat sat by the window. The cat was old. Then the cat slept."
    adapted.query("INSERT INTO articles VALUES (%s)", (text,))
    assert adapted.value("SELECT summary FROM articles") == adapted.value("SELECT qwen_summarize(%s, 20, adapter => 'swap', max_tokens => 12)", (text,)) != adapted.value("SELECT qwen_summarize(%s, 20, max_tokens => 12)", (text,))
    adapted.query("INSERT INTO letters VALUES (1, 'cat'), (2, 'dog')")
    job = adapted.value("SELECT qwen_submit('letters', 'Tell me about a {body}', 'letters', 'answer', temperature => 0, max_tokens => 8, adapter => 'deep', options => '{\"adapter_scale\": 0.5}')")
    assert adapted.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    wait_until(lambda: adapted.value("SELECT count(*) FROM letters WHERE other IS NULL") == 0, 60)
    for word, answer, other, vector in adapted.query("SELECT body, answer, other, vector FROM letters"):
        prompt = f"Tell me about a {word}"
        assert answer == adapted.value("SELECT qwen_chat(%s, temperature => 0, max_tokens => 8, adapter => 'deep', options => '{\"adapter_scale\": 0.5}')", (prompt,))
        assert other == adapted.value("SELECT qwen_chat(%s, temperature => 0, max_tokens => 8, adapter => 'swap')", (prompt,))
        assert vector == adapted.value(EMBED, (word, with_adapter("swap")))
    # what is not there is refused when the job is submitted
    refused(adapted, "42704", 'adapter "none" of model "chat" is not loaded', "SELECT qwen_submit('letters', '{body}', 'letters', 'answer', adapter => 'none')")


def test_the_prefix_cache_tells_adapters_apart(adapted):
    text = "Once upon a time " * 20
    sql = "SELECT (r).cached_tokens, (r).content FROM (SELECT qwen_chat_full(%s, temperature => 0, max_tokens => 4, adapter => %s) AS r OFFSET 0) x"
    first = {adapter: adapted.query(sql, (text, adapter))[0] for adapter in (None, "swap", "deep")}
    # the words of the template may be cached from before
    assert all(cached < 64 for cached, _ in first.values()), first
    for adapter, (_, content) in first.items():
        cached, again = adapted.query(sql, (text, adapter))[0]
        assert cached >= 64 and again == content


# ---- who may ----
def test_privileges_know_a_model_with_an_adapter(adapted):
    adapted.query("CREATE ROLE lawyer LOGIN; CREATE ROLE clerk LOGIN; SELECT qwen_grant('lawyer', 'use'), qwen_grant('clerk', 'use')")
    adapted.query("SELECT qwen_allow_models('lawyer', ARRAY['chat+swap']), qwen_allow_models('clerk', ARRAY['chat'])")
    assert adapted.value(ASK, ("Hi", "swap"), "lawyer") and adapted.value(ASK, ("Hi", None), "clerk")
    assert adapted.value(EMBED, ("x", with_adapter("swap")), "lawyer") and adapted.query("SELECT * FROM qwen_chunk('One. Two.', options => '{\"adapter\": \"swap\"}')", user="lawyer")
    for user, adapter, name in (("lawyer", None, "chat"), ("lawyer", "deep", "chat+deep"), ("clerk", "swap", "chat+swap")):
        refused(adapted, "42501", f'model "{name}" is not allowed to role "{user}"', ASK, ("Hi", adapter), user)
    refused(adapted, "42501", 'model "chat+swap" is not allowed', "SET qwen.allowed_models = 'chat'; SELECT qwen_chat('Hi', adapter => 'swap')")
    refused(adapted, "22023", "models must be an array", "SELECT qwen_allow_models('clerk', ARRAY['chat+'])")
    for call in ("qwen_load_adapter('a', 'b')", "qwen_unload_adapter('swap')"):
        refused(adapted, "42501", "permission denied", f"SELECT {call}", user="clerk")
    # everybody sees that they are there
    assert adapted.value("SELECT count(*) FROM qwen_adapters", user="clerk") == 2


# ---- coming and going ----
def test_adapters_are_loaded_and_unloaded_by_hand(adapted):
    before = adapted.value("SELECT weight_bytes FROM qwen_stat_engine")
    adapted.query("SELECT qwen_load_adapter('mine', %s)", (adapter_file("deep"),))
    name, model, rank, matrices, kind, state = adapted.query("SELECT name, model, rank, matrices, quantization, state FROM qwen_adapters WHERE name = 'mine'")[0]
    assert (name, model, rank, matrices, kind, state) == ("mine", "chat", 16, 210, "F16", "serving")
    bytes_of = adapted.value("SELECT shared_memory_bytes FROM qwen_adapters WHERE name = 'mine'")
    assert adapted.value("SELECT weight_bytes FROM qwen_stat_engine") == before + bytes_of
    refused(adapted, "22023", "is loaded already", "SELECT qwen_load_adapter('mine', 'x.gguf', 'chat')")
    answer = adapted.value(ASK, ("Tell me about a cat.", "deep"))
    assert adapted.value(ASK, ("Tell me about a cat.", "mine")) == answer
    # a request that runs keeps it; a new one does not get it
    streaming = adapted.connect()
    cursor = streaming.cursor()
    cursor.execute("BEGIN; DECLARE c CURSOR FOR SELECT * FROM qwen_chat_stream('Tell me a long story', max_tokens => 300, temperature => 0, adapter => 'mine')")
    started = threading.Thread(target=lambda: cursor.execute("FETCH ALL FROM c"))
    started.start()
    wait_until(lambda: adapted.value("SELECT count(*) FROM qwen_stat_activity WHERE model = 'chat+mine' AND state = 'generating' OR model = 'chat+mine' AND completion_tokens > 0"), 30)
    unloading = threading.Thread(target=lambda: adapted.query("SELECT qwen_unload_adapter('mine', 'chat')"))
    unloading.start()
    wait_until(lambda: states(adapted)["mine"] == "unloading", 10)
    refused(adapted, "42704", 'adapter "mine" of model "chat" is not loaded', ASK, ("Hi", "mine"))
    started.join(60)
    assert len("".join(row[0] for row in cursor.fetchall())) > 200
    unloading.join(30)
    streaming.close()
    assert "mine" not in states(adapted) and adapted.value("SELECT weight_bytes FROM qwen_stat_engine") == before


def test_an_engine_that_ended_serves_adapters_again(adapted):
    answer = adapted.value(ASK, ("Tell me about a cat.", "swap"))
    pid = adapted.engine_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: adapted.query("SELECT pid FROM qwen_stat_engine WHERE state = 'running' AND pid <> %s", (pid,)), 30)
    assert adapted.value(ASK, ("Tell me about a cat.", "swap")) == answer
    # its image stayed in memory: it was not read again
    assert adapted.read_log().count('adapter "swap" of model "chat": ') == 1


def test_backends_that_crash_leave_adapters_in_memory(adapted):
    connection = adapted.connect()
    cursor = connection.cursor()
    cursor.execute("SELECT pg_backend_pid()")
    os.kill(cursor.fetchone()[0], signal.SIGKILL)
    wait_until(lambda: "is still in memory" in adapted.read_log(), 30)

    def answers():
        try:
            return adapted.value(ASK, ("Hi", "deep"))
        except psycopg2.Error:
            return None

    assert wait_until(answers, 30)
    assert 'adapter "deep" of model "chat" is still in memory' in adapted.read_log()


def test_an_adapter_goes_and_comes_with_its_model(adapted):
    answer = adapted.value(ASK, ("Tell me about a cat.", "swap"))
    adapted.query("SELECT qwen_load_adapter('mine', %s)", (adapter_file("deep"),))
    adapted.query("SELECT qwen_load_model('second', %s)", (MODEL_FILE,))
    adapted.query("SELECT qwen_load_adapter('swap', %s, 'second')", (adapter_file("swap"),))
    # the same name for two models
    assert adapted.value("SELECT count(*) FROM qwen_adapters WHERE name = 'swap' AND state = 'serving'") == 2
    assert adapted.value("SELECT qwen_chat('Tell me about a cat.', temperature => 0, max_tokens => 12, adapter => 'swap', model => 'second')") == answer
    refused(adapted, "42704", 'adapter "deep" of model "second" is not loaded', "SELECT qwen_chat('x', model => 'second', adapter => 'deep')")
    adapted.query("SELECT qwen_unload_model('second'), qwen_unload_model('chat')")
    # those of the setting wait for their model, those loaded by hand are gone
    wait_until(lambda: sorted(adapted.query("SELECT name, model, state FROM qwen_adapters")) == [("deep", "chat", "waiting"), ("swap", "chat", "waiting")], 20)
    adapted.query("SELECT qwen_load_model('chat', %s)", (MODEL_FILE,))
    assert adapted.value(ASK, ("Tell me about a cat.", "swap")) == answer
    wait_until(lambda: set(states(adapted).values()) == {"serving"}, 20)


def test_a_file_that_is_not_there_is_told_with_those_that_are(adapted):
    told = str(refused(adapted, "42704", 'adapter "none" of model "chat" could not be loaded', "SELECT qwen_load_adapter('none', 'nope.gguf')"))
    assert 'nope.gguf".' in told.partition("The file is ")[2] and "HINT:  There are: " in told and MODEL_FILE in told, told
    assert "HINT:  qwen_models lists" in str(refused(adapted, "42704", 'model "CHAT" is not loaded', "SELECT qwen_unload_model('CHAT')"))


def test_a_call_behind_a_reload_waits_for_its_adapter(adapted):
    wait_until(lambda: states(adapted) == {"deep": "serving", "swap": "serving"}, 20)
    with late_supervisor(adapted, qwen__adapters=f"late={adapter_file('swap')}@chat"):
        call = Background(adapted, f"SELECT qwen_embed('x', options => '{with_adapter('late')}')")
        wait_waiting(adapted, call)
    assert call.join().error is None
    adapted.reload(qwen__adapters=SETTINGS["qwen.adapters"])
    wait_until(lambda: states(adapted) == {"deep": "serving", "swap": "serving"}, 20)


def test_the_setting_is_followed_when_it_changes(adapted):
    adapted.reload(qwen__adapters=f"deep={adapter_file('deep')}@chat, late={adapter_file('swap')}@chat, lost={adapter_file('swap')}@nobody")
    wait_until(lambda: states(adapted) == {"deep": "serving", "late": "serving", "lost": "waiting"}, 20)
    assert adapted.value(ASK, ("Tell me about a cat.", "late")).startswith("A dog")
    # whose model nobody loads, as one that is misspelt, is told of
    status, message = adapted.query("SELECT status, message FROM qwen_health_checks WHERE name = 'adapters'")[0]
    assert status == "degraded" and 'adapter "lost" waits for model "nobody", which is not loaded' in message, (status, message)
    # one that cannot be loaded says so, degrades health, and takes nothing with it
    adapted.reload(qwen__adapters=f"deep={adapter_file('deep')}@chat, broken={MODEL_FILE}@chat")
    wait_until(lambda: states(adapted) == {"deep": "serving", "broken": "failed"}, 20)
    assert "it is no adapter" in adapted.value("SELECT error FROM qwen_adapters WHERE name = 'broken'")
    assert "broken" in str(adapted.value("SELECT qwen_health() -> 'checks' @? '$[*] ? (@.check == \"adapters\" && @.status == \"degraded\")', qwen_health()::text")) or adapted.value("SELECT qwen_health() ->> 'status'") == "degraded"
    refused(adapted, "42704", "could not be loaded", ASK, ("Hi", "broken"))
    adapted.reload(qwen__adapters=SETTINGS["qwen.adapters"])
    wait_until(lambda: states(adapted) == {"deep": "serving", "swap": "serving"}, 20)
    assert adapted.value("SELECT status FROM qwen_health_checks WHERE name = 'adapters'") == "healthy"
    for value, why in (("a=b", "Entries look like"), ("a=b@", "A model's name"), ("a b=c@d", "An adapter's name"), ("a=b@c,a=d@c", "stands twice"), ("=b@c", "An adapter's name")):
        with pytest.raises(psycopg2.Error) as failure:
            adapted.query("ALTER SYSTEM SET qwen.adapters = %s", (value,))
        assert why in str(failure.value), str(failure.value)


def test_a_list_that_is_refused_is_seen_without_the_log(adapted):
    """As one of qwen.models: by whoever reloads, and of both at once."""
    look = "SELECT status, message, action FROM qwen_health_checks WHERE name = 'settings'"
    assert adapted.query(look) == []
    adapted.reload(qwen__adapters="deep=a@b, deep=c@b")
    status, message, action = wait_until(lambda: adapted.query(look))[0]
    assert (status, action) == ("degraded", "Correct qwen.adapters, then reload the configuration.")
    assert message == 'the newest value of qwen.adapters is refused, the one before it holds: At byte 11: The name "deep" stands twice for model "b".'
    assert states(adapted) == {"deep": "serving", "swap": "serving"}
    adapted.reload(qwen__models="chat")
    message, action = wait_until(lambda: [row[1:] for row in adapted.query(look) if "qwen.models" in row[1]])[0]
    assert action == "Correct qwen.models and qwen.adapters, then reload the configuration." and 'stands twice for model "b"' in message
    adapted.reload(qwen__models=f"chat={MODEL_FILE}", qwen__adapters=SETTINGS["qwen.adapters"])
    wait_until(lambda: adapted.query(look) == [])


@pytest.mark.parametrize("setting", ["qwen.draft_models", "qwen.adapters", "qwen.models"])
def test_a_refused_line_that_is_removed_is_forgotten(adapted, setting):
    """PostgreSQL tells nobody of a removed line whose value never held; nor does the postmaster forget what it refused."""
    look = "SELECT message FROM qwen_health_checks WHERE name = 'settings'"
    broken = f"{setting} = 'nonsense'"
    lines = os.path.join(adapted.data, "postgresql.auto.conf")  # read last
    with open(lines) as file:
        before = file.read()

    def reload_with(text):
        with open(lines, "w") as file:
            file.write(before + text + "\n")
        adapted.query("SELECT pg_reload_conf()")

    def is_said():
        rows = adapted.query(look)
        return bool(rows) and setting in rows[0][0]

    try:
        reload_with(broken)
        wait_until(is_said)
        # it stands there still, so it is said still, with what is new
        another = "qwen.adapters" if setting != "qwen.adapters" else "qwen.models"
        reload_with(f"{broken}\n{another} = 'nonsense'")
        wait_until(lambda: f"{another} is refused" in adapted.value(look))
        assert is_said()
        # a file with an error in its form is not taken: what was refused before is still so
        reload_with("no such parameter")
        wait_until(lambda: "syntax error in file" in adapted.read_log())
        assert all(is_said() for _ in range(50))
        reload_with("")
        wait_until(lambda: adapted.query(look) == [])
        # a supervisor that starts anew is a copy of the postmaster
        engine = adapted.engine_pid()
        with open(f"/proc/{engine}/stat") as file:
            os.kill(int(file.read().rsplit(")", 1)[1].split()[1]), signal.SIGTERM)
        wait_until(lambda: adapted.query("SELECT pid FROM qwen_stat_engine WHERE state = 'running' AND pid <> %s", (engine,)), 30)
        wait_until(lambda: set(states(adapted).values()) == {"serving"}, 30)
        assert adapted.query(look) == []
    finally:
        reload_with("")


def test_an_adapter_of_the_setting_waits_for_a_name_that_was_taken_by_hand(adapted):
    """Nothing is passed over in silence: health says so, and it comes when the name is free; so do models."""
    said = "SELECT status, message FROM qwen_health_checks WHERE name = %s"
    adapted.query("SELECT qwen_load_adapter('mine', %s)", (adapter_file("deep"),))
    answer = adapted.value(ASK, ("Tell me about a cat.", "mine"))
    adapted.reload(qwen__adapters=SETTINGS["qwen.adapters"] + f", mine={adapter_file('swap')}@chat")
    wait_until(lambda: adapted.query(said, ("adapters",))[0][0] == "degraded", 20)
    assert '"mine" of model "chat" was loaded by hand; the file that qwen.adapters has under this name waits' in adapted.query(said, ("adapters",))[0][1]
    assert adapted.value(ASK, ("Tell me about a cat.", "mine")) == answer
    adapted.query("SELECT qwen_unload_adapter('mine')")
    wait_until(lambda: adapted.query("SELECT state, rank FROM qwen_adapters WHERE name = 'mine'") == [("serving", 1)], 20)
    assert adapted.value(ASK, ("Tell me about a cat.", "mine")).startswith("A dog")
    wait_until(lambda: adapted.query(said, ("adapters",))[0][0] == "healthy", 20)
    adapted.reload(qwen__adapters=SETTINGS["qwen.adapters"])
    wait_until(lambda: states(adapted) == {"deep": "serving", "swap": "serving"}, 20)
    # a model, with its adapters
    adapted.query("SELECT qwen_load_model('second', %s)", (MODEL_FILE,))
    adapted.reload(qwen__models=f"chat={MODEL_FILE}, second=models/{os.path.basename(MODEL)}")
    wait_until(lambda: adapted.query(said, ("models",)) == [("degraded", '"second" was loaded by hand; the file that qwen.models has under this name waits')], 20)
    adapted.reload(qwen__models=f"chat={MODEL_FILE}")
    wait_until(lambda: adapted.query(said, ("models",))[0][0] == "healthy", 20)
    adapted.query("SELECT qwen_unload_model('second')")


# ---- files that lie ----
def write_adapter(folder, name, tensors, architecture="qwen2"):
    path = os.path.join(folder, name)
    demo_model.write_gguf(path, demo_adapters.keys(architecture, 8), tensors)
    os.chmod(path, 0o644)


@pytest.fixture(scope="module")
def liars(adapted):
    """A folder of files that an ERROR must refuse by the name of the tensor, below the folder of models."""
    import numpy as np

    folder = os.path.join(model_directory(), "models", f"adapters-{os.getpid()}")
    os.makedirs(folder)
    q = "blk.0.attn_q.weight"
    a, b = np.zeros((4, 576)), np.zeros((576, 4))
    write_adapter(folder, "wide.gguf", demo_adapters.pair(q, np.zeros((4, 640)), b))
    write_adapter(folder, "ranks.gguf", demo_adapters.pair(q, a, np.zeros((576, 5))))
    write_adapter(folder, "output.gguf", demo_adapters.pair("output.weight", a, np.zeros((49152, 4))))
    write_adapter(folder, "layer.gguf", demo_adapters.pair("blk.30.attn_q.weight", a, b))
    write_adapter(folder, "half.gguf", demo_adapters.pair(q, a, b)[:1])
    write_adapter(folder, "other.gguf", demo_adapters.pair(q, a, b), "llama")
    write_adapter(folder, "infinite.gguf", demo_adapters.pair(q, a + np.inf, b))
    write_adapter(folder, "norm.gguf", [*demo_adapters.pair(q, a, b), ("output_norm.weight", [576], demo_adapters.F32, np.zeros(576, "<f4").tobytes())])
    yield f"models/adapters-{os.getpid()}"
    shutil.rmtree(folder)


def test_files_that_lie_are_errors_that_name_the_tensor(adapted, liars):
    for file, words in (
        ("wide", 'tensor "blk.0.attn_q.weight.lora_a" has the shape [4][640], expected [4][576]'),
        ("ranks", 'tensor "blk.0.attn_q.weight.lora_b" has the shape [576][5], expected [576][4]'),
        ("output", 'tensor "output.weight.lora_a" is for a tensor that model "chat" has not: its embeddings serve as its output'),
        ("layer", 'tensor "blk.30.attn_q.weight.lora_a" is for a tensor that model "chat" has not'),
        ("half", 'tensor "blk.0.attn_q.weight.lora_a" is there without "blk.0.attn_q.weight.lora_b"'),
        ("other", 'it is for the architecture "llama", but model "chat" is of the architecture "qwen2"'),
        ("infinite", 'tensor "blk.0.attn_q.weight.lora_a" holds a number that is not finite'),
    ):  # fmt: skip
        refused(adapted, "22023", words, "SELECT qwen_load_adapter('liar', %s)", (f"{liars}/{file}.gguf",))
    refused(adapted, "42704", "No such file", "SELECT qwen_load_adapter('liar', 'none.gguf')")
    refused(adapted, "42501", "not below", "SELECT qwen_load_adapter('liar', '../../etc/passwd')")
    assert "liar" not in states(adapted)
    adapted.query("SELECT qwen_load_adapter('norms', %s)", (f"{liars}/norm.gguf",))
    assert 'tensors of norms are left out: "output_norm.weight"' in adapted.value("SELECT notices FROM qwen_adapters WHERE name = 'norms'")
    adapted.query("SELECT qwen_unload_adapter('norms')")
    # and the model itself is well
    assert adapted.value(ASK, ("Hi", None))
    refused(adapted, "0A000", "adapter", "SELECT qwen_load_model('liar', %s)", (adapter_file("swap"),))
