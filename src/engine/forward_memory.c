/*
 * forward_memory.c - large arrays of floats, as the kernels like them.
 */
#include <stdlib.h>
#include <string.h>

#include "forward_private.h"

float *
allocate_floats(size_t n)
{
	uint8_t *memory = calloc(1, n * sizeof(float) + 128), *floats;

	if (!memory)
		return NULL;
	floats = memory + 128 - (uintptr_t) memory % 64; /* at least 65 bytes on: there is room for where it began */
	memcpy(floats - sizeof memory, &memory, sizeof memory);
	return (float *) (void *) floats;
}

void
free_floats(void *floats)
{
	uint8_t *memory;

	if (!floats)
		return;
	memcpy(&memory, (uint8_t *) floats - sizeof memory, sizeof memory);
	free(memory);
}
