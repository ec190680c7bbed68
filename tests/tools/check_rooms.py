#!/usr/bin/env python3
"""Who stands where and who may ask whom: keeps the tables of rooms in docs/architecture.md true. And rules of single rooms that no compiler knows.

A room is a folder. It may include the headers of the rooms that are named for it here, and those only of rooms below it, so that no arrow
runs back up. A room of the extension is entered by one header, NAME/NAME.h, its door; its other headers are its own. Within a room files
stand in an order too: none asks, by what it includes or what it calls, for another that asks for it."""
import collections
import os
import re
import sys

# room -> the rooms whose headers it may include (itself always); each stands below all that it is named for
ROOMS = {
    "src/base": (),
    "src/format": ("src/base",),
    "src/protocol": ("src/base",),
    "kernels": ("src/base",),
    "src/template": ("src/base",),
    "src/model": ("src/template", "kernels", "src/base"),
    "src/engine": ("src/protocol", "src/format", "src/model", "src/template", "kernels", "src/base"),
}
# the rooms of the extension, from the lowest to the highest; all may include src/protocol, src/base and PostgreSQL
EXTENSION = "src/extension"
EXTENSION_ROOMS = {
    "core": (),
    "limits": ("core",),
    "watch": ("core", "limits"),
    "client": ("core", "limits", "watch"),
    "call": ("core", "limits", "watch", "client"),
    "functions": ("core", "limits", "client", "call"),
    "planner": ("core", "limits", "call", "functions"),
    "queue": ("core", "limits", "client", "call", "functions"),
    "triggers": ("core", "call", "functions", "queue"),
    "supervisor": ("core", "limits", "client", "queue"),
}
# all headers of these are for everybody above: they hold tools, not one thing
OPEN_ROOMS = {"core"}
# files, by how their paths begin, that call each other round, and why
ROUND = {
    "src/template/": "statements hold expressions, expressions hold macros, filters and tests, and their arguments are expressions",
}
# what stands above all rooms of the extension and lets each do its part
ROOF = EXTENSION + "/init.c"

for name, others in EXTENSION_ROOMS.items():
    ROOMS[f"{EXTENSION}/{name}"] = tuple(f"{EXTENSION}/{other}" for other in others) + ("src/protocol", "src/base")
ROOMS[EXTENSION] = tuple(f"{EXTENSION}/{name}" for name in EXTENSION_ROOMS)

POSTGRES = re.compile(r'"(postgres\.h|fmgr\.h|miscadmin\.h|c\.h|pgstat\.h|funcapi\.h|utils/|storage/|libpq/|catalog/|executor/|access/)')
INCLUDE = re.compile(r'#include ("([^"]+)")')


def room_of(path):
    matches = [room for room in ROOMS if path.startswith(room + "/")]
    return max(matches, key=len) if matches else None


def is_of_extension(room):
    return room == EXTENSION or room.startswith(EXTENSION + "/")


def read_sources(root):
    """{path: text} of all that stands in a room or beside one."""
    sources = {}
    for top in ("src", "kernels"):
        for folder, _, files in os.walk(os.path.join(root, top)):
            for name in files:
                if name.endswith((".c", ".h")):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as file:
                        sources[os.path.relpath(path, root)] = file.read()
    return dict(sorted(sources.items()))


def includes_of(sources, path):
    """(line, include as written, path that it means) for each include in quotes."""
    for number, line in enumerate(sources[path].split("\n"), 1):
        found = INCLUDE.match(line)
        if found:
            yield number, found[1], os.path.normpath(os.path.join(os.path.dirname(path), found[2]))


def place_problems(sources):
    for path in sources:
        room = room_of(path)
        if room is None:
            yield f"{path}: stands in no room"
        elif room == EXTENSION and path != ROOF:
            yield f"{path}: stands beside the rooms of {EXTENSION}"
    for name in EXTENSION_ROOMS:
        if f"{EXTENSION}/{name}/{name}.h" not in sources and any(
                not path.startswith(f"{EXTENSION}/{name}/") and target.startswith(f"{EXTENSION}/{name}/")
                for path in sources for _, _, target in includes_of(sources, path)):
            yield f"{EXTENSION}/{name}: has no door {name}.h"


def include_problems(sources):
    for path in sources:
        room = room_of(path)
        for number, written, target in includes_of(sources, path):
            where = f"{path}:{number}"
            if POSTGRES.match(written) and target not in sources:
                if not is_of_extension(room):
                    yield f"{where}: PostgreSQL's headers belong into {EXTENSION}"
                continue
            other = room_of(target)
            if other is None or other == room:
                if other and not is_of_extension(room) and target not in sources:
                    yield f"{where}: {target} does not exist"
                continue
            if other not in ROOMS[room]:
                yield f"{where}: {room} must not include {other}"
            elif target not in sources:
                yield f"{where}: {target} does not exist"
            elif is_of_extension(other) and os.path.basename(other) not in OPEN_ROOMS and target != f"{other}/{os.path.basename(other)}.h":
                yield f"{where}: {target} is private to its room, whose door is {os.path.basename(other)}.h"


# ---- circles --------------------------------------------------------------------------------------------------------
C_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
# what a file gives to others: a function's name begins a line below its type; a variable stands at the margin
FUNCTION = re.compile(r"^(?!static\b|extern\b)[A-Za-z][\w *]*\n(\w+)\([^;{]*\)\n\{", re.M)
VARIABLE = re.compile(r"^(?!static\b|extern\b|typedef\b|return\b)[A-Za-z][\w ]*[ *](\w+)(?:\[[^\]]*\])* = ", re.M)


def circles(nodes, arrows):
    """Strongly connected parts of more than one node (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in arrows[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = stack[stack.index(node):]
            del stack[stack.index(node):]
            if len(part) > 1:
                found.append(sorted(part))

    for node in nodes:
        if node not in index:
            visit(node)
    return found


def file_arrows(sources):
    """{file: {file it asks for: by what}}: headers by what they include, sources by what they call of each other. (That a source includes a
    header makes it ask for the header's promise, not for who keeps it.)"""
    arrows = {path: {} for path in sources}
    texts = {path: C_TOKEN.sub(" ", text) for path, text in sources.items()}
    owners = collections.defaultdict(set)
    for path, text in texts.items():
        if path.endswith(".c"):
            for name in FUNCTION.findall(text) + VARIABLE.findall(text):
                owners[name].add(path)
        else:
            arrows[path].update((target, "includes it") for _, _, target in includes_of(sources, path) if target in sources)
    for path, text in texts.items():
        if path.endswith(".c"):
            for name in sorted(set(re.findall(r"\w+", text)) & owners.keys()):
                # one name in two programs or for two machines: not known which is meant
                if len(owners[name]) == 1 and path not in owners[name]:
                    arrows[path].setdefault(next(iter(owners[name])), name)
    return arrows


def circle_problems(sources):
    for part in circles(list(ROOMS), ROOMS):
        yield "rooms in a circle: " + ", ".join(part)
    arrows = file_arrows(sources)
    turning = set()
    for part in circles(list(arrows), arrows):
        known = {next((names for names in ROUND if path.startswith(names)), None) for path in part}
        turning |= known
        if None not in known:
            continue
        yield "files in a circle: " + "; ".join(
            f"{path} -> {other} ({arrows[path][other]})" for path in part for other in sorted(arrows[path]) if other in part)
    for names in sorted(ROUND.keys() - turning):
        yield f"{names}: has no circle any more, and need not stand in ROUND (check_rooms.py)"


# ---- the tables of docs/architecture.md -----------------------------------------------------------------------------
ROW = re.compile(r"^\| `([^`]+)` \|.*\| ([^|]*) \|$", re.M)


def table_problems(root):
    """Each room has a row there, whose last column says what it may include."""
    page = "docs/architecture.md"
    with open(os.path.join(root, page), encoding="utf-8") as file:
        rows = {room: set(re.findall(r"`([^`]+)`", may)) for room, may in ROW.findall(file.read())}
    for room, others in ROOMS.items():
        if room == EXTENSION:
            continue
        name, may = room, set(others)
        if is_of_extension(room):
            name, may = os.path.basename(room), set(EXTENSION_ROOMS[os.path.basename(room)])
        if name not in rows:
            yield f"{page}: no row for the room {room}"
        elif rows[name] != may:
            yield f"{page}: {room} may include {', '.join(sorted(may)) or 'nothing'}, not {', '.join(sorted(rows[name])) or 'nothing'}"


# ---- rules of single rooms ------------------------------------------------------------------------------------------
# what looks at a function's arguments without regard to how many were passed; where it may
BARE_ARGUMENTS = re.compile(r"PG_FUNCTION_INFO_V1|\bfcinfo->args\b")
BARE_ARGUMENTS_IN = {"core/arguments.h", "call/model_call.h", "functions/arrays.c", "planner/batch_node.c"}


def argument_problems(sources):
    for path, text in sources.items():
        if not is_of_extension(room_of(path) or "") or os.path.relpath(path, EXTENSION) in BARE_ARGUMENTS_IN:
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if BARE_ARGUMENTS.search(line):
                yield f"{path}:{number}: SQL functions are defined by QWEN_FUNCTION, and their arguments read by PG_GETARG_… (arguments.h)"


# a database may be of any encoding: what the server parses or says to a client is ASCII; comments of C are for people
def ascii_problems(sources):
    for path, text in sources.items():
        for token in C_TOKEN.finditer(text):
            if token[0][0] == '"' and not token[0].isascii():
                yield f"{path}:{text.count(chr(10), 0, token.start()) + 1}: a string with a character that is not ASCII"


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sources = read_sources(root)
    found = [*place_problems(sources), *include_problems(sources), *circle_problems(sources), *table_problems(root),
             *argument_problems(sources), *ascii_problems(sources)]
    print("\n".join(found) if found else f"{len(ROOMS)} rooms, {len(sources)} files: no forbidden include, no circle but in {', '.join(ROUND) or 'none'}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
