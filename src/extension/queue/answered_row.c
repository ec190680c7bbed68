/*
 * answered_row.c - qwen_type_value of an answer in a statement that does not name it; see answered_row.h.
 *
 * All else in the statement is looked up as what it is, a statement of the role that runs it.
 */
#include "answered_row.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/makefuncs.h"
#include "nodes/params.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "store.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* What the parser asks for while it reads a statement. */
typedef struct Statement
{
	const JobSpec *spec;
	int n;
	const Oid *types;
} Statement;

char *
answered_column(const char *name)
{
	return psprintf("(v.made).%s", name);
}

/* The target columns that the answer is for: name[]. */
static Node *
column_names(const JobSpec *spec)
{
	Datum *names = palloc(sizeof *names * spec->n_targets);

	for (int i = 0; i < spec->n_targets; i++)
		names[i] = DirectFunctionCall1(namein, CStringGetDatum(spec->targets[i]));
	return (Node *) makeConst(
		NAMEARRAYOID, -1, get_typcollation(NAMEARRAYOID), -1,
		PointerGetDatum(construct_array(names, spec->n_targets, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR)), false,
		false);
}

/* qwen_type_value(d.answer::jsonb, NULL::the target's row, columns). */
static Node *
make_row(ParseState *parse, const JobSpec *spec)
{
	Oid row = get_rel_type_id(spec->target), arguments[] = {JSONBOID, ANYELEMENTOID, NAMEARRAYOID};
	ColumnRef *answer = makeNode(ColumnRef);
	Node *text;

	answer->fields = list_make2(makeString(pstrdup("d")), makeString(pstrdup("answer")));
	answer->location = -1;
	text = transformExpr(parse, (Node *) answer, parse->p_expr_kind);
	return (Node *) makeFuncExpr(job_own_function("qwen_type_value", arguments, lengthof(arguments)), row,
								 list_make3(coerce_to_target_type(parse, text, TEXTOID, JSONBOID, -1, COERCION_EXPLICIT,
																  COERCE_EXPLICIT_CAST, -1),
											makeNullConst(row, -1, InvalidOid), column_names(spec)),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/* What a $ stands for. */
static Node *
parameter(ParseState *parse, ParamRef *reference)
{
	const Statement *statement = parse->p_ref_hook_state;
	Param *made;

	if (reference->number == 0)
		return make_row(parse, statement->spec);
	if (reference->number > statement->n)
		return NULL;
	made = makeNode(Param);
	made->paramkind = PARAM_EXTERN;
	made->paramid = reference->number;
	made->paramtype = statement->types[reference->number - 1];
	made->paramtypmod = -1;
	made->paramcollid = get_typcollation(made->paramtype);
	made->location = reference->location;
	return (Node *) made;
}

static void
set_up_parser(ParseState *parse, void *statement)
{
	parse->p_paramref_hook = parameter;
	parse->p_ref_hook_state = statement;
}

int
answered_execute(const JobSpec *spec, const char *sql, int n, Oid *types, Datum *values, int expected)
{
	Statement statement = {spec, n, types};
	ParamListInfo parameters = makeParamList(n);
	SPIPlanPtr plan = SPI_prepare_params(sql, set_up_parser, &statement, CURSOR_OPT_PARALLEL_OK);
	int result = SPI_result;

	for (int i = 0; i < n; i++)
		parameters->params[i] = (ParamExternData){values[i], false, PARAM_FLAG_CONST, types[i]};
	if (plan)
	{
		result = SPI_execute_plan_with_paramlist(plan, parameters, false, 0);
		SPI_freeplan(plan);
	}
	job_check_result(sql, result, expected);
	return (int) SPI_processed;
}
