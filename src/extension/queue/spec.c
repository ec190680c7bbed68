/*
 * spec.c - what a job or a trigger's arguments say is to be done, read and checked.
 */
#include "spec.h"

#include "../call/call.h"
#include "../core/texts.h"
#include "../functions/functions.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "keys.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "prompt_template.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define LONGEST_SUMMARY 1024 /* tokens of a job's summary unless more is asked for, so that it fits beside its text */

static const char *const function_names[] = {"chat", "generate", "summarize", "embed"};

bool
job_function_of(const char *name, JobFunction *function)
{
	for (int i = 0; i < (int) lengthof(function_names); i++)
		if (strcmp(function_names[i], name) == 0)
		{
			*function = i;
			return true;
		}
	return false;
}

const char *
job_function_name(JobFunction function)
{
	return function_names[function];
}

void
job_spec_read_tail(JobSpec *spec, const Datum *values, const bool *nulls)
{
	LOCAL_FCINFO(call, N_TAIL_ARGUMENTS);
	MemoryContext old = MemoryContextSwitchTo(spec->memory);
	Request *request = &spec->request;

	InitFunctionCallInfoData(*call, NULL, N_TAIL_ARGUMENTS, InvalidOid, NULL, NULL);
	for (int i = 0; i < N_TAIL_ARGUMENTS; i++)
	{
		call->args[i].value = values[i];
		call->args[i].isnull = nulls[i];
	}
	memset(request, 0, sizeof *request);
	request->kind = spec->function == JOB_EMBED      ? REQUEST_EMBED
					: spec->function == JOB_GENERATE ? REQUEST_GENERATE
													 : REQUEST_CHAT;
	if (spec->function == JOB_EMBED)
	{
		options_set_model(request, nulls[0] ? NULL : DatumGetTextPP(values[0]), default_embedding_model());
		request->dimensions = spec->dimensions;
		if (spec->instruction)
			request->instruction = span_from_text(spec->instruction);
		options_read_object(call, N_TAIL_ARGUMENTS - 1, request);
	}
	else
		options_read(call, 0, request);
	if (spec->function == JOB_SUMMARIZE)
	{
		task_options(request);
		task_max_tokens(request, Min(spec->max_words * 4, LONGEST_SUMMARY));
	}
	MemoryContextSwitchTo(old);
}

void
job_check_relation(Relation relation, const char *what)
{
	const char *name = RelationGetRelationName(relation);
	char kind = relation->rd_rel->relkind;
	bool is_source = strcmp(what, "source") == 0;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE &&
		(!is_source || (kind != RELKIND_VIEW && kind != RELKIND_MATVIEW && kind != RELKIND_FOREIGN_TABLE)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s: \"%s\" is not a table", what, name)));
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("%s: \"%s\" is a temporary table, which background workers cannot see", what, name)));
}

/* A table's column as the next key. */
static void
add_key(JobSpec *spec, Relation relation, AttrNumber column)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), column - 1);

	spec->keys[spec->n_keys] = pstrdup(NameStr(attribute->attname));
	spec->key_numbers[spec->n_keys] = column;
	spec->key_types[spec->n_keys++] = job_key_type_name(attribute->atttypid);
}

/* Add the columns of an index if it is a primary key's, of few enough columns. */
static void
add_primary_key(JobSpec *spec, Relation relation, Oid index_number)
{
	HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index_number));
	Form_pg_index index;

	if (!HeapTupleIsValid(tuple))
		return;
	index = (Form_pg_index) GETSTRUCT(tuple);
	for (int i = 0;
		 index->indisprimary && index->indisvalid && index->indnkeyatts <= JOB_MAX_KEYS && i < index->indnkeyatts; i++)
		add_key(spec, relation, index->indkey.values[i]);
	ReleaseSysCache(tuple);
}

bool
job_spec_keys_of(JobSpec *spec, Relation relation)
{
	List *indexes = RelationGetIndexList(relation);
	ListCell *cell;

	spec->n_keys = 0;
	/* one that is deferrable is not in rd_pkindex, and tells committed rows apart as well */
	foreach (cell, indexes)
		if (spec->n_keys == 0)
			add_primary_key(spec, relation, lfirst_oid(cell));
	list_free(indexes);
	return spec->n_keys > 0;
}

/* The columns by which rows were queued. */
static void
take_keys(JobSpec *spec, Relation relation, const AttrNumber *numbers, int n)
{
	spec->n_keys = 0;
	for (int i = 0; i < n && i < JOB_MAX_KEYS; i++)
	{
		if (numbers[i] < 1 || numbers[i] > RelationGetNumberOfAttributes(relation) ||
			TupleDescAttr(RelationGetDescr(relation), numbers[i] - 1)->attisdropped)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
							errmsg("a key column of table \"%s\" was dropped that the row was queued by",
								   RelationGetRelationName(relation))));
		add_key(spec, relation, numbers[i]);
	}
}

void
job_check_target(Relation target, const char *column, JobFunction function)
{
	const char *table = RelationGetRelationName(target);
	AttrNumber number = get_attnum(RelationGetRelid(target), column);
	Oid given = function == JOB_EMBED ? FLOAT4ARRAYOID : TEXTOID, type;

	if (number <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("target: table \"%s\" has no column \"%s\"", table, column)));
	type = get_atttype(RelationGetRelid(target), number);
	if (TupleDescAttr(RelationGetDescr(target), number - 1)->attgenerated)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("target: column \"%s\" of table \"%s\" is a generated column", column, table)));
	if (TupleDescAttr(RelationGetDescr(target), number - 1)->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("target: column \"%s\" of table \"%s\" is an identity column", column, table)));
	/* any type can be assigned to text: an embedding as text would be a mistake */
	if (!can_coerce_type(1, &given, &type, COERCION_ASSIGNMENT) ||
		(function == JOB_EMBED && TypeCategory(type) == TYPCATEGORY_STRING))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("target: column \"%s\" of table \"%s\" is of type %s, which does not take %s", column,
							   table, format_type_be(type), format_type_be(given)),
						function == JOB_EMBED ? errhint("Embeddings go into columns of type real[] or vector.") : 0));
}

/* Values of the common tail, from "name=value" arguments of a trigger. */
typedef struct TailValues
{
	Datum values[N_TAIL_ARGUMENTS];
	bool nulls[N_TAIL_ARGUMENTS];
} TailValues;

static Datum
input_value(const char *value, Oid type)
{
	Oid input, parameter;

	getTypeInputInfo(type, &input, &parameter);
	return OidInputFunctionCall(input, pstrdup(value), parameter, -1);
}

/* Is argument "name=…"? Then its value. */
static const char *
value_of(const char *argument, const char *name)
{
	size_t length = strlen(name);

	return strncmp(argument, name, length) == 0 && argument[length] == '=' ? argument + length + 1 : NULL;
}

/* Does an argument of the tail mean something to embeddings: only model and options do. */
static bool
is_tail_of(int i, bool embeds)
{
	return !embeds || i == 0 || i == N_TAIL_ARGUMENTS - 1;
}

/* One "name=value" argument. */
static bool
read_option(JobSpec *spec, const char *argument, TailValues *tail)
{
	bool embeds = spec->function == JOB_EMBED;
	const char *value;

	if (!embeds && (value = value_of(argument, "system")) != NULL)
		spec->system = cstring_to_text(value);
	else if (embeds && (value = value_of(argument, "instruction")) != NULL)
		spec->instruction = cstring_to_text(value);
	else if (embeds && (value = value_of(argument, "dimensions")) != NULL)
		spec->dimensions = DatumGetInt32(input_value(value, INT4OID));
	else if ((value = value_of(argument, "max_attempts")) != NULL)
		spec->max_attempts = DatumGetInt32(input_value(value, INT4OID));
	else
	{
		for (int i = 0; i < N_TAIL_ARGUMENTS; i++)
			if (is_tail_of(i, embeds) && (value = value_of(argument, tail_arguments[i].name)) != NULL)
			{
				tail->values[i] = input_value(value, tail_arguments[i].type);
				tail->nulls[i] = false;
				return true;
			}
		return false;
	}
	return true;
}

/* All of a trigger's arguments after target and template. */
static void
read_options(JobSpec *spec, const char *function, const Trigger *trigger)
{
	TailValues tail;

	memset(tail.nulls, true, sizeof tail.nulls);
	memset(tail.values, 0, sizeof tail.values);
	for (int i = 2; i < trigger->tgnargs; i++)
		if (!read_option(spec, trigger->tgargs[i], &tail))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("%s: the argument \"%s\" is not known", function, trigger->tgargs[i]),
							errhint(spec->function == JOB_EMBED
										? "Further arguments look like 'name=value', with the names model, "
										  "instruction, dimensions, max_attempts and options."
										: "Further arguments look like 'name=value', with the names system, "
										  "max_attempts and those of qwen_chat: 'max_tokens=60'.")));
	if (spec->max_attempts < 1 || spec->max_attempts > JOB_MAX_ATTEMPTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s: max_attempts must be between 1 and %d, not %d",
																  function, JOB_MAX_ATTEMPTS, spec->max_attempts)));
	if (spec->dimensions < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s: dimensions must be at least 1, not %d", function, spec->dimensions)));
	job_spec_read_tail(spec, tail.values, tail.nulls);
}

/* What tells two versions of a trigger apart. */
static char *
join_arguments(const Trigger *trigger)
{
	StringInfoData all;

	initStringInfo(&all);
	appendStringInfo(&all, "%u", trigger->tgfoid);
	for (int i = 0; i < trigger->tgnargs; i++)
		appendStringInfo(&all, "\n%s", quote_literal_cstr(trigger->tgargs[i]));
	return all.data;
}

/* The template's columns must be there, and must not hold the answer. */
static void
check_prompt(const JobSpec *spec, Relation relation, const char *function)
{
	List *used;
	ListCell *cell;

	(void) prompt_expression(spec->prompt, RelationGetDescr(relation), function, &used);
	foreach (cell, used)
		if (strcmp(lfirst(cell), spec->target_column) == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("%s: the answer of column \"%s\" cannot be made from the column itself", function,
								   spec->target_column)));
}

/* May the owner read a column? */
static bool
may_read(Relation relation, const char *column)
{
	Oid owner = relation->rd_rel->relowner;

	return pg_attribute_aclcheck(RelationGetRelid(relation), get_attnum(RelationGetRelid(relation), column), owner,
								 ACL_SELECT) == ACLCHECK_OK;
}

/* The worker reads and writes as the table's owner, who may have taken privileges from itself. */
static void
check_owner(const JobSpec *spec, Relation relation, const char *function)
{
	Oid table = RelationGetRelid(relation), owner = relation->rd_rel->relowner;
	AttrNumber column = get_attnum(table, spec->target_column);
	bool may = pg_class_aclcheck(table, owner, ACL_UPDATE) == ACLCHECK_OK ||
			   pg_attribute_aclcheck(table, column, owner, ACL_UPDATE) == ACLCHECK_OK;

	if (may && pg_class_aclcheck(table, owner, ACL_SELECT) != ACLCHECK_OK)
	{
		List *used;
		ListCell *cell;

		(void) prompt_expression(spec->prompt, RelationGetDescr(relation), function, &used);
		foreach (cell, used)
			may &= may_read(relation, lfirst(cell));
		for (int i = 0; i < spec->n_keys; i++)
			may &= may_read(relation, spec->keys[i]);
	}
	if (!may)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("%s: permission denied for table %s", function, RelationGetRelationName(relation)),
						errdetail("A background worker reads rows and fills in column \"%s\" as the table's owner, "
								  "\"%s\".",
								  spec->target_column, GetUserNameFromId(owner, false))));
}

JobSpec *
job_spec_of_trigger(Relation relation, const Trigger *trigger, const AttrNumber *key_numbers, int n_keys,
					MemoryContext parent)
{
	const char *function = get_func_name(trigger->tgfoid);
	/* goes with the current context should an error be raised */
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "qwen_pg trigger", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(memory);
	JobSpec *spec = palloc0(sizeof *spec);

	spec->memory = memory;
	spec->function = strcmp(function, "qwen_enqueue_embed_trigger") == 0 ? JOB_EMBED : JOB_CHAT;
	spec->relation = spec->target = RelationGetRelid(relation);
	spec->trigger = pstrdup(trigger->tgname);
	spec->trigger_number = trigger->tgoid;
	spec->trigger_arguments = join_arguments(trigger);
	spec->max_attempts = JOB_DEFAULT_ATTEMPTS;
	if (trigger->tgnargs < 2)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s takes 2 or more arguments, not %d", function, trigger->tgnargs),
						errhint("EXECUTE FUNCTION %s('target column', 'template with {column}', 'name=value', ...)",
								function)));
	spec->target_column = pstrdup(trigger->tgargs[0]);
	spec->prompt = pstrdup(trigger->tgargs[1]);
	read_options(spec, function, trigger);
	job_check_relation(relation, "target");
	job_check_target(relation, spec->target_column, spec->function);
	check_prompt(spec, relation, function);
	if (key_numbers)
		take_keys(spec, relation, key_numbers, n_keys);
	else if (!job_spec_keys_of(spec, relation))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s: table \"%s\" has no primary key", function, RelationGetRelationName(relation)),
				 errdetail("A queued row is found again by its primary key, of at most %d columns.", JOB_MAX_KEYS),
				 errhint("ALTER TABLE ... ADD PRIMARY KEY (...).")));
	check_owner(spec, relation, function);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(memory, parent);
	return spec;
}
