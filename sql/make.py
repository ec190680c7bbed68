#!/usr/bin/env python3
"""Makes the scripts that PostgreSQL runs, and parts of docs, of functions.txt and parts/.

  make.py           write them                       make.py --check   say what is not current, and what breaks a rule

A script is a file of parts/ in which lines that begin with @ are replaced:
  @include FILE           a file of parts/            @functions SECTION    a section of the table: CREATE and COMMENT
  @columns                what columns of views mean, by columns.txt
  @support                planner support functions   @privileges           in qwen_privilege_of: who may call what
install.sql becomes qwen_pg--VERSION.sql. update-OLD.sql becomes qwen_pg--OLD--VERSION.sql, by what differs from qwen_pg--OLD.sql, and has beside these
  @changed functions      those with other arguments or columns: made beside the old one, which takes them over (NAME__new where their arguments are the same)
  @renamed functions      those that are internal now, by an underscore in front
  @new functions          @changed bodies (CREATE OR REPLACE)    @changed comments    @changed views (new ones too)    @like (pairs of a new function and its like)

The results are committed, so that what builds and installs needs no Python. Scripts of older versions are history, and only read.
"""
import os
import re
import sys

import function_table
from function_table import AUDIENCES, DOCS, HERE, WRITTEN, TableError, read_script, read_table

ROOT = os.path.dirname(HERE)
WIDTH = 130
MADE = "-- Made by sql/make.py of sql/functions.txt and sql/parts: change those, then `make sql`."


def read(*names):
    with open(os.path.join(ROOT, *names), encoding="utf-8") as file:
        return file.read()


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def fill(start, parts, end):
    """start, the parts with commas between, end; in lines that are not too long."""
    lines, line = [], start
    for i, part in enumerate(parts):
        piece = part + (", " if i < len(parts) - 1 else end)
        if len(line.expandtabs(4)) + len(piece.rstrip()) > WIDTH:
            lines.append(line.rstrip())
            line = "\t"
        line += piece
    return "\n".join(lines + [line if parts else start + end])


# ---- statements ----


def body_of(function, functions):
    """The text of a function that is not in C."""
    text = read("sql", "parts", "bodies", function.name + ".sql").rstrip("\n")
    return text.replace("@privileges", "\n".join(privilege_lines(functions)))


def privilege_lines(functions):
    for audience in AUDIENCES:
        names = dict.fromkeys(function.name for function in functions if function.audience == audience)
        yield fill("\t\tWHEN function_name IN (", [quote(name) for name in names], ")").replace("\n\t", "\n\t\t\t")
        yield f"\t\t\tTHEN {quote(audience)}"


def create(function, verb="CREATE", suffix=""):
    name = function.name + suffix
    if function.kind == "aggregate":
        head = fill(f"{verb} AGGREGATE {name}(", [argument.sql() for argument in function.arguments], ") (")
        return (f"{head}\n\tSFUNC = {function.made_of[0]}, STYPE = internal, FINALFUNC = {function.made_of[1]}, FINALFUNC_MODIFY = READ_ONLY, "
                f"PARALLEL = {function.attributes['parallel']});")
    head = fill(f"{verb} FUNCTION {name}(", [argument.sql() for argument in function.arguments], ")")
    attributes = " ".join(WRITTEN[kind].format(function.attributes[kind]) for kind in WRITTEN if kind in function.attributes)
    if function.language == "C":
        return f"{head}\nRETURNS {function.returns} AS 'MODULE_PATHNAME', {quote(function.symbol)} LANGUAGE C {attributes};"
    return f"{head}\nRETURNS {function.returns} LANGUAGE {function.language} {attributes} AS\n$$\n{function.body}\n$$;"


def comment(function, suffix=""):
    kind = "AGGREGATE" if function.kind == "aggregate" else "FUNCTION"
    return f"COMMENT ON {kind} {function.signature().replace('(', suffix + '(', 1)} IS {quote(function.comment)};"


def with_comments(functions, verb="CREATE", suffix=""):
    return "\n\n".join(create(function, verb, suffix) + "\n" + comment(function, suffix) for function in functions)


def support(functions):
    return "\n".join(f"ALTER FUNCTION {function.signature()} SUPPORT {function.support};" for function in functions if function.support)


def column_comments(text):
    """COMMENT ON COLUMN of columns.txt."""
    said, view = {}, None
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith("\t"):
            view = line.strip()
            said[view] = {}
            continue
        name, _, meaning = line.strip().partition(": ")
        if not view or not meaning:
            raise TableError(f"columns.txt: {line.strip()}: belongs to nothing, or says nothing")
        if name == "as":
            other, *names = meaning.split()
            said[view].update({name: said[other][name] for name in names})
        else:
            said[view][name] = meaning
    return "\n".join(f'COMMENT ON COLUMN {view}."{name}" IS {quote(meaning)};' for view, columns in said.items() for name, meaning in columns.items())


# ---- updates ----


class Difference:
    """What the table and the new script have otherwise than an old script."""

    def __init__(self, functions, script, old_script):
        old_functions, old_views, old_comments = read_script(old_script)
        self.renamed = self.rename(functions, old_functions)
        self.old = {function.signature(): function for function in old_functions}
        self.new, self.grown, self.reshaped, self.replaced, self.commented = [], [], [], [], []
        self.taken = set()
        for function in functions:
            self.classify(function)
        self.gone = [signature for signature in self.old if signature not in self.taken]
        _, views, comments = read_script(script)
        reshaped = [function.name for function in self.reshaped]
        self.views = []
        for name, text in views.items():
            if name not in old_views:
                self.views.append(f"CREATE VIEW {text};")
            elif text.split() != old_views[name].split() or any(re.search(rf"\b{function}\(", text) for function in reshaped):
                self.views.append(f"CREATE OR REPLACE VIEW {text};")
            if comments.get(name) != old_comments.get(name):
                self.views.append(f"COMMENT ON VIEW {name} IS {quote(comments[name])};")

    @staticmethod
    def rename(functions, old_functions):
        """What is internal begins with an underscore, and had none once: [ALTER FUNCTION ...], and the old script read as if it had been so."""
        internal = {function.name for function in functions if function.docs == "internal"}
        new_name = {old.name: "_" + old.name for old in old_functions if "_" + old.name in internal}
        renamed = []
        for old in old_functions:
            if old.name in new_name:
                renamed.append(f"ALTER FUNCTION {old.signature()} RENAME TO {new_name[old.name]};")
            old.name = new_name.get(old.name, old.name)
            old.made_of = tuple(new_name.get(name, name) for name in old.made_of) if old.made_of else old.made_of
        return renamed

    def classify(self, function):
        old = self.old.get(function.signature())
        if old:
            self.taken.add(function.signature())
            if old.definition() == function.definition():
                if old.comment != function.comment:
                    self.commented.append(function)
            elif function.kind == "aggregate":  # nothing replaces one: it is dropped by hand, and made anew
                self.taken.remove(function.signature())
                self.new.append(function)
            else:
                (self.replaced if old.shape() == function.shape() else self.reshaped).append(function)
            return
        shorter = [old for old in self.old.values() if function.kind == old.kind == "function" and (old.name, old.symbol) == (function.name, function.symbol)]
        for old in shorter:
            self.taken.add(old.signature())
        (self.grown if shorter else self.new).append(function)

    def part(self, name, functions):
        """What a directive of an update stands for, or None."""
        if name == "changed functions":
            return "\n\n".join(filter(None, [with_comments(self.grown), with_comments(self.reshaped, suffix="__new")]))
        if name == "like":
            pairs = [f"\t\t\t({quote(function.signature())}, {quote(function.like)})" for function in self.new if function.like]
            return ",\n".join(pairs)
        return {"renamed functions": "\n".join(self.renamed), "new functions": with_comments(self.new), "changed bodies": with_comments(self.replaced, "CREATE OR REPLACE"),
                "changed comments": "\n".join(comment(function) for function in self.commented), "changed views": "\n\n".join(self.views)}.get(name)


# ---- scripts ----


def expand(text, functions, version, difference=None):
    lines = []
    for line in text.replace("@version@", version).splitlines():
        if not line.startswith("@"):
            lines.append(line)
            continue
        word, _, rest = line[1:].partition(" ")
        if word == "include":
            lines.append(expand(read("sql", "parts", rest), functions, version, difference))
        elif word == "functions":
            chosen = [function for function in functions if function.section == rest]
            if not chosen:
                raise TableError(f"{line}: no such section")
            lines.append(with_comments(chosen))
        elif word == "columns":
            lines.append(column_comments(read("sql", "parts", "columns.txt")))
        elif word == "support":
            lines.append(support(functions))
        else:
            part = difference.part(line[1:], functions) if difference else None
            if part is None:
                raise TableError(f"{line}: not known here")
            lines.append(part)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n")


def first_comment_then_made(script):
    """The line that says where a script comes from, behind its first comment."""
    end = script.index("*/") + 2
    return script[:end] + "\n" + MADE + script[end:] + "\n"


def make_scripts(functions, version):
    """(file name -> text of each script, Difference by old version)."""
    install = first_comment_then_made(expand(read("sql", "parts", "install.sql"), functions, version))
    made, differences = {f"sql/qwen_pg--{version}.sql": install}, {}
    for name in sorted(os.listdir(HERE)):
        match = re.fullmatch(r"qwen_pg--([\d.]+)\.sql", name)
        if match and match[1] != version:
            differences[match[1]] = Difference(functions, install, read("sql", name))
    for old, difference in differences.items():
        part = f"update-{old}.sql"
        if not os.path.exists(os.path.join(HERE, "parts", part)):
            continue
        script = expand(read("sql", "parts", part), functions, version, difference)
        for signature in difference.gone:
            if not re.search(rf"DROP (FUNCTION|AGGREGATE) {re.escape(signature)}", script):
                raise TableError(f"{signature} of {old} is not in the table any more, or nothing can replace it: parts/{part} has to say what becomes of it")
        made[f"sql/qwen_pg--{old}--{version}.sql"] = first_comment_then_made(script)
    return made, differences


# ---- docs ----
DOCS_MADE = ("docs/sql.md", "docs/privileges.md")
MARK = re.compile(r"<!-- (functions|arguments|privileges): ([\w ]+) -->\n.*?<!-- end -->", re.S)


def beautiful(text):
    return text.replace(" ... ", " \u2026 ").replace(" ...", " \u2026").replace("...", "\u2026")


def documented(function):
    """A signature for people: the common arguments are an ellipsis, and options, the last of them, goes without saying."""
    arguments = function.arguments
    if any(argument.group == "common" for argument in arguments):
        arguments = [argument for argument in arguments if argument.group != "options"]
    parts = dict.fromkeys("\u2026" if argument.group == "common" else argument.sql().replace('"', '') for argument in arguments)
    kind = "aggregate " if function.kind == "aggregate" else ""
    return fill(f"{kind}{function.name}(", parts, f") \u2192 {function.returns}").replace("\t", "    ")


def documented_functions(names, functions):
    lines = ["```"]
    said = None
    for function in (function for name in names for function in functions if function.name == name and function.docs == "generated"):
        if function.comment != said:
            said = function.comment
            lines.append("-- " + beautiful(said))
        lines.append(documented(function))
    return lines + ["```"]


def documented_arguments(names, groups):
    lines = ["| argument | type | meaning |", "|---|---|---|"]
    return lines + [f"| `{argument.name}` | {argument.type} | {beautiful(argument.meaning)} |" for name in names for argument in groups[name]]


def documented_privileges(audiences, functions):
    lines = ["| for | functions |", "|---|---|"]
    for audience in audiences:
        names = dict.fromkeys(f"`{function.name}`" for function in functions if function.audience == audience and function.docs != "internal")
        lines.append(f"| {audience if audience in ('everybody', 'owner') else f'`{audience}`'} | {', '.join(names)} |")
    return lines


def make_docs(text, functions, groups):
    def replacement(match):
        names = match[2].split()
        if match[1] == "functions":
            lines = documented_functions(names, functions)
        else:
            lines = documented_arguments(names, groups) if match[1] == "arguments" else documented_privileges(names, functions)
        return "\n".join([match[0].split("\n")[0]] + lines + ["<!-- end -->"])

    return MARK.sub(replacement, text)


# ---- rules ----


def entry_problems(functions):
    """What the table leaves out, or says twice."""
    audiences, symbols, signatures = {}, {}, {function.signature() for function in functions}
    for function in functions:
        name = function.signature()
        for kind in ("parallel",) if function.kind == "aggregate" else ("parallel", "volatility"):
            if kind not in function.attributes:
                yield f"{name}: its {kind} is not said"
        if function.audience not in AUDIENCES:
            yield f"{name}: for whom is it? one of {', '.join(AUDIENCES)}"
        if audiences.setdefault(function.name, function.audience) != function.audience:
            yield f"{name}: privileges are by name, and another form of it is for {audiences[function.name]}"
        if not function.comment or function.docs not in DOCS:
            yield f"{name}: needs a comment, and docs: one of {', '.join(DOCS)}"
        if (function.docs == "internal") != function.name.startswith("_"):
            yield f"{name}: what is internal has a name that begins with an underscore, and nothing else has"
        if function.like and function.like not in signatures:
            yield f"{name}: there is no {function.like} that it could be like"
        if function.language == "C" and symbols.setdefault(function.symbol, name) != name:
            yield f"{name}: the C function {function.symbol} is that of {symbols[function.symbol]}"
        if any(argument.name == "options" and argument is not function.arguments[-1] for argument in function.arguments):
            yield f"{name}: options must be the last argument"


def script_problems(functions, script):
    """The script has the functions of the table, and helpers that it drops again."""
    created = [function.signature() for function in read_script(script)[0]]
    signatures = [function.signature() for function in functions]
    for function in functions:
        if function.signature() not in created:
            yield f"{function.signature()}: no part has @functions {function.section}"
        elif created.count(function.signature()) > 1 or signatures.count(function.signature()) > 1:
            yield f"{function.signature()} is made twice"
    for signature in created:
        if signature not in signatures and f"DROP FUNCTION {signature};" not in script:
            yield f"{signature} is made by a part and stays: it belongs into functions.txt"


def meaning_problems(functions, differences):
    """The library serves older scripts too: a C function goes on taking the arguments that they pass."""
    by_symbol = {function.symbol: function for function in functions if function.language == "C"}
    for version, difference in differences.items():
        for old in difference.old.values():
            function = by_symbol.get(old.symbol) if old.language == "C" else None
            if not function:
                continue
            before = [(argument.name, argument.type) for argument in old.inputs()]
            now = [(argument.name, argument.type) for argument in function.inputs()]
            if now[: len(before)] != before or function.returns != old.returns:
                yield f"{function.signature()}: {version} has the C function {old.symbol} with other arguments or another result: it needs another name here"
            old_columns = [argument.identity() for argument in old.arguments if argument.mode == "OUT"]
            if [argument.identity() for argument in function.arguments if argument.mode == "OUT"][: len(old_columns)] != old_columns:
                yield f"{function.signature()}: {version} has other columns: new ones stand at the end"


C_FUNCTION = re.compile(r"^QWEN_\w*FUNCTION\w*\((qwen_\w+)(?:, (\d+), (\d+))?", re.M)


def library_problems(functions, differences, scripts):
    """Each C function of a script is in the library, and takes from as many arguments as the oldest script passes at least to as many as the newest does."""
    defined = {}
    for folder, _, names in os.walk(os.path.join(ROOT, "src", "extension")):
        for name in names:
            if name.endswith(".c"):
                defined.update({match[1]: match.groups()[1:] for match in C_FUNCTION.finditer(read(folder, name))})
    used = {}
    for function in [function for difference in differences.values() for function in difference.old.values()] + functions:
        if function.language == "C":
            used.setdefault(function.symbol, []).append(function)
    for symbol, forms in used.items():
        if symbol not in defined:
            yield f"{forms[-1].signature()}: src/extension has no C function {symbol}"
            continue
        least = min(sum(not argument.default for argument in function.inputs()) for function in forms)
        most = max(len(function.inputs()) for function in forms)
        if defined[symbol][0] and tuple(int(n) for n in defined[symbol]) != (least, most):
            yield f"the C function {symbol} takes {' to '.join(defined[symbol])} arguments, the scripts pass {least} to {most}"
    for symbol in defined:
        if symbol not in used and not any(quote(symbol) in script for script in scripts.values()):
            yield f"the C function {symbol} is in no script: sql/functions.txt"


def docs_problems(text, functions):
    """Each function is where the table says."""
    marked = [name for kind, names in MARK.findall(text) if kind == "functions" for name in names.split()]
    by_hand = MARK.sub("", text)
    for name in dict.fromkeys(marked):
        if marked.count(name) > 1 or not any(function.name == name and function.docs == "generated" for function in functions):
            yield f"docs/sql.md: {name} is marked {marked.count(name)} times, and once if it has docs: generated is right"
    for function in functions:
        if function.docs == "generated" and function.name not in marked:
            yield f"docs/sql.md: no mark names {function.name}"
        if function.docs == "by hand" and function.name not in by_hand:
            yield f"docs/sql.md: nothing about {function.name}"


def ascii_problems(history):
    """A database may be of any encoding: CREATE EXTENSION fails where it lacks a character."""
    for folder, _, names in os.walk(HERE):
        for name in names:
            if name.endswith((".sql", ".txt", ".control")) and name not in history:
                for number, line in enumerate(read(folder, name).splitlines(), 1):
                    if not line.isascii():
                        yield f"{os.path.relpath(os.path.join(folder, name), ROOT)}:{number}: a character that is not ASCII"


def main():
    version = re.search(r"default_version = '(.*)'", read("qwen_pg.control"))[1]
    functions, groups = read_table()
    for function in functions:
        if function.language not in ("C", "internal"):
            function.body = body_of(function, functions)
    problems = list(entry_problems(functions))
    if problems:
        return problems
    made, differences = make_scripts(functions, version)
    for name in DOCS_MADE:
        made[name] = make_docs(read(name), functions, groups)
    problems += script_problems(functions, made[f"sql/qwen_pg--{version}.sql"])
    problems += meaning_problems(functions, differences)
    problems += library_problems(functions, differences, made)
    problems += docs_problems(made["docs/sql.md"], functions)
    problems += ascii_problems({f"qwen_pg--{old}.sql" for old in differences})
    for name, text in made.items():
        if os.path.exists(os.path.join(ROOT, name)) and read(name) == text:
            continue
        if "--check" in sys.argv:
            problems.append(f"{name} is not what sql/functions.txt and sql/parts make: make sql")
        else:
            with open(os.path.join(ROOT, name), "w", encoding="utf-8") as file:
                file.write(text)
            print(f"made {name}")
    if not problems and "--check" in sys.argv:
        print(f"{len(functions)} functions, scripts and docs are current")
    return problems


if __name__ == "__main__":
    try:
        found = main()
    except (TableError, function_table.TableError) as error:
        found = [f"sql/functions.txt: {error}"]
    sys.exit("\n".join(found) if found else 0)
