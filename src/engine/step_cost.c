/*
 * step_cost.c - see step_cost.h.
 */
#include "step_cost.h"

#include <stddef.h>

#define WEIGHT 0.1          /* of the newest step in the averages */
#define FASTER_WEIGHT 0.5   /* … of one that was faster than usual, of few rows */
#define OUTLIER 3           /* a step that took so many times as long as usual had its processors taken away */
#define KEYS_MEASURED 1024u /* a step of fewer keys tells little of what they take … */
#define ROWS_MEASURED 64u   /* … and one of more rows reads each key for many of them */

/* Into a moving average; what is far off counts as far as is believable. */
static void
average(double *mean, double value)
{
	if (*mean > 0 && value > OUTLIER * *mean)
		value = OUTLIER * *mean;
	*mean = *mean > 0 ? *mean + WEIGHT * (value - *mean) : value;
}

/* Likewise, but one that was faster counts for more: so it is when no processor is taken away. */
static void
average_of_fast(double *mean, double value)
{
	if (*mean > 0 && value < *mean)
		*mean += FASTER_WEIGHT * (value - *mean);
	else
		average(mean, value);
}

/* Steps of exactly so many rows; fewer never take longer. */
static void
learn_few(StepCost *cost, uint32_t n_rows, double us)
{
	average_of_fast(&cost->few_us[n_rows], us);
	for (uint32_t n = 1; n < n_rows; n++)
		if (cost->few_us[n] > cost->few_us[n_rows])
			cost->few_us[n] = cost->few_us[n_rows];
}

/* The class of steps of so many rows: up to 1, 2, 4, 8 … */
static uint32_t
class_of(uint32_t n_rows)
{
	uint32_t class = 0;

	while (class < N_STEP_CLASSES - 1 && n_rows > 1u << class)
		class ++;
	return class;
}

/* What a step of so many rows is expected to take beside its keys, between what was seen of fewer and of more; 0: too
 * few were seen. More rows never count as less time. */
static double
expected_us(const StepCost *cost, double n_rows)
{
	double rows[2] = {0, 0}, us[2] = {0, 0}; /* the two classes that enclose it, or the last two */

	for (uint32_t i = 0; i < N_STEP_CLASSES; i++)
	{
		const StepClass *seen = &cost->classes[i];

		if (seen->us <= 0 || seen->rows <= rows[1])
			continue;
		if (rows[0] > 0 && rows[1] >= n_rows)
			break;
		rows[0] = rows[1];
		us[0] = us[1];
		rows[1] = seen->rows;
		us[1] = seen->us > us[0] ? seen->us : us[0];
	}
	if (rows[0] <= 0)
		return 0;
	if (n_rows <= rows[0])
		return us[0];
	return us[0] + (us[1] - us[0]) * (n_rows - rows[0]) / (rows[1] - rows[0]);
}

void
step_cost_learn(StepCost *cost, uint32_t n_rows, uint64_t n_keys, uint64_t step_us)
{
	StepClass *class = &cost->classes[class_of(n_rows)];
	double without_keys = (double) step_us - step_cost_keys_us(cost, n_keys);

	/* what is a small part of a step is not known well from it */
	if (without_keys < (double) step_us / 2)
	{
		if (class->us > 0)
			return;
		without_keys = (double) step_us / 2;
	}
	average(&class->rows, n_rows);
	average(&class->us, without_keys);
	if (n_rows <= STEP_FEW_ROWS)
		learn_few(cost, n_rows, without_keys);
	/* fewer rows never take longer: what was learnt of them while the processors were taken away is over */
	for (StepClass *fewer = cost->classes; fewer < class; fewer++)
		if (fewer->us > class->us)
			fewer->us = class->us;
}

bool
step_cost_wants_keys(uint32_t n_rows, uint64_t n_keys)
{
	return n_keys >= KEYS_MEASURED && n_rows <= ROWS_MEASURED;
}

void
step_cost_learn_keys(StepCost *cost, uint64_t n_keys, double attention_us)
{
	average(&cost->key_us, attention_us / (double) n_keys);
}

double
step_cost_keys_us(const StepCost *cost, uint64_t n_keys)
{
	return cost->key_us * (double) n_keys;
}

/* The steps of fewest rows that were seen, or NULL. */
static const StepClass *
fewest_seen(const StepCost *cost)
{
	for (uint32_t i = 0; i < N_STEP_CLASSES; i++)
		if (cost->classes[i].us > 0)
			return &cost->classes[i];
	return NULL;
}

double
step_cost_us(const StepCost *cost, uint32_t n_rows, uint64_t n_keys)
{
	const StepClass *fewest = fewest_seen(cost);
	double us = expected_us(cost, n_rows);

	if (us <= 0)
		us = fewest ? fewest->us : n_rows;
	return us + step_cost_keys_us(cost, n_keys);
}

double
step_cost_few_us(const StepCost *cost, uint32_t n_rows)
{
	double us = 0;

	if (n_rows > STEP_FEW_ROWS)
		return step_cost_us(cost, n_rows, 0);
	for (uint32_t n = 1; n <= n_rows; n++)
		us = cost->few_us[n] > us ? cost->few_us[n] : us;
	return us > 0 ? us : step_cost_us(cost, n_rows, 0);
}

bool
step_cost_knows(const StepCost *cost, uint32_t n_rows)
{
	const StepClass *fewest = fewest_seen(cost);

	return fewest && fewest->rows <= 2 * n_rows;
}

uint32_t
step_cost_rows(const StepCost *cost, uint32_t n_rows, double times)
{
	double us = expected_us(cost, n_rows) * times;
	uint32_t rows = n_rows + FREE_ROWS_MIN;

	/* steps of many rows alone do not tell what few take */
	if (us <= 0 || !step_cost_knows(cost, n_rows))
		return n_rows + FREE_ROWS_USUAL;
	while (rows < n_rows + FREE_ROWS_MAX && expected_us(cost, rows + 1) <= us)
		rows++;
	return rows;
}
