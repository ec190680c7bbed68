/*
 * sampling_options.c - the ranges of the arguments that all text-producing functions share.
 *
 * One table row an argument, so that the error text, the documentation and the check cannot part.
 */
#include <math.h>

#include "protocol.h"

/* "temperature must be between 0 and 2, not 3.5" for a number that is outside (or NaN). */
static Status
check_number(const SamplingOptions *options, SamplingOptionBit bit, const char *name, double value, double low,
			 double high)
{
	if (!(options->given & bit) || (value >= low && value <= high))
		return status_ok();
	return status_error(STATUS_INVALID_ARGUMENT, "%s must be between %g and %g, not %g", name, low, high, value);
}

/* The same for whole numbers that have a lower end only. */
static Status
check_minimum(const SamplingOptions *options, SamplingOptionBit bit, const char *name, int32_t value, int32_t low)
{
	if (!(options->given & bit) || value >= low)
		return status_ok();
	return status_error(STATUS_INVALID_ARGUMENT, "%s must be at least %d, not %d", name, low, value);
}

Status
sampling_options_check(const SamplingOptions *options)
{
	STATUS_TRY(check_minimum(options, OPTION_MAX_TOKENS, "max_tokens", options->max_tokens, 1));
	STATUS_TRY(check_number(options, OPTION_TEMPERATURE, "temperature", options->temperature, 0, 2));
	STATUS_TRY(check_number(options, OPTION_TOP_P, "top_p", options->top_p, 0, 1));
	STATUS_TRY(check_number(options, OPTION_MIN_P, "min_p", options->min_p, 0, 1));
	STATUS_TRY(check_minimum(options, OPTION_TOP_K, "top_k", options->top_k, 0));
	STATUS_TRY(
		check_number(options, OPTION_REPETITION_PENALTY, "repetition_penalty", options->repetition_penalty, 1, 2));
	STATUS_TRY(check_number(options, OPTION_PRESENCE_PENALTY, "presence_penalty", options->presence_penalty, -2, 2));
	STATUS_TRY(check_number(options, OPTION_FREQUENCY_PENALTY, "frequency_penalty", options->frequency_penalty, -2, 2));
	STATUS_TRY(check_minimum(options, OPTION_THINKING_BUDGET, "thinking_budget", options->thinking_budget, 0));
	STATUS_TRY(check_number(options, OPTION_ADAPTER_SCALE, "adapter_scale", options->adapter_scale, -8, 8));
	return status_ok();
}
