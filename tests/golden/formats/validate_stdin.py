"""Lines of [schema, answer]: those of which the answer is not JSON that python3-jsonschema finds valid come out, with why.

Formats are checked as far as the package knows them; numbers exactly, and a name that comes twice is wrong."""
import decimal
import json
import sys

import jsonschema
from jsonschema import Draft202012Validator as Validator


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
