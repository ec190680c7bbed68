#!/bin/bash
# sql_encodings.sh "ENCODING ..." FILE ...: SQL tests in a database of each encoding, on the server of the environment (cluster.py run)
set -u
failed=
for encoding in $1; do
	database=in_$encoding
	createdb -T template0 -E "$encoding" --lc-collate=C --lc-ctype=C "$database" || exit 1
	# what a client sends is UTF-8, but no encoding is converted to SQL_ASCII
	client=UTF8
	[ "$encoding" = SQL_ASCII ] && client=SQL_ASCII
	echo "encoding $encoding"
	PGDATABASE=$database PGCLIENTENCODING=$client pg_prove -Q --ext .sql "${@:2}" || failed="$failed $encoding"
	dropdb --force "$database" 2>/dev/null || dropdb "$database"
done
[ -z "$failed" ] || { echo "FAILED in:$failed"; exit 1; }
