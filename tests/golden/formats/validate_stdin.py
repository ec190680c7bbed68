"""Lines of [schema, answer]: those of which the answer is not JSON that python3-jsonschema finds valid come out, with why.

Formats are checked as far as the package knows them; numbers exactly, and a name that comes twice is wrong."""
import decimal
import json
import re
import sys
import types

import jsonschema
from jsonschema import Draft202012Validator as Validator


# what ECMA-262 says otherwise than Python: digits are ASCII's, blanks have others, . leaves out all line ends, $ is the very end
BLANKS = r"\t-\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
ECMA = {r"\d": "[0-9]", r"\S": f"[^{BLANKS}]", r"\s": f"[{BLANKS}]", ".": r"[^\n\r\u2028\u2029]", "$": r"\Z"}


def search(pattern, text, *more):
    """re.search as the standard has it; of classes only what stands in them letter by letter."""
    parts = re.findall(r"\[(?:\\.|[^\]])*\]|\\.|.", pattern, re.DOTALL)
    return re.search("".join(ECMA.get(part, part) for part in parts), text, *more)


for name, module in list(sys.modules.items()):
    if re.match(r"jsonschema\._(keywords|validators|utils|legacy)", name) and hasattr(module, "re"):
        module.re = types.SimpleNamespace(**{**vars(re), "search": search})


def without_duplicates(pairs):
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


def multiple_of(validator, step, instance, schema):
    if validator.is_type(instance, "number") and decimal.Decimal(str(instance)) % decimal.Decimal(str(step)) != 0:
        yield jsonschema.ValidationError(f"{instance} is not a multiple of {step}")


Exact = jsonschema.validators.extend(Validator, {"multipleOf": multiple_of}, type_checker=Validator.TYPE_CHECKER.redefine(
    "number", lambda _, one: isinstance(one, (int, float, decimal.Decimal)) and not isinstance(one, bool)).redefine(
    "integer", lambda _, one: not isinstance(one, bool) and (isinstance(one, int) or (isinstance(one, decimal.Decimal) and one == one.to_integral_value()))))


def main():
    decimal.getcontext().prec = 60
    for line in sys.stdin:
        schema, answer = json.loads(line)
        try:
            value = json.loads(answer, parse_float=decimal.Decimal, object_pairs_hook=without_duplicates)
            why = next((error.message for error in Exact(schema, format_checker=Validator.FORMAT_CHECKER).iter_errors(value)), None)
        except ValueError as error:
            why = str(error)
        if why:
            print(json.dumps([schema, answer, why[:300]]))


if __name__ == "__main__":
    main()
