/*
 * task_prompts.h - what the model is asked by each task. docs/tasks.md shows the same words and how to use others.
 *
 * %d and %s are filled in; the text that the task is about follows each prompt, after an empty line.
 */
#ifndef QWEN_TASK_PROMPTS_H
#define QWEN_TASK_PROMPTS_H

#define PROMPT_SUMMARIZE "Summarize the following text in one short sentence of at most %d words."

/* the parts of a text that is longer than the context, and then their summaries */
#define PROMPT_SUMMARIZE_PART "Summarize the following part of a longer text in at most %d words."

#define PROMPT_TRANSLATE "Translate the following text into %s. Answer with the translation alone."

#define PROMPT_CLASSIFY "Classify the following text. Answer with exactly one of these labels and nothing else: %s."

#define PROMPT_FILTER "Does this statement hold for the following text? Answer with Yes or No alone.\nStatement: %s"

#define PROMPT_SENTIMENT                                                                                               \
	"What is the sentiment of the following text? Answer with exactly one of these labels and nothing else: "          \
	"positive, negative, neutral, mixed."

#define PROMPT_EXTRACT                                                                                                 \
	"Extract what the following text says, as JSON that satisfies this schema. Say only what the text says.\n"         \
	"Schema: %s"

/* a label at a time; the text stands before the question, so that all labels' requests share it */
#define PROMPT_LABEL_TEXT "Read this text."
#define PROMPT_LABEL_QUESTION                                                                                          \
	"Does the label \"%s\" fit the text above? Other labels may fit it too. Answer with Yes or No alone."

#define PROMPT_SCORE                                                                                                   \
	"How well does the following text meet this criterion? Answer with one digit alone, from 0 (not at all) to 9 "     \
	"(completely).\nCriterion: %s"

/* qwen_entities and qwen_redact: kinds, and the example with its marks, which are such as the text does not have */
#define PROMPT_MARK                                                                                                    \
	"Copy the following text exactly, and mark each place in it that is one of these: %s. Marks are written as in "    \
	"this example for the kinds color and fruit: %s"
#define PROMPT_MARK_EXAMPLE "I ate a %1$scolor%2$sred%1$s/color%2$s %1$sfruit%2$sapple%1$s/fruit%2$s."

/* models that are not made for moderation */
#define PROMPT_MODERATE                                                                                                \
	"Is the following text safe? Answer in two lines: \"Safety: \" and one of Safe, Controversial, Unsafe; then "      \
	"\"Categories: \" and what fits best of Violent, Non-violent Illegal Acts, Sexual Content or Sexual Acts, PII, "   \
	"Suicide & Self-Harm, Unethical Acts, Politically Sensitive Topics, Copyright Violation, Jailbreak, None."

/* qwen_chat_agg: when the rows are more than the context holds, the instruction is followed for each part of them, and
 * then this is asked about the answers */
#define PROMPT_COMBINE                                                                                                 \
	"The following are answers to one request, each for a part of the data. Combine them into one answer.\n"           \
	"Request: %s"

#endif
