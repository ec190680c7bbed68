"""docs/settings.md says of every setting what the server says."""
import os
import re

import psycopg2
import pytest

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "settings.md")
CONTEXTS = {"start": "postmaster", "reload": "sighup", "session": "user", "superuser": "superuser"}
UNITS = {"": 1, "MB": 1, "ms": 1, "s": 1000, "d": 86400}


def number(text):
    """A number of the page in the unit that pg_settings counts in."""
    value, unit = re.fullmatch(r"(-?\d+)(\w*)", text).groups()
    return int(value) * UNITS[unit]


def page_rows():
    with open(PAGE) as file:
        page = file.read()
    rows = {}
    for line in page.splitlines():
        if line.startswith("| [`qwen."):
            name, context, default, limits = [cell.strip() for cell in line.strip("|").split("|")]
            rows[re.search(r"`(.*?)`", name).group(1)] = (context, default.strip("`").strip("'"), limits)
    return page, rows


def test_page_and_server_agree(server):
    page, rows = page_rows()
    settings = server.query("SELECT name, context, vartype, boot_val, min_val, max_val, enumvals FROM pg_settings WHERE name LIKE 'qwen.%'")
    assert {row[0] for row in settings} == set(rows)
    for name, context, kind, default, low, high, values in settings:
        said_context, said_default, said_limits = rows[name]
        assert CONTEXTS[said_context] == context, name
        assert f"\n### `{name}`\n" in page, name
        if kind == "integer":
            assert number(said_default) == int(default), name
            bounds = re.match(r"(?:from )?(-?\w+)(?: to (\w+))?", said_limits)
            assert number(bounds.group(1)) == int(low), name
            assert bounds.group(2) is None or number(bounds.group(2)) == int(high), name
        else:
            assert said_default == default, name
        if kind == "enum":
            assert re.findall(r"`(\w+)`", said_limits) == values, name


@pytest.mark.parametrize("given, said", [("1kB", "1kB"), ("15", "15 MB"), ("15MB", "15MB"), ("-1", "-1 MB"), ("15.4", "15.4 MB")])
def test_a_size_of_the_cache_that_is_refused_is_named_as_it_was_given(server, given, said):
    """1kB was called 0 MB."""
    with pytest.raises(psycopg2.Error) as failure:
        server.query(f"ALTER SYSTEM SET qwen.kv_cache_size = '{given}'")
    assert failure.value.diag.message_detail.startswith(f"{said} is outside of 16 MB to "), failure.value.diag.message_detail


def test_values_out_of_range_are_refused(server):
    for setting in ("max_models = 0", "max_models = 33", "kv_cache_size = '15MB'", "kv_cache_type = 'f64'", "state_type = 'q8_0'", "state_type = 'bf16'", "max_tokens = 0", "io_method = 'mmap'", "threads = 257"):
        try:
            server.query(f"ALTER SYSTEM SET qwen.{setting}")
        except Exception as error:
            assert error.pgcode == "22023", setting
        else:
            raise AssertionError(f"{setting} was accepted")
