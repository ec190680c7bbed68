"""Random schemas by hypothesis-jsonschema, simple ones as values of a schema of schemas: random_schemas.py N SEED prints a list of them."""
import json
import sys
import warnings

import hypothesis
import hypothesis_jsonschema

warnings.simplefilter("ignore")
NAMES = ["a", "b", "c", "ab", "_x", "é"]
PATTERNS = ["^[a-z]+$", "a", "^a|b$", "^.{2,4}$", "\\d", "^[^a]*$", "^(?!a)", "^(ab?)+$", "^\\S+$"]
VALUES = [0, 1, -1, 2.5, 10, "", "a", "ab", "é", None, True, False, [], [1], {}, {"a": 1}]
# those of which both sides have the same texts: a negation of narrower ones is wider
EXACT_FORMATS = ["date", "ipv4", "uuid"]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]


def count(most):
    return {"type": "integer", "minimum": 0, "maximum": most}


NUMBER = {"enum": [-3, -1, 0, 0.5, 1, 2, 2.5, 7, 100]}
SOME_NAMES = {"type": "array", "items": {"enum": NAMES}, "maxItems": 2, "uniqueItems": True}
# what a schema without parts may be
SIMPLE = {"type": "object", "additionalProperties": False, "maxProperties": 3, "properties": {
    "type": {"anyOf": [{"enum": TYPES}, {"type": "array", "items": {"enum": TYPES}, "minItems": 1, "maxItems": 3, "uniqueItems": True}]},
    "enum": {"type": "array", "items": {"enum": VALUES}, "minItems": 1, "maxItems": 5}, "const": {"enum": VALUES},
    "minimum": NUMBER, "maximum": NUMBER, "exclusiveMinimum": NUMBER, "exclusiveMaximum": NUMBER, "multipleOf": {"enum": [0.01, 0.5, 1, 2, 3, 7]},
    "minLength": count(3), "maxLength": count(8), "pattern": {"enum": PATTERNS}, "format": {"enum": EXACT_FORMATS},
    "minItems": count(2), "maxItems": count(5), "minProperties": count(2), "maxProperties": count(4), "required": SOME_NAMES}}
st = hypothesis.strategies
LEAF = hypothesis_jsonschema.from_schema(SIMPLE)


def with_parts(part):
    """Schemas of up to three keywords that hold others, beside simple ones."""
    parts, named = st.lists(part, min_size=1, max_size=3), st.dictionaries(st.sampled_from(NAMES), part, max_size=3)
    keywords = {"properties": named, "patternProperties": st.dictionaries(st.sampled_from(PATTERNS), part, max_size=1), "additionalProperties": part | st.just(False),
                "propertyNames": st.sampled_from([{"pattern": "^[a-c]+$"}, {"maxLength": 3}, {"enum": ["a", "b"]}]), "items": part | st.just(False),
                "prefixItems": parts, "contains": part, "minContains": st.integers(0, 2), "maxContains": st.integers(0, 3), "allOf": parts, "anyOf": parts,
                "oneOf": parts, "not": part, "if": part, "then": part, "else": part, "unevaluatedProperties": st.just(False), "unevaluatedItems": st.just(False),
                "uniqueItems": st.booleans(), "dependentSchemas": st.dictionaries(st.sampled_from(NAMES), part, max_size=1),
                "dependentRequired": st.dictionaries(st.sampled_from(NAMES), hypothesis_jsonschema.from_schema(SOME_NAMES), max_size=2)}
    chosen = st.lists(st.sampled_from(sorted(keywords)), min_size=1, max_size=3, unique=True)
    composed = chosen.flatmap(lambda names: st.fixed_dictionaries({name: keywords[name] for name in names}))
    return st.builds(lambda simple, more: {**simple, **more}, LEAF, composed)


def main():
    n, seed = int(sys.argv[1]), int(sys.argv[2])
    made = []

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=n, database=None, deadline=None, phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(with_parts(with_parts(LEAF | st.just(True)) | LEAF))
    def collect(schema):
        made.append(schema)

    collect()
    print(json.dumps(made[:n]))


if __name__ == "__main__":
    main()
