"""Schemas as people write them, of all kinds, each with an answer in the form that ours have: 60 by hand, the others made from a seed.

What they are for: bench_format.py walks the answers through us and others; `python3 schemas.py` checks them with python3-jsonschema."""
import json
import random

WORDS = ("account address agent amount approval archive article author balance batch billing branch budget buyer campaign carrier category channel city "
         "client code color comment company contact contract country created currency customer deadline delivery department deposit detail device discount "
         "district document due email employee engine event expense feature file floor format group height holder image income index industry invoice item "
         "journal keyword label language lead length level license limit line location manager market material member message method model month name note "
         "number office option order origin owner package page partner payment period person phone plan platform policy position price priority product "
         "profile project province quantity quarter rating reason receipt record region release report request response result revenue role room route sale "
         "salary sample score section segment sender series service session severity shipment signal size source stage status street subject summary "
         "supplier tag target task tax team template tenant term ticket title total trace tracking unit update user value vendor version view volume "
         "warehouse weight width worker workflow zone").split()
SENTENCES = ("The pump is leaking at the left flange.", "Please send the invoice again.", "Delivered to the neighbour", "no reply since Tuesday",
             "Größe passt nicht, bitte umtauschen", "Call me \"Bob\"", "see C:\\temp\\log", "second line\nthird line", "価格は税込みです", "50 % off 🎉")
PATTERNS = (("^[A-Z]{3}-\\d{4}$", lambda r: "".join(r.choices("ABCXYZ", k=3)) + f"-{r.randrange(10000):04}"),
            ("^[a-z][a-z0-9_]*$", lambda r: f"{r.choice(WORDS)}_{r.randrange(100)}"),
            ("^\\+?[0-9 ]{6,15}$", lambda r: f"+49 30 {r.randrange(10**6):06}"),
            ("^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$", lambda r: ":".join(f"{r.randrange(256):02x}" for _ in range(6))),
            ("^v?\\d+\\.\\d+\\.\\d+(-[a-z]+)?$", lambda r: f"{r.randrange(9)}.{r.randrange(20)}.{r.randrange(5)}"),
            ("^[A-Za-z0-9_-]+$", lambda r: f"{r.choice(WORDS).title()}-{r.randrange(999)}"),
            ("^https?://", lambda r: f"https://{r.choice(WORDS)}.example.org/{r.choice(WORDS)}"),
            ("\\S", lambda r: r.choice(SENTENCES)),
            ("^\\$\\d{1,3}(,\\d{3})*\\.\\d{2}$", lambda r: f"${r.randrange(1, 999)},{r.randrange(1000):03}.{r.randrange(100):02}"),
            ("^[^<>&]*$", lambda r: r.choice(SENTENCES[:5])))
FORMATS = (("date", lambda r: f"{r.randrange(1990, 2030)}-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}"),
           ("date-time", lambda r: f"2025-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}T{r.randrange(24):02}:{r.randrange(60):02}:00Z"),
           ("time", lambda r: f"{r.randrange(24):02}:{r.randrange(60):02}:{r.randrange(60):02}Z"),
           ("email", lambda r: f"{r.choice(WORDS)}.{r.choice(WORDS)}@example.com"),
           ("uuid", lambda r: "-".join("".join(r.choices("0123456789abcdef", k=n)) for n in (8, 4, 4, 4, 12))),
           ("ipv4", lambda r: ".".join(str(r.randrange(256)) for _ in range(4))),
           ("hostname", lambda r: f"{r.choice(WORDS)}.example.net"),
           ("uri", lambda r: f"https://example.com/{r.choice(WORDS)}?id={r.randrange(99)}"))


class Maker:
    """One schema with its answer after the other. Every method gives (schema, answer)."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def text(self):
        kind = self.r.randrange(5)
        if kind == 0:
            return {"type": "string"}, self.r.choice(SENTENCES)
        if kind == 1:
            return {"type": "string", "maxLength": self.r.choice((40, 80, 255, 2000))}, self.r.choice(SENTENCES)[:40]
        if kind == 2:
            pattern, sample = self.r.choice(PATTERNS)
            return {"type": "string", "pattern": pattern}, sample(self.r)
        if kind == 3:
            name, sample = self.r.choice(FORMATS)
            return {"type": "string", "format": name}, sample(self.r)
        return {"type": "string", "minLength": 1, "description": "a few words"}, f"{self.r.choice(WORDS)} {self.r.choice(WORDS)}"

    def number(self):
        kind = self.r.randrange(6)
        if kind == 0:
            return {"type": "integer"}, self.r.randrange(-1000, 100000)
        if kind == 1:
            low = self.r.randrange(-50, 50)
            high = low + self.r.randrange(1, 1000)
            return {"type": "integer", "minimum": low, "maximum": high}, self.r.randrange(low, high + 1)
        if kind == 2:
            return {"type": "number"}, round(self.r.uniform(-100, 1000), 2)
        if kind == 3:
            return {"type": "number", "multipleOf": 0.01, "minimum": 0}, round(self.r.randrange(1, 10**6) / 100, 2)
        if kind == 4:
            return {"type": "number", "exclusiveMinimum": 0, "maximum": 1}, round(self.r.uniform(0.01, 0.99), 3)
        return {"type": "integer", "multipleOf": 5, "minimum": 5}, 5 * self.r.randrange(1, 300)

    def choice(self, n=None):
        words = self.r.sample(WORDS, n or self.r.randrange(2, 9))
        return ({"type": "string", "enum": words} if self.r.random() < 0.7 else {"enum": words}), self.r.choice(words)

    def scalar(self):
        return self.r.choice((self.text, self.text, self.number, self.choice, lambda: ({"type": "boolean"}, self.r.random() < 0.5)))()

    def nullable(self):
        schema, answer = self.scalar()
        if "enum" in schema:
            return {"anyOf": [schema, {"type": "null"}]}, self.r.choice((answer, None))
        return dict(schema, type=[schema["type"], "null"]), self.r.choice((answer, None))

    def array(self, make, most=4):
        schema, _ = make()
        if "enum" in schema and self.r.random() < 0.5:
            some = self.r.sample(schema["enum"], min(2, len(schema["enum"])))
            return {"type": "array", "items": schema, "uniqueItems": True}, some
        made = {"type": "array", "items": schema}
        if self.r.random() < 0.5:
            made.update(minItems=1, maxItems=self.r.randrange(most, 3 * most))
        return made, [self.again(schema) for _ in range(self.r.randrange(1, most))]

    def again(self, schema):
        """Another value of a schema of ours."""
        if "enum" in schema:
            return self.r.choice(schema["enum"])
        kind = schema.get("type")
        if kind == "object":
            return {key: self.again(one) for key, one in schema["properties"].items() if key in schema["required"] or self.r.random() < 0.6}
        if kind == "integer":
            step = schema.get("multipleOf", 1)
            return self.r.randrange(schema.get("minimum", -50), schema.get("maximum", schema.get("minimum", 0) + 900) + 1) // step * step + (step if step > 1 else 0)
        if kind == "number":
            return round(self.r.uniform(0.02, 0.98), 2)
        if kind == "boolean":
            return self.r.random() < 0.5
        if isinstance(kind, list):
            return None
        for pattern, sample in PATTERNS:
            if schema.get("pattern") == pattern:
                return sample(self.r)
        for name, sample in FORMATS:
            if schema.get("format") == name:
                return sample(self.r)
        return self.r.choice(SENTENCES)[:40]

    def names(self, n):
        return self.r.sample(WORDS, n)

    def record(self, n, make, closed=True, optional=0.0):
        schema, answer = {"type": "object", "properties": {}, "required": []}, {}
        for name in self.names(n):
            schema["properties"][name], value = make()
            if self.r.random() >= optional:
                schema["required"].append(name)
                answer[name] = value
            elif self.r.random() < 0.5:
                answer[name] = value
        if closed:
            schema["additionalProperties"] = False
        return schema, answer

    # ---- kinds ----

    def extraction(self):
        return self.record(self.r.randrange(3, 9), self.scalar)

    def nullable_columns(self):
        return self.record(self.r.randrange(4, 9), self.nullable)

    def tool_call(self):
        arguments, value = self.record(self.r.randrange(1, 5), self.scalar, optional=0.3)
        name = self.r.choice(("get_", "set_", "find_")) + self.r.choice(WORDS)
        return {"type": "object", "properties": {"name": {"const": name}, "arguments": arguments}, "required": ["name", "arguments"],
                "additionalProperties": False}, {"name": name, "arguments": value}

    def order(self):
        item, _ = self.record(4, self.scalar)
        schema, answer = self.record(3, self.scalar)
        schema["properties"]["items"] = {"type": "array", "items": item, "minItems": 1}
        schema["required"].append("items")
        answer["items"] = [self.again(item) for _ in range(self.r.randrange(1, 5))]
        return schema, answer

    def settings(self):
        return self.record(self.r.randrange(12, 40), self.scalar, closed=self.r.random() < 0.7, optional=0.8)

    def nested(self):
        schema, answer = self.scalar()
        for _ in range(self.r.randrange(3, 8)):
            name = self.r.choice(WORDS)
            schema, answer = {"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": False}, {name: answer}
        return schema, answer

    def large_enum(self):
        labels = sorted({f"{a} {b}" for a, b in zip(self.r.choices(WORDS, k=400), self.r.choices(WORDS, k=400))})[: self.r.randrange(60, 350)]
        schema, answer = self.record(2, self.scalar)
        schema["properties"]["label"] = {"enum": labels}
        schema["required"].append("label")
        return schema, dict(answer, label=self.r.choice(labels))

    def union(self):
        kinds, options, answer = self.names(self.r.randrange(2, 7)), [], None
        for kind in kinds:
            schema, value = self.record(self.r.randrange(1, 4), self.scalar)
            schema["properties"] = {"kind": {"const": kind}, **schema["properties"]}
            schema["required"] = ["kind", *schema["required"]]
            options.append(schema)
            answer = {"kind": kind, **value}
        return {self.r.choice(("oneOf", "anyOf")): options}, answer

    def tree(self):
        name, children = self.names(2)
        node = {"type": "object", "properties": {name: {"type": "string", "maxLength": 30}, children: {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                "required": [name], "additionalProperties": False}
        answer = {name: "root", children: [{name: "leaf"}, {name: "branch", children: [{name: "leaf"}]}]}
        return {"$ref": "#/$defs/node", "$defs": {"node": node}}, answer

    def dictionary(self):
        schema, _ = self.number()
        return {"type": "object", "additionalProperties": schema}, {name: self.again(schema) for name in self.names(3)}

    def named_dictionary(self):
        schema, _ = self.choice()
        return {"type": "object", "propertyNames": {"pattern": "^[a-z]{2,12}$"}, "additionalProperties": schema, "minProperties": 1}, \
            {name: self.again(schema) for name in ("alpha", "beta", "gamma")}

    def patterned(self):
        schema, _ = self.number()
        return {"type": "object", "patternProperties": {"^x_": schema, "_at$": {"type": "string", "format": "date"}}, "additionalProperties": False}, \
            {"x_one": self.again(schema), "made_at": "2025-03-09"}

    def merged(self):
        base, a = self.record(3, self.scalar, closed=False)
        more, b = self.record(3, self.scalar, closed=False)
        while set(base["properties"]) & set(more["properties"]):
            more, b = self.record(3, self.scalar, closed=False)
        return {"allOf": [{"$ref": "#/$defs/base"}, more], "unevaluatedProperties": False, "$defs": {"base": base}}, {**a, **b}

    def conditional(self):
        name, other = self.names(2)
        return {"type": "object", "properties": {"kind": {"enum": [name, other]}, "detail": {"type": "string", "maxLength": 60}, "count": {"type": "integer"}},
                "required": ["kind"], "additionalProperties": False, "if": {"properties": {"kind": {"const": name}}},
                "then": {"required": ["detail"]}, "else": {"required": ["count"]}}, {"kind": name, "detail": "as said"}

    def dependent(self):
        a, b, c = self.names(3)
        return {"type": "object", "properties": {a: {"type": "string"}, b: {"type": "integer"}, c: {"type": "boolean"}},
                "dependentRequired": {a: [b], b: [c]}, "additionalProperties": False}, {a: "x", b: 3, c: True}

    def tuple(self):
        made = [self.scalar() for _ in range(self.r.randrange(2, 5))]
        return {"type": "array", "prefixItems": [one for one, _ in made], "items": False, "minItems": len(made)}, [value for _, value in made]

    def rows(self):
        item, _ = self.record(self.r.randrange(2, 4), self.scalar)
        return {"type": "array", "items": item, "maxItems": 50}, [self.again(item) for _ in range(8)]

    def tags(self):
        return self.array(lambda: self.choice(self.r.randrange(5, 25)), 6)

    def lists(self):
        return self.record(3, lambda: self.array(self.scalar))

    def excluded(self):
        words = self.names(6)
        return {"type": "object", "properties": {"name": {"type": "string", "pattern": "^[a-z]+$", "not": {"enum": words[:5]}}, "n": {"type": "integer",
                "not": {"multipleOf": 10}}}, "required": ["name", "n"], "additionalProperties": False}, {"name": words[5], "n": 7}

    def holding(self):
        return {"type": "array", "items": {"type": "integer", "minimum": 0}, "contains": {"minimum": 100}, "maxItems": 20}, \
            [self.r.randrange(100), self.r.randrange(100, 1000), 4]


KINDS = ("extraction nullable_columns tool_call order settings nested large_enum union tree dictionary named_dictionary patterned merged conditional dependent "
         "tuple rows tags lists excluded holding").split()

def _object(**properties):
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


S, I, N, B = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}
BY_HAND = [
    ({}, {"a": [1, None, "x"]}), ({"type": "object"}, {"city": "Oslo", "n": 3}), (S, "Bob said \"no\""), (I, -17), (N, 3.25), (B, True), ({"type": "null"}, None),
    ({"type": ["string", "integer"]}, 12), ({"enum": [1, "1", None, {"b": 1}, [True]]}, {"b": 1}), ({"const": "\n      "}, "\n      "),
    ({"type": "string", "maxLength": 4}, "a\"b\n"), ({"type": "string", "maxLength": 100000}, "short"), ({"type": "string", "minLength": 5, "maxLength": 5}, "abcde"),
    ({"type": "string", "pattern": "^[a-z]+$", "maxLength": 3}, "abc"), ({"type": "string", "pattern": "^.{1,100}$"}, "anything at all, up to a hundred"),
    ({"type": "string", "pattern": "^[^<>]*$"}, "no tags in here"), ({"type": "string", "pattern": "foo"}, "a fool"), ({"type": "string", "pattern": "^(?!x)[a-z]+$"}, "ab"),
    ({"type": "string", "pattern": "^\\S+( \\S+){0,99}$"}, "words and more words"), ({"type": "string", "pattern": "^[ -~]*a[ -~]{9}$"}, "xxa123456789"),
    ({"type": "string", "format": "ipv6"}, "2001:db8::1"), ({"type": "string", "format": "duration"}, "P3DT4H"), ({"type": "string", "format": "json-pointer"}, "/a/b"),
    ({"type": "number", "minimum": -90, "maximum": 90}, 59.91), ({"type": "integer", "minimum": 9007199254740993, "maximum": 9007199254740999}, 9007199254740995),
    ({"type": "number", "multipleOf": 0.25}, 1.75), ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10}, 9), ({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 5}]}, 4),
    ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 1), ({"not": {"type": ["string", "object"]}}, [1, 2]), ({"type": "array", "items": B, "minItems": 3, "maxItems": 3}, [True, False, True]),
    ({"type": "array", "items": {"type": "array", "items": N}}, [[1, 2.5], [], [0]]), ({"type": "array", "maxItems": 0}, []), (_object(), {}),
    (_object(answer=S, confidence={"type": "number", "minimum": 0, "maximum": 1}), {"answer": "yes", "confidence": 0.83}),
    (_object(reasoning=S, answer={"enum": ["A", "B", "C", "D"]}), {"reasoning": "B names the river.", "answer": "B"}),
    (_object(sender={"type": "string", "maxLength": 60}, total={"type": "number", "multipleOf": 0.01}, due={"type": "string", "format": "date"}),
     {"sender": "Norsk Pumpe AS", "total": 1249.5, "due": "2025-07-01"}),
    (_object(sentiment={"enum": ["positive", "negative", "neutral"]}, topics={"type": "array", "items": S, "maxItems": 5}), {"sentiment": "negative", "topics": ["delay", "refund"]}),
    (_object(entities={"type": "array", "items": _object(kind={"enum": ["person", "place", "organisation"]}, text=S)}),
     {"entities": [{"kind": "person", "text": "Anna"}, {"kind": "place", "text": "Tromsø"}]}),
    ({"type": "object", "properties": {"start": I, "end": I}}, {"end": 4}), ({"type": "object", "required": ["a"]}, {"a": None}),
    ({"type": "object", "properties": {"next": {"$ref": "#"}, "v": I}, "required": ["v"], "additionalProperties": False}, {"next": {"next": {"v": 1}, "v": 2}, "v": 3}),
    ({"$ref": "#/$defs/json", "$defs": {"json": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/json"}}, S, N]}}}, [["a"], 2, ["b", [3]]]),
    ({"type": "object", "properties": {"a": I}, "anyOf": [{"required": ["a"]}], "additionalProperties": False}, {"a": 1}),
    ({"type": "object", "minProperties": 2, "maxProperties": 4, "additionalProperties": I}, {"one": 1, "two": 2}),
    ({"type": "object", "properties": {"score": {"type": "integer", "multipleOf": 5}}, "patternProperties": {"^score$": {"minimum": 10}}, "required": ["score"],
      "additionalProperties": False}, {"score": 15}),
    ({"anyOf": [_object(error=S), _object(rows={"type": "array", "items": {"type": "object"}})]}, {"rows": [{"id": 1}]}),
    ({"type": "object", "allOf": [{"if": {"properties": {"k": {"const": i}}}, "then": {"required": [f"f{i}"]}} for i in range(8)],
      "properties": {"k": {"type": "integer", "minimum": 0, "maximum": 7}, **{f"f{i}": S for i in range(8)}}, "required": ["k"]}, {"k": 2, "f2": "x"}),
    ({"type": "object", "properties": {name: I for name in "abcdefgh"}, "dependentRequired": {one: [two] for one, two in zip("abcdefg", "bcdefgh")}}, {"g": 1, "h": 2}),
    ({"type": "object", "oneOf": [{"required": ["email"]}, {"required": ["phone"]}], "properties": {"email": {"type": "string", "format": "email"}, "phone": S}}, {"phone": "112"}),
    ({"type": "object", "propertyNames": {"enum": ["de", "en", "fr"]}, "additionalProperties": S, "minProperties": 1}, {"en": "pump", "fr": "pompe"}),
    ({"type": "array", "items": {"enum": ["red", "green", "blue"]}, "uniqueItems": True, "minItems": 1}, ["blue", "red"]),
    ({"type": "array", "prefixItems": [S, N], "items": B}, ["x", 1, True, False]),
    ({"type": "array", "contains": {"const": 7}, "items": I, "minContains": 1, "maxContains": 2}, [1, 7, 3]),
    ({"type": "object", "unevaluatedProperties": False, "anyOf": [{"properties": {"a": I}, "required": ["a"]}, {"properties": {"b": I}, "required": ["b"]}]}, {"a": 1, "b": 2}),
    (_object(**{f"column_{i}": {"type": "string", "maxLength": 40} for i in range(50)}), {f"column_{i}": "v" for i in range(50)}),
    (_object(steps={"type": "array", "items": _object(explanation=S, output=S), "minItems": 1}, final_answer=S),
     {"steps": [{"explanation": "8x = -30", "output": "x = -3.75"}], "final_answer": "x = -3.75"}),
    (_object(temperature=N, unit={"enum": ["C", "F"]}, when={"type": "string", "format": "date-time"}), {"temperature": -4.5, "unit": "C", "when": "2025-01-02T03:04:05Z"}),
    ({"type": "object", "properties": {"é": S, "日本": I}, "required": ["é", "日本"]}, {"é": "x", "日本": 1}),
    ({"type": "string", "enum": [f"E{i:04}" for i in range(2000)]}, "E1234"),
]


def all_schemas(seed=19, each=13):
    """[(kind, schema, answer)]: those by hand, then so many of each kind."""
    made = [("by hand", schema, answer) for schema, answer in BY_HAND]
    maker = Maker(seed)
    for kind in KINDS:
        made += [(kind, *getattr(maker, kind)()) for _ in range(each)]
    return made


def written(answer):
    """As our answers are written."""
    return json.dumps(answer, ensure_ascii=False)


if __name__ == "__main__":
    import jsonschema

    schemas = all_schemas()
    for kind, schema, answer in schemas:
        jsonschema.Draft202012Validator.check_schema(schema)
        for error in jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER).iter_errors(answer):
            print(f"{kind}: {json.dumps(schema)}\n  {json.dumps(answer)}\n  {error.message}")
    print(f"{len(schemas)} schemas")
