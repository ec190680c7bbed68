/*
 * schema_scalars.c - keywords of any type of values, of numbers and of strings.
 */
#include <stdio.h>
#include <string.h>

#include "node_reader.h"
#include "pattern.h"
#include "string_formats.h"

static void
narrow_lower(SchemaNode *node, Decimal value)
{
	node->lower = node->has_lower && node->lower > value ? node->lower : value;
	node->has_lower = true;
}

static void
narrow_upper(SchemaNode *node, Decimal value)
{
	node->upper = node->has_upper && node->upper < value ? node->upper : value;
	node->has_upper = true;
}

/* Bounds. One beyond all numbers that are made would leave none, although there are some. */
static void
take_lower(NodeReader *reader, Decimal bound, Decimal least)
{
	if (bound >= DECIMAL_LIMIT)
		reader_unsupported(reader, ": numbers have at most 19 digits before the point");
	narrow_lower(reader->node, least);
}

static void
take_upper(NodeReader *reader, Decimal bound, Decimal most)
{
	if (bound <= -DECIMAL_LIMIT)
		reader_unsupported(reader, ": numbers have at most 19 digits before the point");
	narrow_upper(reader->node, most);
}

/* Draft 4: exclusiveMinimum is a flag beside minimum. */
static bool
is_exclusive(const NodeReader *reader, const char *keyword)
{
	const JsonNode *flag = json_member_named(reader->node->json, keyword);

	return flag && flag->kind == NODE_IS_BOOL && flag->boolean;
}

static void
read_minimum(NodeReader *reader)
{
	Decimal value;
	bool is_exact;

	if (reader_take_decimal(reader, &value, &is_exact))
		take_lower(reader, value, value + (!is_exact || is_exclusive(reader, "exclusiveMinimum")));
}

static void
read_maximum(NodeReader *reader)
{
	Decimal value;
	bool is_exact;

	if (reader_take_decimal(reader, &value, &is_exact))
		take_upper(reader, value, value - (is_exact && is_exclusive(reader, "exclusiveMaximum")));
}

static void
read_exclusive_minimum(NodeReader *reader)
{
	Decimal value;
	bool is_exact;

	if (reader->value->kind != NODE_IS_BOOL && reader_take_decimal(reader, &value, &is_exact))
		take_lower(reader, value, value + 1);
}

static void
read_exclusive_maximum(NodeReader *reader)
{
	Decimal value;
	bool is_exact;

	if (reader->value->kind != NODE_IS_BOOL && reader_take_decimal(reader, &value, &is_exact))
		take_upper(reader, value, value - is_exact);
}

static void
read_multiple(NodeReader *reader)
{
	Schema *schema = reader->schema;
	Decimal value;
	bool is_exact;

	if (!reader_take_decimal(reader, &value, &is_exact))
		return;
	if (reader->value->source[0] == '-' || (value == 0 && is_exact))
		reader_refuse(reader, "must be more than 0");
	else if (!is_exact)
		reader_unsupported(reader, ": it has more than 18 digits behind the point or 19 before it");
	if (!pool_grow(schema->pool, &schema->steps, schema->n_steps, &schema->steps_capacity, sizeof *schema->steps))
		return;
	schema->steps[schema->n_steps] = value;
	reader->node->steps = (SchemaList){1, pool_alloc(schema->pool, 1, sizeof(uint32_t))};
	if (reader->node->steps.at)
		reader->node->steps.at[0] = schema->n_steps++;
}

uint8_t
schema_type_named(const JsonNode *name)
{
	static const struct
	{
		const char *name;
		uint8_t type;
	} names[] = {{"null", TYPE_NULL},     {"boolean", TYPE_BOOLEAN}, {"integer", TYPE_INTEGER}, {"number", TYPE_NUMBER},
				 {"string", TYPE_STRING}, {"array", TYPE_ARRAY},     {"object", TYPE_OBJECT}};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (json_string_is(name, names[i].name))
			return names[i].type;
	return 0;
}

/* A type by its name, which is told of where it is none. */
static uint8_t
type_named(NodeReader *reader, const JsonNode *name)
{
	uint8_t type = schema_type_named(name);
	bool is_name = name && name->kind == NODE_IS_STRING;

	if (!type)
		pool_fail(reader->schema->pool, STATUS_INVALID_ARGUMENT,
				  "\"type\" at %s must be " SCHEMA_TYPES ", or an array of these%s%.*s%s", reader_path(reader),
				  is_name ? ", not \"" : "", is_name ? (int) (name->n < 60 ? name->n : 60) : 0,
				  is_name ? name->text : "", is_name ? "\"" : "");
	return type;
}

static void
read_type(NodeReader *reader)
{
	uint8_t types = 0;

	if (reader->value->kind == NODE_IS_ARRAY)
		for (const JsonNode *one = reader->value->first; one; one = one->next)
			types |= type_named(reader, one);
	else
		types = type_named(reader, reader->value);
	reader->node->types = types;
}

static void
read_enum(NodeReader *reader)
{
	if (!reader_expects(reader, NODE_IS_ARRAY, "must be an array of values"))
		return;
	if (reader->value->n > SCHEMA_MAX_VALUES)
		pool_fail(reader->schema->pool, STATUS_TOO_LONG, "\"enum\" at %s has %u values, the limit is %u",
				  reader_path(reader), reader->value->n, SCHEMA_MAX_VALUES);
	reader->node->values = reader->value;
}

static void
read_const(NodeReader *reader)
{
	reader->node->constant = reader->value;
}

static void
read_pattern(NodeReader *reader)
{
	Pool *pool = reader->schema->pool;

	if (!reader_expects(reader, NODE_IS_STRING, "must be a string"))
		return;
	reader->node->pattern = pattern_read(reader->schema->expressions, reader->value->text, reader->value->n, false);
	if (pool_failed(pool))
		pool->status = status_prefix(pool->status, "\"pattern\" at %s", reader_path(reader));
}

/* What a format says beside its pattern. */
static void
narrow_by_format(SchemaNode *node, const JsonNode *name)
{
	if (json_string_is(name, "hostname"))
		node->format_length = 253;
	if (json_string_is(name, "email"))
		node->format_length = 254;
	if (json_string_is(name, "int32"))
	{
		narrow_lower(node, -DECIMAL_ONE * 2147483648);
		narrow_upper(node, DECIMAL_ONE * 2147483647);
	}
	if (json_string_is(name, "int64"))
	{
		narrow_lower(node, DECIMAL_ONE * INT64_MIN);
		narrow_upper(node, DECIMAL_ONE * INT64_MAX);
	}
}

static void
read_format(NodeReader *reader)
{
	if ((reader->schema->ignored & IGNORE_FORMAT) || !reader_expects(reader, NODE_IS_STRING, "must be a string"))
		return;
	if (!string_format_find(reader->schema->expressions, (ByteSpan){reader->value->text, reader->value->n},
							&reader->node->format, &reader->node->format_bound))
	{
		char why[100];

		(void) snprintf(why, sizeof why, ": \"%.*s\"", (int) (reader->value->n < 60 ? reader->value->n : 60),
						reader->value->text);
		schema_unsupported(reader->schema, "format", reader_path(reader), why);
	}
	narrow_by_format(reader->node, reader->value);
}

#define IS(name) (strcmp(keyword, name) == 0)

/* Keywords of any type, of numbers and of strings; false: it is another. */
bool
read_scalar_keyword(NodeReader *reader, const char *keyword)
{
	SchemaNode *node = reader->node;

	if (IS("type"))
		read_type(reader);
	else if (IS("enum"))
		read_enum(reader);
	else if (IS("const") && reader->schema->draft != 4)
		read_const(reader);
	else if (IS("minimum"))
		read_minimum(reader);
	else if (IS("maximum"))
		read_maximum(reader);
	else if (IS("exclusiveMinimum"))
		read_exclusive_minimum(reader);
	else if (IS("exclusiveMaximum"))
		read_exclusive_maximum(reader);
	else if (IS("multipleOf"))
		read_multiple(reader);
	else if (IS("minLength"))
		reader_take_count(reader, &node->min_length);
	else if (IS("maxLength"))
		reader_take_count(reader, &node->max_length);
	else if (IS("pattern"))
		read_pattern(reader);
	else if (IS("format"))
		read_format(reader);
	else
		return false;
	return true;
}
