/*
 * halves.c - numbers of 16 bits: F16 (IEEE 754) and BF16, to float and back.
 */
#include <math.h>
#include <string.h>

#include "kernels.h"

float
f16_to_f32(uint16_t half)
{
	uint32_t sign = (uint32_t) (half & 0x8000) << 16;
	uint32_t exponent = half >> 10 & 0x1F;
	uint32_t mantissa = half & 0x3FF;
	uint32_t bits;
	float value;

	if (exponent == 0)
	{
		value = (float) mantissa * 0x1p-24f; /* zero and subnormals, exact */
		return sign ? -value : value;
	}
	if (exponent == 31)
		bits = sign | 0x7F800000 | mantissa << 13 | (mantissa ? 0x400000 : 0);
	else
		bits = sign | (exponent + 112) << 23 | mantissa << 13;
	memcpy(&value, &bits, sizeof value);
	return value;
}

uint16_t
f32_to_f16(float value)
{
	uint32_t bits, magnitude;
	uint16_t sign;

	memcpy(&bits, &value, sizeof bits);
	sign = (uint16_t) (bits >> 16 & 0x8000);
	magnitude = bits & 0x7FFFFFFF;
	if (magnitude > 0x7F800000) /* NaN: quiet, upper payload kept, as vcvtps2ph */
		return (uint16_t) (sign | 0x7E00 | (magnitude >> 13 & 0x1FF));
	if (magnitude >= 0x477FF000) /* rounds to infinity */
		return sign | 0x7C00;
	if (magnitude < 0x38800000)
	{
		/* subnormal result: let the FPU round at the right place */
		float scaled = fabsf(value) * 0x1p24f;

		return (uint16_t) (sign | (uint16_t) (int) nearbyintf(scaled));
	}
	magnitude += 0xFFF + (magnitude >> 13 & 1);
	return (uint16_t) (sign | (uint16_t) ((magnitude >> 13) - (112u << 10)));
}

float
bf16_to_f32(uint16_t half)
{
	uint32_t bits = (uint32_t) half << 16;
	float value;

	memcpy(&value, &bits, sizeof value);
	return value;
}
