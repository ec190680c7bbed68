#!/usr/bin/env python3
"""JSON-Schema-Test-Suite through our formats: none accepted wrongly, at least nine of ten decided right in each draft, and of no keyword more
refused than before (ratchet.json).

An instance is written in our form (members in some order that the schema may have, our separators); a test is right where one of these
texts is let through just when the instance is valid. Refused: the schema has something that we say we do not do. The suite comes with the
sources of PyPI's jsonschema, which are fetched once and kept in the cache folder."""
import argparse
import collections
import glob
import itertools
import json
import os
import subprocess
import sys
import tarfile

PACKAGE = "jsonschema==4.26.0"
LEAST_SHARE = 0.9
DRAFTS = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft4": "http://json-schema.org/draft-04/schema#",
}
RATCHET = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ratchet.json")


def fetch(cache):
    """The folder of the suite's tests."""
    folder = os.path.join(cache, PACKAGE.replace("==", "-"))
    tests = os.path.join(folder, "json", "tests")
    if not os.path.isdir(tests):
        os.makedirs(folder, exist_ok=True)
        # what pip builds it with may come as it is: from source that takes minutes
        name = PACKAGE.partition("==")[0]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", name, "-d", folder, PACKAGE], check=True)
        (archive,) = glob.glob(os.path.join(folder, "*.tar.gz"))
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                member.name = member.name.partition("/")[2]
                if member.name.startswith("json/tests/") and ".." not in member.name:
                    tar.extract(member, folder)
    return tests


def as_we_write(value):
    """Whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [as_we_write(one) for one in value]
    if isinstance(value, dict):
        return {key: as_we_write(one) for key, one in value.items()}
    return value


def orders(value):
    """The value with its members in all orders, as far as they are few."""
    if isinstance(value, dict):
        items = list(value.items())
        made = []
        for order in itertools.permutations(items) if len(items) <= 5 else [items]:
            for values in itertools.islice(itertools.product(*[orders(one) for _, one in order]), 50):
                made.append(dict(zip([key for key, _ in order], values)))
        return made[:300]
    if isinstance(value, list):
        return [list(values) for values in itertools.islice(itertools.product(*[orders(one) for one in value]), 300)]
    return [value]


def read_tests(folder, draft):
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        with open(path, encoding="utf-8") as file:
            groups = json.load(file)
        for group in groups:
            schema = group["schema"]
            if isinstance(schema, dict) and "$schema" not in schema:
                schema = {"$schema": draft, **schema}
            # by the standard a format is an annotation unless asked for
            wanted = json.dumps({"type": "json_schema", "schema": schema, "ignore": ["format"]}, ensure_ascii=False)
            for test in group["tests"]:
                texts = [json.dumps(one, ensure_ascii=False) for one in orders(as_we_write(test["data"]))]
                yield f"{os.path.basename(path)}: {group['description']}: {test['description']}", wanted, texts, test["valid"]


def run(program, folder, draft):
    """{what came of it: [names]}, and how many were refused by what."""
    tests = list(read_tests(folder, draft))
    lines = "".join(f"{wanted}\t{text}\n" for _, wanted, texts, _ in tests for text in texts)
    answers = iter(subprocess.run([program], input=lines, capture_output=True, text=True, check=True).stdout.splitlines())
    came, refused = collections.defaultdict(list), collections.Counter()
    for name, _, texts, valid in tests:
        mine = [next(answers) for _ in texts]
        if mine[0].startswith("error") and not ("no value satisfies" in mine[0] and not valid):
            came["refused"].append(name)
            refused[name.partition(":")[0]] += 1
        elif any(one == "accept" for one in mine) == valid:
            came["right"].append(name)
        else:
            came["valid refused" if valid else "accepted wrongly"].append(name)
    return came, dict(sorted(refused.items()))


def worse(before, now):
    """What has become worse, in words."""
    found = [f"{file}: {n} refused, {before['refused'].get(file, 0)} before" for file, n in now["refused"].items() if n > before["refused"].get(file, 0)]
    found += [f"a valid one is refused: {name}" for name in now["valid refused"] if name not in before["valid refused"]]
    if now["right"] < before["right"]:
        found.append(f"{before['right']} were right before")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--walk", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--update", action="store_true", help="write what came of it into ratchet.json")
    options = parser.parse_args()
    tests = fetch(options.cache)
    with open(RATCHET, encoding="utf-8") as file:
        before = json.load(file)
    failed, now = False, {}
    for draft, uri in DRAFTS.items():
        came, refused = run(options.walk, os.path.join(tests, draft), uri)
        n = sum(len(names) for names in came.values())
        right = len(came["right"])
        now[draft] = {"tests": n, "right": right, "valid refused": came["valid refused"], "refused": refused}
        print(f"{draft}: {right} of {n} right ({100 * right / n:.1f} %), {len(came['refused'])} refused, "
              f"{len(came['valid refused'])} valid ones refused, {len(came['accepted wrongly'])} accepted wrongly")
        for name in came["accepted wrongly"]:
            print(f"  accepted wrongly: {name}")
        wrong = ["accepted wrongly"] if came["accepted wrongly"] else []
        if right < LEAST_SHARE * n:
            wrong.append(f"fewer than {100 * LEAST_SHARE:.0f} % are right")
        if not options.update:
            wrong += worse(before[draft], now[draft])
        for what in wrong:
            print(f"  FAILED: {what}")
            failed = True
    if options.update and not failed:
        with open(RATCHET, "w", encoding="utf-8") as file:
            json.dump(now, file, indent=1)
            file.write("\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
