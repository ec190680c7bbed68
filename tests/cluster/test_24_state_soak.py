"""`make soak-states`, shortly: answers of a hybrid among others are those alone, and no state is left over (tests/soak/states.py)."""
import os
import subprocess
import sys

from test_13_soak import read_summary

SOAK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "soak", "states.py")


def test_a_short_soak_mixes_up_and_leaves_no_states():
    done = subprocess.run([sys.executable, SOAK, "--seconds", "5", "--seed", "3"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    _, counts, verdict = read_summary(done.stdout)
    assert verdict == "soak: every answer as alone, no state lost and none left over"
    assert counts["most states at once"] > 1
    for work in ("turns of hybrid", "cancels", "engines killed", "looks", "rows of jobs", "compared with those alone"):
        assert counts[work] > 0, work
