/*
 * tools.c - see tools.h.
 */
#include "tools.h"

#include <stdlib.h>
#include <string.h>

#include "conjunctions.h"
#include "costs.h"
#include "frames.h"
#include "keys.h"
#include "parameters.h"
#include "scalars.h"

#define SHOWN_NAME_BYTES 80

/* ---- reading --------------------------------------------------------------------------------------------------- */

static int
compare_spans(ByteSpan a, ByteSpan b)
{
	return json_compare(a.data, (uint32_t) a.length, b.data, (uint32_t) b.length);
}

/* By name, then by place. */
static int
compare_tools(const void *left, const void *right)
{
	const Tool *a = left, *b = right;
	int order = compare_spans(a->name, b->name);

	return order ? order : a->json < b->json ? -1 : a->json > b->json;
}

/* Note the tools that have a name; of several of one name the first one. */
static void
list_tools(Tools *tools, Pool *pool, const JsonNode *array)
{
	uint32_t n = 0;

	tools->at = pool_alloc(pool, array->n, sizeof *tools->at);
	for (const JsonNode *one = array->first; tools->at && one; one = one->next)
	{
		const JsonNode *inner = json_member_named(one, "function"),
					   *name = json_member_named(inner ? inner : one, "name");

		if (name && name->kind == NODE_IS_STRING && name->n > 0 && !memchr(name->text, 0, name->n))
			tools->at[tools->n++] = (Tool){.name = {name->text, name->n}, .json = inner ? inner : one};
	}
	if (!tools->at)
		return;
	qsort(tools->at, tools->n, sizeof *tools->at, compare_tools);
	for (uint32_t i = 0; i < tools->n; i++)
		if (n == 0 || compare_spans(tools->at[n - 1].name, tools->at[i].name) != 0)
			tools->at[n++] = tools->at[i];
	tools->n = n;
}

static void
refuse_tool(Pool *pool, const Tool *tool, StatusCode code, const char *what)
{
	pool_fail(pool, code, "tool \"%.*s\": %s",
			  (int) (tool->name.length < SHOWN_NAME_BYTES ? tool->name.length : SHOWN_NAME_BYTES), tool->name.data,
			  what);
}

/* What a tool without a schema takes: no arguments. */
static const JsonNode *
no_parameters(void)
{
	static JsonNode nothing = {.kind = NODE_IS_BOOL, .key = "additionalProperties", .key_bytes = 20, .boolean = false};
	static JsonNode none = {.kind = NODE_IS_OBJECT, .n = 1, .first = &nothing};

	return &none;
}

static const JsonNode *
parameters_of(const Tool *tool)
{
	const JsonNode *parameters = json_member_named(tool->json, "parameters");

	if (!parameters)
		parameters = json_member_named(tool->json, "input_schema");
	return parameters && parameters->kind != NODE_IS_NULL ? parameters : no_parameters();
}

/* Does a tool say that its schema is no promise? */
static bool
is_loose(const Tool *tool)
{
	const JsonNode *strict = json_member_named(tool->json, "strict");

	return strict && strict->kind == NODE_IS_BOOL && !strict->boolean;
}

/* An object of the schema's names, with any values; in tags these are texts, whatever will be read of them. */
static const JsonNode *
loosened(Pool *pool, const JsonNode *parameters, bool is_of_tags)
{
	static JsonNode text = {.kind = NODE_IS_STRING, .key = "type", .key_bytes = 4, .text = "string", .n = 6};
	const JsonNode *names = json_member_named(parameters, "properties");
	JsonNode *made = pool_alloc(pool, 1, sizeof *made), *list = pool_alloc(pool, 1, sizeof *list), *last = NULL;

	if (!made || !list)
		return NULL;
	*list = (JsonNode){.kind = NODE_IS_OBJECT, .key = "properties", .key_bytes = 10};
	*made = (JsonNode){.kind = NODE_IS_OBJECT, .n = 1, .first = list};
	for (const JsonNode *one = names && names->kind == NODE_IS_OBJECT ? names->first : NULL; one; one = one->next)
	{
		JsonNode *any = pool_alloc(pool, 1, sizeof *any);

		if (!any)
			return NULL;
		*any = (JsonNode){.kind = NODE_IS_BOOL, .boolean = true, .key = one->key, .key_bytes = one->key_bytes};
		if (is_of_tags)
		{
			any->kind = NODE_IS_OBJECT;
			any->n = 1;
			any->first = &text;
		}
		if (last)
			last->next = any;
		else
			list->first = any;
		last = any;
		list->n++;
	}
	return made;
}

/* Does a schema say itself which members it takes beside those that it names? */
static bool
says_others(const JsonNode *parameters)
{
	static const char *const keywords[] = {"additionalProperties", "patternProperties", "unevaluatedProperties",
										   "propertyNames"};

	for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
		if (json_member_named(parameters, keywords[i]))
			return true;
	return false;
}

/* The plan of a call's arguments, which are an object of a conjunction. */
static ObjectPlan *
plan_arguments(Tools *tools, uint32_t conjunction, bool is_closed)
{
	Machine *machine = tools->machine;
	ObjectPlan *plan = object_plan(machine->formulas, conjunction);

	if (!plan || !pool_grow(machine->pool, &machine->plan_list, machine->n_plans, &machine->plans_capacity,
							sizeof *machine->plan_list))
		return NULL;
	plan->is_of_tags = tools->form.is_of_tags;
	plan->is_closed = is_closed || plan->is_of_tags;
	plan->kinds = pool_alloc(machine->pool, plan->n_names, 1);
	machine->plan_list[machine->n_plans++] = plan;
	return plan->kinds ? plan : NULL;
}

/* The frame of a tool's arguments by a schema. Failures are noted in the pool. */
static void
read_arguments(Tools *tools, Tool *tool, const JsonNode *parameters)
{
	Machine *machine = tools->machine;
	Pool *pool = machine->pool;
	uint32_t node = schema_add(machine->formulas->schema, parameters, ""), conjunction;
	FrameCost cost = {.bytes = NO_COST};
	ObjectPlan *plan;

	if (pool_failed(pool))
		return;
	conjunction = conjunction_reduce(machine->formulas, conjunction_of(machine->formulas, LITERAL(node, false)));
	if (pool_failed(pool))
		return;
	plan = plan_arguments(tools, conjunction, !says_others(parameters));
	if (!plan)
		return;
	tool->plan = machine->n_plans - 1;
	plan->key_list = key_list_of_plan(machine, plan);
	tool->frame = frame_make(machine, FRAME_OBJECT, tool->plan, plan->formula, 0, 1, plan->key_list, 5);
	if (plan->formula != F_FALSE)
		cost = frame_cost(machine, tool->frame);
	if (cost.bytes != NO_COST && cost.height >= MACHINE_MAX_DEPTH)
		pool_fail(pool, STATUS_TOO_LONG,
				  "its least arguments have %u arrays and objects in one another, the limit is %d", cost.height + 1,
				  MACHINE_MAX_DEPTH);
	if (cost.bytes == NO_COST)
		pool_fail(pool, STATUS_INVALID_ARGUMENT,
				  tools->form.is_of_tags
					  ? "no arguments satisfy its schema that can be written in this model's form of calls"
					  : "no arguments satisfy its schema");
}

/* A tool's arguments by its schema or, where that need not be kept and cannot be, by its names. */
static void
read_tool(Tools *tools, Tool *tool)
{
	Pool *pool = tools->machine->pool;
	const JsonNode *parameters = parameters_of(tool);
	bool may_be_loose = tools->form.is_lenient || is_loose(tool);
	Status status;

	if (tools->form.is_of_tags && !tag_takes_name(tool->name))
	{
		refuse_tool(pool, tool, STATUS_INVALID_ARGUMENT,
					"this model's form of calls has no way to write a name with <, >, control characters or blanks at "
					"its ends");
		return;
	}
	tool->is_kept = !is_loose(tool);
	if (tool->is_kept)
		read_arguments(tools, tool, parameters);
	status = pool->status;
	if (status.code == STATUS_OK && tool->is_kept)
		return;
	if (may_be_loose && status.code != STATUS_UNAVAILABLE && status.code != STATUS_CANCELLED &&
		pool->work <= FORMAT_MAX_WORK)
	{
		pool->status = status_ok();
		tool->is_kept = false;
		parameters = loosened(pool, parameters, tools->form.is_of_tags);
		if (parameters)
			read_arguments(tools, tool, parameters);
		return;
	}
	if (status.code != STATUS_UNAVAILABLE && status.code != STATUS_CANCELLED)
	{
		pool->status = status_ok();
		refuse_tool(pool, tool, status.code, status.message);
	}
}

/* ---- frames ---------------------------------------------------------------------------------------------------- */

/* A list of words that can be filled after its frame stands: what comes behind words may lead back to them. */
static uint32_t
words_frame(Machine *machine, uint32_t *pick)
{
	*pick = pick_new(machine);
	return pool_failed(machine->pool) ? 0 : frame_make(machine, FRAME_WORDS, *pick, 0, 0, 0, 0, 1);
}

static void
add_word(Machine *machine, uint32_t pick, const char *text, uint32_t n_frames, uint32_t first, uint32_t second)
{
	if (!pool_failed(machine->pool))
		pick_add(machine, machine->picks[pick], frame_span(text), n_frames, first, second);
}

/* The opening and closing of a call, as the model has them. */
static const char *
opening(const CallForm *form)
{
	static const char byte[] = {CALL_OPEN_BYTE, 0};

	return form->has_open ? byte : CALL_OPEN_TEXT;
}

static const char *
closing(const CallForm *form)
{
	static const char byte[] = {CALL_CLOSE_BYTE, 0};

	return form->has_close ? byte : CALL_CLOSE_TEXT;
}

static bool
is_asked_for(const Tools *tools, const Tool *tool)
{
	return tools->form.choice != CALLS_ONE || compare_spans(tools->form.name, tool->name) == 0;
}

/* The names of tools and their arguments, behind what opens a call and before what closes it. */
static uint32_t
frame_of_names(Tools *tools)
{
	Machine *machine = tools->machine;
	bool is_of_tags = tools->form.is_of_tags;
	uint32_t pick, end, frame = words_frame(machine, &pick), end_frame = words_frame(machine, &end);

	add_word(machine, end, is_of_tags ? "</function>" : "}", 0, 0, 0);
	for (uint32_t i = 0; i < tools->n && pool_work(machine->pool, 1); i++)
	{
		const Tool *tool = &tools->at[i];
		ByteSpan name = is_of_tags ? tool->name : scalar_spell(machine->pool, tool->name);

		if (name.data && is_asked_for(tools, tool))
			pick_add(machine, machine->picks[pick],
					 frame_join(machine, "", name, is_of_tags ? ">\n" : ", \"arguments\": {"), 2, tool->frame,
					 end_frame);
	}
	return frame;
}

/* Behind the opening of a call: the call, its closing, and what comes next. */
static uint32_t
frame_of_call(Tools *tools, uint32_t names, uint32_t next, bool has_next)
{
	Machine *machine = tools->machine;
	uint32_t pick, end, frame = words_frame(machine, &pick), end_frame = words_frame(machine, &end);
	ByteSpan close = frame_join(machine, "\n", frame_span(closing(&tools->form)), "");

	add_word(machine, pick, tools->form.is_of_tags ? "\n" CALL_FUNCTION_TEXT : "\n{\"name\": ", 2, names, end_frame);
	if (!pool_failed(machine->pool))
		pick_add(machine, machine->picks[end], close, has_next, next, 0);
	return frame;
}

/* A free text in which calls may stand; or none, and then what would open one does not. */
static uint32_t
frame_of_text(Tools *tools)
{
	Machine *machine = tools->machine;
	uint32_t nothing, words = pick_new(machine), dead = words_frame(machine, &nothing);
	uint32_t frame = frame_make(machine, FRAME_FREE, words, 0, 0, 0, 0, 3), call = dead, names = dead;
	bool has_calls = tools->form.choice != CALLS_NONE && tools->n > 0;

	if (has_calls)
	{
		names = frame_of_names(tools);
		call = frame_of_call(tools, names, frame, true);
	}
	add_word(machine, words, CALL_OPEN_TEXT, 1, call, 0);
	if (tools->form.has_open)
		add_word(machine, words, opening(&tools->form), 1, call, 0);
	/* models forget to open what they close; where the form is JSON these are words about something */
	if (tools->form.is_of_tags)
		add_word(machine, words, CALL_FUNCTION_TEXT, has_calls ? 2 : 1, names, frame);
	return frame;
}

/* Calls one after the other, or one alone. */
static uint32_t
frame_of_calls(Tools *tools)
{
	Machine *machine = tools->machine;
	uint32_t pick, again, frame = words_frame(machine, &pick), again_frame = words_frame(machine, &again);
	uint32_t call = frame_of_call(tools, frame_of_names(tools), again_frame, tools->form.choice != CALLS_ONE);

	add_word(machine, pick, opening(&tools->form), 1, call, 0);
	add_word(machine, again, "", 0, 0, 0);
	add_word(machine, again, "\n", 1, frame, 0);
	return frame;
}

uint32_t
tools_start(Tools *tools, uint32_t beside)
{
	Machine *machine = tools->machine;
	CallChoice choice = tools->form.choice;
	bool is_free = beside == STATE_DEAD && (choice == CALLS_MAY || choice == CALLS_NONE);
	uint32_t frame = is_free ? frame_of_text(tools) : frame_of_calls(tools);

	if (pool_failed(machine->pool))
		return STATE_DEAD;
	return machine_start_of(machine, frame, choice == CALLS_MAY ? beside : STATE_DEAD);
}

Tools *
tools_open(Machine *machine, const JsonNode *array, const CallForm *form)
{
	Pool *pool = machine->pool;
	Tools *tools = pool_alloc(pool, 1, sizeof *tools);
	bool has_asked = form->choice == CALLS_MAY || form->choice == CALLS_NONE;

	if (!tools)
		return NULL;
	*tools = (Tools){.machine = machine, .form = *form};
	if (!array || array->kind != NODE_IS_ARRAY)
		pool_fail(pool, STATUS_INVALID_ARGUMENT, "it must be an array");
	else
		list_tools(tools, pool, array);
	for (uint32_t i = 0; i < tools->n && form->choice != CALLS_NONE && !pool_failed(pool); i++)
		if (is_asked_for(tools, &tools->at[i]))
		{
			has_asked = true;
			read_tool(tools, &tools->at[i]);
		}
	if (!has_asked && form->choice == CALLS_ONE)
		pool_fail(pool, STATUS_INVALID_ARGUMENT, "there is no tool \"%.*s\" for tool_choice",
				  (int) (form->name.length < SHOWN_NAME_BYTES ? form->name.length : SHOWN_NAME_BYTES), form->name.data);
	else if (!has_asked)
		pool_fail(pool, STATUS_INVALID_ARGUMENT, "there is no tool to call, as tool_choice requires");
	return pool_failed(pool) ? NULL : tools;
}

const Tool *
tools_find(const Tools *tools, ByteSpan name)
{
	uint32_t low = 0, high = tools->n;

	while (low < high)
	{
		uint32_t middle = low + (high - low) / 2;
		int order = compare_spans(tools->at[middle].name, name);

		if (order == 0)
			return &tools->at[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

uint32_t
tools_parameter(const Tools *tools, const Tool *tool, ByteSpan name)
{
	Machine *machine = tools->machine;
	ObjectPlan *plan = machine->plan_list[tool->plan];

	for (uint32_t i = 0; i < plan->n_names; i++)
		if (compare_spans(schema_span(machine->formulas->schema, plan->names[i]), name) == 0)
			return parameter_kinds(machine, plan, i);
	return 0;
}
