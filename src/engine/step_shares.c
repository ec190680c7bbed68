/*
 * step_shares.c - see step_shares.h.
 */
#include "step_shares.h"

#define FEW 4      /* rows of a step whose time is that of its fixed part */
#define MANY 8     /* from so many on what a row takes can be told */
#define WEIGHT 0.1 /* of the newest step in the averages */
#define OUTLIER 3  /* a step that took so many times as long as usual had its processors taken away */

/* Into a moving average; what is far off counts as far as is believable. */
static void
average(double *mean, double value)
{
	if (*mean > 0 && value > OUTLIER * *mean)
		value = OUTLIER * *mean;
	*mean = *mean > 0 ? *mean + WEIGHT * (value - *mean) : value;
}

void
step_cost_learn(StepCost *cost, uint32_t n_rows, uint64_t step_us)
{
	double us = (double) step_us;

	if (n_rows <= FEW)
		average(&cost->few_us, us);
	else if (n_rows >= MANY && cost->few_us > 0 && us > cost->few_us)
		average(&cost->row_us, (us - cost->few_us) / n_rows);
}

uint32_t
step_cost_free_rows(const StepCost *cost)
{
	double rows;

	if (cost->few_us <= 0 || cost->row_us <= 0)
		return FREE_ROWS_USUAL;
	rows = cost->few_us / cost->row_us / 2;
	return rows < FREE_ROWS_MIN ? FREE_ROWS_MIN : rows > FREE_ROWS_MAX ? FREE_ROWS_MAX : (uint32_t) rows;
}

RoleShare *
shares_find(RoleShare *shares, const Job *job)
{
	while (shares->account != job->account)
		shares++;
	return shares;
}

uint32_t
shares_collect(RoleShare *shares, Job *const *jobs, uint32_t n_jobs)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < n_jobs; i++)
	{
		uint32_t s = 0;

		while (s < n && shares[s].account != jobs[i]->account)
			s++;
		if (s == n)
			shares[n++] = (RoleShare){.account = jobs[i]->account, .priority = jobs[i]->priority};
		shares[s].wanted += job_rows_left(jobs[i]);
		if (jobs[i]->priority > shares[s].priority)
			shares[s].priority = jobs[i]->priority;
	}
	return n;
}

/* Share rows evenly among the roles of one class that want more than they have; returns what is left. */
static uint32_t
share_evenly(RoleShare *shares, uint32_t n, int32_t highest, bool is_highest, uint32_t rows)
{
	uint32_t n_open;

	do
	{
		uint32_t each;

		n_open = 0;
		for (uint32_t i = 0; i < n; i++)
			n_open += (shares[i].priority == highest) == is_highest && shares[i].left < shares[i].wanted;
		each = n_open && rows > n_open ? rows / n_open : 1;
		for (uint32_t i = 0; i < n && rows > 0; i++)
		{
			uint32_t more = shares[i].wanted - shares[i].left;

			if ((shares[i].priority == highest) != is_highest)
				continue;
			more = more < each ? more : each;
			more = more < rows ? more : rows;
			shares[i].left += more;
			rows -= more;
		}
	} while (n_open > 0 && rows > 0);
	return rows;
}

void
shares_fill(RoleShare *shares, uint32_t n, uint32_t n_free)
{
	uint32_t least = UINT32_MAX, rows;
	int32_t highest = INT32_MIN;

	for (uint32_t i = 0; i < n; i++)
		highest = shares[i].priority > highest ? shares[i].priority : highest;
	for (uint32_t i = 0; i < n; i++)
	{
		if (shares[i].priority == highest && shares[i].wanted < least)
			least = shares[i].wanted;
		shares[i].left = shares[i].wanted > 0 ? 1 : 0;
	}
	/* each has its one already */
	rows = (least > 0 ? least - 1 : 0) * n + n_free;
	rows = share_evenly(shares, n, highest, true, rows);
	(void) share_evenly(shares, n, highest, false, rows);
}
