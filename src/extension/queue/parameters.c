/*
 * parameters.c - values as parameters of statements, and back: arrays, and the keys of rows.
 */
#include "parameters.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

Datum
job_text_array(char *const *strings, int n)
{
	Datum *elements = palloc(sizeof *elements * Max(n, 1));

	for (int i = 0; i < n; i++)
		elements[i] = CStringGetTextDatum(strings[i]);
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

Datum
job_int8_array(const int64 *values, int n)
{
	Datum *elements = palloc(sizeof *elements * Max(n, 1));

	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(values[i]);
	return PointerGetDatum(construct_array(elements, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

Datum
job_int2_array(const AttrNumber *values, int n)
{
	Datum *elements = palloc(sizeof *elements * Max(n, 1));

	for (int i = 0; i < n; i++)
		elements[i] = Int16GetDatum(values[i]);
	return PointerGetDatum(construct_array(elements, n, INT2OID, sizeof(int16), true, TYPALIGN_SHORT));
}

Datum
job_oid_array(const List *oids)
{
	Datum *elements = palloc(sizeof *elements * Max(list_length(oids), 1));
	ListCell *cell;
	int n = 0;

	foreach (cell, oids)
		elements[n++] = ObjectIdGetDatum(lfirst_oid(cell));
	return PointerGetDatum(construct_array(elements, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

int
job_strings_of(Datum array, char **strings, int most)
{
	Datum *elements;
	bool *nulls;
	int n;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n && i < most; i++)
		strings[i] = nulls[i] ? pstrdup("") : TextDatumGetCString(elements[i]);
	return n;
}

void
job_key_parameters(const JobSpec *spec, JobRow *const *rows, int n, Oid *types, Datum *values)
{
	Datum *numbers = palloc(sizeof *numbers * n);
	char **column = palloc(sizeof *column * n);

	for (int i = 0; i < n; i++)
		numbers[i] = Int32GetDatum(i);
	types[0] = INT4ARRAYOID;
	values[0] = PointerGetDatum(construct_array(numbers, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	for (int k = 0; k < spec->n_keys; k++)
	{
		for (int i = 0; i < n; i++)
			column[i] = rows[i]->key[k];
		types[k + 1] = TEXTARRAYOID;
		values[k + 1] = job_text_array(column, n);
	}
}
