"""The ```sql blocks of the pages in docs/: what a reader pastes."""
import os
import re

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs")


def blocks(page):
    """(line, SQL) of each block of a page, in order."""
    with open(os.path.join(DOCS, page), encoding="utf-8") as file:
        text = file.read()
    return [(text.count("\n", 0, found.start()) + 2, found[1]) for found in re.finditer(r"^```sql\n(.*?)^```$", text, re.M | re.S)]


def run(server, page):
    """Run a page's blocks one after the other, each in one transaction; [(line, SQL, rows of its last statement)]"""
    connection = server.connect()
    cursor = connection.cursor()
    done = []
    for line, sql in blocks(page):
        try:
            cursor.execute(sql)
            rows = cursor.fetchall() if cursor.description else None
            connection.commit()
        except Exception as failure:
            raise AssertionError(f"docs/{page}:{line}: {failure}") from failure
        done.append((line, sql, rows))
    connection.close()
    return done
