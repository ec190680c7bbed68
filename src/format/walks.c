/*
 * walks.c - the two ways of walking through the texts of a format; see format_private.h.
 */
#include "format_private.h"

/* ---- over a machine -------------------------------------------------------------------------------------------- */

static FormatState
machine_walk_take(Format *format, FormatState state, const char *bytes, size_t n)
{
	format->pool.work = 0;
	return machine_take(&format->machine, state, bytes, n);
}

static bool
machine_walk_is_complete(const Format *format, FormatState state)
{
	return machine_is_complete(&format->machine, state);
}

static bool
machine_walk_is_over(const Format *format, FormatState state)
{
	return machine_is_over(&format->machine, state);
}

static uint32_t
machine_walk_bound(Format *format, FormatState state)
{
	format->pool.work = 0;
	return machine_completion_bytes(&format->machine, state);
}

static Status
machine_walk_complete(Format *format, FormatState state, ByteWriter *out)
{
	size_t start = out->length;

	while (!pool_failed(&format->pool))
	{
		unsigned char byte;

		format->pool.work = 0;
		byte = machine_completion_next(&format->machine, state);
		if (!byte)
			break;
		format->machine.is_real = true;
		state = machine_step(&format->machine, state, byte);
		format->machine.is_real = false;
		write_u8(out, byte);
		if (out->length - start > MAX_SHORTEST)
			return status_error(STATUS_TOO_LONG,
								"the shortest text of the format has more than %d bytes, which is the limit",
								MAX_SHORTEST);
	}
	if (pool_failed(&format->pool))
		return format->pool.status;
	if (!machine_is_complete(&format->machine, state))
		return status_error(STATUS_INTERNAL, "a text of the format cannot be completed");
	return status_ok();
}

static void
machine_walk_likely(Format *format, FormatState state, size_t limit, ByteWriter *out)
{
	Machine *machine = &format->machine;

	for (size_t i = 0; i < limit && !machine_is_complete(machine, state) && !pool_failed(&format->pool); i++)
	{
		unsigned char byte = 0;

		format->pool.work = 0;
		state = machine_only_step(machine, state, &byte);
		if (state == STATE_DEAD)
			return;
		write_u8(out, byte);
	}
}

const FormatWalk machine_walk = {
	.take = machine_walk_take,
	.is_complete = machine_walk_is_complete,
	.is_over = machine_walk_is_over,
	.completion_bound = machine_walk_bound,
	.complete = machine_walk_complete,
	.likely = machine_walk_likely,
};

/* ---- over a text that is copied -------------------------------------------------------------------------------- */

static FormatState
copy_walk_take(Format *format, FormatState state, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n && state != STATE_DEAD; i++)
		state = copy_step(format->copy, state, (unsigned char) bytes[i]);
	return state;
}

static bool
copy_walk_is_complete(const Format *format, FormatState state)
{
	return copy_is_complete(format->copy, state);
}

static uint32_t
copy_walk_bound(Format *format, FormatState state)
{
	return copy_completion_bound(format->copy, state);
}

static Status
copy_walk_complete(Format *format, FormatState state, ByteWriter *out)
{
	copy_complete(format->copy, state, out);
	return status_ok();
}

static void
copy_walk_likely(Format *format, FormatState state, size_t limit, ByteWriter *out)
{
	copy_likely(format->copy, state, limit, out);
}

static uint32_t
copy_walk_tokens(const Format *format, const Vocabulary *vocabulary, FormatState state, uint32_t *got)
{
	return copy_tokens(format->copy, vocabulary, state, got);
}

const FormatWalk copy_walk = {
	.take = copy_walk_take,
	.is_complete = copy_walk_is_complete,
	.is_over = copy_walk_is_complete,
	.completion_bound = copy_walk_bound,
	.complete = copy_walk_complete,
	.likely = copy_walk_likely,
	.tokens = copy_walk_tokens,
};
