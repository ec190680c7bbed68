/*
 * step_cost.c - see step_cost.h.
 */
#include "step_cost.h"

#define WEIGHT 0.1 /* of the newest step in the averages */
#define OUTLIER 3  /* a step that took so many times as long as usual had its processors taken away */
#define DEAREST 4.0

/* Into a moving average; what is far off counts as far as is believable. */
static void
average(double *mean, double value)
{
	if (*mean > 0 && value > OUTLIER * *mean)
		value = OUTLIER * *mean;
	*mean = *mean > 0 ? *mean + WEIGHT * (value - *mean) : value;
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

/* What a step of so many rows of one role is expected to take, between what was seen of fewer and of more; 0: too few
 * were seen. More rows never count as less time. */
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
step_cost_learn(StepCost *cost, uint32_t n_rows, uint32_t n_roles, uint64_t step_us)
{
	StepClass *class = &cost->classes[class_of(n_rows)];
	double expected;

	if (n_roles <= 1)
	{
		average(&class->rows, n_rows);
		average(&class->us, (double) step_us);
		return;
	}
	expected = expected_us(cost, n_rows);
	if (expected > 0)
		average(&cost->dearness, (double) step_us / expected);
	if (cost->dearness > DEAREST)
		cost->dearness = DEAREST;
}

uint32_t
step_cost_rows(const StepCost *cost, uint32_t n_rows, double times)
{
	double us = expected_us(cost, n_rows) * times;
	uint32_t rows = n_rows + FREE_ROWS_MIN;

	if (us <= 0)
		return n_rows + FREE_ROWS_USUAL;
	if (cost->dearness > 1)
		us /= cost->dearness;
	while (rows < n_rows + FREE_ROWS_MAX && expected_us(cost, rows + 1) <= us)
		rows++;
	return rows;
}
