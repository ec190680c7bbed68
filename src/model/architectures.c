/*
 * architectures.c - the table of architectures; see architectures.h.
 */
#include "architectures.h"

#include <stdio.h>
#include <string.h>

/* by Architecture */
static const ArchitectureRow rows[] = {
	[ARCHITECTURE_QWEN2] = {"qwen2",
							TRAIT_ALWAYS,
							TRAIT_OWN_OUTPUT,
							{{PART_ATTENTION, PART_DENSE},
							 TRAIT_ATTENTION | TRAIT_QKV_BIAS | TRAIT_DENSE,
							 TRAIT_QK_NORM}},
	[ARCHITECTURE_QWEN3] = {"qwen3",
							TRAIT_ALWAYS,
							TRAIT_OWN_OUTPUT,
							{{PART_ATTENTION, PART_DENSE},
							 TRAIT_ATTENTION | TRAIT_QK_NORM | TRAIT_DENSE,
							 TRAIT_QKV_BIAS}},
	[ARCHITECTURE_QWEN2MOE] = {"qwen2moe",
							   TRAIT_ALWAYS | TRAIT_OWN_OUTPUT,
							   0,
							   {{PART_ATTENTION, PART_EXPERTS},
								TRAIT_ATTENTION | TRAIT_QKV_BIAS | TRAIT_EXPERTS | TRAIT_SHARED,
								TRAIT_QK_NORM}},
	[ARCHITECTURE_QWEN3MOE] = {"qwen3moe",
							   TRAIT_ALWAYS,
							   TRAIT_OWN_OUTPUT,
							   {{PART_ATTENTION, PART_EXPERTS},
								TRAIT_ATTENTION | TRAIT_QK_NORM | TRAIT_EXPERTS | TRAIT_SUM_TO_1,
								TRAIT_QKV_BIAS}},
};

#define N_ROWS (sizeof rows / sizeof rows[0])

const ArchitectureRow *
architecture_row(uint32_t architecture)
{
	return architecture < N_ROWS && rows[architecture].name ? &rows[architecture] : NULL;
}

const char *
architecture_name(uint32_t architecture)
{
	const ArchitectureRow *row = architecture_row(architecture);

	return row ? row->name : "unknown";
}

uint32_t
architecture_find(const char *name, size_t length)
{
	for (uint32_t i = 0; i < N_ROWS; i++)
		if (rows[i].name && length == strlen(rows[i].name) && memcmp(name, rows[i].name, length) == 0)
			return i;
	return 0;
}

void
architecture_list(char *text, size_t bytes)
{
	size_t length = 0;

	text[0] = '\0';
	for (uint32_t i = 0, n = 0; i < N_ROWS && length < bytes; i++)
		if (rows[i].name)
			length += (size_t) snprintf(text + length, bytes - length, "%s%s",
										n++ == 0          ? ""
										: i == N_ROWS - 1 ? " and "
														  : ", ",
										rows[i].name);
}

const LayerKind *
architecture_layer(const ModelHyper *hyper, uint32_t layer)
{
	(void) layer; /* all are alike */
	return &rows[hyper->architecture].layer;
}

unsigned
architecture_traits(uint32_t architecture)
{
	return rows[architecture].required | rows[architecture].layer.required;
}
