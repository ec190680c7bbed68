/*
 * step_shares.c - see step_shares.h.
 */
#include "step_shares.h"

RoleShare *
shares_find(RoleShare *shares, const EngineRequest *request)
{
	while (shares->account != request->account)
		shares++;
	return shares;
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
shares_least(const RoleShare *shares, uint32_t n)
{
	uint32_t least = UINT32_MAX;
	int32_t highest = highest_priority(shares, n);

	for (uint32_t i = 0; i < n; i++)
		if (shares[i].priority == highest && shares[i].wanted < least)
			least = shares[i].wanted;
	return least;
}

void
shares_fill(RoleShare *shares, uint32_t n, uint32_t n_rows)
{
	uint32_t evenly = shares_least(shares, n) * n, rows = n_rows > evenly ? n_rows : evenly;
	int32_t highest = highest_priority(shares, n);

	for (uint32_t i = 0; i < n; i++)
		shares[i].left = shares[i].wanted > 0 ? 1 : 0;
	/* each has its one already */
	rows = rows > n ? rows - n : 0;
	rows = share_evenly(shares, n, highest, true, rows);
	(void) share_evenly(shares, n, highest, false, rows);
}
