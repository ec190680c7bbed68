/*
 * moderate.c - qwen_moderate: whether a text is safe, and what is wrong with it if not.
 *
 * The answer of Qwen3Guard-Gen as it was published: "Safety: Unsafe", a line end, "Categories: Violent". All such
 * answers with one category are compared with each other alone (REQUEST_SCORE), so that each has a probability. Files
 * of Qwen3Guard have the task in their chat template: then the text is all that is sent. Which model is one is seen by
 * rendering a text of ours. Other models are asked by a prompt.
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../core/arguments.h"
#include "../core/engine_reply.h"
#include "../core/texts.h"
#include "catalog/pg_type.h"
#include "chat.h"
#include "funcapi.h"
#include "score_request.h"
#include "task_prompts.h"
#include "task_request.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#define ARG_TAIL 1

/* What stands in the prompts of models that were made for this. */
#define GUARD_MARK "<BEGIN UNSAFE CONTENT CATEGORIES>"

static const char *const labels[] = {"Safe", "Controversial", "Unsafe"};
static const char *const categories[] = {"Violent",
										 "Non-violent Illegal Acts",
										 "Sexual Content or Sexual Acts",
										 "PII",
										 "Suicide & Self-Harm",
										 "Unethical Acts",
										 "Politically Sensitive Topics",
										 "Copyright Violation",
										 "Jailbreak"};

/* A safe text has no category, any other has one. */
#define N_VERDICTS (1 + (lengthof(labels) - 1) * lengthof(categories))

typedef struct Verdict
{
	const char *label, *category; /* category NULL: none */
	double probability;
} Verdict;

static Verdict
verdict_of(int i)
{
	int n = lengthof(categories);

	return i == 0 ? (Verdict){labels[0], NULL, 0} : (Verdict){labels[1 + (i - 1) / n], categories[(i - 1) % n], 0};
}

/* The answers, as a JSON array. */
static ByteSpan
list_verdicts(void)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < (int) N_VERDICTS; i++)
	{
		Verdict verdict = verdict_of(i);

		appendStringInfo(&json, "%c\"Safety: %s\\nCategories: %s\"", i > 0 ? ',' : '[', verdict.label,
						 verdict.category ? verdict.category : "None");
	}
	appendStringInfoChar(&json, ']');
	return (ByteSpan){json.data, json.len};
}

static void
build_moderate(FunctionCallInfo fcinfo, ModelCall *call)
{
	Request *request;

	if (PG_ARGISNULL(0) || text_is_blank(PG_GETARG_TEXT_PP(0)))
		return;
	request = model_call_ask(call);
	score_options(fcinfo, ARG_TAIL, request);
	request->kind = REQUEST_RENDER_CHAT;
	request->messages = messages_from_texts(cstring_to_text("x"), NULL);
}

/* The model has shown how it is asked: ask. */
static void
next_moderate(FunctionCallInfo fcinfo, ModelCall *call)
{
	const EngineReply *reply = &call->replies[0];
	Request *request;
	bool is_guard;

	if (reply->type != FRAME_RESULT || reply->result.kind != RESULT_TEXT)
		return;
	is_guard = memmem(reply->result.text.data, reply->result.text.length, GUARD_MARK, strlen(GUARD_MARK)) != NULL;
	request = model_call_ask(call);
	score_request(fcinfo, ARG_TAIL, PROMPT_MODERATE, PG_GETARG_TEXT_PP(0), list_verdicts(), request);
	if (!is_guard)
		return;
	request->messages = messages_from_texts(PG_GETARG_TEXT_PP(0), NULL);
	/* the file's own words before the text are everybody's */
	request->shared_messages = messages_from_texts(cstring_to_text("x"), NULL);
}

/* The likeliest first. */
static int
compare_verdicts(const void *a, const void *b)
{
	const Verdict *left = a, *right = b;

	return (left->probability < right->probability) - (left->probability > right->probability);
}

/* A row for each verdict. */
static Datum
finish_moderate(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	const RequestResult *scores = scores_of(&replies[0], N_VERDICTS);
	Verdict verdicts[N_VERDICTS];

	for (int i = 0; i < (int) N_VERDICTS; i++)
	{
		verdicts[i] = verdict_of(i);
		verdicts[i].probability = protocol_float(scores->values, i);
	}
	qsort(verdicts, N_VERDICTS, sizeof *verdicts, compare_verdicts);
	for (int i = 0; i < (int) N_VERDICTS; i++)
	{
		const char *category = verdicts[i].category;
		Datum values[3] = {CStringGetTextDatum(verdicts[i].label), category ? CStringGetTextDatum(category) : (Datum) 0,
						   Float8GetDatum(verdicts[i].probability)};
		bool nulls[3] = {false, category == NULL, false};

		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static const ModelFunction moderate_function = {.symbol = "qwen_moderate",
												.build = build_moderate,
												.next = next_moderate,
												.finish = finish_moderate,
												.least = 1,
												.most = 17};

QWEN_FUNCTION(qwen_moderate, 1, 17)
{
	return model_call_run_set(fcinfo, &moderate_function);
}
