"""docs/first-hour.md as a script and what it prints: each ```sql block with the block of output that follows it."""
import re
import subprocess

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
MARK = "--8<-- block"


def parts(text):
    """[(statements, expected output or None)], in order. An output block follows its statements with nothing but white space between."""
    blocks = [(match[1], match[2], match.start(), match.end()) for match in BLOCK.finditer(text)]
    found = []
    for i, (language, content, _, end) in enumerate(blocks):
        if language != "sql":
            continue
        output = None
        if i + 1 < len(blocks) and blocks[i + 1][0] == "" and not text[end:blocks[i + 1][2]].strip():
            output = blocks[i + 1][1]
        found.append((content, output))
    return found


def run(statements, environment):
    """What psql prints for each of the blocks, errors among it, in one session."""
    script = "\n".join(f"\\echo {MARK}\n{block}" for block in statements)
    done = subprocess.run(["psql", "-X", "-q", "-P", "pager=off", "-v", "VERBOSITY=terse", "-f", "-"], input=script, env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=600, check=False)
    printed = [re.sub(r"^psql:<stdin>:\d+: ", "", part.lstrip("\n"), flags=re.M) for part in done.stdout.split(MARK)[1:]]
    # psql ends each table with an empty line, and lines with blanks
    return ["\n".join(line.rstrip() for line in part.splitlines() if line.strip()) for part in printed]


def is_as_expected(expected, printed):
    """"\u2026" stands for anything within a line."""
    pattern = "\n".join(re.escape(line.rstrip()).replace("\u2026", ".*") for line in expected.splitlines() if line.strip())
    return re.fullmatch(pattern, printed) is not None
