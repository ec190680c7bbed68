/*
 * check_types.h - rows expand to the very bits that the gguf Python package expands them to.
 *
 * The blocks and values are in tests/golden/types/types.txt (made by make_golden.py there), below the folder that the
 * environment variable QWEN_TEST_SOURCE_DIR names (default: the present one). Included by check_kernels.c alone, after
 * its helpers.
 */
#ifndef QWEN_CHECK_TYPES_H
#define QWEN_CHECK_TYPES_H

#define GOLDEN_VALUES 256
#define GOLDEN_LINES 4 /* of a type, and more of some */

/* Bytes of a hexadecimal text, whose length must be so many bytes. */
static uint8_t *
from_hex(const char *text, size_t n_bytes)
{
	uint8_t *bytes = allocate(n_bytes);

	assert_int_equal(strlen(text), n_bytes * 2);
	for (size_t i = 0; i < n_bytes; i++)
	{
		unsigned byte;

		assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
		bytes[i] = (uint8_t) byte;
	}
	return bytes;
}

/* Both expansions of one row, from the file's bytes and from a tile, against the golden values. */
static void
assert_golden_row(const TensorTypeInfo *info, const char *source, const uint8_t *row, const uint8_t *values)
{
	PackedMatrix matrix = pack_matrix(info->type, row, 1, GOLDEN_VALUES);
	float expanded[GOLDEN_VALUES], unpacked[GOLDEN_VALUES];

	dequantize_row(info->type, row, GOLDEN_VALUES, expanded);
	packed_row_expand(&matrix, 0, unpacked);
	if (memcmp(expanded, values, sizeof expanded) != 0)
		fail_msg("%s, %s: not the values of the gguf package", info->name, source);
	if (memcmp(unpacked, values, sizeof unpacked) != 0)
		fail_msg("%s, %s: packed and unpacked, not the values of the gguf package", info->name, source);
	free((void *) matrix.tiles);
}

/* Lines that show every point of a type's codebook, and the ends of MXFP4's scales. */
static unsigned
more_lines(TensorType type)
{
	switch (type)
	{
		case TENSOR_IQ2_XXS:
			return 256 / 32;
		case TENSOR_IQ2_XS:
			return 512 / 32;
		case TENSOR_IQ2_S:
			return 1024 / 32;
		case TENSOR_IQ3_XXS:
			return 256 / 64;
		case TENSOR_IQ3_S:
			return 512 / 64;
		case TENSOR_MXFP4:
			return 1;
		default:
			return 0;
	}
}

static void
rows_expand_as_the_gguf_package_does(void **state)
{
	const char *folder = getenv("QWEN_TEST_SOURCE_DIR");
	static char line[65536];
	unsigned n_lines[MAX_TYPES] = {0};
	char path[4096];
	FILE *file;

	(void) state;
	snprintf(path, sizeof path, "%s/tests/golden/types/types.txt", folder ? folder : ".");
	file = fopen(path, "r");
	if (!file)
		fail_msg("cannot open %s", path);
	while (fgets(line, sizeof line, file))
	{
		const char *name = strtok(line, " "), *source = strtok(NULL, " "), *data = strtok(NULL, " "),
				   *values = strtok(NULL, "\n");
		bool known = false;

		assert_non_null(values);
		for (size_t k = 0; k < n_types; k++)
		{
			const TensorTypeInfo *info = tensor_type_info(types[k]);
			uint8_t *row, *floats;

			if (strcmp(info->name, name) != 0)
				continue;
			row = from_hex(data, tensor_row_bytes(info, GOLDEN_VALUES));
			floats = from_hex(values, GOLDEN_VALUES * sizeof(float));
			assert_golden_row(info, source, row, floats);
			free(row);
			free(floats);
			n_lines[k]++;
			known = true;
		}
		if (!known)
			fail_msg("%s is of no type that is computed with", name);
	}
	fclose(file);
	for (size_t k = 0; k < n_types; k++)
		assert_int_equal(n_lines[k], GOLDEN_LINES + more_lines(types[k]));
}

#endif
