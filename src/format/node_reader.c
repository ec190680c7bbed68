/*
 * node_reader.c - see node_reader.h.
 */
#include "node_reader.h"

#include <string.h>

const char *
reader_path(const NodeReader *reader)
{
	return *reader->node->path ? reader->node->path : "/";
}

void
reader_refuse(NodeReader *reader, const char *what)
{
	pool_fail(reader->schema->pool, STATUS_INVALID_ARGUMENT, "\"%s\" at %s %s", reader->keyword, reader_path(reader),
			  what);
}

void
reader_unsupported(NodeReader *reader, const char *what)
{
	pool_fail(reader->schema->pool, STATUS_UNSUPPORTED, "\"%s\" at %s is not supported%s", reader->keyword,
			  reader_path(reader), what);
}

void
schema_unsupported(const Schema *schema, const char *keyword, const char *path, const char *why)
{
	if (schema->ignored & OF_TOOLS)
		pool_fail(schema->pool, STATUS_UNSUPPORTED,
				  "\"%s\" at %s is not supported%s; leave it out, or set \"strict\": false beside the tool's name",
				  keyword, path, why);
	else
		pool_fail(
			schema->pool, STATUS_UNSUPPORTED,
			"\"%s\" at %s is not supported%s; \"ignore\": [\"%s\"] beside \"type\": \"json_schema\" passes it over",
			keyword, path, why, keyword);
}

/* Is the keyword's value of a kind? Otherwise it is refused. */
bool
reader_expects(NodeReader *reader, JsonNodeKind kind, const char *what)
{
	if (reader->value->kind == (uint8_t) kind)
		return true;
	reader_refuse(reader, what);
	return false;
}

/* A path with a token more, escaped. */
static char *
sub_path(NodeReader *reader, const char *name, size_t length)
{
	const char *path = reader->node->path;
	size_t at = strlen(path);
	char *made =
		pool_alloc(reader->schema->pool, at + strlen(reader->keyword) + 2 * (length < 200 ? length : 200) + 3, 1);

	if (!made)
		return NULL;
	memcpy(made, path, at);
	made[at++] = '/';
	for (const char *c = reader->keyword; *c; c++)
		made[at++] = *c;
	if (name)
		made[at++] = '/';
	for (size_t i = 0; name && i < length && i < 200; i++)
	{
		if (name[i] == '~' || name[i] == '/')
		{
			made[at++] = '~';
			made[at++] = name[i] == '~' ? '0' : '1';
		}
		else
			made[at++] = name[i];
	}
	return made;
}

uint32_t
reader_node(NodeReader *reader, const JsonNode *json, const char *name, size_t length)
{
	char *path = sub_path(reader, name, length);

	return path ? reader->node_of(reader->schema, json, path, reader->depth + 1) : 0;
}

void
reader_take_node(NodeReader *reader, uint32_t *node)
{
	*node = reader_node(reader, reader->value, NULL, 0);
}

/* A list of nodes: allOf, prefixItems … */
void
reader_take_nodes(NodeReader *reader, SchemaList *list)
{
	uint32_t n = 0;
	char index[16];

	if (!reader_expects(reader, NODE_IS_ARRAY, "must be an array of schemas"))
		return;
	list->at = pool_alloc(reader->schema->pool, reader->value->n, sizeof *list->at);
	for (const JsonNode *one = reader->value->first; one && list->at && !pool_failed(reader->schema->pool);
		 one = one->next)
	{
		size_t length = 0;

		for (uint32_t rest = n, digits = n ? 0 : 1; rest || digits; rest /= 10, digits = 0)
		{
			memmove(index + 1, index, length++);
			index[0] = (char) ('0' + rest % 10);
		}
		list->at[n++] = reader_node(reader, one, index, length);
	}
	list->n = n;
}

/* A whole number that is not negative. Large ones are NO_LIMIT - 1. */
void
reader_take_count(NodeReader *reader, uint32_t *count)
{
	bool is_exact;
	Decimal value;

	if (!reader_expects(reader, NODE_IS_NUMBER, "must be a number"))
		return;
	value = decimal_read(reader->value->source, reader->value->source_bytes, &is_exact);
	if (value < 0 || value % DECIMAL_ONE != 0)
		reader_refuse(reader, "must be a whole number that is not negative");
	value /= DECIMAL_ONE;
	*count = value < NO_LIMIT - 1 ? (uint32_t) value : NO_LIMIT - 1;
}

/* A lower count, of things that are made one by one. */
void
reader_take_least(NodeReader *reader, uint32_t *count)
{
	reader_take_count(reader, count);
	if (*count > SCHEMA_MAX_COUNT)
		pool_fail(reader->schema->pool, STATUS_TOO_LONG, "\"%s\" at %s is %s%.*s, the limit is %u", reader->keyword,
				  reader_path(reader), "", (int) (reader->value->source_bytes < 20 ? reader->value->source_bytes : 20),
				  reader->value->source, SCHEMA_MAX_COUNT);
}

bool
reader_take_decimal(NodeReader *reader, Decimal *value, bool *is_exact)
{
	if (!reader_expects(reader, NODE_IS_NUMBER, "must be a number"))
		return false;
	*value = decimal_read(reader->value->source, reader->value->source_bytes, is_exact);
	return true;
}
