/*
 * lateral.h - calls in functions of FROM, and in subqueries without FROM, over the row beside them.
 */
#ifndef QWEN_LATERAL_H
#define QWEN_LATERAL_H

#include "nodes.h"

/*
 * FROM t, LATERAL qwen_chat(t.body): the calls are made over the rows of the outer side, where many can be in flight,
 * and the inner side, which evaluates its expressions once for each of them whatever the kind of the join, gets their
 * values as parameters. The join stays as it is.
 */
extern void plan_wrap_lateral(NestLoop *join, Rewrite *rewrite);

#endif
