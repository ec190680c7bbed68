/*
 * computed_types.h - the tensor types that are computed with, as the kernels' table has them: a new format is in every
 * test that walks through all.
 */
#ifndef QWEN_COMPUTED_TYPES_H
#define QWEN_COMPUTED_TYPES_H

#include "../../kernels/kernels.h"

#define MAX_TYPES 64 /* ids are smaller */

/* Fill types; returns how many there are. */
static inline size_t
computed_types(TensorType types[MAX_TYPES])
{
	size_t n = 0;

	for (uint32_t id = 0; id < MAX_TYPES; id++)
	{
		const TensorTypeInfo *info = tensor_type_info(id);

		if (info && info->can_pack)
			types[n++] = info->type;
	}
	return n;
}

#endif
