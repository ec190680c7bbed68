#!/usr/bin/env python3
"""Hold the META.json of a distribution's zip against PGXN's specification of it (version 1.0.0) and against the zip. Exit 1 with all that is wrong.

  pgxn_meta.py DISTRIBUTION.zip"""
import json
import re
import sys
import zipfile

import jsonschema

SEMVER = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$"
TERM = r"^[^\s/\\\x00-\x1f\x7f]{2,}$"
LICENSES = "agpl_3 apache_1_1 apache_2_0 artistic_1 artistic_2 bsd freebsd gfdl_1_2 gfdl_1_3 gpl_1 gpl_2 gpl_3 lgpl_2_1 lgpl_3_0 mit mozilla_1_0 mozilla_1_1 openssl perl_5 postgresql qpl_1_0 ssleay sun zlib open_source restricted unrestricted unknown".split()
RANGE = {"anyOf": [{"const": 0}, {"type": "string", "pattern": r"^(0|(([<>]=?|[!=]=)?\s*\d+\.\d+\.\d+[0-9A-Za-z.-]*)(\s*,\s*([<>]=?|[!=]=)?\s*\d+\.\d+\.\d+[0-9A-Za-z.-]*)*)$"}]}
TEXT = {"type": "string", "minLength": 1}
TEXTS = {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}
PHASE = {
    "type": "object",
    "patternProperties": {"^(requires|recommends|suggests|conflicts)$": {"type": "object", "additionalProperties": RANGE}, "^[xX]_": {}},
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "required": ["name", "version", "abstract", "maintainer", "license", "provides", "meta-spec"],
    "properties": {
        "name": {"type": "string", "pattern": TERM},
        "version": {"type": "string", "pattern": SEMVER},
        "abstract": TEXT,
        "description": TEXT,
        "maintainer": TEXTS,
        "license": {"anyOf": [{"enum": LICENSES}, {"type": "array", "items": {"enum": LICENSES}, "minItems": 1}, {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string", "format": "uri"}}]},
        "provides": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": TERM},
            "additionalProperties": {
                "type": "object",
                "required": ["file", "version"],
                "properties": {"file": TEXT, "version": {"type": "string", "pattern": SEMVER}, "abstract": TEXT, "docfile": TEXT},
                "patternProperties": {"^[xX]_": {}},
                "additionalProperties": False,
            },
        },
        "meta-spec": {"type": "object", "required": ["version"], "properties": {"version": {"const": "1.0.0"}, "url": {"enum": ["http://pgxn.org/meta/spec.txt", "https://pgxn.org/meta/spec.txt"]}}, "additionalProperties": False},
        "prereqs": {"type": "object", "patternProperties": {"^(configure|build|test|runtime|develop)$": PHASE, "^[xX]_": {}}, "additionalProperties": False},
        "release_status": {"enum": ["stable", "testing", "unstable"]},
        "generated_by": TEXT,
        "tags": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^/\\\x00-\x1f]+$"}},
        "resources": {"type": "object"},
        "no_index": {"type": "object", "properties": {"file": TEXTS, "directory": TEXTS}, "additionalProperties": False},
    },
    "patternProperties": {"^[xX]_": {}},
    "additionalProperties": False,
}


def problems(path):
    with zipfile.ZipFile(path) as file:
        names = set(file.namelist())
        roots = {name.split("/")[0] for name in names}
        if len(roots) != 1:
            yield f"the zip has {len(roots)} folders at its top"
            return
        root = roots.pop()
        meta = json.loads(file.read(f"{root}/META.json"))
        control = file.read(f"{root}/{meta.get('name')}.control").decode()
    for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(meta):
        yield f"META.json {'/'.join(map(str, error.absolute_path)) or '(whole)'}: {error.message}"
        return
    if root != f"{meta['name']}-{meta['version']}":
        yield f"the zip's folder is {root}, not {meta['name']}-{meta['version']}"
    for name, extension in meta["provides"].items():
        for member in ("file", "docfile"):
            if member in extension and f"{root}/{extension[member]}" not in names:
                yield f"provides/{name}/{member}: {extension[member]} is not in the zip"
        if f"default_version = '{extension['version']}'" not in control:
            yield f"provides/{name}/version: {extension['version']} is not the control file's"
    if not any(re.match(rf"{re.escape(root)}/README", name) for name in names):
        yield "there is no README"
    large = [name for name in names if re.search(r"\.(gguf|so|o|deb)$", name)]
    if large:
        yield f"{large} do not belong into a zip of sources"


def main():
    found = list(problems(sys.argv[1]))
    for problem in found:
        print(problem)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
