"""Reads functions of SQL: the table (functions.txt) and the scripts of older versions, both into lists of Function."""
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
AUDIENCES = ("everybody", "use", "monitor", "admin", "owner")
DOCS = ("generated", "by hand", "internal")
KEYS = ("symbol", "is", "for", "comment", "docs", "support", "language", "made of", "like")
# what stands behind a function's text, by kind: of each kind at most one, but of SET
ATTRIBUTES = {
    "volatility": r"\b(IMMUTABLE|STABLE|VOLATILE)\b", "parallel": r"\bPARALLEL (SAFE|RESTRICTED|UNSAFE)\b", "strict": r"\b(STRICT)\b", "cost": r"\bCOST (\d+)\b",
    "rows": r"\bROWS (\d+)\b", "security": r"\bSECURITY (DEFINER|INVOKER)\b", "set": r"\bSET (\w+ = .+)$",
}
WRITTEN = {"volatility": "{}", "parallel": "PARALLEL {}", "strict": "{}", "cost": "COST {}", "rows": "ROWS {}", "security": "SECURITY {}", "set": "SET {}"}
UNSAID = {"volatility": "VOLATILE", "parallel": "UNSAFE"}


class TableError(Exception):
    """A sentence about where the table cannot be read."""


def split_commas(text):
    """The parts of a list, by the commas outside of brackets and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for i, c in enumerate(text):
        if c == "'":
            quoted = not quoted
        elif not quoted and c in "([":
            depth += 1
        elif not quoted and c in ")]":
            depth -= 1
        elif not quoted and depth == 0 and c == ",":
            parts.append(text[start:i].strip())
            start = i + 1
    last = text[start:].strip()
    return parts + [last] if last or parts else []


def closing(text, start):
    """Where the bracket that opens at start is closed."""
    depth = 0
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return i
    raise TableError(f"a bracket is not closed: {text[:60]}")


class Argument:
    def __init__(self, text, group=None):
        declaration, _, self.meaning = (part.strip() for part in text.partition(" -- "))
        declaration, _, self.default = (part.strip() for part in declaration.partition(" DEFAULT "))
        words = declaration.split()
        self.mode = words.pop(0) if words[0] in ("IN", "OUT", "INOUT", "VARIADIC") else "IN"
        self.name = words.pop(0).strip('"') if len(words) > 1 else ""
        self.type = " ".join(words)
        self.group = group  # of which list it came

    def sql(self):
        return " ".join(([self.mode] if self.mode != "IN" else []) + ([self.name] if self.name else []) + [self.type] + (["DEFAULT " + self.default] if self.default else []))

    def identity(self):
        return self.mode, self.name, self.type, self.default


class Function:
    """One form of a function or an aggregate. attributes: kind of ATTRIBUTES -> its word."""

    def __init__(self, kind, name, arguments, returns):
        self.kind, self.name, self.arguments, self.returns = kind, name, arguments, returns
        self.language, self.symbol, self.body, self.attributes = "C", name.lstrip("_"), None, {}
        self.section = self.audience = self.comment = self.support = self.made_of = self.like = None
        self.docs = "generated"

    def inputs(self):
        return [argument for argument in self.arguments if argument.mode != "OUT"]

    def signature(self):
        """NAME(TYPES), as COMMENT ON and GRANT take it."""
        return f"{self.name}({', '.join(argument.type for argument in self.inputs())})"

    def shape(self):
        """What CREATE OR REPLACE cannot change."""
        return [argument.identity()[:3] for argument in self.arguments], self.returns

    def definition(self):
        """All that pg_proc has of it: equal where nothing is another."""
        return (self.kind, self.signature(), self.shape(), [argument.default for argument in self.arguments], self.language, self.symbol if self.language == "C" else self.body,
                {**UNSAID, **self.attributes}, self.made_of)


def read_attributes(text):
    found = {}
    for kind, pattern in ATTRIBUTES.items():
        match = re.search(pattern, text)
        if match:
            found[kind] = match[1].strip()
            text = text[: match.start()] + text[match.end() :]
    if text.strip():
        raise TableError(f"not known: {text.strip()}")
    return found


def read_head(text, groups):
    """[aggregate] NAME(ARGUMENTS) RETURNS TYPE; groups: lists of arguments by their name."""
    opened = text.index("(")
    closed = closing(text, opened)
    kind, _, name = text[:opened].strip().rpartition(" ")
    arguments = []
    for part in split_commas(text[opened + 1 : closed]):
        if part.startswith("*") and part[1:] not in groups:
            raise TableError(f"no list of arguments is called {part}")
        arguments += groups[part[1:]] if part.startswith("*") else [Argument(part)]
    rest = text[closed + 1 :].strip()
    if not rest.startswith("RETURNS "):
        raise TableError(f"{name} has no RETURNS")
    return Function(kind or "function", name, arguments, rest[len("RETURNS ") :])


def paragraphs(text):
    """[first line, indented line, …] of each entry, its continued lines joined."""
    entries = []
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line[0].isspace():
            entries.append([line.rstrip()])
        elif not entries:
            raise TableError(f"belongs to nothing: {line.strip()}")
        elif line.startswith("\t\t") or (not entries[-1][0].startswith("arguments ") and not re.match(rf"\t({'|'.join(KEYS)}): ", line)):
            entries[-1][-1] += " " + line.strip()
        else:
            entries[-1].append(line.strip())
    return entries


def read_table(text=None):
    """(functions in the order of the table, lists of arguments by name)."""
    if text is None:
        with open(os.path.join(HERE, "functions.txt"), encoding="ascii") as file:
            text = file.read()
    functions, groups, section, common = [], {}, None, {}
    for head, *lines in paragraphs(text):
        word, _, rest = head.partition(" ")
        if word == "arguments":
            groups[rest] = [Argument(line, rest) for line in lines]
            continue
        keys = dict(line.split(": ", 1) for line in lines)
        if word == "section":
            section, common = rest, keys
            continue
        function = read_head(head, groups)
        function.section = section
        try:
            function.attributes = {**read_attributes(common.get("is", "")), **read_attributes(keys.get("is", ""))}
        except TableError as error:
            raise TableError(f"{function.signature()}: {error}") from None
        keys = {**common, **keys}
        function.language, function.symbol = keys.get("language", "C"), keys.get("symbol", function.symbol)
        function.audience, function.comment, function.docs = keys.get("for"), keys.get("comment"), keys.get("docs", "generated")
        function.support, function.like = keys.get("support"), keys.get("like")
        if function.kind == "aggregate":
            function.language, function.made_of = "internal", tuple(keys.get("made of", "").split(", "))
        functions.append(function)
    return functions, groups


# ---- scripts ----


def statements(script):
    """The statements of a script of ours: by the semicolons at the end of a line, outside of $$ … $$."""
    found, current, quoted = [], [], False
    for line in script.splitlines():
        if not current and (not line.strip() or line.startswith(("--", "\\", "/*", " *"))):
            continue
        current.append(line)
        quoted ^= len(re.findall(r"\$\w*\$", line)) % 2 == 1
        if not quoted and line.rstrip().endswith(";"):
            found.append("\n".join(current).rstrip()[:-1])
            current = []
    return found


def read_script(script):
    """(functions, views: name -> text behind CREATE VIEW, comments on views) of a script."""
    functions, views, comments = [], {}, {}
    for statement in statements(script):
        joined = " ".join(statement.split())
        match = re.match(r"CREATE (FUNCTION|AGGREGATE|VIEW) ", statement)
        if match and match[1] == "VIEW":
            text = statement[match.end() :]
            views[re.match(r"\w+", text)[0]] = text
        elif match and match[1] == "FUNCTION":
            functions.append(read_created(statement, joined[match.end() :]))
        elif match:
            head = joined[match.end() :]
            function = read_head(f"aggregate {head[: closing(head, head.index('(')) + 1]} RETURNS text", {})
            function.language = "internal"
            function.made_of = tuple(re.findall(r"(?:S|FINAL)FUNC = (\w+)", head))
            function.attributes = {"parallel": re.search(r"PARALLEL = (\w+)", head)[1]}
            functions.append(function)
        match = re.match(r"COMMENT ON (FUNCTION|AGGREGATE|VIEW) (.*?) IS '(.*)'$", joined)
        if match and match[1] == "VIEW":
            comments[match[2]] = match[3].replace("''", "'")
        elif match:
            next(function for function in functions if function.signature() == match[2]).comment = match[3].replace("''", "'")
    return functions, views, comments


def read_created(statement, joined):
    """A Function of CREATE FUNCTION; joined: the text behind it with single spaces."""
    in_c = re.match(r"(.*) AS 'MODULE_PATHNAME', '(\w+)' LANGUAGE C(.*)$", joined)
    if in_c:
        function = read_head(in_c[1], {})
        function.symbol, function.attributes = in_c[2], read_attributes(in_c[3])
        return function
    head, language, attributes = re.match(r"(.*?) LANGUAGE (\w+)(.*?) AS \$\$", joined).groups()
    function = read_head(head, {})
    function.language, function.attributes = language, read_attributes(attributes)
    function.body = re.search(r"\$\$(.*)\$\$", statement, re.S)[1].strip("\n")
    return function
