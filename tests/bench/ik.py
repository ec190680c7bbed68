"""ik_llama.cpp as a second peer: its wheel of PyPI in an environment of its own, run by ik_peer.py."""
import json
import os
import subprocess

import bench_common
import pypi_venv

PACKAGE = "ik-llama-cpp-python==0.1.5"
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ik_peer.py")
LONGEST_SECONDS = 300


class Ik:
    """why: it cannot be had, or did not run; None as long as it does."""

    def __init__(self, a, path):
        self.threads, self.path, self.why = a.threads, path, None
        try:
            self.python = pypi_venv.python_of("ik", [PACKAGE], a.cache)
        except (OSError, subprocess.CalledProcessError):
            self.why = f"{PACKAGE} cannot be had here"

    def run(self, *work):
        """One run as {"speed", "instruction_sets"}, or None."""
        if self.why:
            return None
        command = [self.python, PROGRAM, self.path, "--repack", "--threads", str(self.threads), *work]
        try:
            result = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=LONGEST_SECONDS)
            return json.loads(result.stdout.splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            self.why = f"{PACKAGE} does not run here: {type(error).__name__}"
            return None

    def figures(self, runs, speeds):
        """Of a line: its speed, ours beside it, and what its build uses."""
        if not runs or None in runs:
            return {"ik": self.why}
        theirs = [run["speed"] for run in runs]
        return {
            "ik": bench_common.median(theirs, 1),
            "ik_ratio": bench_common.median_ratio(speeds, theirs),
            "ik_instruction_sets": runs[0]["instruction_sets"],
        }
