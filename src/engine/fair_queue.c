/*
 * fair_queue.c - see fair_queue.h.
 *
 * One account a role, in an array with room for as many roles as there can be jobs and some more that have none at the
 * moment. An account's jobs that wait are a list, the one whose turn it is first.
 */
#include "fair_queue.h"

#include <stdlib.h>

#include "../base/clock.h"

#define RESTING_ACCOUNTS 1024 /* of roles without a job, remembered for what they have taken */

typedef struct RoleAccount
{
	uint32_t role;
	uint32_t n_jobs, n_waiting; /* running ones are in n_jobs alone */
	uint64_t left_us;           /* when it last had none any more; 0: it never did */
	uint64_t served;            /* tokens, and what was made up for at each return */
	Job *first, *last;
} RoleAccount;

struct FairQueue
{
	RoleAccount *accounts;
	uint32_t n_accounts, max_accounts;
	uint32_t n_waiting;
	uint64_t turn; /* where the account stood whose turn was last */
};

FairQueue *
fair_queue_create(uint32_t max_jobs)
{
	FairQueue *queue = calloc(1, sizeof *queue);

	if (!queue)
		return NULL;
	queue->max_accounts = max_jobs + RESTING_ACCOUNTS;
	queue->accounts = calloc(queue->max_accounts, sizeof *queue->accounts);
	if (!queue->accounts)
	{
		free(queue);
		return NULL;
	}
	return queue;
}

void
fair_queue_destroy(FairQueue *queue)
{
	if (!queue)
		return;
	free(queue->accounts);
	free(queue);
}

/* A role's account; a new one, or in place of the resting one that has taken least, when it has none. */
static RoleAccount *
find_account(FairQueue *queue, uint32_t role)
{
	RoleAccount *found = NULL;

	for (uint32_t i = 0; i < queue->n_accounts; i++)
	{
		RoleAccount *account = &queue->accounts[i];

		if (account->role == role)
			return account;
		if (account->n_jobs == 0 && (!found || account->served < found->served))
			found = account;
	}
	/* an account that stands no further than the turn says nothing any more */
	if (queue->n_accounts < queue->max_accounts && (!found || found->served > queue->turn))
		found = &queue->accounts[queue->n_accounts++];
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): there are more accounts than jobs */
	*found = (RoleAccount){.role = role};
	return found;
}

void
fair_queue_enter(FairQueue *queue, Job *job)
{
	RoleAccount *account = find_account(queue, job->role);

	if (account->n_jobs++ == 0 && account->served < queue->turn)
		account->served = queue->turn;
	job->account = account;
}

void
fair_queue_leave(FairQueue *queue, Job *job)
{
	(void) queue;
	if (--job->account->n_jobs == 0)
		job->account->left_us = clock_now_us();
	job->account = NULL;
}

bool
fair_queue_others_lately(const FairQueue *queue, const Job *job, uint64_t us)
{
	uint64_t now = clock_now_us();

	for (uint32_t i = 0; i < queue->n_accounts; i++)
	{
		const RoleAccount *account = &queue->accounts[i];

		if (account != job->account && (account->n_jobs > 0 || (account->left_us > 0 && now - account->left_us < us)))
			return true;
	}
	return false;
}

/* Of two jobs of one role: does a come first? */
static bool
comes_first(const Job *a, const Job *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority;
	if (a->was_preempted != b->was_preempted)
		return a->was_preempted;
	return a->arrival < b->arrival;
}

/* Of two roles with jobs that wait: is it a's turn? */
static bool
is_turn_of(const RoleAccount *a, const RoleAccount *b)
{
	if (a->first->priority != b->first->priority)
		return a->first->priority > b->first->priority;
	if (a->first->was_preempted != b->first->was_preempted)
		return a->first->was_preempted;
	if (a->served != b->served)
		return a->served < b->served;
	if (a->n_jobs - a->n_waiting != b->n_jobs - b->n_waiting)
		return a->n_jobs - a->n_waiting < b->n_jobs - b->n_waiting;
	return a->first->arrival < b->first->arrival;
}

void
fair_queue_add(FairQueue *queue, Job *job)
{
	RoleAccount *account = job->account;
	Job *before = account->last;

	/* a new job mostly belongs at the end, a preempted one mostly at the beginning */
	if (job->was_preempted && account->first && comes_first(job, account->first))
		before = NULL;
	while (before && comes_first(job, before))
		before = before->previous;
	job->previous = before;
	job->next = before ? before->next : account->first;
	*(job->next ? &job->next->previous : &account->last) = job;
	*(before ? &before->next : &account->first) = job;
	account->n_waiting++;
	queue->n_waiting++;
}

void
fair_queue_remove(FairQueue *queue, Job *job)
{
	RoleAccount *account = job->account;

	*(job->next ? &job->next->previous : &account->last) = job->previous;
	*(job->previous ? &job->previous->next : &account->first) = job->next;
	job->next = job->previous = NULL;
	account->n_waiting--;
	queue->n_waiting--;
}

Job *
fair_queue_next(const FairQueue *queue)
{
	const RoleAccount *best = NULL;

	for (uint32_t i = 0; i < queue->n_accounts && queue->n_waiting > 0; i++)
	{
		const RoleAccount *account = &queue->accounts[i];

		if (account->first && (!best || is_turn_of(account, best)))
			best = account;
	}
	return best ? best->first : NULL;
}

/* Into the list of the n best, in order; returns how many there are then. */
static uint32_t
keep_best(Job **best, uint32_t n, uint32_t n_max, Job *job)
{
	uint32_t at = n < n_max ? n : n_max - 1;

	if (n == n_max && !is_turn_of(job->account, best[at]->account))
		return n;
	for (; at > 0 && is_turn_of(job->account, best[at - 1]->account); at--)
		best[at] = best[at - 1];
	best[at] = job;
	return n < n_max ? n + 1 : n;
}

uint32_t
fair_queue_behind(const FairQueue *queue, const Job *job, Job **out, uint32_t n)
{
	Job *own = job->next;
	uint32_t n_out = 0;

	for (uint32_t i = 0; i < queue->n_accounts; i++)
	{
		const RoleAccount *account = &queue->accounts[i];

		if (account != job->account && account->first && account->first->priority == job->priority)
			n_out = keep_best(out, n_out, n, account->first);
	}
	for (; own && own->priority == job->priority && n_out < n; own = own->next)
		out[n_out++] = own;
	return n_out;
}

Job *
fair_queue_oldest_below(const FairQueue *queue, int32_t priority)
{
	Job *oldest = NULL;

	for (uint32_t i = 0; i < queue->n_accounts; i++)
		for (Job *job = queue->accounts[i].last; job && job->priority < priority; job = job->previous)
			if (!oldest || job->arrival < oldest->arrival)
				oldest = job;
	return oldest;
}

void
fair_queue_take_turn(FairQueue *queue, const Job *job)
{
	if (job->account->served > queue->turn)
		queue->turn = job->account->served;
}

void
fair_queue_charge(FairQueue *queue, const Job *job, uint32_t n_tokens)
{
	(void) queue;
	job->account->served += n_tokens;
}

uint32_t
fair_queue_n_waiting(const FairQueue *queue)
{
	return queue->n_waiting;
}
