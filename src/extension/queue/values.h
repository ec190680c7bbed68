/*
 * values.h - values of the result that SPI has just given.
 */
#ifndef QWEN_VALUES_H
#define QWEN_VALUES_H

#include "../core/core.h"

#include "executor/spi.h"
#include "utils/builtins.h"

/* A column, from 1, of a row, from 0; zero where it is NULL. */
static inline Datum
result_value(int row, int column)
{
	bool is_null;

	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &is_null);
}

static inline int64
result_int8(int row, int column)
{
	return DatumGetInt64(result_value(row, column));
}

static inline int32
result_int4(int row, int column)
{
	return DatumGetInt32(result_value(row, column));
}

/* NULL where it is NULL, palloc'd. */
static inline char *
result_string(int row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

static inline text *
result_text(int row, int column)
{
	char *value = result_string(row, column);

	return value ? cstring_to_text(value) : NULL;
}

#endif
