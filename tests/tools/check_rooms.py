#!/usr/bin/env python3
"""Who includes whom: keeps the table of rooms in docs/architecture.md true, by the #include "…" lines. And rules of single rooms that no compiler knows."""
import os
import re
import sys

# room -> the rooms whose headers it may include (itself always)
ROOMS = {
    "src/base": set(),
    "src/protocol": {"src/base"},
    "kernels": {"src/base"},
    "src/template": {"src/base"},
    "src/model": {"src/template", "kernels", "src/base"},
    "src/engine": {"src/protocol", "src/model", "src/template", "kernels", "src/base"},
    "src/extension": {"src/protocol", "src/base"},
}
POSTGRES = re.compile(r'#include "(postgres\.h|fmgr\.h|miscadmin\.h|c\.h|pgstat\.h|funcapi\.h|utils/|storage/|libpq/|catalog/|executor/|access/)')


def room_of(path):
    matches = [room for room in ROOMS if path.startswith(room + "/")]
    return max(matches, key=len) if matches else None


def problems(root):
    for room in ROOMS:
        for folder, _, files in os.walk(os.path.join(root, room)):
            for name in sorted(files):
                if not name.endswith((".c", ".h")):
                    continue
                path = os.path.relpath(os.path.join(folder, name), root)
                with open(os.path.join(root, path), encoding="utf-8") as file:
                    for number, line in enumerate(file, 1):
                        found = re.match(r'#include "([^"]+)"', line)
                        if not found:
                            continue
                        if POSTGRES.match(line):
                            if room != "src/extension":
                                yield f"{path}:{number}: PostgreSQL's headers belong into src/extension"
                            continue
                        target = os.path.normpath(os.path.join(os.path.dirname(path), found.group(1)))
                        other = room_of(target)
                        if other and other != room and other not in ROOMS[room]:
                            yield f"{path}:{number}: {room} must not include {other}"
                        elif other and other != "src/extension" and not os.path.exists(os.path.join(root, target)):
                            yield f"{path}:{number}: {target} does not exist"


# what looks at a function's arguments without regard to how many were passed; where it may
BARE_ARGUMENTS = re.compile(r"PG_FUNCTION_INFO_V1|\bfcinfo->args\b")
BARE_ARGUMENTS_IN = {"arguments.h", "model_call.h", "arrays.c", "batch_node.c"}


def argument_problems(root):
    room = "src/extension"
    for folder, _, files in os.walk(os.path.join(root, room)):
        for name in sorted(files):
            if name in BARE_ARGUMENTS_IN:
                continue
            path = os.path.relpath(os.path.join(folder, name), root)
            with open(os.path.join(root, path), encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    if BARE_ARGUMENTS.search(line):
                        yield f"{path}:{number}: SQL functions are defined by QWEN_FUNCTION, and their arguments read by PG_GETARG_… (arguments.h)"


# a database may be of any encoding: what the server parses or says to a client is ASCII; comments of C are for people
C_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def ascii_problems(root):
    for room in ROOMS:
        for folder, _, files in os.walk(os.path.join(root, room)):
            for name in sorted(files):
                if not name.endswith((".c", ".h")):
                    continue
                path = os.path.relpath(os.path.join(folder, name), root)
                with open(os.path.join(root, path), encoding="utf-8") as file:
                    text = file.read()
                for token in C_TOKEN.finditer(text):
                    if token[0][0] == '"' and not token[0].isascii():
                        yield f"{path}:{text.count(chr(10), 0, token.start()) + 1}: a string with a character that is not ASCII"


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    found = list(problems(root)) + list(argument_problems(root)) + list(ascii_problems(root))
    print("\n".join(found) if found else f"{len(ROOMS)} rooms, no forbidden include")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
