/*
 * jobs.c - qwen_submit: a job over the rows of a query.
 *
 * A job is one row of qwen_job_table. Its query's rows are not copied: the worker pages through them by key. Everything
 * that can be wrong with a job is refused here, before it is queued, by preparing the statements that the worker
 * will run.
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../client/client.h"
#include "../core/arguments.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "../functions/functions.h"
#include "../limits/limits.h"
#include "access/relation.h"
#include "answered_row.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "keys.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "parameters.h"
#include "parser/parse_coerce.h"
#include "prompt_template.h"
#include "requests.h"
#include "rights.h"
#include "row_sql.h"
#include "source.h"
#include "spec.h"
#include "store.h"
#include "target.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "values.h"

/* Arguments of qwen_submit, in order. */
enum
{
	ARG_SOURCE,
	ARG_PROMPT,
	ARG_TARGET,
	ARG_TARGET_COLUMN,
	ARG_KEY_COLUMNS,
	ARG_FUNCTION,
	ARG_SYSTEM,
	ARG_MAX_WORDS,
	ARG_INSTRUCTION,
	ARG_DIMENSIONS,
	ARG_PRIORITY,
	ARG_MAX_ATTEMPTS,
	ARG_TAIL,
	ARG_ARGUMENTS = ARG_TAIL + N_TAIL_ARGUMENTS - 1,
	ARG_TARGET_COLUMNS,
	ARG_OPTIONS, /* the tail's last */
};

static const char *const argument_names[] = {"source",      "prompt",     "target",   "target_column",
											 "key_columns", "function",   "system",   "max_words",
											 "instruction", "dimensions", "priority", "max_attempts"};

/* The place of an argument of the common tail. */
static int
tail_place(int i)
{
	return i < N_TAIL_ARGUMENTS - 1 ? ARG_TAIL + i : ARG_OPTIONS;
}

static int
int_argument(FunctionCallInfo fcinfo, int argument, int fallback, int low, int high)
{
	int value = PG_ARGISNULL(argument) ? fallback : PG_GETARG_INT32(argument);

	if (value < low || value > high)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be between %d and %d, not %d", argument_names[argument], low, high, value)));
	return value;
}

/* Options that belong to one function only must not be given with another. */
static void
check_belongs(FunctionCallInfo fcinfo, int argument, const ModelFunction *function)
{
	if (!PG_ARGISNULL(argument) && !job_function_takes(function, argument_names[argument]))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s means nothing with function => '%s'", argument_names[argument], function->name)));
}

/* function and what depends on it. */
static void
read_function(FunctionCallInfo fcinfo, JobSpec *spec)
{
	char *name = PG_ARGISNULL(ARG_FUNCTION) ? "chat" : text_to_cstring(PG_GETARG_TEXT_PP(ARG_FUNCTION));

	spec->function = model_function_named(name);
	if (!spec->function)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("function must be %s, not \"%s\"", list_job_functions(), name)));
	for (int i = ARG_SYSTEM; i <= ARG_DIMENSIONS; i++)
		check_belongs(fcinfo, i, spec->function);
	spec->system = PG_ARGISNULL(ARG_SYSTEM) ? NULL : PG_GETARG_TEXT_PP(ARG_SYSTEM);
	spec->instruction = PG_ARGISNULL(ARG_INSTRUCTION) ? NULL : PG_GETARG_TEXT_PP(ARG_INSTRUCTION);
	spec->arguments = PG_ARGISNULL(ARG_ARGUMENTS) ? NULL : PG_GETARG_TEXT_PP(ARG_ARGUMENTS);
	spec->max_words = int_argument(fcinfo, ARG_MAX_WORDS, SUMMARY_MAX_WORDS, 1, SUMMARY_WORDS_LIMIT);
	spec->dimensions = PG_ARGISNULL(ARG_DIMENSIONS) ? 0 : int_argument(fcinfo, ARG_DIMENSIONS, 0, 1, INT_MAX);
	spec->priority = int_argument(fcinfo, ARG_PRIORITY, 0, -1000, 1000);
	spec->max_attempts = int_argument(fcinfo, ARG_MAX_ATTEMPTS, JOB_DEFAULT_ATTEMPTS, 1, JOB_MAX_ATTEMPTS);
}

/* The elements of an array of names in an argument; none where it is NULL. */
static int
read_names(FunctionCallInfo fcinfo, int argument, const char *what, char ***names)
{
	Datum *elements;
	bool *nulls;
	int n;

	if (PG_ARGISNULL(argument))
		return 0;
	require_one_dimension(PG_GETARG_ARRAYTYPE_P(argument), what);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, &nulls,
					  &n);
	*names = palloc(sizeof **names * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not hold NULL", what)));
		(*names)[i] = pstrdup(NameStr(*DatumGetName(elements[i])));
	}
	return n;
}

/* Where the answer goes: target_column, or target_columns. */
static void
read_targets(FunctionCallInfo fcinfo, JobSpec *spec)
{
	if (PG_ARGISNULL(ARG_TARGET_COLUMNS) == PG_ARGISNULL(ARG_TARGET_COLUMN))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 PG_ARGISNULL(ARG_TARGET_COLUMN) ? errmsg("target_column must not be null")
												 : errmsg("target_column and target_columns must not both be given"),
				 errhint("target_column is the column that gets the answer; target_columns are those that a "
						 "row of function => 'extract' fills in.")));
	if (PG_ARGISNULL(ARG_TARGET_COLUMNS))
	{
		spec->targets = palloc(sizeof *spec->targets);
		spec->targets[0] = pstrdup(NameStr(*PG_GETARG_NAME(ARG_TARGET_COLUMN)));
		spec->n_targets = 1;
		return;
	}
	spec->n_targets = read_names(fcinfo, ARG_TARGET_COLUMNS, "target_columns", &spec->targets);
	if (spec->n_targets == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("target_columns must name at least one column")));
	job_check_target_names(spec->targets, spec->n_targets);
}

/* The key columns that were named, or the primary key of source or target. */
static void
read_keys(FunctionCallInfo fcinfo, JobSpec *spec)
{
	if (!PG_ARGISNULL(ARG_KEY_COLUMNS))
	{
		char **names = NULL;
		int n = read_names(fcinfo, ARG_KEY_COLUMNS, "key_columns", &names);

		if (n < 1 || n > JOB_MAX_KEYS)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("key_columns must have 1 to %d elements, not %d", JOB_MAX_KEYS, n)));
		for (int i = 0; i < n; i++)
		{
			spec->keys[i] = names[i];
			spec->key_types[i] = "pg_catalog.text"; /* until the source's columns are known */
		}
		spec->n_keys = n;
	}
	else
	{
		Oid relation = OidIsValid(spec->relation) ? spec->relation : spec->target;
		Relation opened = relation_open(relation, AccessShareLock);

		if (!job_spec_keys_of(spec, opened))
			job_refuse_keys(opened, NULL);
		relation_close(opened, NoLock);
	}
}

/* A name that two columns have says neither of them. */
static void
refuse_twice(TupleDesc columns, const char *name)
{
	int n = 0;

	for (int c = 0; c < columns->natts; c++)
		n += !TupleDescAttr(columns, c)->attisdropped && strcmp(NameStr(TupleDescAttr(columns, c)->attname), name) == 0;
	if (n > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("source: %d columns are called \"%s\"", n, name),
				 errhint("Leave one of them out, or give it another name with AS.")));
}

/* The keys must be columns of the source; their types are the source's. */
static void
settle_key_types(JobSpec *spec, TupleDesc columns)
{
	for (int i = 0; i < spec->n_keys; i++)
	{
		bool found = false;

		refuse_twice(columns, spec->keys[i]);
		for (int c = 0; c < columns->natts && !found; c++)
		{
			Form_pg_attribute attribute = TupleDescAttr(columns, c);

			if (attribute->attisdropped || strcmp(NameStr(attribute->attname), spec->keys[i]) != 0)
				continue;
			spec->key_types[i] = job_key_type_name(attribute->atttypid);
			found = true;
		}
		if (!found)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("the source has no key column \"%s\"", spec->keys[i]),
							errhint("A job finds its rows again by the key columns: select them too.")));
	}
}

/* The target must keep rows apart by exactly the key columns. */
static void
check_unique(const JobSpec *spec, Relation target)
{
	AttrNumber columns[JOB_MAX_KEYS];
	List *indexes = RelationGetIndexList(target);
	char *refused = NULL;
	ListCell *cell;

	for (int i = 0; i < spec->n_keys; i++)
		columns[i] = get_attnum(spec->target, spec->keys[i]);
	foreach (cell, indexes)
	{
		const char *refusal = job_key_index_refusal(lfirst_oid(cell), columns, spec->n_keys);

		if (!refusal)
			return;
		if (*refusal && !refused)
			refused = psprintf("Index \"%s\" %s.", get_rel_name(lfirst_oid(cell)), refusal);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("target: table \"%s\" has no unique index on the key columns", RelationGetRelationName(target)),
			 refused ? errdetail_internal("%s", refused) : 0,
			 errhint("Each row of the source gets one row of the target, found by its key.")));
}

/* A key of the source becomes that of the target's row, as an INSERT assigns it. */
static void
check_key_type(const JobSpec *spec, Relation target, TupleDesc columns, const char *key)
{
	Oid type = get_atttype(spec->target, get_attnum(spec->target, key));

	for (int c = 0; c < columns->natts; c++)
	{
		Form_pg_attribute from = TupleDescAttr(columns, c);
		Oid given;

		/* a dropped column has no type */
		if (from->attisdropped || strcmp(NameStr(from->attname), key) != 0)
			continue;
		given = job_key_type(from->atttypid);
		if (!can_coerce_type(1, &given, &type, COERCION_ASSIGNMENT))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("source: key column \"%s\" is of type %s, that of the target \"%s\" of type %s", key,
							format_type_be(from->atttypid), RelationGetRelationName(target), format_type_be(type)),
					 errhint("Each row of the source gets the row of the target that has its key: select the key "
							 "as the target has it.")));
	}
}

/* The target must be writable for the caller and have one row a key. */
static void
check_target(const JobSpec *spec, TupleDesc columns)
{
	Relation target = relation_open(spec->target, AccessShareLock);
	const char *table = RelationGetRelationName(target);
	bool may_write = pg_class_aclcheck(spec->target, GetUserId(), ACL_UPDATE) == ACLCHECK_OK;

	job_check_relation(target, "target");
	for (int i = 0; i < spec->n_targets; i++)
		job_check_target(target, spec->targets[i], spec->takes_row ? NULL : spec->function, false);
	/* types that have no form are refused */
	if (spec->takes_row)
		(void) type_schema(get_rel_type_id(spec->target), -1, job_spec_targets(spec));
	for (int i = 0; i < spec->n_keys; i++)
	{
		if (get_attnum(spec->target, spec->keys[i]) == InvalidAttrNumber)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("target: table \"%s\" has no key column \"%s\"", table, spec->keys[i])));
		if (job_spec_target_number(spec, spec->keys[i]) >= 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("target: column \"%s\" cannot be key and target", spec->keys[i])));
		check_key_type(spec, target, columns, spec->keys[i]);
	}
	check_unique(spec, target);
	for (int i = 0; i < spec->n_targets && !may_write; i++)
		if (pg_attribute_aclcheck(spec->target, get_attnum(spec->target, spec->targets[i]), GetUserId(), ACL_UPDATE) !=
			ACLCHECK_OK)
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for table %s", table),
							errdetail("The job updates column \"%s\".", spec->targets[i])));
	relation_close(target, NoLock);
}

/* The answer cannot be made from itself: each retry would make another prompt. */
static void
check_prompt_columns(const JobSpec *spec, TupleDesc columns)
{
	List *used;
	ListCell *cell;

	(void) prompt_expression(spec->prompt, columns, "prompt", &used);
	foreach (cell, used)
		refuse_twice(columns, lfirst(cell));
	if (spec->relation != spec->target)
		return;
	foreach (cell, used)
		if (job_spec_target_number(spec, lfirst(cell)) >= 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("prompt: the answer of column \"%s\" cannot be made from the column itself",
								   (char *) lfirst(cell))));
}

/* The worker's statements, tried one after the other. */
typedef struct Trial
{
	JobSpec *spec;
	const char *statement; /* of ours, that is tried now */
	int64 n_rows, n_left_out;
} Trial;

/* The lines of an error's context but for the one that shows a statement. */
static char *
context_without(const char *context, const char *statement)
{
	const char *found = context ? strstr(context, statement) : NULL, *begin = found, *end;

	if (!found)
		return context ? pstrdup(context) : NULL;
	while (begin > context && begin[-1] != '\n')
		begin--;
	end = strchr(found + strlen(statement), '\n');
	if (begin == context)
		return end ? pstrdup(end + 1) : NULL;
	return psprintf("%.*s%s", (int) (begin - 1 - context), context, end ? end : "");
}

/* A place in our statement as one in the source, if it is there. */
static void
point_into_source(ErrorData *error, const char *source)
{
	const char *at = source ? strstr(error->internalquery, source) : NULL;
	int before = at ? pg_mbstrlen_with_len(error->internalquery, (int) (at - error->internalquery)) : 0;
	bool is_in_it = at && error->internalpos > before && error->internalpos <= before + pg_mbstrlen(source);

	error->internalquery = is_in_it ? pstrdup(source) : NULL;
	error->internalpos = is_in_it ? error->internalpos - before : 0;
}

/* Raise what a trial has raised, without our statement: its user has not written it. */
static void
raise_as_asked(const Trial *trial, ErrorData *error)
{
	if (error->internalquery && strcmp(error->internalquery, trial->statement) == 0)
		point_into_source(error, trial->spec->source);
	error->context = context_without(error->context, trial->statement);
	ReThrowError(error);
}

/*
 * Plan a statement of the worker and start it without running it, as EXPLAIN does: so all that it names must be there,
 * of types that fit, and the caller must have the privileges.
 */
static void
check_statement(Trial *trial, const char *sql, bool with_answers)
{
	const JobSpec *spec = trial->spec;
	Oid types[JOB_MAX_KEYS + 3];
	Datum values[JOB_MAX_KEYS + 3];
	int n = spec->n_keys + 1;

	types[0] = INT4ARRAYOID;
	for (int i = 1; i < n; i++)
		types[i] = TEXTARRAYOID;
	if (with_answers)
	{
		types[n++] = TEXTARRAYOID;
		types[n++] = INT8ARRAYOID;
	}
	for (int i = 0; i < n; i++)
		values[i] = PointerGetDatum(construct_empty_array(types[i] == INT4ARRAYOID   ? INT4OID
														  : types[i] == INT8ARRAYOID ? INT8OID
																					 : TEXTOID));
	trial->statement = psprintf("EXPLAIN %s", sql);
	answered_execute(spec, trial->statement, n, types, values, SPI_OK_UTILITY);
}

/* Say what the job will not do; NULL: nothing. */
static char *
note_left_out(int64 n)
{
	char *note;

	if (n == 0)
		return NULL;
	note = psprintf(n == 1 ? "%lld row of the source is left out because a key column is NULL"
						   : "%lld rows of the source are left out because a key column is NULL",
					(long long) n);
	ereport(NOTICE, (errmsg("%s", note)));
	return note;
}

/* Why a column keeps rows from being inserted. */
static int
insert_detail(const JobSpec *spec)
{
	return errdetail(
		"The job inserts rows that the target does not have, with the key columns and column \"%s\" alone.",
		job_spec_target_list(spec));
}

/* What helps: what may be done about the column, or a job that inserts nothing. */
static int
insert_hint(const char *help)
{
	return errhint(
		"%s, or fill the rows in first and make the target the source, too: the table itself, or a query that "
		"has its key columns from it.",
		help);
}

/* May the caller insert into a column of the target? */
static bool
may_insert(const JobSpec *spec, const char *column)
{
	return pg_class_aclcheck(spec->target, GetUserId(), ACL_INSERT) == ACLCHECK_OK ||
		   pg_attribute_aclcheck(spec->target, get_attnum(spec->target, column), GetUserId(), ACL_INSERT) ==
			   ACLCHECK_OK;
}

/* Rows are inserted into the target: its key can be given, and its other columns must do without a value. */
static void
check_insert(const JobSpec *spec)
{
	Relation target = relation_open(spec->target, AccessShareLock);
	TupleDesc columns = RelationGetDescr(target);

	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);
		bool is_given = job_spec_target_number(spec, NameStr(column->attname)) >= 0;

		for (int k = 0; k < spec->n_keys; k++)
			is_given |= strcmp(NameStr(column->attname), spec->keys[k]) == 0;
		if (is_given && !may_insert(spec, NameStr(column->attname)))
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
							errmsg("permission denied for table %s", RelationGetRelationName(target)),
							insert_detail(spec), insert_hint("Have INSERT granted on these columns")));
		if (column->attidentity == ATTRIBUTE_IDENTITY_ALWAYS && is_given)
			ereport(ERROR, (errcode(ERRCODE_GENERATED_ALWAYS),
							errmsg("target: key column \"%s\" of table \"%s\" is GENERATED ALWAYS AS IDENTITY",
								   NameStr(column->attname), RelationGetRelationName(target)),
							insert_detail(spec), insert_hint("Make the column GENERATED BY DEFAULT")));
		if (!column->attisdropped && column->attnotnull && !is_given && !column->atthasdef && !column->attidentity)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("target: column \"%s\" of table \"%s\" is NOT NULL and has no default",
								   NameStr(column->attname), RelationGetRelationName(target)),
							insert_detail(spec), insert_hint("Give the column a default")));
	}
	relation_close(target, NoLock);
}

/* Try all that the worker will ask of source and target. */
static void
try_statements(Trial *trial)
{
	JobSpec *spec = trial->spec;
	TupleDesc columns;
	JobSql sql;

	trial->statement = job_sql_rows(spec);
	columns = job_sql_columns(spec);
	job_sql_check_source(spec);
	settle_key_types(spec, columns);
	check_prompt_columns(spec, columns);
	check_target(spec, columns);
	job_sql_make(spec, &sql);
	check_statement(trial, sql.by_key, false);
	check_statement(trial, sql.recheck, true);
	check_statement(trial, sql.lock, false);
	check_statement(trial, sql.update, true);
	if (spec->source ? !job_sql_reads_own_rows(spec) : spec->relation != spec->target)
	{
		check_insert(spec);
		check_statement(trial, sql.insert, true);
	}
	trial->statement = sql.page;
	job_execute(sql.page, 1, (Oid[]){INT8OID}, (Datum[]){Int64GetDatum(0)}, NULL, SPI_OK_SELECT, 0);
	trial->statement = sql.count;
	job_execute(sql.count, 0, NULL, NULL, NULL, SPI_OK_SELECT, 1);
	trial->n_rows = result_int8(0, 1);
	trial->n_left_out = result_int8(0, 2) - trial->n_rows;
}

/* The same under the worker's settings; an error is told as one of what was asked for. */
static void
try_as_worker(Trial *trial)
{
	MemoryContext context = CurrentMemoryContext;
	int level = NewGUCNestLevel();

	job_set_formats(GUC_ACTION_SAVE);
	PG_TRY();
	{
		try_statements(trial);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		raise_as_asked(trial, error);
	}
	PG_END_TRY();
	AtEOXact_GUC(false, level);
}

/* Everything that the worker will ask of source and target can be asked; how many rows there are. */
static int64
check_statements(JobSpec *spec, char **note)
{
	Trial trial = {.spec = spec, .statement = ""};

	try_as_worker(&trial);
	*note = note_left_out(trial.n_left_out);
	return trial.n_rows;
}

/* Columns and values of a statement that is being put together. */
typedef struct Columns
{
	StringInfoData names, parameters;
	int n;
	Oid types[48];
	Datum values[48];
	char nulls[48];
} Columns;

static void
add_column(Columns *columns, const char *name, Oid type, Datum value, bool is_null)
{
	int i = columns->n++;

	appendStringInfo(&columns->names, "%s%s", i ? ", " : "", name);
	appendStringInfo(&columns->parameters, "%s$%d", i ? ", " : "", i + 1);
	columns->types[i] = type;
	columns->values[i] = value;
	columns->nulls[i] = is_null ? 'n' : ' ';
}

static void
add_text(Columns *columns, const char *name, const char *value)
{
	add_column(columns, name, TEXTOID, value ? CStringGetTextDatum(value) : (Datum) 0, !value);
}

/* Put the job into the table, with model and max_tokens as they are settled now. */
static int64
insert_job(FunctionCallInfo fcinfo, const JobStore *store, const JobSpec *spec, int64 total, const char *note)
{
	Columns columns = {.n = 0};
	const Request *request = &spec->request;
	Oid roles[MAX_LIMITED_ROLES_OF_CALL];
	JobIdentity identity;

	initStringInfo(&columns.names);
	initStringInfo(&columns.parameters);
	add_column(&columns, "owner", OIDOID, ObjectIdGetDatum(GetUserId()), false);
	limits_roles(roles);
	add_column(&columns, "session_role", OIDOID, ObjectIdGetDatum(roles[0]), false);
	add_column(&columns, "outer_role", OIDOID, ObjectIdGetDatum(roles[1]), false);
	add_text(&columns, "source", spec->source);
	add_column(&columns, "source_relation", OIDOID, ObjectIdGetDatum(spec->relation), !OidIsValid(spec->relation));
	add_text(&columns, "search_path", spec->search_path);
	add_column(&columns, "target", OIDOID, ObjectIdGetDatum(spec->target), false);
	if (PG_ARGISNULL(ARG_TARGET_COLUMNS))
		add_text(&columns, "target_column", spec->targets[0]);
	else
		add_column(&columns, "target_columns", TEXTARRAYOID, job_text_array(spec->targets, spec->n_targets), false);
	add_column(&columns, "key_columns", TEXTARRAYOID, job_text_array(spec->keys, spec->n_keys), false);
	add_column(&columns, "key_types", TEXTARRAYOID, job_text_array(spec->key_types, spec->n_keys), false);
	add_text(&columns, "prompt", spec->prompt);
	add_text(&columns, "function", spec->function->name);
	add_column(&columns, "system", TEXTOID, PointerGetDatum(spec->system), !spec->system);
	add_column(&columns, "instruction", TEXTOID, PointerGetDatum(spec->instruction), !spec->instruction);
	add_column(&columns, "max_words", INT4OID, Int32GetDatum(spec->max_words), false);
	add_column(&columns, "dimensions", INT4OID, Int32GetDatum(spec->dimensions), false);
	add_column(&columns, "priority", INT4OID, Int32GetDatum(spec->priority), false);
	add_column(&columns, "max_attempts", INT4OID, Int32GetDatum(spec->max_attempts), false);
	if (spec->arguments)
		add_column(&columns, "arguments", JSONOID, PointerGetDatum(spec->arguments), false);
	add_column(&columns, "total", INT8OID, Int64GetDatum(total), false);
	if (note && !store->is_old)
		add_text(&columns, "note", note);
	/* the last one, options, has no column in an older version's table, and no argument in its function */
	for (int i = 0; i < N_TAIL_ARGUMENTS - (store->is_old ? 1 : 0); i++)
	{
		bool null = PG_ARGISNULL(tail_place(i));
		Datum value = null ? (Datum) 0 : PG_GETARG_DATUM(tail_place(i));

		if (i == 0 && request->model.data)
		{
			value = PointerGetDatum(text_from_span(request->model));
			null = false;
		}
		else if (strcmp(tail_arguments[i].name, "max_tokens") == 0 && spec->function->has_tail &&
				 !spec->function->fits_length)
		{
			value = Int32GetDatum(request->options.max_tokens);
			null = false;
		}
		add_column(&columns, tail_arguments[i].name, tail_arguments[i].type, value, null);
	}
	job_identity_begin(store, &identity);
	job_execute(psprintf("INSERT INTO %s (%s) VALUES (%s) RETURNING id", store->job, columns.names.data,
						 columns.parameters.data),
				columns.n, columns.types, columns.values, columns.nulls, SPI_OK_INSERT_RETURNING, 0);
	job_identity_end(&identity);
	return result_int8(0, 1);
}

/* What the caller may never ask for is refused now, as a call would be, and not row by row. An answer's length that is
 * not given fits limits and context. */
static void
check_request(JobSpec *spec)
{
	const SamplingOptions *options = &spec->request.options;
	LimitDemand demand = {.prompt_tokens = 1};

	if (options->given & OPTION_MAX_TOKENS)
		demand.max_tokens = options->max_tokens;
	engine_settle_model(&spec->request);
	limits_check_demand(&demand);
}

QWEN_WRITING_FUNCTION(qwen_submit, 3, 30)
{
	JobStore store;
	JobSpec spec = {.memory = CurrentMemoryContext};
	Datum tail[N_TAIL_ARGUMENTS];
	bool tail_nulls[N_TAIL_ARGUMENTS];
	Request least;
	int64 total, job;
	char *note;

	require_preloaded();
	job_store_require(&store);
	for (int i = ARG_SOURCE; i <= ARG_TARGET; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be null", argument_names[i])));
	spec.target = PG_GETARG_OID(ARG_TARGET);
	read_targets(fcinfo, &spec);
	job_check_owner(GetUserId(), "qwen_submit");
	read_function(fcinfo, &spec);
	for (int i = 0; i < N_TAIL_ARGUMENTS; i++)
	{
		tail_nulls[i] = PG_ARGISNULL(tail_place(i));
		tail[i] = tail_nulls[i] ? (Datum) 0 : PG_GETARG_DATUM(tail_place(i));
	}
	job_spec_read_tail(&spec, tail, tail_nulls);
	check_request(&spec);
	spec.search_path = pstrdup(GetConfigOption("search_path", false, false));
	spec.prompt = text_to_cstring(PG_GETARG_TEXT_PP(ARG_PROMPT));
	job_read_source(&spec, text_to_cstring(PG_GETARG_TEXT_PP(ARG_SOURCE)));
	read_keys(fcinfo, &spec);
	SPI_connect();
	job_check_privilege(&store, spec.function);
	total = check_statements(&spec, &note);
	least = job_spec_least_request(&spec);
	engine_try(&least);
	job = insert_job(fcinfo, &store, &spec, total, note);
	SPI_finish();
	job_call_worker(GetUserId());
	if (store.is_old)
		ereport(WARNING, (errmsg("job " INT64_FORMAT " waits for an update of the extension", job),
						  errdetail("The tables of jobs in this database are those of an older version."),
						  errhint("ALTER EXTENSION qwen_pg UPDATE")));
	PG_RETURN_INT64(job);
}
