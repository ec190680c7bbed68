/*
 * spec.c - what a job or a trigger's arguments say is to be done, read and checked.
 */
#include "spec.h"
#include "target.h"

#include "../call/call.h"
#include "../core/texts.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "keys.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "prompt_template.h"
#include "trigger_use.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* A text as long as this stands for the rows' when a spec is looked at. So a job's summary has 1024 tokens at most
 * unless more is asked for, and fits beside its text. */
#define USUAL_BYTES 1024

/* Arguments that qwen_submit has, and that are columns of the table of jobs. */
static const char *const submit_arguments[] = {"system", "max_words", "instruction", "dimensions", "model"};

/* What a row's answer looks like, until a row is asked about: nothing of the catalog is read for it. */
#define ANY_ROW "{\"type\":\"object\"}"

char *
job_spec_target_list(const JobSpec *spec)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < spec->n_targets; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", spec->targets[i]);
	return list.data;
}

List *
job_spec_targets(const JobSpec *spec)
{
	List *names = NIL;

	for (int i = 0; i < spec->n_targets; i++)
		names = lappend(names, spec->targets[i]);
	return names;
}

bool
job_spec_picks_targets(const JobSpec *spec)
{
	return spec->trigger && spec->n_targets > 1;
}

int
job_spec_target_number(const JobSpec *spec, const char *name)
{
	for (int i = 0; i < spec->n_targets; i++)
		if (strcmp(spec->targets[i], name) == 0)
			return i;
	return -1;
}

void
job_spec_set_schema(const JobSpec *spec, NullableDatum *arguments)
{
	Oid row = get_rel_type_id(spec->target), type;
	int i = model_function_argument(spec->function, "schema", &type);

	if (!OidIsValid(row))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the target table was dropped")));
	arguments[i] = (NullableDatum){CStringGetTextDatum(type_schema(row, -1, job_spec_targets(spec))), false};
}

bool
job_function_takes(const ModelFunction *function, const char *argument)
{
	Oid type;
	int i = model_function_argument(function, argument, &type);

	return i >= 0 && i != function->input;
}

/* The function's arguments, none given. */
static void
begin_call(JobSpec *spec)
{
	int n = spec->function->most;

	spec->call = MemoryContextAllocZero(spec->memory, SizeForFunctionCallInfo(n));
	InitFunctionCallInfoData(*spec->call, NULL, n, InvalidOid, NULL, NULL);
	for (int i = 0; i < n; i++)
		spec->call->args[i].isnull = true;
}

/* Give the function an argument, if it has one of that name. */
static void
set_argument(JobSpec *spec, const char *name, Datum value)
{
	Oid type;
	int i = model_function_argument(spec->function, name, &type);

	if (i >= 0 && i != spec->function->input)
		spec->call->args[i] = (NullableDatum){value, false};
}

/* A key of a job's argument arguments: one of the function's own that qwen_submit has not. */
static void
read_named(JobSpec *spec, const char *key, const JsonbValue *value)
{
	StringInfoData known;

	initStringInfo(&known);
	for (int i = 0; i <= MODEL_FUNCTION_MAX_ARGUMENTS; i++)
	{
		bool is_later = i == MODEL_FUNCTION_MAX_ARGUMENTS;
		const ModelArgument *own = is_later ? &spec->function->later : &spec->function->arguments[i];
		bool is_submits = !own->name || (!is_later && i == spec->function->input);

		for (int j = 0; !is_submits && j < (int) lengthof(submit_arguments); j++)
			is_submits = strcmp(submit_arguments[j], own->name) == 0;
		if (is_submits)
			continue;
		if (strcmp(own->name, key) == 0)
		{
			/* JSON as it was written, in its order */
			if (value->type == jbvBinary && own->type == JSONOID)
				set_argument(
					spec, key,
					DirectFunctionCall2(json_object_field, PointerGetDatum(spec->arguments), CStringGetTextDatum(key)));
			else if (value->type != jbvNull)
				set_argument(spec, key, options_value("arguments", key, value, own->type));
			return;
		}
		appendStringInfo(&known, "%s%s", known.len > 0 ? ", " : "", own->name);
	}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("arguments: the key \"%s\" is not known", key),
					known.len > 0
						? errdetail("The known keys with function => '%s' are: %s.", spec->function->name, known.data)
						: errdetail("There are none with function => '%s'.", spec->function->name)));
}

/* A job's argument arguments. */
static void
read_arguments(JobSpec *spec)
{
	Jsonb *object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(spec->arguments))));
	JsonbIterator *iterator;
	JsonbValue key, value;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("arguments must be a JSON object"),
						errhint("arguments => '{\"name\": value}'")));
	iterator = JsonbIteratorInit(&object->root);
	(void) JsonbIteratorNext(&iterator, &key, true);
	while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&iterator, &value, true);
		read_named(spec, pnstrdup(key.val.string.val, key.val.string.len), &value);
	}
}

/* The requests of a row whose text has so many letters. What is wrong with an argument is raised. */
static List *
build(JobSpec *spec, int n_letters)
{
	char *letters = palloc(n_letters);
	ModelCall call;

	memset(letters, 'x', n_letters);
	spec->call->args[spec->function->input] =
		(NullableDatum){PointerGetDatum(cstring_to_text_with_len(letters, n_letters)), false};
	model_call_build(&call, spec->function, spec->call, NULL);
	spec->call->args[spec->function->input] = (NullableDatum){(Datum) 0, true};
	if (call.error)
		ReThrowError(call.error);
	return call.first;
}

/* Rows of the target's types are what is asked for where nobody says which other form. */
static void
settle_form(JobSpec *spec)
{
	Oid type;
	int i = spec->function == &extract_function ? model_function_argument(spec->function, "schema", &type) : -1;

	spec->takes_row = i >= 0 && spec->call->args[i].isnull;
	if (spec->takes_row)
		set_argument(spec, "schema", CStringGetTextDatum(ANY_ROW));
	else if (spec->n_targets > 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the answer of function \"%s\"%s goes into one column, not into %d",
							   spec->function->name, i >= 0 ? " with a schema" : "", spec->n_targets),
						errhint("Several columns are filled in by function => 'extract' without a schema: their types "
								"are what is asked for.")));
}

/* Build what a row of usual length asks: what is wrong with an argument is said now. */
static void
settle(JobSpec *spec)
{
	List *requests;

	if (spec->system)
		set_argument(spec, "system", PointerGetDatum(spec->system));
	if (spec->instruction)
		set_argument(spec, "instruction", PointerGetDatum(spec->instruction));
	if (spec->max_words > 0)
		set_argument(spec, "max_words", Int32GetDatum(spec->max_words));
	if (spec->dimensions > 0)
		set_argument(spec, "dimensions", Int32GetDatum(spec->dimensions));
	settle_form(spec);
	requests = build(spec, USUAL_BYTES);
	if (requests == NIL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("function \"%s\" must be given its arguments", spec->function->name),
						errdetail("They are: %s.", list_own_arguments(spec->function)),
						errhint("In qwen_submit by name: arguments => '{\"%s\": ...}'; in a trigger: '%s=...'.",
								first_own_argument(spec->function), first_own_argument(spec->function))));
	spec->request = *(Request *) linitial(requests);
}

Request
job_spec_least_request(JobSpec *spec)
{
	List *requests = build(spec, 1);
	Request request = requests == NIL ? spec->request : *(Request *) linitial(requests);

	request.model = spec->request.model;
	return request;
}

/* A value that stays when its row goes, and that nothing has to be read for: rows are worked on outside of
 * transactions. */
static Datum
own_copy(Datum value, Oid type)
{
	int16 length;
	bool by_value;

	get_typlenbyval(type, &length, &by_value);
	return length == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) : datumCopy(value, by_value, length);
}

void
job_spec_read_tail(JobSpec *spec, const Datum *values, const bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(spec->memory);

	begin_call(spec);
	for (int i = 0; i < N_TAIL_ARGUMENTS; i++)
		if (!nulls[i])
			set_argument(spec, tail_arguments[i].name, own_copy(values[i], tail_arguments[i].type));
	if (spec->arguments)
		read_arguments(spec);
	settle(spec);
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

/* How many columns has a table's primary key? 0: it has none. */
static int
primary_key_columns(Relation relation)
{
	List *indexes = RelationGetIndexList(relation);
	ListCell *cell;
	int n = 0;

	foreach (cell, indexes)
	{
		HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));

		if (!HeapTupleIsValid(tuple))
			continue;
		if (((Form_pg_index) GETSTRUCT(tuple))->indisprimary)
			n = ((Form_pg_index) GETSTRUCT(tuple))->indnkeyatts;
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	return n;
}

/* What an error calls a relation. */
static const char *
kind_of(Relation relation)
{
	switch (relation->rd_rel->relkind)
	{
		case RELKIND_VIEW:
			return "view";
		case RELKIND_MATVIEW:
			return "materialized view";
		case RELKIND_FOREIGN_TABLE:
			return "foreign table";
		default:
			return "table";
	}
}

void
job_refuse_keys(Relation relation, const char *function)
{
	const char *table = RelationGetRelationName(relation), *begins = function ? psprintf("%s: ", function) : "";
	int n = primary_key_columns(relation);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 n > JOB_MAX_KEYS ? errmsg("%stable \"%s\": its primary key has %d columns, at most %d are possible",
									   begins, table, n, JOB_MAX_KEYS)
							  : errmsg("%s%s \"%s\" has no primary key", begins, kind_of(relation), table),
			 errdetail("Rows are found again by their keys, of at most %d columns.", JOB_MAX_KEYS),
			 !function          ? errhint("Name the columns that tell rows apart: key_columns => '{...}'.")
			 : n > JOB_MAX_KEYS ? errhint("Make another primary key, as an identity column is, and a unique index of "
										  "the columns that it has now.")
								: errhint("ALTER TABLE ... ADD PRIMARY KEY (...).")));
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
job_check_target(Relation target, const char *column, const ModelFunction *function, bool of_trigger)
{
	const char *table = RelationGetRelationName(target);
	AttrNumber number = get_attnum(RelationGetRelid(target), column);
	Oid given = function ? model_function_result(function) : InvalidOid, type;

	if (number <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("target: table \"%s\" has no column \"%s\"", table, column),
						of_trigger ? trigger_column_hint() : 0));
	type = get_atttype(RelationGetRelid(target), number);
	if (TupleDescAttr(RelationGetDescr(target), number - 1)->attgenerated)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("target: column \"%s\" of table \"%s\" is a generated column", column, table)));
	if (TupleDescAttr(RelationGetDescr(target), number - 1)->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("target: column \"%s\" of table \"%s\" is an identity column", column, table)));
	/* any type can be assigned to text: an embedding as text would be a mistake */
	if (!function)
		return;
	if (!can_coerce_type(1, &given, &type, COERCION_ASSIGNMENT) ||
		(given == FLOAT4ARRAYOID && TypeCategory(type) == TYPCATEGORY_STRING))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("target: column \"%s\" of table \"%s\" is of type %s, which does not take %s", column,
							   table, format_type_be(type), format_type_be(given)),
						given == FLOAT4ARRAYOID ? errhint("Embeddings go into columns of type real[] or vector.") : 0));
}

void
job_check_target_names(char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++)
			if (strcmp(names[i], names[j]) == 0)
				ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
								errmsg("target: column \"%s\" is named twice", names[i])));
}

char **
job_read_targets(Relation target, const char *argument, int *n)
{
	char **names = palloc(sizeof *names);
	Datum *elements;
	bool *nulls;
	Datum array;

	names[0] = pstrdup(argument);
	*n = 1;
	if (argument[0] != '{' || get_attnum(RelationGetRelid(target), argument) != InvalidAttrNumber)
		return names;
	array = options_value_of_text("target columns", pstrdup(argument), TEXTARRAYOID);
	require_one_dimension(DatumGetArrayTypeP(array), "target columns");
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, n);
	if (*n == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("target: no column is named")));
	names = palloc(sizeof *names * *n);
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("target: a column must not be NULL")));
		names[i] = TextDatumGetCString(elements[i]);
	}
	job_check_target_names(names, *n);
	return names;
}

/* Is argument "name=…"? Then its value. */
static const char *
value_of(const char *argument, const char *name)
{
	size_t length = strlen(name);

	return strncmp(argument, name, length) == 0 && argument[length] == '=' ? argument + length + 1 : NULL;
}

/* May a trigger's arguments say which function answers? */
static bool
takes_function(const JobSpec *spec)
{
	return strcmp(spec->asked_by, "qwen_enqueue_trigger") == 0;
}

/* One "name=value" argument; false: there is none of that name. */
static bool
read_option(JobSpec *spec, const char *argument)
{
	const char *equals = strchr(argument, '='), *value;
	Oid type;
	char *name;

	if (!equals)
		return false;
	name = pnstrdup(argument, equals - argument);
	value = equals + 1;
	/* has been read before all others */
	if (strcmp(name, "function") == 0)
		return takes_function(spec);
	if (strcmp(name, "max_attempts") == 0)
		spec->max_attempts = DatumGetInt32(options_value_of_text(name, pstrdup(value), INT4OID));
	else if (!job_function_takes(spec->function, name))
		return false;
	else if (strcmp(name, "dimensions") == 0)
	{
		spec->dimensions = DatumGetInt32(options_value_of_text(name, pstrdup(value), INT4OID));
		/* 0 is for none given */
		if (spec->dimensions < 1)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("%s: dimensions must be at least 1, not %d", spec->asked_by, spec->dimensions)));
	}
	else
	{
		(void) model_function_argument(spec->function, name, &type);
		set_argument(spec, name, options_value_of_text(name, pstrdup(value), type));
	}
	return true;
}

/* What the arguments of a trigger may be. */
static const char *
option_hint(const JobSpec *spec)
{
	if (spec->function == &embed_function)
		return "Further arguments look like 'name=value', with the names model, instruction, dimensions, max_attempts "
			   "and options.";
	if (spec->function == &chat_text_function)
		return "Further arguments look like 'name=value', with the names function, system, max_attempts and those of "
			   "qwen_chat: 'max_tokens=60'.";
	return psprintf("Further arguments look like 'name=value', with the names function, max_attempts and those of "
					"qwen_%s.",
					spec->function->name);
}

/* The function that a trigger's arguments name, if its SQL function has not one already. */
static void
read_trigger_function(JobSpec *spec, const char *function, const Trigger *trigger)
{
	for (int i = 2; takes_function(spec) && i < trigger->tgnargs; i++)
	{
		const char *name = value_of(trigger->tgargs[i], "function");

		if (!name)
			continue;
		spec->function = model_function_named(name);
		if (!spec->function)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("%s: function must be %s, not \"%s\"", function, list_job_functions(), name)));
	}
}

/* All of a trigger's arguments after target and template. */
static void
read_options(JobSpec *spec, const char *function, const Trigger *trigger)
{
	trigger_refuse_twice(function, trigger->tgargs, 2, trigger->tgnargs);
	read_trigger_function(spec, function, trigger);
	begin_call(spec);
	for (int i = 2; i < trigger->tgnargs; i++)
		if (!read_option(spec, trigger->tgargs[i]))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("%s: the argument \"%s\" is not known", function, trigger->tgargs[i]),
							errhint("%s", option_hint(spec))));
	if (spec->max_attempts < 1 || spec->max_attempts > JOB_MAX_ATTEMPTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s: max_attempts must be between 1 and %d, not %d",
																  function, JOB_MAX_ATTEMPTS, spec->max_attempts)));
	settle(spec);
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
		if (job_spec_target_number(spec, lfirst(cell)) >= 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("%s: the answer of column \"%s\" cannot be made from the column itself", function,
								   (char *) lfirst(cell))));
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
	bool may = true, whole = pg_class_aclcheck(table, owner, ACL_UPDATE) == ACLCHECK_OK;

	for (int i = 0; i < spec->n_targets && !whole; i++)
		may &= pg_attribute_aclcheck(table, get_attnum(table, spec->targets[i]), owner, ACL_UPDATE) == ACLCHECK_OK;

	if (may && pg_class_aclcheck(table, owner, ACL_SELECT) != ACLCHECK_OK)
	{
		List *used;
		ListCell *cell;

		(void) prompt_expression(spec->prompt, RelationGetDescr(relation), function, &used);
		foreach (cell, used)
			may &= may_read(relation, lfirst(cell));
		for (int i = 0; i < spec->n_keys; i++)
			may &= may_read(relation, spec->keys[i]);
		/* a value that stays is read and written again */
		for (int i = 0; i < spec->n_targets && job_spec_picks_targets(spec); i++)
			may &= may_read(relation, spec->targets[i]);
	}
	if (!may)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("%s: permission denied for table %s", function, RelationGetRelationName(relation)),
						errdetail("A background worker reads rows and fills in column \"%s\" as the table's owner, "
								  "\"%s\".",
								  job_spec_target_list(spec), GetUserNameFromId(owner, false))));
}

/* Raise where a target column is what a table parts its rows by. */
static void
refuse_parting(const JobSpec *spec, Relation relation, Oid parent)
{
	Relation opened = relation_open(parent, AccessShareLock);

	for (int i = 0; i < spec->n_targets; i++)
	{
		AttrNumber number = get_attnum(parent, spec->targets[i]);

		if (has_partition_attrs(opened, bms_make_singleton(number - FirstLowInvalidHeapAttributeNumber), NULL))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("target: column \"%s\" of table \"%s\" is in the partition key of table \"%s\"",
								   spec->targets[i], RelationGetRelationName(relation), get_rel_name(parent)),
							errdetail("An answer is written into the partition in which its row is."),
							errhint("Let the answer go into a column that no table is partitioned by.")));
	}
	relation_close(opened, NoLock);
}

/* The same of all tables that a trigger's table parts its rows for, or is a part of. */
static void
check_parting(const JobSpec *spec, Relation relation)
{
	ListCell *cell;

	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		refuse_parting(spec, relation, RelationGetRelid(relation));
	if (relation->rd_rel->relispartition)
		foreach (cell, get_partition_ancestors(RelationGetRelid(relation)))
			refuse_parting(spec, relation, lfirst_oid(cell));
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
	bool embeds;

	spec->memory = memory;
	embeds = strcmp(function, "qwen_enqueue_embed_trigger") == 0;
	spec->function = embeds ? &embed_function : &chat_text_function;
	spec->asked_by = embeds ? "qwen_enqueue_embed_trigger" : "qwen_enqueue_trigger";
	spec->relation = spec->target = RelationGetRelid(relation);
	spec->trigger = pstrdup(trigger->tgname);
	spec->trigger_number = trigger->tgoid;
	spec->trigger_arguments = join_arguments(trigger);
	spec->max_attempts = JOB_DEFAULT_ATTEMPTS;
	trigger_check_arguments(trigger_use_of(spec->asked_by), trigger->tgnargs);
	spec->targets = job_read_targets(relation, trigger->tgargs[0], &spec->n_targets);
	spec->prompt = pstrdup(trigger->tgargs[1]);
	read_options(spec, function, trigger);
	job_check_relation(relation, "target");
	for (int i = 0; i < spec->n_targets; i++)
		job_check_target(relation, spec->targets[i], spec->takes_row ? NULL : spec->function, true);
	check_parting(spec, relation);
	/* types that have no form are refused */
	if (spec->takes_row)
		(void) type_schema(get_rel_type_id(spec->target), -1, job_spec_targets(spec));
	check_prompt(spec, relation, function);
	if (key_numbers)
		take_keys(spec, relation, key_numbers, n_keys);
	else if (!job_spec_keys_of(spec, relation))
		job_refuse_keys(relation, function);
	check_owner(spec, relation, function);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(memory, parent);
	return spec;
}
