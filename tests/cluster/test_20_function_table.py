"""The table of functions (sql/functions.txt): catalogs, docs and updates say the same, and what breaks a rule is refused."""
import os
import re
import shutil
import subprocess
import sys

import pytest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "sql"))
from function_table import read_script, read_table  # noqa: E402

MEMBERS = """SELECT p.*, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result, obj_description(p.oid, 'pg_proc') AS comment,
    has_function_privilege('pg_monitor', p.oid, 'EXECUTE') AS everybodys, p.prosupport::text AS support, p.oid::regprocedure::text AS signature
    FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'qwen_pg'"""


def members(server):
    """Rows of pg_proc as dictionaries."""
    cursor = server.connect().cursor()
    cursor.execute(MEMBERS)
    names = [column.name for column in cursor.description]
    rows = [dict(zip(names, row)) for row in cursor.fetchall()]
    cursor.connection.close()
    return rows


# ---- catalogs ----


def test_the_catalog_has_what_the_table_says(server):
    """Each function, and no other: attributes, comment, C function, and who may call it."""
    functions, _ = read_table()
    in_catalog = {row["signature"]: row for row in members(server)}
    assert len(functions) == len(in_catalog) > 70
    for function in functions:
        row = in_catalog[server.value("SELECT %s::regprocedure::text", (function.signature(),))]
        said = function.attributes
        assert row["comment"] == function.comment, function.signature()
        assert row["everybodys"] == (function.audience == "everybody"), function.signature()
        assert server.value("SELECT qwen_privilege_of(%s)", (function.name,)) == function.audience
        assert row["proparallel"] == said["parallel"][0].lower() and row["proisstrict"] == ("strict" in said), function.signature()
        assert (row["support"] if row["support"] != "-" else None) == function.support, function.signature()
        assert row["proargnames"] == ([a.name for a in function.arguments + columns(function)] if any(a.name for a in function.arguments + columns(function)) else None), function.signature()
        if function.kind == "function":
            assert row["provolatile"] == said["volatility"][0].lower(), function.signature()
            assert row["procost"] == float(said.get("cost", 1 if function.language == "C" else 100)), function.signature()
            assert row["prorows"] == float(said.get("rows", 1000 if row["proretset"] else 0)), function.signature()
            assert row["prosecdef"] == (said.get("security") == "DEFINER"), function.signature()
            assert (row["proconfig"] or []) == [setting.replace(" = ", "=") for setting in [said.get("set")] if setting], function.signature()
        if function.language == "C":
            assert row["prosrc"] == function.symbol, function.signature()


def columns(function):
    """Those of RETURNS TABLE, which pg_proc has among the arguments."""
    inside = re.match(r"TABLE \((.*)\)$", function.returns)
    return read_script(f"CREATE FUNCTION f({inside[1]}) RETURNS x AS 'MODULE_PATHNAME', 'f' LANGUAGE C;")[0][0].arguments if inside else []


# ---- docs ----

SIGNATURE = re.compile(r"^(?:aggregate )?(qwen_\w+)\((.*?)\) \u2192 (.*)$")
LONG_NAMES = (("int", "integer"), ("float8", "double precision"))


def spelled_out(text):
    """As the catalog spells types, and without what it does not keep."""
    for short, long in LONG_NAMES:
        text = re.sub(rf"\b{short}\b", long, text)
    return re.sub(r"::[a-z ]+(\[\])?", "", text).replace("TABLE (", "TABLE(")


def documented():
    """(name, arguments, result, comment) of each signature in docs/sql.md, the ellipsis replaced by the arguments of the table there."""
    with open(os.path.join(ROOT, "docs", "sql.md"), encoding="utf-8") as file:
        text = file.read()
    common = [f"{name} {kind} DEFAULT NULL" for name, kind in re.findall(r"^\| `(\w+)` \| ([\w\[\]]+) \|", text[text.index("| argument | type | meaning |"):].split("\n\n")[0], re.M)]
    assert common[0].startswith("model ") and common[-1].startswith("options ") and len(common) == 16
    for block in (content for language, content in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) if language == ""):
        comment = None
        for line in block.replace("\n    ", " ").splitlines():
            found = SIGNATURE.match(line)
            if line.startswith("-- "):
                comment = line[3:]
            elif found:
                arguments = found[2]
                if "\u2026" in arguments:
                    arguments = arguments.replace("\u2026", ", ".join(common[:-1])) + ", " + common[-1]
                yield found[1], spelled_out(arguments), spelled_out(found[3]), comment.replace("\u2026", "...")


def test_the_signatures_of_the_docs_are_the_catalogs(server):
    """Each one there is, with its comment, and none of what users call is left out."""
    rows = {(row["proname"], spelled_out(row["arguments"]), spelled_out(row["result"])): row["comment"] for row in members(server)}
    found = list(documented())
    assert len(found) > 45
    for name, arguments, result, comment in found:
        assert rows.pop((name, arguments, result), "not in the catalog") == comment, (name, arguments, result)
    left = {name for name, arguments, result in rows if "internal" not in arguments and result not in ("internal", "trigger") and "OUT " not in arguments}
    assert left == {"_qwen_may_see_role"}


# ---- rules ----


@pytest.fixture
def copied(tmp_path):
    """A copy of what the scripts are made of; changes it, and gives what the generator says."""
    for name in ("sql", "docs", "src/extension"):
        shutil.copytree(os.path.join(ROOT, name), tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(os.path.join(ROOT, "qwen_pg.control"), tmp_path)

    def change(name, old, new, *arguments):
        path = tmp_path / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) >= 1, (name, old)
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        done = subprocess.run([sys.executable, "sql/make.py", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        path.write_text(text, encoding="utf-8")
        return done.stderr

    change.folder = tmp_path
    return change


TABLE = "sql/functions.txt"


@pytest.mark.parametrize("name, old, new, said", [
    (TABLE, "input text, target_language text,", "input text, target_language name,", "needs another name here"),
    (TABLE, "qwen_unload_model(name text) RETURNS void", "qwen_unload_model(name text) RETURNS boolean", "needs another name here"),
    (TABLE, "OUT weight_bytes bigint, OUT kv_bytes_resident bigint", "OUT kv_bytes_resident bigint, OUT weight_bytes bigint", "new ones stand at the end"),
    (TABLE, "qwen_wait(id bigint, timeout interval DEFAULT NULL)", "qwen_wait(id bigint, timeout interval DEFAULT NULL, quiet boolean DEFAULT NULL)", "the scripts pass 1 to 3"),
    (TABLE, "qwen_forget(id bigint) RETURNS void\n", "qwen_forget(id bigint) RETURNS void\n\tsymbol: qwen_forgets\n", "no C function qwen_forgets"),
    (TABLE, "symbol: qwen_chat_json\n", "symbol: qwen_chat_yaml\n", "what becomes of it"),
    (TABLE, "symbol: qwen_chat_json\n", "symbol: qwen_chat_text\n", "is that of qwen_chat"),
    (TABLE, "qwen_cancel(id bigint) RETURNS boolean\n\tcomment: end a job; false when it has ended already\n\n", "", "what becomes of it"),
    (TABLE, "made of: _qwen_agg_add, _qwen_summarize_agg_final", "made of: _qwen_agg_add, _qwen_chat_agg_final", "qwen_summarize_agg(text) of 0.1.0"),
    (TABLE, "for: use\n\nqwen_chat(", "for: guests\n\nqwen_chat(", "for whom is it"),
    (TABLE, "section privileges\n\tfor: owner\n", "section privileges\n", "qwen_grant(regrole, text): for whom is it"),
    (TABLE, "is: VOLATILE PARALLEL UNSAFE\n\tfor: use\n\nqwen_submit", "is: VOLATILE\n\tfor: use\n\nqwen_submit", "its parallel is not said"),
    (TABLE, "*options) RETURNS real[]", "*options, more int DEFAULT 1) RETURNS real[]", "options must be the last"),
    (TABLE, "like: _qwen_agg_add(internal, text)\n", "like: _qwen_agg_add(text)\n", "there is no _qwen_agg_add(text)"),
    (TABLE, "_qwen_load_progress(OUT name", "qwen_load_progress(OUT name", "begins with an underscore"),
    (TABLE, "comment: how many tokens a text has", "comment: how many tokens a sentence has", "docs/sql.md is not what"),
    (TABLE, "COST 1000 ROWS 10", "COST 1000 ROWS 11", "qwen_pg--0.2.0.sql is not what"),
    (TABLE, "docs: by hand\n\nqwen_summarize_trigger", "docs: generated\n\nqwen_summarize_trigger", "no mark names qwen_summarize_trigger"),
    ("sql/parts/models.sql", "@functions models\n", "", "no part has @functions models"),
    ("sql/parts/models.sql", "@functions models\n", "@functions models\n\n@functions models\n", "is made twice"),
    ("sql/parts/install.sql", "DROP FUNCTION qwen_settle_privileges(oid[]);", "", "belongs into functions.txt"),
    (TABLE, "for: admin\n\n_qwen_limits_changed", "for: use\n\n_qwen_limits_changed", "docs/privileges.md is not what"),
    ("sql/parts/jobs.sql", "'this server is a standby: jobs run on the primary'", "'read only'", "qwen_pg--0.1.0--0.2.0.sql is not what"),
    ("sql/parts/types.sql", "content text,", "content text, -- what it says \u2026", "not ASCII"),
    ("sql/qwen_pg--0.2.0.sql", "COST 10000", "COST 1", "qwen_pg--0.2.0.sql is not what"),
    ("docs/sql.md", "qwen_cancel(id bigint) \u2192 boolean", "qwen_cancel(id int) \u2192 boolean", "docs/sql.md is not what"),
])
def test_what_is_not_current_or_breaks_a_rule_is_said(copied, name, old, new, said):
    assert said in copied(name, old, new, "--check"), (old, new)


def test_an_update_says_all_that_is_another(copied):
    """What a later version may change of a function or view, and how its update does it."""
    update = copied.folder / "sql" / "qwen_pg--0.1.0--0.2.0.sql"
    before = update.read_text()

    def added(old, new, name=TABLE):
        assert "Traceback" not in copied(name, old, new)
        return update.read_text().replace(before, "")

    assert "COMMENT ON FUNCTION qwen_health() IS 'well or not';" in added("comment: healthy, degraded or unhealthy, with each check and what to do about it", "comment: well or not")
    assert "CREATE OR REPLACE FUNCTION qwen_cancel(id bigint)\nRETURNS boolean AS 'MODULE_PATHNAME', 'qwen_cancel' LANGUAGE C VOLATILE PARALLEL UNSAFE STRICT;" in added(
        "qwen_cancel(id bigint) RETURNS boolean\n", "qwen_cancel(id bigint) RETURNS boolean\n\tis: STRICT\n")
    text = added("OUT age_ms float8)", "OUT age_ms float8, OUT note text)")
    assert "CREATE FUNCTION _qwen_activity__new(" in text and "COMMENT ON FUNCTION _qwen_activity__new()" in text and "CREATE OR REPLACE VIEW qwen_stat_activity AS" in text
    assert "CREATE FUNCTION qwen_sum(input text)" in added("qwen_health() RETURNS jsonb\n", "qwen_sum(input text) RETURNS text\n\tcomment: a sum\n\nqwen_health() RETURNS jsonb\n")
    assert "CREATE VIEW qwen_more AS" in added("CREATE VIEW qwen_models AS", "CREATE VIEW qwen_more AS SELECT 1;\nCOMMENT ON VIEW qwen_more IS 'more';\nCREATE VIEW qwen_models AS", "sql/parts/models.sql")
    # and what is as it was is in no update
    for signature in ("qwen_unload_model(", "FUNCTION qwen_retry("):
        assert signature not in before
