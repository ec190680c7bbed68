/*
 * format.c - see format.h.
 */
#include "format.h"

#include <stdlib.h>
#include <string.h>

#include "conjunctions.h"
#include "costs.h"
#include "format_private.h"
#include "frames.h"
#include "parameters.h"
#include "pattern.h"
#include "schema_formula.h"

#define MAX_CHOICES 10000
#define NO_VALUE_AT " at "

static const char *const form_names[] = {"text",   "json_object", "json_schema", "regex",
										 "choice", "copy",        "grammar",     NULL};

/* The members that a form may have, "type" and the common ones aside. */
typedef struct FormMembers
{
	const char *form, *members[10];
} FormMembers;

static const FormMembers form_members[] = {
	{"text", {NULL}},
	{"json_object", {"whitespace", NULL}},
	{"json_schema",
	 {"json_schema", "schema", "name", "description", "strict", "whitespace", "closed", "ignore", "relax", NULL}},
	{"regex", {"pattern", NULL}},
	{"choice", {"choices", NULL}},
	{"copy", {"text", "kinds", "open", "close", NULL}},
};

static const char *const wrapped_members[] = {"name", "description", "schema", "strict", NULL};

static bool
is_among(const JsonNode *member, const char *const *names)
{
	for (; *names; names++)
		if (strlen(*names) == member->key_bytes && memcmp(*names, member->key, member->key_bytes) == 0)
			return true;
	return false;
}

static void
refuse(Format *format, const char *what)
{
	pool_fail(&format->pool, STATUS_INVALID_ARGUMENT, "%s", what);
}

/* The name of the form, or NULL: it is a schema by itself. */
static const char *
form_of(const JsonNode *json)
{
	const JsonNode *type = json_member_named(json, "type");

	for (const char *const *name = form_names; *name; name++)
		if (json_string_is(type, *name))
			return *name;
	return NULL;
}

/* No member but those that a form has. */
static void
check_members(Format *format, const JsonNode *json, const char *form)
{
	for (size_t i = 0; i < sizeof form_members / sizeof *form_members; i++)
		if (strcmp(form_members[i].form, form) == 0)
			for (const JsonNode *member = json->first; member; member = member->next)
				if (!is_among(member, form_members[i].members) &&
					!(member->key_bytes == 4 && !memcmp(member->key, "type", 4)))
					pool_fail(&format->pool, STATUS_INVALID_ARGUMENT, "the form \"%s\" has no member \"%.*s\"", form,
							  (int) (member->key_bytes < 60 ? member->key_bytes : 60), member->key);
}

/* What clients write beside a schema, which does nothing here, is of its type all the same, or null. */
static void
check_beside(Format *format, const JsonNode *json, const char *path)
{
	static const struct
	{
		const char *name, *what;
		JsonNodeKind kind;
	} beside[] = {{"strict", "true or false", NODE_IS_BOOL},
				  {"name", "a string", NODE_IS_STRING},
				  {"description", "a string", NODE_IS_STRING}};

	for (size_t i = 0; i < sizeof beside / sizeof *beside; i++)
	{
		const JsonNode *value = json_member_named(json, beside[i].name);

		if (value && value->kind != NODE_IS_NULL && value->kind != (uint8_t) beside[i].kind)
			pool_fail(&format->pool, STATUS_INVALID_ARGUMENT, "\"%s\" at %s must be %s", beside[i].name, path,
					  beside[i].what);
	}
}

/* What may be left out, when it is asked for. */
typedef struct Leave
{
	const char *name, *keyword;
	uint32_t bit;
} Leave;

static const Leave leaves[] = {
	{"ignore", "format", IGNORE_FORMAT},
	{"ignore", "uniqueItems", IGNORE_UNIQUE},
	{"relax", "oneOf", RELAX_ONE_OF},
};

static uint32_t
leave_named(const char *name, const JsonNode *keyword)
{
	for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++)
		if (strcmp(leaves[i].name, name) == 0 && json_string_is(keyword, leaves[i].keyword))
			return leaves[i].bit;
	return 0;
}

/* "ignore" or "relax". */
static uint32_t
read_leave(Format *format, const JsonNode *json, const char *name, const char *allowed)
{
	const JsonNode *list = json_member_named(json, name);
	uint32_t bits = 0;

	for (const JsonNode *one = list && list->kind == NODE_IS_ARRAY ? list->first : NULL; one; one = one->next)
	{
		uint32_t bit = leave_named(name, one);

		bits |= bit;
		if (!bit)
			pool_fail(&format->pool, STATUS_INVALID_ARGUMENT, "\"%s\" can have %s alone", name, allowed);
	}
	if (list && list->kind != NODE_IS_ARRAY)
		pool_fail(&format->pool, STATUS_INVALID_ARGUMENT, "\"%s\" must be an array", name);
	return bits;
}

static bool
read_whitespace(Format *format, const JsonNode *json)
{
	const JsonNode *value = json_member_named(json, "whitespace");

	if (value && !json_string_is(value, "compact") && !json_string_is(value, "spaced"))
		refuse(format, "\"whitespace\" must be \"spaced\" or \"compact\"");
	return json_string_is(value, "compact");
}

/* Have objects no members but those that they name, where their schema says nothing of others? */
static uint32_t
read_closed(Format *format, const JsonNode *json)
{
	const JsonNode *value = json_member_named(json, "closed");

	if (value && value->kind != NODE_IS_BOOL)
		refuse(format, "\"closed\" must be true or false");
	return value && value->boolean ? CLOSE_OBJECTS : 0;
}

/* The schema of {"type": "json_schema"}, bare or wrapped. */
static const JsonNode *
find_schema(Format *format, const JsonNode *json, const char **path)
{
	const JsonNode *wrapped = json_member_named(json, "json_schema"), *schema = json_member_named(json, "schema");

	*path = "";
	check_beside(format, json, "/");
	if (wrapped && wrapped->kind != NODE_IS_OBJECT)
	{
		refuse(format, "\"json_schema\" must be an object with a member \"schema\"");
		return NULL;
	}
	if (wrapped && !schema)
		check_beside(format, wrapped, "/json_schema");
	if (wrapped && wrapped->kind == NODE_IS_OBJECT && !schema)
	{
		schema = json_member_named(wrapped, "schema");
		for (const JsonNode *member = wrapped->first; schema && member; member = member->next)
			if (!is_among(member, wrapped_members))
				pool_fail(&format->pool, STATUS_INVALID_ARGUMENT, "\"json_schema\" has no member \"%.*s\"",
						  (int) (member->key_bytes < 60 ? member->key_bytes : 60), member->key);
	}
	else if (wrapped && schema)
	{
		refuse(format, "\"json_schema\" and \"schema\" must not both be given");
		return NULL;
	}
	if (!schema)
		refuse(format, "\"json_schema\" must have a member \"schema\"");
	return schema;
}

/* Is there a value of a part of the schema by itself? */
static bool
has_value(Format *format, uint32_t node)
{
	Formulas *formulas = &format->formulas;
	uint32_t conjunction = conjunction_reduce(formulas, conjunction_of(formulas, LITERAL(node, false)));

	return pool_failed(&format->pool) ||
		   (conjunction != C_FALSE &&
			frame_cost(&format->machine, frame_of_value(&format->machine, conjunction)).bytes != NO_COST);
}

/* A part that a value of a node must have, and for which there is no value; NO_NODE: none is known. */
static uint32_t
part_without_value(Format *format, const SchemaNode *node)
{
	if (node->ref != NO_NODE && !has_value(format, node->ref))
		return node->ref;
	for (uint32_t i = 0; i < node->all_of.n; i++)
		if (!has_value(format, node->all_of.at[i]))
			return node->all_of.at[i];
	for (uint32_t i = 0; i < node->properties.n; i++)
		for (uint32_t k = 0; k < node->required.n; k++)
			if (node->required.at[k] == node->properties.at[2 * i] &&
				!has_value(format, node->properties.at[2 * i + 1]))
				return node->properties.at[2 * i + 1];
	for (uint32_t i = 0; i < node->prefix.n && i < node->min_items; i++)
		if (!has_value(format, node->prefix.at[i]))
			return node->prefix.at[i];
	if (node->items != NO_NODE && node->min_items > node->prefix.n && !has_value(format, node->items))
		return node->items;
	return NO_NODE;
}

/* No value satisfies the schema: say where, as deep as that is known. */
static void
refuse_unsatisfiable(Format *format)
{
	const Schema *schema = &format->schema;
	uint32_t node = schema->root, part;

	for (int depth = 0; depth < SCHEMA_MAX_DEPTH && !pool_failed(&format->pool); depth++)
	{
		part = part_without_value(format, schema->nodes[node]);
		/* of false there is no place */
		if (part == NO_NODE || !schema->nodes[part]->json)
			break;
		node = part;
	}
	pool_fail(&format->pool, STATUS_INVALID_ARGUMENT, "no value satisfies the schema%s%.300s",
			  *schema->nodes[node]->path ? NO_VALUE_AT : "", schema->nodes[node]->path);
}

/* Values of a schema (NULL: all objects). */
static void
begin_json(Format *format, const JsonNode *schema, const char *path, uint32_t ignored, bool is_compact)
{
	static JsonNode anything = {.kind = NODE_IS_BOOL, .boolean = true};
	uint32_t conjunction;

	format->is_json = true;
	schema_open(&format->schema, &format->pool, &format->expressions, schema ? schema : &anything, path, ignored);
	if (pool_failed(&format->pool))
		return;
	if (!schema)
	{
		uint32_t root = 0;
		SchemaNode *node = pool_alloc(&format->pool, 1, sizeof *node);

		/* the node true, of objects alone */
		root = format->schema.root;
		if (!node)
			return;
		*node = *format->schema.nodes[root];
		node->types = TYPE_OBJECT;
		if (pool_grow(&format->pool, &format->schema.nodes, format->schema.n_nodes, &format->schema.capacity,
					  sizeof *format->schema.nodes))
		{
			format->schema.nodes[format->schema.n_nodes] = node;
			format->schema.root = format->schema.n_nodes++;
		}
	}
	formulas_open(&format->formulas, &format->schema, schema_formula);
	machine_open(&format->machine, &format->formulas, is_compact);
	if (pool_failed(&format->pool))
		return;
	conjunction =
		conjunction_reduce(&format->formulas, conjunction_of(&format->formulas, LITERAL(format->schema.root, false)));
	if (pool_failed(&format->pool))
		return;
	if (conjunction == C_FALSE ||
		frame_cost(&format->machine, frame_of_value(&format->machine, conjunction)).bytes == NO_COST)
		refuse_unsatisfiable(format);
	else
		machine_begin_value(&format->machine, conjunction);
}

/* A machine without a schema. */
static void
open_machine(Format *format)
{
	static const JsonNode anything = {.kind = NODE_IS_BOOL, .boolean = true};

	schema_open(&format->schema, &format->pool, &format->expressions, &anything, "", 0);
	if (pool_failed(&format->pool))
		return;
	formulas_open(&format->formulas, &format->schema, schema_formula);
	machine_open(&format->machine, &format->formulas, false);
}

static void
begin_regex(Format *format, const JsonNode *json)
{
	const JsonNode *pattern = json_member_named(json, "pattern");
	uint32_t expression;

	if (!pattern || pattern->kind != NODE_IS_STRING)
	{
		refuse(format, "the form \"regex\" must have a member \"pattern\", a string");
		return;
	}
	open_machine(format);
	expression =
		pool_failed(&format->pool) ? E_NONE : pattern_read(&format->expressions, pattern->text, pattern->n, true);
	if (!pool_failed(&format->pool))
		machine_begin_text(&format->machine, expression);
}

static void
begin_choice(Format *format, const JsonNode *json)
{
	const JsonNode *choices = json_member_named(json, "choices");
	ByteSpan *texts;
	uint32_t n = 0;

	if (!choices || choices->kind != NODE_IS_ARRAY || choices->n == 0)
	{
		refuse(format, "the form \"choice\" must have a member \"choices\", an array of strings");
		return;
	}
	if (choices->n > MAX_CHOICES)
	{
		pool_fail(&format->pool, STATUS_TOO_LONG, "\"choices\" has %u strings, the limit is %d", choices->n,
				  MAX_CHOICES);
		return;
	}
	open_machine(format);
	texts = pool_alloc(&format->pool, choices->n, sizeof *texts);
	for (const JsonNode *one = choices->first; texts && one; one = one->next)
	{
		if (one->kind != NODE_IS_STRING || one->n == 0 || memchr(one->text, 0, one->n))
		{
			refuse(format, "\"choices\" must be strings that are not empty");
			return;
		}
		texts[n++] = (ByteSpan){one->text, one->n};
	}
	if (!pool_failed(&format->pool))
		machine_begin_words(&format->machine, texts, n);
}

static void
begin_copy(Format *format, const JsonNode *json)
{
	format->copy = copy_open(&format->pool, json);
	format->walk = &copy_walk;
}

static void
begin_form(Format *format, const JsonNode *json, const char *form)
{
	const char *path;
	const JsonNode *schema;

	if (strcmp(form, "grammar") == 0)
	{
		pool_fail(&format->pool, STATUS_UNSUPPORTED,
				  "the form \"grammar\" is not supported: take \"regex\", \"choice\" or a JSON schema");
		return;
	}
	check_members(format, json, form);
	if (pool_failed(&format->pool))
		return;
	if (strcmp(form, "json_object") == 0)
		begin_json(format, NULL, "", 0, read_whitespace(format, json));
	else if (strcmp(form, "copy") == 0)
		begin_copy(format, json);
	else if (strcmp(form, "regex") == 0)
		begin_regex(format, json);
	else if (strcmp(form, "choice") == 0)
		begin_choice(format, json);
	else
	{
		schema = find_schema(format, json, &path);
		if (schema)
			begin_json(format, schema, path,
					   read_leave(format, json, "ignore", "\"format\" and \"uniqueItems\"") |
						   read_leave(format, json, "relax", "\"oneOf\"") | read_closed(format, json),
					   read_whitespace(format, json));
	}
}

/* Write down the shortest text, and see that there is one. */
static void
find_shortest(Format *format)
{
	ByteWriter out;
	char *copy;
	Status status;

	byte_writer_init(&out);
	status = format_complete(format, format_start(format), &out);
	if (status.code != STATUS_OK && !pool_failed(&format->pool))
		format->pool.status = status;
	copy = pool_failed(&format->pool) ? NULL : arena_copy(format->pool.arena, (char *) out.data, out.length);
	if (copy)
		format->shortest = (ByteSpan){copy, out.length};
	byte_writer_free(&out);
}

/* Read JSON, which is kept. NULL after a failure. */
static JsonNode *
read_json(Format *format, ByteSpan text)
{
	JsonError error = {0};
	JsonNode *json = NULL;
	char *copy = arena_copy(format->pool.arena, text.data, text.length);

	if (copy)
		json = json_tree_read(format->pool.arena, (ByteSpan){copy, text.length}, JSON_STRICT, NULL, &error);
	if (!copy || (!json && error.out_of_memory))
		pool_fail(&format->pool, STATUS_UNAVAILABLE, "out of memory for a format, or it was cancelled");
	else if (!json)
		pool_fail(&format->pool, STATUS_INVALID_ARGUMENT, "no JSON: %s at byte %zu", error.what ? error.what : "wrong",
				  error.offset + 1);
	return json;
}

/* What is neither a form nor a schema, by the only member that tells the two apart: both are listed. */
static void
check_type(Format *format, const JsonNode *json)
{
	const JsonNode *type = json_member_named(json, "type");

	if (type && type->kind == NODE_IS_STRING && !schema_type_named(type))
		pool_fail(&format->pool, STATUS_INVALID_ARGUMENT,
				  "\"type\" at / must be a form (json_schema, json_object, regex, choice, copy or text) or a schema's "
				  "(" SCHEMA_TYPES "), not \"%.*s\"",
				  (int) (type->n < 60 ? type->n : 60), type->text);
}

/* What response_format says. */
static void
compile_form(Format *format, ByteSpan text)
{
	JsonNode *json = read_json(format, text);
	const char *form;

	if (!json)
		return;
	form = form_of(json);
	if (form)
		begin_form(format, json, form);
	else if (json->kind == NODE_IS_OBJECT || json->kind == NODE_IS_BOOL)
	{
		check_type(format, json);
		if (!pool_failed(&format->pool))
			begin_json(format, json, "", 0, false);
	}
	else
		refuse(format, "it must be an object with a member \"type\", or a schema");
}

/* Tools, beside a form if there is one. */
static void
compile_calls(Format *format, ByteSpan tools, const CallForm *form, bool has_form)
{
	const JsonNode *array = read_json(format, tools);
	bool is_beside = has_form && form->choice == CALLS_MAY;
	CallForm kept = *form;

	if (!array)
		return;
	if (is_beside && format_is_copy(format))
	{
		pool_fail(&format->pool, STATUS_UNSUPPORTED, "a copy cannot stand beside calls; set tool_choice to none");
		return;
	}
	if (!is_beside)
	{
		format->walk = &machine_walk;
		format->is_json = false;
		open_machine(format);
	}
	kept.name.data = form->name.length ? arena_copy(format->pool.arena, form->name.data, form->name.length) : "";
	format->schema.ignored = OF_TOOLS; /* what the form beside leaves out is its own */
	if (!pool_failed(&format->pool) && kept.name.data)
		format->tools = tools_open(&format->machine, array, &kept);
	if (format->tools)
		format->machine.start = tools_start(format->tools, is_beside ? format->machine.start : STATE_DEAD);
}

/* What is found out once about the beginning. */
static void
finish_compiling(Format *format)
{
	Machine *machine = &format->machine;

	if (pool_failed(&format->pool))
		return;
	format->start = format->behind_thinking = format_is_copy(format) ? copy_start(format->copy) : machine->start;
	find_shortest(format);
	/* behind the thinking come line ends, unless those are of the text itself */
	if (!pool_failed(&format->pool) && !format_is_copy(format) && !machine_is_free(machine, machine->start))
		format->behind_thinking = machine_behind_blanks(machine);
}

static bool
is_plain_text(ByteSpan text)
{
	Arena *arena = arena_create(FORMAT_ARENA_BYTES);
	JsonError error;
	JsonNode *json = arena ? json_tree_read(arena, text, JSON_STRICT, NULL, &error) : NULL;
	bool is_text =
		json && json->kind == NODE_IS_OBJECT && json->n == 1 && json_string_is(json_member_named(json, "type"), "text");

	arena_destroy(arena);
	return is_text;
}

Status
format_compile(ByteSpan text, const CancelFlag *cancelled, Format **out)
{
	return format_compile_calls((ByteSpan){NULL, 0}, text, NULL, cancelled, out);
}

Status
format_compile_calls(ByteSpan tools, ByteSpan text, const CallForm *form, const CancelFlag *cancelled, Format **out)
{
	bool has_form = text.data && !(text.length < 100 && is_plain_text(text));
	bool has_calls = tools.data && !(has_form && form->choice == CALLS_NONE);
	const char *subject = "response_format";
	Format *format;
	Status status;

	*out = NULL;
	if (text.length > FORMAT_MAX_BYTES)
		return status_error(STATUS_TOO_LONG, "response_format has %zu bytes, the limit is %d", text.length,
							FORMAT_MAX_BYTES);
	if (!has_form && !has_calls)
		return status_ok();
	format = calloc(1, sizeof *format);
	if (!format || !pool_open(&format->pool))
	{
		free(format);
		return status_error(STATUS_UNAVAILABLE, "out of memory for a format");
	}
	format->walk = &machine_walk;
	arena_set_cancel(format->pool.arena, cancelled);
	expressions_open(&format->expressions, &format->pool);
	if (has_form)
		compile_form(format, text);
	if (has_calls && !pool_failed(&format->pool))
	{
		subject = "tools";
		compile_calls(format, tools, form, has_form);
	}
	finish_compiling(format);
	if (cancel_is_wanted(cancelled))
		format->pool.status = status_error(STATUS_CANCELLED, "the request was cancelled");
	arena_set_cancel(format->pool.arena, NULL);
	format->pool.work = 0;
	status = format->pool.status;
	if (status.code != STATUS_OK)
	{
		format_destroy(format);
		return status_prefix(status, "%s", subject);
	}
	*out = format;
	return status;
}

void
format_destroy(Format *format)
{
	if (!format)
		return;
	pool_close(&format->pool);
	free(format);
}

bool
format_is_json(const Format *format)
{
	return format->is_json;
}

bool
format_is_copy(const Format *format)
{
	return format->walk == &copy_walk;
}

const CallForm *
format_calls(const Format *format)
{
	return format->tools ? &format->tools->form : NULL;
}

bool
format_keeps_tool(const Format *format, ByteSpan tool)
{
	const Tool *found = format->tools ? tools_find(format->tools, tool) : NULL;

	return found && found->is_kept;
}

bool
format_argument_is_text(const Format *format, ByteSpan tool, ByteSpan parameter, ByteSpan value)
{
	const Tool *found = format->tools ? tools_find(format->tools, tool) : NULL;

	return !found || parameter_is_text(tools_parameter(format->tools, found, parameter), value);
}

bool
format_is_free(const Format *format, FormatState state)
{
	return format->tools && machine_is_free(&format->machine, state);
}

FormatState
format_start(const Format *format)
{
	return format->start;
}

FormatState
format_start_behind_thinking(Format *format)
{
	return format->behind_thinking;
}

FormatState
format_take(Format *format, FormatState state, const char *bytes, size_t n)
{
	return format->walk->take(format, state, bytes, n);
}

bool
format_is_complete(const Format *format, FormatState state)
{
	return format->walk->is_complete(format, state);
}

bool
format_is_over(const Format *format, FormatState state)
{
	return format->walk->is_over(format, state);
}

ByteSpan
format_shortest(const Format *format)
{
	return format->shortest;
}

uint32_t
format_completion_bound(Format *format, FormatState state)
{
	return format->walk->completion_bound(format, state);
}

Status
format_complete(Format *format, FormatState state, ByteWriter *out)
{
	return format->walk->complete(format, state, out);
}

void
format_forced(Format *format, FormatState state, size_t limit, ByteWriter *out)
{
	format->walk->likely(format, state, limit, out);
}

Status
format_status(const Format *format)
{
	return format->pool.status;
}

size_t
format_bytes(const Format *format)
{
	return arena_used(format->pool.arena);
}

Status
format_check(ByteSpan text, const CancelFlag *cancelled, ByteWriter *out)
{
	Format *format;
	Status status = format_compile(text, cancelled, &format);
	const char *keyword = status.message, *path = NULL, *end, *where;

	format_destroy(format);
	if (status.code == STATUS_UNAVAILABLE || status.code == STATUS_CANCELLED || status.code == STATUS_INTERNAL)
		return status;
	write_u8(out, '[');
	if (status.code != STATUS_OK)
	{
		/* response_format: "keyword" at /path … */
		if (strncmp(keyword, "response_format: ", 17) == 0)
			keyword += 17;
		write_raw(out, "{\"path\":", 8);
		end = *keyword == '"' ? strchr(keyword + 1, '"') : NULL;
		where = strstr(keyword, "the schema" NO_VALUE_AT "/");
		if (end && strncmp(end, "\" at /", 6) == 0)
			path = end + 5;
		if (path)
		{
			size_t length = strcspn(path, " :");

			json_write_string(out, path, length == 1 ? 0 : length);
			write_raw(out, ",\"keyword\":", 11);
			json_write_string(out, keyword + 1, (size_t) (end - keyword - 1));
		}
		else if (where)
		{
			json_write_string(out, strchr(where, '/'), strlen(strchr(where, '/')));
			write_raw(out, ",\"keyword\":null", 15);
		}
		else
			write_raw(out, "null,\"keyword\":null", 19);
		write_raw(out, ",\"problem\":", 11);
		json_write_string(out, keyword, strlen(keyword));
		write_u8(out, '}');
	}
	write_u8(out, ']');
	return out->failed ? status_error(STATUS_UNAVAILABLE, "out of memory for a message") : status_ok();
}
