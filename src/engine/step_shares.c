/*
 * step_shares.c - see step_shares.h.
 */
#include "step_shares.h"

#include <math.h>

#define KEYS_PART 0.25   /* keys of others' rows make a step longer by such a part of it */
#define FEW_KEYS_SHARE 8 /* rows whose keys take such a part of what a role may take for them need not wait */

RoleShare *
shares_find(RoleShare *shares, const EngineRequest *request)
{
	while (shares->account != request->account)
		shares++;
	return shares;
}

/* The keys that all rows look at that a sequence wants. */
static uint64_t
wanted_keys(const Sequence *sequence)
{
	uint64_t n = sequence_rows_left(sequence);

	return n * sequence->n_done + n * (n + 1) / 2;
}

uint32_t
shares_collect(RoleShare *shares, EngineRequest *const *requests, uint32_t n_requests)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < n_requests; i++)
	{
		uint32_t s = 0;

		while (s < n && shares[s].account != requests[i]->account)
			s++;
		if (s == n)
			shares[n++] = (RoleShare){.account = requests[i]->account, .priority = requests[i]->priority};
		shares[s].wanted += request_rows_left(requests[i]);
		for (uint32_t j = 0; j < requests[i]->n_sequences; j++)
			shares[s].wanted_keys += wanted_keys(&requests[i]->sequences[j]);
		if (requests[i]->priority > shares[s].priority)
			shares[s].priority = requests[i]->priority;
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

/* The highest priority of some roles. */
static int32_t
highest_priority(const RoleShare *shares, uint32_t n)
{
	int32_t highest = INT32_MIN;

	for (uint32_t i = 0; i < n; i++)
		highest = shares[i].priority > highest ? shares[i].priority : highest;
	return highest;
}

uint32_t
shares_measure(const RoleShare *shares, uint32_t n, const StepCost *cost)
{
	uint32_t measure = 0;
	double least = INFINITY;
	int32_t highest = highest_priority(shares, n);

	for (uint32_t i = 0; i < n; i++)
	{
		double us = step_cost_us(cost, shares[i].wanted, shares[i].wanted_keys);

		if (shares[i].priority == highest && (us < least || (us <= least && shares[i].wanted < shares[measure].wanted)))
		{
			measure = i;
			least = us;
		}
	}
	return measure;
}

void
shares_fill_keys(RoleShare *shares, uint32_t n, uint32_t measure, const StepCost *cost)
{
	double own_us = step_cost_keys_us(cost, shares[measure].wanted_keys);
	double step_us = step_cost_us(cost, shares[measure].wanted, shares[measure].wanted_keys);
	double part_us = KEYS_PART * step_us / (n > 1 ? n - 1 : 1);

	for (uint32_t i = 0; i < n; i++)
	{
		double *left_us = shares[i].keys_left_us;

		shares[i].part_us = part_us > own_us ? part_us : own_us;
		if (i == measure || !left_us)
			shares[i].keys_left_us = NULL;
		else
			*left_us = *left_us < 0 ? *left_us + shares[i].part_us : shares[i].part_us;
	}
}

void
shares_fill(RoleShare *shares, uint32_t n, uint32_t measure, uint32_t n_rows)
{
	uint32_t evenly = shares[measure].wanted * n, rows = n_rows > evenly ? n_rows : evenly;
	int32_t highest = highest_priority(shares, n);

	for (uint32_t i = 0; i < n; i++)
		shares[i].left = shares[i].wanted > 0 ? 1 : 0;
	/* each has its one already */
	rows = rows > n ? rows - n : 0;
	rows = share_evenly(shares, n, highest, true, rows);
	(void) share_evenly(shares, n, highest, false, rows);
}

uint32_t
share_take(RoleShare *share, const StepCost *cost, uint64_t row_keys, uint32_t n)
{
	double row_us = step_cost_keys_us(cost, row_keys), *left_us = share->keys_left_us;

	if (left_us && row_us > 0)
	{
		double n_paid = *left_us / row_us;

		if (n_paid < 1)
			n_paid = *left_us > 0 || row_us * FEW_KEYS_SHARE <= share->part_us ? 1 : 0;
		n = n < n_paid ? n : (uint32_t) n_paid;
		*left_us -= n * row_us;
	}
	share->left -= n;
	return n;
}
