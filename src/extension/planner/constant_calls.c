/*
 * constant_calls.c - qwen_planner_support: STABLE calls whose arguments are the same for all rows are made once.
 *
 * PostgreSQL's planner asks a function's support function when it simplifies a call. A STABLE call of ours whose
 * arguments are constants, parameters of the statement or columns of a query around becomes an uncorrelated sub-select
 * (SELECT qwen_embed('...')), which the planner turns into an InitPlan: it is evaluated when its value is needed first,
 * once for each execution (or row of the query around) instead of once for each row; and it cannot be evaluated while
 * the statement is planned, as PostgreSQL does with STABLE calls for its estimates: EXPLAIN asks no model.
 *
 * qwen_similarity with one such side becomes qwen_similarity_to over the InitPlan's embedding.
 */
#include "../core/core.h"

#include "../core/arguments.h"
#include "../core/compat.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/planmain.h"
#include "optimizer/subselect.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* Is an expression more than constants, parameters of the statement and columns of queries around? */
static bool
depends_on_row(Node *node, void *context)
{
	if (!node)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
			return ((Var *) node)->varlevelsup == 0;
		case T_Param:
			return ((Param *) node)->paramkind != PARAM_EXTERN;
		case T_PlaceHolderVar:
		case T_Aggref:
		case T_GroupingFunc:
		case T_WindowFunc:
		case T_SubLink:
		case T_SubPlan:
		case T_AlternativeSubPlan:
		case T_CurrentOfExpr:
		case T_SetToDefault:
		case T_CaseTestExpr:
		case T_CoerceToDomainValue:
		case T_NextValueExpr:
			return true;
		default:
			return expression_tree_walker(node, depends_on_row, context);
	}
}

static bool
is_constant(Node *node)
{
	return !depends_on_row(node, NULL) && !contain_volatile_functions(node);
}

/* A query without FROM evaluates its expressions once as it is, and PL/pgSQL's fast way wants them as they are. */
static bool
has_single_row(const Query *query)
{
	const List *from = query->jointree ? query->jointree->fromlist : NIL;

	if (query->hasTargetSRFs)
		return false;
	return from == NIL || (list_length(from) == 1 && IsA(linitial(from), RangeTblRef) &&
						   rt_fetch(((RangeTblRef *) linitial(from))->rtindex, query->rtable)->rtekind == RTE_RESULT);
}

/*
 * EXISTS (... LIMIT f(...)): the limit is simplified on behalf of the query around, which would take the sub-select for
 * its own.
 */
static bool
has_limit_in_exists(Node *node, void *context)
{
	if (!node)
		return false;
	if (IsA(node, SubLink) && ((SubLink *) node)->subLinkType == EXISTS_SUBLINK &&
		IsA(((SubLink *) node)->subselect, Query))
	{
		const Query *query = (const Query *) ((SubLink *) node)->subselect;

		if (query->limitCount && !IsA(query->limitCount, Const))
			return true;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, has_limit_in_exists, context, 0);
	return expression_tree_walker(node, has_limit_in_exists, context);
}

/* (SELECT call): an InitPlan once the planner is there. */
static Node *
make_subselect(PlannerInfo *root, FuncExpr *call)
{
	Query *query = makeNode(Query);
	SubLink *link = makeNode(SubLink);

	call = copyObject(call);
	IncrementVarSublevelsUp((Node *) call, 1, 0);
	query->commandType = CMD_SELECT;
	query->querySource = QSRC_ORIGINAL;
	query->canSetTag = true;
	query->targetList = list_make1(makeTargetEntry((Expr *) call, 1, "value", false));
	query->jointree = makeFromExpr(NIL, NULL);
	link->subLinkType = EXPR_SUBLINK;
	link->subselect = (Node *) query;
	link->location = -1;
	/* expressions that are simplified later than that have had their sub-selects planned already */
	if (root->simple_rel_array)
		return SS_process_sublinks(root, (Node *) link, false);
	root->parse->hasSubLinks = true;
	return (Node *) link;
}

/* A function in the schema of one of ours, if the role may execute it; else 0. */
static Oid
find_function_beside(Oid function, const char *name, int n_arguments, const Oid *types)
{
	oidvector *vector = buildoidvector(types, n_arguments);
	Oid found = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name), PointerGetDatum(vector),
								ObjectIdGetDatum(get_func_namespace(function)));

	if (!OidIsValid(found) || function_aclcheck(found, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		return InvalidOid;
	return found;
}

/* qwen_similarity with a constant side: over that side's embedding, which is made once. NULL: it has none. */
static Node *
similarity_to_constant(PlannerInfo *root, FuncExpr *call)
{
	static const Oid embed_types[] = {TEXTOID, TEXTOID, TEXTOID, INT4OID, JSONOID};
	static const Oid similarity_types[] = {TEXTOID, FLOAT4ARRAYOID, TEXTOID, TEXTOID, JSONOID};
	Node *a = linitial(call->args), *b = lsecond(call->args), *model = lthird(call->args);
	Node *instruction = lfourth(call->args), *options = list_nth(call->args, 4);
	Node *none = (Node *) makeNullConst(TEXTOID, -1, InvalidOid);
	bool constant_b = is_constant(b) && is_constant(instruction);
	Oid embed, similarity;
	FuncExpr *embedding;

	if ((!constant_b && !is_constant(a)) || !is_constant(model) || !is_constant(options))
		return NULL;
	embed = find_function_beside(call->funcid, "qwen_embed", lengthof(embed_types), embed_types);
	similarity = find_function_beside(call->funcid, "qwen_similarity_to", lengthof(similarity_types), similarity_types);
	/* who may not call what is written is to be told so */
	if (!OidIsValid(embed) || !OidIsValid(similarity) ||
		function_aclcheck(call->funcid, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		return NULL;
	/* the plan is this role's, and made again when one of these privileges changes */
	root->glob->dependsOnRole = true;
	record_plan_function_dependency(root, call->funcid);
	record_plan_function_dependency(root, embed);
	record_plan_function_dependency(root, similarity);
	/* the instruction is b's */
	embedding = makeFuncExpr(embed, FLOAT4ARRAYOID,
							 lappend(list_make4(constant_b ? b : a, model, constant_b ? instruction : none,
												makeNullConst(INT4OID, -1, InvalidOid)),
									 options),
							 InvalidOid, call->inputcollid, COERCE_EXPLICIT_CALL);
	return (Node *) makeFuncExpr(
		similarity, FLOAT8OID,
		lappend(list_make4(constant_b ? a : b, make_subselect(root, embedding), model, constant_b ? none : instruction),
				options),
		InvalidOid, call->inputcollid, COERCE_EXPLICIT_CALL);
}

static bool
is_similarity(const FuncExpr *call)
{
	const char *name = get_func_name(call->funcid);

	return name && strcmp(name, "qwen_similarity") == 0 && list_length(call->args) == 5;
}

static Node *
simplify(PlannerInfo *root, FuncExpr *call)
{
	if (!root || call->funcretset || func_volatile(call->funcid) != PROVOLATILE_STABLE || has_single_row(root->parse))
		return NULL;
	if (!root->simple_rel_array && root->parse->hasSubLinks &&
		query_tree_walker(root->parse, has_limit_in_exists, NULL, 0))
		return NULL;
	if (is_constant((Node *) call->args))
		return make_subselect(root, call);
	return is_similarity(call) ? similarity_to_constant(root, call) : NULL;
}

QWEN_FUNCTION(qwen_planner_support, 1, 1)
{
	Node *request = (Node *) PG_GETARG_POINTER(0);

	if (!IsA(request, SupportRequestSimplify))
		PG_RETURN_POINTER(NULL);
	PG_RETURN_POINTER(
		simplify(((SupportRequestSimplify *) request)->root, ((SupportRequestSimplify *) request)->fcall));
}
