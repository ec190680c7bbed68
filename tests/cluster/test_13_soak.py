"""`make soak`, shortly: that it works, breaks things and says at the end what it did (tests/soak/soak.py)."""
import json
import os
import re
import subprocess
import sys

SOAK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "soak", "soak.py")


def read_summary(output):
    """(seconds, {what: how often}, the verdict) of what a soak prints: a line with its length, the counts as JSON, a line with the verdict."""
    match = re.fullmatch(r"soak of (\d+) s, seed \d+\n(\{.*\n\})\n(soak: .*)\n", output, re.DOTALL)
    assert match, output
    return int(match[1]), json.loads(match[2]), match[3]


def test_a_short_soak_loses_and_leaves_nothing():
    done = subprocess.run([sys.executable, SOAK, "--seconds", "20", "--seed", "8"], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    seconds, counts, verdict = read_summary(done.stdout)
    assert seconds == 20
    assert verdict == "soak: nothing lost, nothing twice, nothing left over"
    # an engine is killed every 4 to 12 s
    assert counts["engines killed"] >= 1
    for work in ("plain calls", "batched selects", "array calls", "embeddings", "cancels", "statements with a timeout", "articles right"):
        assert counts[work] > 0, work
