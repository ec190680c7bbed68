/*
 * call_options.c - the arguments that all text-producing functions end with.
 */
#include "call_options.h"

#include "../../base/utf8.h"
#include "../client/client.h"
#include "../core/errors.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "../limits/limits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#define SHOWN_NAME_BYTES 128 /* of a name that is too long to be a model's */

const TailArgument tail_arguments[N_TAIL_ARGUMENTS] = {
	{"model", TEXTOID},
	{"max_tokens", INT4OID},
	{"temperature", FLOAT8OID},
	{"top_p", FLOAT8OID},
	{"min_p", FLOAT8OID},
	{"top_k", INT4OID},
	{"repetition_penalty", FLOAT8OID},
	{"presence_penalty", FLOAT8OID},
	{"frequency_penalty", FLOAT8OID},
	{"seed", INT8OID},
	{"stop", TEXTARRAYOID},
	{"thinking", BOOLOID},
	{"thinking_budget", INT4OID},
	{"response_format", JSONOID},
	{"adapter", TEXTOID},
	{"options", JSONOID},
};

void
options_set_instruction(FunctionCallInfo fcinfo, int argument, Request *request)
{
	if (PG_ARGISNULL(argument))
		return;
	require_text(PG_GETARG_TEXT_PP(argument), "instruction");
	request->instruction = span_from_text(PG_GETARG_TEXT_PP(argument));
}

void
options_set_model(Request *request, text *name, const char *fallback)
{
	if (name)
		request->model = span_from_text(name);
	else if (fallback && *fallback)
		/* a copy: the setting may change while the request waits to be sent, or for its next step */
		request->model = span_from_cstring(pstrdup(fallback));
	else
		return;
	/* cut off, it might be another model's name */
	if (request->model.length == 0 || request->model.length > PROTOCOL_MAX_NAME_BYTES)
	{
		char shown[SHOWN_NAME_BYTES];

		require_preloaded();
		utf8_copy(shown, sizeof shown, pnstrdup(request->model.data, request->model.length));
		raise_not_loaded(shown);
	}
}

/* An adapter's name. It may be said once. */
static void
set_adapter(Request *request, ByteSpan name)
{
	if (request->adapter.data)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options: \"adapter\" is given as an argument too")));
	if (name.length == 0 || name.length > PROTOCOL_MAX_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("adapter must have between 1 and %d bytes, not %zu", PROTOCOL_MAX_NAME_BYTES, name.length)));
	request->adapter = name;
}

/* The array of stop strings. */
static void
read_stops(ArrayType *array, Request *request)
{
	Datum *elements;
	bool *nulls;
	int n;

	require_one_dimension(array, "stop");
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	if (n > PROTOCOL_MAX_STOPS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("stop must have at most %d elements, not %d", PROTOCOL_MAX_STOPS, n)));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("stop[%d] must not be null", i + 1)));
		request->stops[i] = span_from_text(DatumGetTextPP(elements[i]));
	}
	request->n_stops = n;
}

static bool
given(FunctionCallInfo fcinfo, int argument)
{
	return !PG_ARGISNULL(argument);
}

/* A key of the argument options, and what it changes in a request; read raises what is wrong with the value. */
typedef struct NamedOption
{
	const char *name;
	void (*read)(const JsonbValue *value, Request *request);
} NamedOption;

static void
read_adapter(const JsonbValue *value, Request *request)
{
	if (value->type == jbvNull)
		return;
	if (value->type != jbvString)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options: \"adapter\" must be a text")));
	set_adapter(request, span_from_text(cstring_to_text_with_len(value->val.string.val, value->val.string.len)));
}

static void
read_adapter_scale(const JsonbValue *value, Request *request)
{
	if (value->type == jbvNull)
		return;
	if (value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options: \"adapter_scale\" must be a number")));
	request->options.given |= OPTION_ADAPTER_SCALE;
	request->options.adapter_scale =
		DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
}

/* A member of an object, or NULL. */
static const JsonbValue *
member_of(const JsonbValue *object, const char *name)
{
	JsonbValue key = {.type = jbvString, .val.string = {(int) strlen(name), (char *) name}};

	if (!object || object->type != jbvBinary || !JsonContainerIsObject(object->val.binary.data))
		return NULL;
	return findJsonbValueFromContainer(object->val.binary.data, JB_FOBJECT, &key);
}

static bool
text_is(const JsonbValue *value, const char *text)
{
	return value && value->type == jbvString && value->val.string.len == (int) strlen(text) &&
		   memcmp(value->val.string.val, text, strlen(text)) == 0;
}

/* The name in {"type": "function", "function": {"name": ...}}, which stands without "function" in a newer interface;
 * NULL: it is none of them. */
static const JsonbValue *
chosen_name(const JsonbValue *value)
{
	const JsonbValue *function = member_of(value, "function"), *name = member_of(function ? function : value, "name");

	return text_is(member_of(value, "type"), "function") && name && name->type == jbvString ? name : NULL;
}

/* "auto", "none", "required", or the name of a tool, alone or as an object. */
static void
read_tool_choice(const JsonbValue *value, Request *request)
{
	const JsonbValue *name = value->type == jbvString ? value : chosen_name(value);

	if (value->type == jbvNull)
		return;
	if (!name || name->val.string.len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options: \"tool_choice\" must be \"auto\", \"none\", \"required\" or the name of a tool"),
				 errhint("options => '{\"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": \"...\"}}}' "
						 "names a tool of any name.")));
	if (text_is(value, "auto"))
		request->tool_choice = TOOL_CHOICE_AUTO;
	else if (text_is(value, "none"))
		request->tool_choice = TOOL_CHOICE_NONE;
	else if (text_is(value, "required"))
		request->tool_choice = TOOL_CHOICE_REQUIRED;
	else
	{
		request->tool_choice = TOOL_CHOICE_NAMED;
		request->tool_name = span_from_text(cstring_to_text_with_len(name->val.string.val, name->val.string.len));
	}
}

/* Without tools there is nothing to choose, and what asks for a call is an error. */
static void
check_tool_choice(Request *request)
{
	if (request->tools.data)
		return;
	if (request->tool_choice == TOOL_CHOICE_REQUIRED || request->tool_choice == TOOL_CHOICE_NAMED)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("options: \"tool_choice\" asks for a call, but there are no tools"),
						errhint("Functions that take messages as json or jsonb take tools beside them.")));
	request->tool_choice = TOOL_CHOICE_NOT_GIVEN;
}

/* The keys there are: a row each, in the order of docs/sql.md. */
static const NamedOption named_options[] = {
	{"adapter", read_adapter},
	{"adapter_scale", read_adapter_scale},
	{"tool_choice", read_tool_choice},
	{NULL, NULL},
};

/* Whether the common tail has an argument of that name. */
static bool
is_tail_argument(const char *name)
{
	for (int i = 0; i < N_TAIL_ARGUMENTS; i++)
		if (strcmp(tail_arguments[i].name, name) == 0)
			return true;
	return false;
}

/* An unknown key, with those that there are; one that is an argument is told to be one. */
static void
refuse_key(const char *key)
{
	StringInfoData known;

	initStringInfo(&known);
	for (const NamedOption *option = named_options; option->name; option++)
		appendStringInfo(&known, "%s%s", known.len > 0 ? ", " : "", option->name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options: the key \"%s\" is not known", key),
			 known.len > 0 ? errdetail("The known keys are: %s.", known.data)
						   : errdetail("This version knows no keys: all options have arguments of their own."),
			 is_tail_argument(key) ? errhint("Where a function takes it, it is an argument: %s => value.", key) : 0));
}

static void
read_option(const char *key, const JsonbValue *value, Request *request)
{
	const NamedOption *option = named_options;

	while (option->name && strcmp(option->name, key) != 0)
		option++;
	if (!option->name)
		refuse_key(key);
	else
		option->read(value, request);
}

void
options_read_object(FunctionCallInfo fcinfo, int argument, Request *request)
{
	Jsonb *object;
	JsonbIterator *iterator;
	JsonbValue key, value;

	if (!given(fcinfo, argument))
		return;
	object =
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(PG_GETARG_TEXT_PP(argument)))));
	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object"),
						errhint("options => '{\"name\": value}'")));
	iterator = JsonbIteratorInit(&object->root);
	(void) JsonbIteratorNext(&iterator, &key, true);
	while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&iterator, &value, true);
		read_option(pnstrdup(key.val.string.val, key.val.string.len), &value, request);
	}
	if ((request->options.given & OPTION_ADAPTER_SCALE) && !request->adapter.data)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("options: \"adapter_scale\" is given without an adapter")));
	check_tool_choice(request);
}

void
options_read(FunctionCallInfo fcinfo, int first, Request *request)
{
	SamplingOptions *options = &request->options;
	Status status;

	options_set_model(request, given(fcinfo, first) ? PG_GETARG_TEXT_PP(first) : NULL, qwen_default_model);
	/* the setting is a default that fits any model; the argument is taken at its word */
	options->given = 0;
	options->max_tokens = limits_default_max_tokens(qwen_max_tokens);
#define READ(offset, bit, member, get)                                                                                 \
	if (given(fcinfo, first + (offset)))                                                                               \
	{                                                                                                                  \
		options->given |= (bit);                                                                                       \
		options->member = get(first + offset);                                                                         \
	}
	READ(1, OPTION_MAX_TOKENS, max_tokens, PG_GETARG_INT32)
	READ(2, OPTION_TEMPERATURE, temperature, PG_GETARG_FLOAT8)
	READ(3, OPTION_TOP_P, top_p, PG_GETARG_FLOAT8)
	READ(4, OPTION_MIN_P, min_p, PG_GETARG_FLOAT8)
	READ(5, OPTION_TOP_K, top_k, PG_GETARG_INT32)
	READ(6, OPTION_REPETITION_PENALTY, repetition_penalty, PG_GETARG_FLOAT8)
	READ(7, OPTION_PRESENCE_PENALTY, presence_penalty, PG_GETARG_FLOAT8)
	READ(8, OPTION_FREQUENCY_PENALTY, frequency_penalty, PG_GETARG_FLOAT8)
	READ(9, OPTION_SEED, seed, PG_GETARG_INT64)
	if (given(fcinfo, first + 10))
		read_stops(PG_GETARG_ARRAYTYPE_P(first + 10), request);
	READ(11, OPTION_THINKING, thinking, PG_GETARG_BOOL)
	READ(12, OPTION_THINKING_BUDGET, thinking_budget, PG_GETARG_INT32)
#undef READ
	if (given(fcinfo, first + 13))
		request->format = span_from_text(PG_GETARG_TEXT_PP(first + 13));
	if (given(fcinfo, first + 14))
		set_adapter(request, span_from_text(PG_GETARG_TEXT_PP(first + 14)));
	/* an older script's functions end with adapter */
	if (PG_NARGS() > first + N_TAIL_ARGUMENTS - 1)
		options_read_object(fcinfo, PG_NARGS() - 1, request);
	status = sampling_options_check(options);
	if (status.code != STATUS_OK)
		raise_status(&status);
}

Datum
options_value_of_text(const char *name, char *written, Oid type)
{
	MemoryContext context = CurrentMemoryContext;
	Oid input, parameter;
	Datum value = (Datum) 0;

	getTypeInputInfo(type, &input, &parameter);
	PG_TRY();
	{
		value = OidInputFunctionCall(input, written, parameter, -1);
	}
	PG_CATCH();
	{
		ErrorData *error;

		/* a type's input function tells of the value alone */
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		error->message = psprintf("%s: %s", name, error->message);
		ReThrowError(error);
	}
	PG_END_TRY();
	return value;
}

/* The elements of an array of texts as text[]. */
static Datum
texts_of(const char *argument, const char *key, const JsonbValue *value)
{
	JsonbIterator *iterator = JsonbIteratorInit(value->val.binary.data);
	ArrayBuildState *built = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	JsonbValue element;
	JsonbIteratorToken token = JsonbIteratorNext(&iterator, &element, true);

	while (token == WJB_BEGIN_ARRAY || token == WJB_ELEM)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_ELEM && element.type != jbvString)
			break;
		if (token == WJB_ELEM)
			built = accumArrayResult(
				built, PointerGetDatum(cstring_to_text_with_len(element.val.string.val, element.val.string.len)), false,
				TEXTOID, CurrentMemoryContext);
		token = JsonbIteratorNext(&iterator, &element, true);
	}
	if (token != WJB_END_ARRAY)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s: \"%s\" must be an array of texts", argument, key)));
	return makeArrayResult(built, CurrentMemoryContext);
}

Datum
options_value(const char *argument, const char *key, const JsonbValue *value, Oid type)
{
	char *written;

	if (type == TEXTARRAYOID && value->type == jbvBinary)
		return texts_of(argument, key, value);
	if (type == FLOAT4ARRAYOID && value->type == jbvBinary)
	{
		/* [0.5, -1] and {0.5, -1} */
		written = JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
		if (written[0] == '[')
		{
			written[0] = '{';
			written[strlen(written) - 1] = '}';
		}
		return options_value_of_text(key, written, type);
	}
	if (value->type == jbvBinary && type != JSONOID)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s: \"%s\" must be of type %s", argument, key, format_type_be(type))));
	if (value->type == jbvBinary)
		written = JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
	else if (value->type == jbvNumeric)
		written = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	else if (value->type == jbvBool)
		written = pstrdup(value->val.boolean ? "true" : "false");
	else
		written = pnstrdup(value->val.string.val, value->val.string.len);
	return options_value_of_text(key, written, type);
}
