/*
 * fair_queue.c - see fair_queue.h.
 *
 * One account a role, in an array with room for as many roles as there can be requests and some more that have none at
 * the moment. An account's requests that wait are a list, the one whose turn it is first.
 */
#include "fair_queue.h"

#include <stdlib.h>

#include "../base/clock.h"

#define RESTING_ACCOUNTS 1024 /* of roles without a request, remembered for what they have taken */

typedef struct RoleAccount
{
	uint32_t role;
	uint32_t n_requests, n_waiting; /* running ones are in n_requests alone */
	uint64_t left_us;               /* when it last had none any more; 0: it never did */
	uint64_t served;                /* tokens, and what was made up for at each return */
	double keys_left_us;            /* fair_queue_keys_left */
	EngineRequest *first, *last;
} RoleAccount;

struct FairQueue
{
	RoleAccount *accounts;
	uint32_t n_accounts, max_accounts;
	uint32_t n_waiting;
	uint64_t turn; /* where the account stood whose turn was last */
};

FairQueue *
fair_queue_create(uint32_t max_requests)
{
	FairQueue *queue = calloc(1, sizeof *queue);

	if (!queue)
		return NULL;
	queue->max_accounts = max_requests + RESTING_ACCOUNTS;
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
		if (account->n_requests == 0 && (!found || account->served < found->served))
			found = account;
	}
	/* an account that stands no further than the turn says nothing any more */
	if (queue->n_accounts < queue->max_accounts && (!found || found->served > queue->turn))
		found = &queue->accounts[queue->n_accounts++];
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): there are more accounts than requests */
	*found = (RoleAccount){.role = role};
	return found;
}

void
fair_queue_enter(FairQueue *queue, EngineRequest *request)
{
	RoleAccount *account = find_account(queue, request->role);

	if (account->n_requests++ == 0 && account->served < queue->turn)
		account->served = queue->turn;
	request->account = account;
}

void
fair_queue_leave(FairQueue *queue, EngineRequest *request)
{
	(void) queue;
	if (--request->account->n_requests == 0)
		request->account->left_us = clock_now_us();
	request->account = NULL;
}

double *
fair_queue_keys_left(const EngineRequest *request)
{
	return &request->account->keys_left_us;
}

bool
fair_queue_has(const FairQueue *queue, uint32_t role)
{
	for (uint32_t i = 0; i < queue->n_accounts; i++)
		if (queue->accounts[i].role == role && queue->accounts[i].n_requests > 0)
			return true;
	return false;
}

bool
fair_queue_others_lately(const FairQueue *queue, const EngineRequest *request, uint64_t us)
{
	uint64_t now = clock_now_us();

	for (uint32_t i = 0; i < queue->n_accounts; i++)
	{
		const RoleAccount *account = &queue->accounts[i];

		if (account != request->account &&
			(account->n_requests > 0 || (account->left_us > 0 && now - account->left_us < us)))
			return true;
	}
	return false;
}

/* Of two requests of one role: does a come first? */
static bool
comes_first(const EngineRequest *a, const EngineRequest *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority;
	if (a->was_preempted != b->was_preempted)
		return a->was_preempted;
	return a->arrival < b->arrival;
}

/* Of two roles with requests that wait: is it a's turn? */
static bool
is_turn_of(const RoleAccount *a, const RoleAccount *b)
{
	if (a->first->priority != b->first->priority)
		return a->first->priority > b->first->priority;
	if (a->first->was_preempted != b->first->was_preempted)
		return a->first->was_preempted;
	if (a->served != b->served)
		return a->served < b->served;
	if (a->n_requests - a->n_waiting != b->n_requests - b->n_waiting)
		return a->n_requests - a->n_waiting < b->n_requests - b->n_waiting;
	return a->first->arrival < b->first->arrival;
}

void
fair_queue_add(FairQueue *queue, EngineRequest *request)
{
	RoleAccount *account = request->account;
	EngineRequest *before = account->last;

	/* a new request mostly belongs at the end, a preempted one mostly at the beginning */
	if (request->was_preempted && account->first && comes_first(request, account->first))
		before = NULL;
	while (before && comes_first(request, before))
		before = before->previous;
	request->previous = before;
	request->next = before ? before->next : account->first;
	*(request->next ? &request->next->previous : &account->last) = request;
	*(before ? &before->next : &account->first) = request;
	account->n_waiting++;
	queue->n_waiting++;
}

void
fair_queue_remove(FairQueue *queue, EngineRequest *request)
{
	RoleAccount *account = request->account;

	*(request->next ? &request->next->previous : &account->last) = request->previous;
	*(request->previous ? &request->previous->next : &account->first) = request->next;
	request->next = request->previous = NULL;
	account->n_waiting--;
	queue->n_waiting--;
}

EngineRequest *
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
keep_best(EngineRequest **best, uint32_t n, uint32_t n_max, EngineRequest *request)
{
	uint32_t at = n < n_max ? n : n_max - 1;

	if (n == n_max && !is_turn_of(request->account, best[at]->account))
		return n;
	for (; at > 0 && is_turn_of(request->account, best[at - 1]->account); at--)
		best[at] = best[at - 1];
	best[at] = request;
	return n < n_max ? n + 1 : n;
}

uint32_t
fair_queue_behind(const FairQueue *queue, const EngineRequest *request, EngineRequest **out, uint32_t n)
{
	EngineRequest *own = request->next;
	uint32_t n_out = 0;

	for (uint32_t i = 0; i < queue->n_accounts; i++)
	{
		const RoleAccount *account = &queue->accounts[i];

		if (account != request->account && account->first && account->first->priority == request->priority)
			n_out = keep_best(out, n_out, n, account->first);
	}
	for (; own && own->priority == request->priority && n_out < n; own = own->next)
		out[n_out++] = own;
	return n_out;
}

EngineRequest *
fair_queue_oldest_below(const FairQueue *queue, int32_t priority)
{
	EngineRequest *oldest = NULL;

	for (uint32_t i = 0; i < queue->n_accounts; i++)
		for (EngineRequest *request = queue->accounts[i].last; request && request->priority < priority;
			 request = request->previous)
			if (!oldest || request->arrival < oldest->arrival)
				oldest = request;
	return oldest;
}

void
fair_queue_take_turn(FairQueue *queue, const EngineRequest *request)
{
	if (request->account->served > queue->turn)
		queue->turn = request->account->served;
}

void
fair_queue_charge(FairQueue *queue, const EngineRequest *request, uint32_t n_tokens)
{
	(void) queue;
	request->account->served += n_tokens;
}

uint32_t
fair_queue_n_waiting(const FairQueue *queue)
{
	return queue->n_waiting;
}

bool
fair_queue_is_full(const FairQueue *queue, uint32_t role, uint32_t size)
{
	uint32_t n_roles = 1, n_own = 0, share;

	if (queue->n_waiting < size)
		return false;
	for (uint32_t i = 0; i < queue->n_accounts; i++)
		if (queue->accounts[i].role == role)
			n_own = queue->accounts[i].n_waiting;
		else
			n_roles += queue->accounts[i].n_waiting > 0;
	share = size / n_roles;
	return n_own >= (share > 0 ? share : 1) || queue->n_waiting >= FAIR_QUEUE_MOST * size;
}
