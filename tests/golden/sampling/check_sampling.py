#!/usr/bin/env python3
"""Draws against the distributions of a plain reference (reference.py), and those against transformers' (sampling.json).

  check_sampling.py --sample PROGRAM [--draws 100000]

PROGRAM is sample_stdin.c of this folder. For each case, with its penalties and filters, chi-squared of so many draws over the tokens that can be
drawn; none may ever be drawn that cannot. The seeds are fixed, so a case that passes always does.
"""
import argparse
import json
import math
import os
import subprocess
import sys

sys.dont_write_bytecode = True
import reference  # noqa: E402

LEAST_EXPECTED = 5  # draws of a token: rarer ones are counted together
LIMIT_SIGMAS = 4  # of a chi-squared brought to a standard normal


def chi_squared(counts, probabilities, n_draws):
    """(chi-squared, degrees of freedom)"""
    total, classes, rare, rare_expected = 0.0, 0, 0, 0.0
    for count, p in zip(counts, probabilities):
        expected = p * n_draws
        if expected >= LEAST_EXPECTED:
            total += (count - expected) ** 2 / expected
            classes += 1
        else:
            rare += count
            rare_expected += expected
    if rare_expected >= LEAST_EXPECTED:
        total += (rare - rare_expected) ** 2 / rare_expected
        classes += 1
    return total, classes - 1


def sigmas(total, degrees):
    """About a standard normal (Wilson and Hilferty 1931)."""
    if degrees == 0:
        return 0.0
    part = 2 / (9 * degrees)
    return ((total / degrees) ** (1 / 3) - (1 - part)) / math.sqrt(part)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", required=True)
    parser.add_argument("--draws", type=int, default=100000)
    a = parser.parse_args()
    cases = list(reference.cases())
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sampling.json"), encoding="ascii") as file:
        golden = json.load(file)
    assert len(golden) == len(cases), "sampling.json is of other cases: remake it"
    lines = "".join(json.dumps({**case, "draws": a.draws}) + "\n" for case in cases)
    done = subprocess.run([os.path.abspath(a.sample)], input=lines, stdout=subprocess.PIPE, check=True, text=True)
    failures, largest, apart = [], -9.0, 0.0
    for case, theirs, line in zip(cases, golden, done.stdout.splitlines()):
        options = {name: case[name] for name in reference.OFF if name in case}
        expected, counts = reference.probabilities(case), [int(count) for count in line.split()]
        apart = max(apart, *(abs(x - y) for x, y in zip(expected, theirs)))
        if max(abs(x - y) for x, y in zip(expected, theirs)) > 1e-6:
            failures.append(f"{options}: the reference is not what transformers makes of it")
        if sum(counts) != a.draws or any(count and not p for count, p in zip(counts, theirs)):
            failures.append(f"{options}: tokens drawn that cannot be: {[i for i, p in enumerate(theirs) if counts[i] and not p]}")
        off = sigmas(*chi_squared(counts, expected, a.draws))
        largest = max(largest, off)
        if off > LIMIT_SIGMAS:
            failures.append(f"{options}: chi-squared is {off:.1f} standard deviations off")
    print("\n".join(failures) if failures else f"sampling: {len(cases)} sets of options, {a.draws} draws of each: chi-squared at most {largest:.1f} standard "
          f"deviations off; the reference and transformers at most {apart:.0e} apart")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
