/*
 * check_sequence.h - attention over many blocks, and the counting of processors.
 *
 * Included by check_kernels.c alone, after its helpers.
 */
#ifndef QWEN_CHECK_SEQUENCE_H
#define QWEN_CHECK_SEQUENCE_H

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../kernels/processors.h"

#define SEQUENCE_BLOCKS 9
#define SEQUENCE_ROWS 64

/* A sequence in the cache, its queries, and how far each of them sees. */
typedef struct Sequence
{
	uint32_t head_dim;
	float *k, *v, *q; /* [positions][head_dim], [rows][head_dim] */
	uint8_t *k_slices, *v_slices;
	uint32_t visible[SEQUENCE_ROWS];
} Sequence;

static Sequence
sequence_make(const Kernels *kernels, uint32_t head_dim)
{
	size_t n = SEQUENCE_BLOCKS * KV_BLOCK_POSITIONS, bytes = kv_slice_bytes(KV_F32, head_dim);
	Sequence s = {.head_dim = head_dim};

	s.k = random_floats(n * head_dim);
	s.v = random_floats(n * head_dim);
	s.q = random_floats((size_t) SEQUENCE_ROWS * head_dim);
	s.k_slices = allocate(bytes * SEQUENCE_BLOCKS);
	s.v_slices = allocate(bytes * SEQUENCE_BLOCKS);
	/* scores that grow along the sequence for some rows and shrink for others, so that the maximum moves */
	for (size_t p = 0; p < n; p++)
		s.k[p * head_dim] = (float) p * 0.2f;
	for (uint32_t p = 0; p < n; p++)
	{
		size_t at = p / KV_BLOCK_POSITIONS * bytes;

		kernels->kv_store_k(KV_F32, s.k_slices + at, p % KV_BLOCK_POSITIONS, s.k + (size_t) p * head_dim, head_dim,
							NULL);
		kernels->kv_store_v(KV_F32, s.v_slices + at, p % KV_BLOCK_POSITIONS, s.v + (size_t) p * head_dim, head_dim);
	}
	for (uint32_t r = 0; r < SEQUENCE_ROWS; r++)
		s.visible[r] = r == 0 ? 1 : r == 1 ? (uint32_t) n : 1 + random_u32() % (uint32_t) n;
	return s;
}

static void
sequence_free(Sequence *s)
{
	free(s->k);
	free(s->v);
	free(s->q);
	free(s->k_slices);
	free(s->v_slices);
}

/* Rows first … first+n-1 over blocks from … to-1. */
static void
attend(const Kernels *kernels, const Sequence *s, uint32_t first, uint32_t n, uint32_t from, uint32_t to,
	   AttentionState *states, float *out)
{
	size_t bytes = kv_slice_bytes(KV_F32, s->head_dim);
	uint8_t n_valid[SEQUENCE_ROWS];

	for (uint32_t r = 0; r < n; r++)
		states[r] = (AttentionState){-INFINITY, 0};
	memset(out, 0, (size_t) n * s->head_dim * 4);
	for (uint32_t b = from; b < to; b++)
	{
		for (uint32_t r = 0; r < n; r++)
		{
			uint32_t seen = s->visible[first + r], start = b * KV_BLOCK_POSITIONS;

			n_valid[r] = (uint8_t) (seen <= start ? 0 : seen - start > 32 ? 32 : seen - start);
		}
		kernels->attention_block(KV_F32, s->k_slices + b * bytes, s->v_slices + b * bytes,
								 s->q + (size_t) first * s->head_dim, n_valid, n, s->head_dim, states, out, NULL, 0);
	}
}

/* Row r's softmax-weighted values in double. */
static void
attend_exactly(const Sequence *s, uint32_t r, double *out)
{
	double scores[SEQUENCE_BLOCKS * KV_BLOCK_POSITIONS], max = -1e300, sum = 0;

	for (uint32_t p = 0; p < s->visible[r]; p++)
	{
		scores[p] = 0;
		for (uint32_t d = 0; d < s->head_dim; d++)
			scores[p] += (double) s->k[(size_t) p * s->head_dim + d] * s->q[(size_t) r * s->head_dim + d];
		max = fmax(max, scores[p]);
	}
	for (uint32_t d = 0; d < s->head_dim; d++)
		out[d] = 0;
	for (uint32_t p = 0; p < s->visible[r]; p++)
	{
		double weight = exp(scores[p] - max);

		sum += weight;
		for (uint32_t d = 0; d < s->head_dim; d++)
			out[d] += weight * s->v[(size_t) p * s->head_dim + d];
	}
	for (uint32_t d = 0; d < s->head_dim; d++)
		out[d] /= sum;
}

static void
attention_over_many_blocks_is_right(void **state)
{
	static const uint32_t head_dims[] = {16, 64, 80, 128, 256};

	(void) state;
	for (size_t h = 0; h < 5; h++)
	{
		uint32_t head_dim = head_dims[h];
		Sequence s = sequence_make(kernels_by_name("portable"), head_dim);
		AttentionState states[SEQUENCE_ROWS], others[SEQUENCE_ROWS];
		float *all = allocate((size_t) SEQUENCE_ROWS * head_dim * 4);
		float *some = allocate((size_t) SEQUENCE_ROWS * head_dim * 4);
		double exact[256];

		attend(kernels_by_name("portable"), &s, 0, SEQUENCE_ROWS, 0, SEQUENCE_BLOCKS, states, all);
		for (uint32_t r = 0; r < SEQUENCE_ROWS; r++)
		{
			attend_exactly(&s, r, exact);
			for (uint32_t d = 0; d < head_dim; d++)
				assert_true(fabs(exact[d] - all[(size_t) r * head_dim + d] / states[r].sum) < 3e-4);
		}
		/* every version, and every number of rows together from 1 to 64 */
		for (size_t i = 0; i < n_isas; i++)
			for (uint32_t n = 1; kernels_by_name(isa_names[i]) && n <= SEQUENCE_ROWS; n += i == 0 ? 21 : 1)
			{
				uint32_t first = SEQUENCE_ROWS - n;

				attend(kernels_by_name(isa_names[i]), &s, first, n, 0, SEQUENCE_BLOCKS, others, some);
				assert_same(all + (size_t) first * head_dim, some, (size_t) n * head_dim * 4, "attention rows",
							isa_names[i]);
				assert_same(states + first, others, n * sizeof *states, "attention row states", isa_names[i]);
			}
		sequence_free(&s);
		free(all);
		free(some);
	}
}

/* What a row gives that sees the first n_valid positions of a block, whose other positions hold keys and values of size
 * strange. */
static void
attend_beside_strangers(const Kernels *kernels, KvType type, uint32_t n_valid, float strange, AttentionState *state,
						float *out)
{
	enum
	{
		HEAD_DIM = 64
	};
	uint8_t *slices = allocate(2 * kv_slice_bytes(type, HEAD_DIM));
	uint8_t *v_slice = slices + kv_slice_bytes(type, HEAD_DIM), valid = (uint8_t) n_valid;
	float q[HEAD_DIM];

	for (uint32_t d = 0; d < HEAD_DIM; d++)
		q[d] = (float) (d % 5) - 1.5f;
	for (uint32_t p = 0; p < KV_BLOCK_POSITIONS; p++)
	{
		float values[HEAD_DIM];

		for (uint32_t d = 0; d < HEAD_DIM; d++)
			values[d] = p < n_valid ? (float) ((p * 7 + d * 3) % 11) * 0.1f : strange * q[d];
		kernels->kv_store_k(type, slices, p, values, HEAD_DIM, NULL);
		kernels->kv_store_v(type, v_slice, p, values, HEAD_DIM);
	}
	kernels->attention_queries(type, q, 1, HEAD_DIM, NULL);
	*state = (AttentionState){-INFINITY, 0};
	memset(out, 0, HEAD_DIM * sizeof *out);
	kernels->attention_block(type, slices, v_slice, q, &valid, 1, HEAD_DIM, state, out, NULL, 0);
	free(slices);
}

/* Blocks are used again, so behind a row's last position stands anything. */
static void
masked_positions_change_nothing(void **state)
{
	(void) state;
	for (size_t i = 0; i < n_isas; i++)
		for (KvType type = 0; kernels_by_name(isa_names[i]) && type < N_KV_TYPES; type++)
			for (uint32_t n_valid = 1; n_valid < KV_BLOCK_POSITIONS; n_valid++)
			{
				AttentionState clean_state, state_beside;
				float clean[64], beside[64];

				attend_beside_strangers(kernels_by_name(isa_names[i]), type, n_valid, 0, &clean_state, clean);
				attend_beside_strangers(kernels_by_name(isa_names[i]), type, n_valid, 3e4f, &state_beside, beside);
				assert_same(clean, beside, sizeof clean, "attention beside masked positions", isa_names[i]);
				assert_same(&clean_state, &state_beside, sizeof clean_state, "its state", isa_names[i]);
			}
}

static void
pieces_merge_to_the_whole(void **state)
{
	(void) state;
	for (uint32_t cut = 1; cut < SEQUENCE_BLOCKS; cut++)
	{
		uint32_t head_dim = 64;
		const Kernels *portable = kernels_by_name("portable");
		Sequence s = sequence_make(portable, head_dim);
		AttentionState first[SEQUENCE_ROWS], later[SEQUENCE_ROWS];
		size_t bytes = (size_t) SEQUENCE_ROWS * head_dim * 4;
		float *out = allocate(bytes), *later_out = allocate(bytes), *merged = allocate(bytes);
		double exact[64];

		attend(portable, &s, 0, SEQUENCE_ROWS, 0, cut, first, out);
		attend(portable, &s, 0, SEQUENCE_ROWS, cut, SEQUENCE_BLOCKS, later, later_out);
		for (size_t i = 0; i < n_isas; i++)
		{
			AttentionState states[SEQUENCE_ROWS], expected[SEQUENCE_ROWS];

			if (!kernels_by_name(isa_names[i]))
				continue;
			memcpy(states, first, sizeof states);
			memcpy(merged, out, bytes);
			for (uint32_t r = 0; r < SEQUENCE_ROWS; r++)
			{
				float *row = merged + (size_t) r * head_dim;
				float copy[64];

				kernels_by_name(isa_names[i])
					->attention_merge(&states[r], row, &later[r], later_out + (size_t) r * head_dim, head_dim);
				attend_exactly(&s, r, exact);
				for (uint32_t d = 0; d < head_dim; d++)
					assert_true(fabs(exact[d] - row[d] / states[r].sum) < 3e-4);
				expected[r] = first[r];
				memcpy(copy, out + (size_t) r * head_dim, sizeof copy);
				portable->attention_merge(&expected[r], copy, &later[r], later_out + (size_t) r * head_dim, head_dim);
				assert_same(copy, row, sizeof copy, "attention_merge", isa_names[i]);
				assert_same(&expected[r], &states[r], sizeof states[r], "merged state", isa_names[i]);
			}
		}
		sequence_free(&s);
		free(out);
		free(later_out);
		free(merged);
	}
}

/* Write a small file below a folder, making the folders on the way. */
static void
write_below(const char *folder, const char *path, const char *text)
{
	char full[512];
	FILE *file;

	snprintf(full, sizeof full, "%s/%s", folder, path);
	for (char *slash = full + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++)
	{
		*slash = '\0';
		assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
		*slash = '/';
	}
	file = fopen(full, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static int
quota_of(const char *folder, const char *membership)
{
	char path[512];

	write_below(folder, "membership", membership);
	snprintf(path, sizeof path, "%s/membership", folder);
	return processors_quota(path, folder);
}

static void
quotas_of_all_groups_above_count(void **state)
{
	char folder[] = "/tmp/check_kernels_XXXXXX", command[64];

	(void) state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(quota_of(folder, "0::/a/b\n"), 0);
	write_below(folder, "a/b/cpu.max", "max 100000\n");
	assert_int_equal(quota_of(folder, "0::/a/b\n"), 0);
	write_below(folder, "a/cpu.max", "350000 100000\n");
	assert_int_equal(quota_of(folder, "0::/a/b\n"), 3);
	assert_int_equal(quota_of(folder, "0::/a\n"), 3);
	assert_int_equal(quota_of(folder, "0::/\n"), 0);
	write_below(folder, "a/b/cpu.max", "50000 100000\n");
	assert_int_equal(quota_of(folder, "0::/a/b\n"), 1);
	write_below(folder, "cpu.max", "200000 100000\n");
	assert_int_equal(quota_of(folder, "0::/a\n"), 2);
	assert_int_equal(quota_of(folder, "0::/hidden/from/here\n"), 2);
	assert_int_equal(quota_of(folder, "nonsense\n"), 0);
	/* version 1, and both side by side */
	write_below(folder, "cpu/x/cpu.cfs_quota_us", "-1\n");
	write_below(folder, "cpu/x/cpu.cfs_period_us", "100000\n");
	assert_int_equal(quota_of(folder, "4:cpu,cpuacct:/x\n"), 0);
	write_below(folder, "cpu/x/cpu.cfs_quota_us", "400000\n");
	assert_int_equal(quota_of(folder, "4:cpu,cpuacct:/x\n"), 4);
	assert_int_equal(quota_of(folder, "3:cpuset:/x\n"), 0);
	assert_int_equal(quota_of(folder, "5:cpuacct,cpu:/x\n0::/\n"), 2);
	assert_int_equal(processors_quota("/nonexistent/membership", folder), 0);
	assert_true(processors_cores() >= 1);
	snprintf(command, sizeof command, "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

#endif
