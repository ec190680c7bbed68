/*
 * active_members.c - see active_members.h.
 */
#include "active_members.h"

#include <string.h>

#define MILLISECOND_NS ((uint64_t) 1000 * 1000)
#define WINDOW_NS (60 * MILLISECOND_NS) /* steps looked at together; longer than time slices of other work */
#define WINDOW_STEPS 3
#define TRIAL_NS (2000 * MILLISECOND_NS) /* a trial that sees no steps of the size before it ends then */
#define FIRST_REST_NS (1000 * MILLISECOND_NS)
#define LAST_REST_NS (32000 * MILLISECOND_NS)

void
active_members_init(ActiveMembers *members, uint32_t n_max)
{
	memset(members, 0, sizeof *members);
	members->n = members->n_max = n_max;
	members->fewer_rest_ns = members->more_rest_ns = FIRST_REST_NS;
}

/* Steps of the same size take about the same time: exactly so many rows, or as many to an eighth. */
static uint32_t
size_of(uint32_t n_rows)
{
	uint32_t unit = 1;

	while (n_rows / unit >= 16)
		unit *= 2;
	return n_rows / unit * unit;
}

static void
begin_window(ActiveMembers *members, uint32_t size)
{
	members->size = size;
	members->n_steps = 0;
	members->steps_ns = members->waited_ns = 0;
}

/* From here on with one more or one fewer, to see what it is worth. */
static void
begin_trial(ActiveMembers *members, MembersTrial trial)
{
	members->trial = trial;
	members->n += trial == TRIAL_MORE ? 1 : -1u;
	members->size_before = members->size;
	members->step_ns_before = members->steps_ns / members->n_steps;
	members->trial_ends_ns = members->now_ns + TRIAL_NS;
	begin_window(members, members->size);
}

/* It stays, or it is as it was before. */
static void
end_trial(ActiveMembers *members, bool stays)
{
	bool fewer = members->trial == TRIAL_FEWER;
	uint64_t *rest_ns = fewer ? &members->fewer_rest_ns : &members->more_rest_ns;

	members->trial = TRIAL_NONE;
	if (stays)
	{
		*rest_ns = FIRST_REST_NS;
		members->more_after_ns = members->now_ns + members->more_rest_ns;
	}
	else
	{
		members->n += fewer ? 1 : -1u;
		*(fewer ? &members->fewer_after_ns : &members->more_after_ns) = members->now_ns + *rest_ns;
		*rest_ns = *rest_ns * 2 < LAST_REST_NS ? *rest_ns * 2 : LAST_REST_NS;
	}
	begin_window(members, members->size);
}

/* Is a step clearly faster than before the trial? */
static bool
is_faster(const ActiveMembers *members)
{
	return members->steps_ns / members->n_steps < members->step_ns_before - members->step_ns_before / 16;
}

void
active_members_learn(ActiveMembers *members, uint32_t n_rows, uint64_t step_ns, uint64_t waited_ns)
{
	uint32_t size = size_of(n_rows);

	if (members->n_max == 1)
		return;
	members->now_ns += step_ns;
	if (size != members->size)
		begin_window(members, size);
	members->n_steps++;
	members->steps_ns += step_ns;
	members->waited_ns += waited_ns;
	if (members->trial != TRIAL_NONE && members->now_ns >= members->trial_ends_ns)
	{
		end_trial(members, false);
		return;
	}
	if (members->n_steps < WINDOW_STEPS || members->steps_ns < WINDOW_NS)
		return;
	if (members->trial == TRIAL_NONE && members->n > 1 && members->waited_ns > members->steps_ns / 3 &&
		members->now_ns >= members->fewer_after_ns)
		begin_trial(members, TRIAL_FEWER);
	else if (members->trial == TRIAL_NONE && members->n < members->n_max && members->now_ns >= members->more_after_ns)
		begin_trial(members, TRIAL_MORE);
	else if (members->trial != TRIAL_NONE && members->size == members->size_before)
		end_trial(members, is_faster(members));
	else
		begin_window(members, members->size);
}
