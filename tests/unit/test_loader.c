/*
 * test_loader.c - GGUF files to images: the same in every way of reading, nothing hostile gets through, nothing half
 * loaded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "../../src/model/gguf.h"
#include "../../src/model/model.h"
#include "../../src/model/model_path.h"
#include "../../src/model/reader.h"
#include "../kernels/computed_types.h"
#include "gguf_writer.h"

static char folder[] = "/tmp/qwen_test_loader_XXXXXX";

static const TinyModel tiny = {false, 2, 64, 96, 4, 2, 16, 256, false, TENSOR_Q8_0, 1, -1};

static int
make_folder(void **state)
{
	(void) state;
	return mkdtemp(folder) ? 0 : -1;
}

static int
remove_folder(void **state)
{
	char command[128];

	(void) state;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

static void
count_line(void *argument, const char *item, const char *value, const char *problem)
{
	unsigned *n = argument;

	assert_non_null(item);
	assert_true(value || problem);
	(*n)++;
}

/* What looking at the file says must be what loading said; of one that loads, what opening says. */
static void
check_says_the_same(const char *file, uint64_t memory_limit, const Status *loaded, int image_fd)
{
	unsigned n_lines = 0;
	ModelCheck check = {
		.directory = folder, .file = file, .memory_limit = memory_limit, .line = count_line, .argument = &n_lines};
	Model *model = NULL;
	ModelHyper hyper;
	bool key_outliers;
	Status status = model_check(&check, &hyper, &key_outliers);

	if (loaded->code == STATUS_OK && status.code != STATUS_OK)
		assert_int_not_equal(model_open(image_fd, &model).code, STATUS_OK);
	else if (loaded->code == STATUS_TOO_LONG)
		assert_int_equal(status.code, STATUS_TOO_LONG);
	else if (strcmp(status.message, loaded->message) != 0)
		fail_msg("%s: looking says \"%s\", loading \"%s\"", file, status.message, loaded->message);
	assert_true(status.code != STATUS_OK || (n_lines > 15 && hyper.architecture != 0));
}

static Status
load(const char *file, int fd, bool io_uring, bool direct, int threads, uint64_t memory_limit, ModelLoadReport *report)
{
	ModelLoadRequest request = {
		.image_fd = fd,
		.directory = folder,
		.file = file,
		.name = "tiny",
		.generation = 7,
		.allow_io_uring = io_uring,
		.allow_direct_io = direct,
		.n_threads = threads,
		.memory_limit = memory_limit,
	};
	Status status = model_load(&request, report);

	check_says_the_same(file, memory_limit, &status, fd);
	return status;
}

static size_t
file_bytes(int fd)
{
	struct stat info;

	assert_int_equal(fstat(fd, &info), 0);
	return (size_t) info.st_size;
}

/* Load file and expect this failure, and an empty image. */
static void
expect_failure(const char *file, StatusCode code, const char *words)
{
	int fd = memfd_create("image", 0);
	ModelLoadReport report;
	Status status = load(file, fd, true, true, 2, 0, &report);

	if (status.code != code || !strstr(status.message, words))
		fail_msg("%s: code %d, \"%s\"; expected %d, \"%s\"", file, status.code, status.message, code, words);
	assert_int_equal(file_bytes(fd), 0);
	close(fd);
}

static void
every_way_of_reading_gives_the_same_image(void **state)
{
	uint8_t *first = NULL;
	size_t first_bytes = 0;
	ByteWriter file = writer_model(&tiny, NULL);

	(void) state;
	writer_save(folder, "good.gguf", file.data, file.length);
	for (int way = 0; way < 8; way++)
	{
		int fd = memfd_create("image", 0);
		ModelLoadReport report;
		Status status = load("good.gguf", fd, way & 1, way & 2, way & 4 ? 3 : 1, 0, &report);
		uint8_t *image;
		uint64_t generation;

		assert_string_equal(status.message, "");
		assert_true(model_image_is_complete(fd, &generation));
		assert_int_equal(generation, 7);
		image = mmap(NULL, file_bytes(fd), PROT_READ, MAP_SHARED, fd, 0);
		if (first)
		{
			assert_int_equal(file_bytes(fd), first_bytes);
			assert_memory_equal(image, first, first_bytes);
		}
		else
		{
			first_bytes = file_bytes(fd);
			first = malloc(first_bytes);
			memcpy(first, image, first_bytes);
		}
		if (!(way & 1))
			assert_non_null(strstr(report.io_note, "io_uring"));
		munmap(image, file_bytes(fd));
		close(fd);
	}
	free(first);
	byte_writer_free(&file);
}

static void
rows_are_those_of_the_file(void **state)
{
	TensorType types[MAX_TYPES];
	const size_t n_types = computed_types(types);

	(void) state;
	for (size_t k = 0; k < n_types; k++)
	{
		TinyModel shape = tiny;
		ByteWriter file;
		size_t data_start, row_bytes;
		int fd = memfd_create("image", 0);
		ModelLoadReport report;
		Model *model;
		float expected[256], found[256];

		shape.type = types[k];
		shape.hidden = 256;
		shape.ffn = 512;
		shape.own_output = k % 2;
		/* heads over all of hidden, so that K-quants fit attn_output too */
		shape.n_heads = 16;
		shape.n_kv_heads = 16;
		file = writer_model(&shape, &data_start);
		writer_save(folder, "rows.gguf", file.data, file.length);
		assert_string_equal(load("rows.gguf", fd, true, true, 2, 0, &report).message, "");
		assert_string_equal(report.quantization, tensor_type_info(types[k])->name);
		assert_string_equal(model_open(fd, &model).message, "");
		row_bytes = tensor_row_bytes(tensor_type_info(types[k]), 256);
		for (uint32_t row = 0; row < TINY_VOCAB; row += 13)
		{
			/* token_embd stands first in the data */
			dequantize_row(types[k], file.data + data_start + row * row_bytes, 256, expected);
			packed_row_expand(&model->token_embedding, row, found);
			assert_memory_equal(expected, found, sizeof expected);
		}
		assert_int_equal(model->output.tiles == model->token_embedding.tiles, !shape.own_output);
		assert_int_equal(model->hyper.vocab, TINY_VOCAB);
		assert_true(tokenizer_is_end(model->tokenizer, 258) && !tokenizer_is_end(model->tokenizer, 5));
		model_close(model);
		close(fd);
		byte_writer_free(&file);
	}
}

/* Save the parts of tiny as NAME-0000I-of-0000N.gguf. */
static void
save_parts(const char *name, uint32_t n_parts)
{
	for (uint32_t part = 0; part < n_parts; part++)
	{
		ByteWriter file = writer_part(&tiny, part, n_parts, NULL);
		char path[64];

		snprintf(path, sizeof path, "%s-%05u-of-%05u.gguf", name, part + 1, n_parts);
		writer_save(folder, path, file.data, file.length);
		byte_writer_free(&file);
	}
}

/* The image of a file, which must load; *bytes of it, to be unmapped. */
static uint8_t *
image_of(const char *file, bool io_uring, bool direct, size_t *bytes)
{
	int fd = memfd_create("image", 0);
	ModelLoadReport report;
	uint8_t *image;

	assert_string_equal(load(file, fd, io_uring, direct, 2, 0, &report).message, "");
	*bytes = file_bytes(fd);
	image = mmap(NULL, *bytes, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(image != MAP_FAILED);
	close(fd);
	return image;
}

static void
fused_queries_keys_and_values_give_the_same_image(void **state)
{
	static const TensorType types[] = {TENSOR_F32, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_K};

	(void) state;
	for (unsigned kind = 0; kind <= TINY_QWEN3; kind++)
		for (size_t k = 0; k < sizeof types / sizeof types[0]; k++)
		{
			/* 16 rows of keys: tiles of values do not begin where those of the fused tensor do */
			TinyModel shape = {kind, 2, 256, 256, 16, 1, 16, 1024, false, types[k], 12, -1};
			size_t bytes, fused_bytes;
			uint8_t *image, *fused;
			ByteWriter file = writer_model(&shape, NULL);

			writer_save(folder, "apart.gguf", file.data, file.length);
			byte_writer_free(&file);
			shape.kind |= TINY_FUSED_QKV;
			file = writer_model(&shape, NULL);
			writer_save(folder, "fused.gguf", file.data, file.length);
			byte_writer_free(&file);
			image = image_of("apart.gguf", true, true, &bytes);
			fused = image_of("fused.gguf", true, true, &fused_bytes);
			assert_int_equal(bytes, fused_bytes);
			assert_memory_equal(image, fused, bytes);
			munmap(image, bytes);
			munmap(fused, bytes);
		}
}

static void
fused_tensors_of_another_shape_are_named(void **state)
{
	static const char mark[] = "blk.1.attn_qkv.weight";
	TinyModel shape = {TINY_FUSED_QKV, 2, 64, 96, 4, 2, 16, 1024, false, TENSOR_F32, 1, -1};
	ByteWriter file = writer_model(&shape, NULL);
	uint8_t *name = memmem(file.data, file.length, mark, sizeof mark - 1);

	(void) state;
	assert_non_null(name);
	name[sizeof mark - 1 + 4 + 8]--; /* the second dimension */
	writer_save(folder, "narrow.gguf", file.data, file.length);
	expect_failure("narrow.gguf", STATUS_INVALID_ARGUMENT,
				   "tensor \"blk.1.attn_qkv.weight\" has the shape [127][64], expected [128][64]");
	name[sizeof mark - 1 + 4 + 8]++;
	name[5] = 'A'; /* blk.1.Attn_… : then its three are missing */
	name[6] = 'A';
	writer_save(folder, "none.gguf", file.data, file.length);
	expect_failure("none.gguf", STATUS_INVALID_ARGUMENT, "tensor \"blk.1.attn_q.weight\" is missing");
	byte_writer_free(&file);
}

static void
split_files_give_the_image_of_the_whole_one(void **state)
{
	static const uint32_t counts[] = {2, 3, 5, 20};
	ByteWriter whole = writer_model(&tiny, NULL);
	size_t whole_bytes, bytes;
	uint8_t *expected, *image;

	(void) state;
	writer_save(folder, "whole.gguf", whole.data, whole.length);
	expected = image_of("whole.gguf", true, true, &whole_bytes);
	for (size_t k = 0; k < 4; k++)
	{
		save_parts("split", counts[k]);
		for (uint32_t part = 1; part <= counts[k]; part++)
		{
			char file[64];

			snprintf(file, sizeof file, "split-%05u-of-%05u.gguf", part, counts[k]);
			image = image_of(file, part & 1, part & 2, &bytes);
			assert_int_equal(bytes, whole_bytes);
			assert_memory_equal(image, expected, bytes);
			munmap(image, bytes);
		}
	}
	munmap(expected, whole_bytes);
	byte_writer_free(&whole);
}

static void
version_2_is_read_too(void **state)
{
	ByteWriter file = writer_model(&tiny, NULL);
	size_t bytes_3, bytes_2;
	uint8_t *image_3, *image_2;

	(void) state;
	writer_save(folder, "v3.gguf", file.data, file.length);
	file.data[4] = 2;
	writer_save(folder, "v2.gguf", file.data, file.length);
	image_3 = image_of("v3.gguf", true, true, &bytes_3);
	image_2 = image_of("v2.gguf", true, true, &bytes_2);
	assert_int_equal(bytes_2, bytes_3);
	assert_memory_equal(image_2, image_3, bytes_2);
	munmap(image_2, bytes_2);
	munmap(image_3, bytes_3);
	file.data[4] = 1;
	writer_save(folder, "v1.gguf", file.data, file.length);
	expect_failure("v1.gguf", STATUS_UNSUPPORTED, "GGUF version 1");
	byte_writer_free(&file);
}

/* Save one part with n bytes after a mark replaced. */
static void
save_patched_part(const char *name, uint32_t part, uint32_t n_parts, const char *mark, long offset, const void *bytes,
				  size_t n)
{
	ByteWriter file = writer_part(&tiny, part, n_parts, NULL);
	uint8_t *at = memmem(file.data, file.length, mark, strlen(mark));

	assert_non_null(at);
	memcpy(at + strlen(mark) + offset, bytes, n);
	writer_save(folder, name, file.data, file.length);
	byte_writer_free(&file);
}

/* A tiny hybrid with bytes written over those at offset behind a mark. */
static void
save_patched_hybrid(unsigned kind, const char *mark, long offset, const void *bytes, size_t n)
{
	TinyModel hybrid = tiny;
	ByteWriter file;
	uint8_t *at;

	hybrid.kind = TINY_HYBRID | kind;
	file = writer_model(&hybrid, NULL);
	at = memmem(file.data, file.length, mark, strlen(mark));
	assert_non_null(at);
	memcpy(at + strlen(mark) + offset, bytes, n);
	writer_save(folder, "hybrid.gguf", file.data, file.length);
	byte_writer_free(&file);
}

static void
hybrids_that_cannot_be_computed_are_refused(void **state)
{
	static const uint32_t zero, one = 1, two = 2, three = 3, five = 5, many = 48;

	(void) state;
	save_patched_hybrid(0, "ssm.conv_kernel", 4, &five, 4);
	expect_failure("hybrid.gguf", STATUS_UNSUPPORTED, "delta nets with a convolution of 5; 4 is supported");
	save_patched_hybrid(0, "ssm.state_size", 4, &many, 4);
	expect_failure("hybrid.gguf", STATUS_UNSUPPORTED, "heads of 48 elements; supported are multiples of 32 up to 256");
	save_patched_hybrid(0, "ssm.group_count", 4, &three, 4);
	expect_failure("hybrid.gguf", STATUS_INVALID_ARGUMENT, "delta nets of 3 key heads, 8 value heads of 32");
	save_patched_hybrid(0, "ssm.time_step_rank", 4, &zero, 4);
	expect_failure("hybrid.gguf", STATUS_INVALID_ARGUMENT, "qwen35.ssm.time_step_rank is 0, not a number between 1");
	save_patched_hybrid(0, "ssm.inner_size", 4, &many, 4);
	expect_failure("hybrid.gguf", STATUS_INVALID_ARGUMENT, "and 48 elements together");
	save_patched_hybrid(0, "qwen35.ssm.inner_siz", 0, "x", 1);
	expect_failure("hybrid.gguf", STATUS_INVALID_ARGUMENT, "the metadata key qwen35.ssm.inner_size is missing");
	/* other layers have attention than the tensors say */
	save_patched_hybrid(0, "full_attention_interval", 4, &one, 4);
	expect_failure("hybrid.gguf", STATUS_INVALID_ARGUMENT, "tensor \"blk.0.attn_q");
	save_patched_hybrid(0, "full_attention_interval", 4, &five, 4);
	expect_failure("hybrid.gguf", STATUS_UNSUPPORTED, "none of the 2 layers has attention");
	save_patched_hybrid(0, "rope.dimension_count", 4, &many, 4);
	expect_failure("hybrid.gguf", STATUS_INVALID_ARGUMENT, "48 of the 16 elements of a head are rotated");
	save_patched_hybrid(0, "rope.dimension_count", 4, &three, 4);
	expect_failure("hybrid.gguf", STATUS_INVALID_ARGUMENT, "3 of the 16 elements of a head are rotated");
	/* tensors of another shape, or of none */
	save_patched_hybrid(0, "blk.0.ssm_dt.bias", 4, &three, 4);
	expect_failure("hybrid.gguf", STATUS_INVALID_ARGUMENT, "tensor \"blk.0.ssm_dt.bias\" has the shape [3], expected");
	save_patched_hybrid(0, "blk.0.ssm_conv1d.weigh", 0, "x", 1);
	expect_failure("hybrid.gguf", STATUS_INVALID_ARGUMENT, "tensor \"blk.0.ssm_conv1d.weight\" is missing");
	save_patched_hybrid(0, "blk.0.attn_qkv.weigh", 0, "x", 1);
	expect_failure("hybrid.gguf", STATUS_INVALID_ARGUMENT, "tensor \"blk.0.attn_qkv.weight\" is missing");
	/* a layer that guesses ahead belongs to the file only where it says so */
	save_patched_hybrid(TINY_BESIDE, "nextn_predict_layers", 4, &zero, 4);
	expect_failure("hybrid.gguf", STATUS_INVALID_ARGUMENT, "tensor \"blk.2.");
	save_patched_hybrid(TINY_BESIDE | TINY_NO_DELTA, "nextn_predict_layers", 4, &two, 4);
	expect_failure("hybrid.gguf", STATUS_UNSUPPORTED, "layer 1 is one of the model (tensor \"blk.1.");
	save_patched_hybrid(TINY_BESIDE, "nextn_predict_layers", 4, &three, 4);
	expect_failure("hybrid.gguf", STATUS_UNSUPPORTED, "all of the 3 layers guess tokens ahead");
}

static void
parts_that_do_not_fit_are_named(void **state)
{
	const char *first = "p-00001-of-00003.gguf", *second = "p-00002-of-00003.gguf", *third = "p-00003-of-00003.gguf";
	uint16_t two = 2, many = 9999, none = 0;
	uint32_t other_count = 5, minus_one = UINT32_MAX;
	TinyModel other = tiny;
	char path[512];
	ByteWriter file;

	(void) state;
	save_parts("p", 3);
	snprintf(path, sizeof path, "%s/%s", folder, third);
	assert_int_equal(unlink(path), 0);
	expect_failure(first, STATUS_NOT_FOUND, third);
	expect_failure(second, STATUS_NOT_FOUND, third);
	expect_failure(third, STATUS_NOT_FOUND, third);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	expect_failure(first, STATUS_NOT_ALLOWED, third);
	assert_int_equal(unlink(path), 0);
	writer_save(folder, third, "", 0);
	expect_failure(first, STATUS_INVALID_ARGUMENT, third);
	writer_save(folder, third, "GGUF", 4);
	expect_failure(first, STATUS_INVALID_ARGUMENT, third);

	/* the second part in the third one's place */
	file = writer_part(&tiny, 1, 3, NULL);
	writer_save(folder, third, file.data, file.length);
	byte_writer_free(&file);
	expect_failure(first, STATUS_INVALID_ARGUMENT, "p-00003-of-00003.gguf\": it says that it is part 2 of the model");
	/* a part of a model of two */
	save_patched_part(third, 2, 3, "split.count", 4, &two, 2);
	expect_failure(first, STATUS_INVALID_ARGUMENT, "p-00003-of-00003.gguf\": it is of a model of 2 parts, not 3");
	/* a part of another model */
	other.n_layers = 3;
	file = writer_part(&other, 2, 3, NULL);
	writer_save(folder, third, file.data, file.length);
	byte_writer_free(&file);
	expect_failure(first, STATUS_INVALID_ARGUMENT, "p-00003-of-00003.gguf\": it is of a model of 38 tensors");
	save_patched_part(third, 2, 3, "split.tensors.count", 4, &minus_one, 4);
	expect_failure(first, STATUS_INVALID_ARGUMENT, third);
	save_patched_part(third, 2, 3, "split.n", 0, "x", 1);
	expect_failure(first, STATUS_INVALID_ARGUMENT, "split.no");
	/* a tensor that stands in the second part already */
	save_patched_part(third, 2, 3, "blk.1.attn_norm.weight", -22, "blk.0.attn_norm.weight", 22);
	expect_failure(first, STATUS_INVALID_ARGUMENT, "\"blk.0.attn_norm.weight\" stands twice");
	/* data that end too early */
	file = writer_part(&tiny, 2, 3, NULL);
	writer_save(folder, third, file.data, file.length - 64);
	byte_writer_free(&file);
	expect_failure(first, STATUS_INVALID_ARGUMENT, "p-00003-of-00003.gguf\": tensor");
	save_parts("p", 3);

	/* counts that the named part itself has wrong */
	save_patched_part(first, 0, 3, "split.count", 4, &many, 2);
	expect_failure(first, STATUS_INVALID_ARGUMENT, "split.count is not a number from 0 to 256");
	expect_failure(second, STATUS_INVALID_ARGUMENT, first);
	save_patched_part(first, 0, 3, "split.count", 4, &two, 2);
	expect_failure(first, STATUS_INVALID_ARGUMENT, "is not named like one");
	save_patched_part(first, 0, 3, "split.count", 4, &none, 2);
	expect_failure(first, STATUS_INVALID_ARGUMENT, "is missing");
	for (uint32_t part = 0; part < 3; part++)
	{
		snprintf(path, sizeof path, "p-%05u-of-00003.gguf", part + 1);
		save_patched_part(path, part, 3, "split.tensors.count", 4, &other_count, 4);
	}
	expect_failure(first, STATUS_INVALID_ARGUMENT, "split.tensors.count is 5");

	/* a part under another name */
	file = writer_part(&tiny, 0, 3, NULL);
	writer_save(folder, "renamed.gguf", file.data, file.length);
	writer_save(folder, "renamed-00004-of-00003.gguf", file.data, file.length);
	writer_save(folder, "renamed-0000x-of-00003.gguf", file.data, file.length);
	byte_writer_free(&file);
	expect_failure("renamed.gguf", STATUS_INVALID_ARGUMENT, "NAME-00001-of-00003.gguf");
	expect_failure("renamed-00004-of-00003.gguf", STATUS_INVALID_ARGUMENT, "is not named like one");
	expect_failure("renamed-0000x-of-00003.gguf", STATUS_INVALID_ARGUMENT, "is not named like one");
}

/* One bit wrong anywhere in the head of a later part: refused, or loaded, but never harm. */
static void
flipped_parts_never_harm(void **state)
{
	size_t data_start;
	ByteWriter file = writer_part(&tiny, 1, 3, &data_start);
	uint64_t random = 17;
	unsigned refused = 0;

	(void) state;
	save_parts("f", 3);
	for (int i = 0; i < 300; i++)
	{
		size_t at = writer_random(&random) % data_start;
		uint8_t bit = (uint8_t) (1u << writer_random(&random) % 8);
		int fd = memfd_create("image", 0);
		ModelLoadReport report;
		Status status;

		file.data[at] ^= bit;
		writer_save(folder, "f-00002-of-00003.gguf", file.data, file.length);
		status = load("f-00001-of-00003.gguf", fd, i & 1, i & 2, 2, 64 << 20, &report);
		if (status.code != STATUS_OK)
		{
			refused++;
			assert_int_equal(file_bytes(fd), 0);
			assert_non_null(strstr(status.message, "f-0000"));
		}
		file.data[at] ^= bit;
		close(fd);
	}
	assert_true(refused > 200);
	byte_writer_free(&file);
}

static Status
use_nothing(void *argument, const ReadJob *job, const uint8_t *bytes, uint8_t *scratch)
{
	(void) argument;
	(void) job;
	(void) bytes;
	(void) scratch;
	return status_ok();
}

/* A part that gets shorter between the check of its head and the reading of its data. */
static void
a_part_that_ends_while_it_is_read_is_named(void **state)
{
	static uint8_t bytes[20000];
	int fds[2] = {memfd_create("one", 0), memfd_create("two", 0)};
	ReadJob jobs[2] = {{.file = 0, .offset = 100, .bytes = 15000}, {.file = 1, .offset = 5000, .bytes = 15001}};

	(void) state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(write(fds[i], bytes, sizeof bytes), sizeof bytes);
	for (int way = 0; way < 4; way++)
	{
		ReadRequest request = {.fds = fds,
							   .n_files = 2,
							   .jobs = jobs,
							   .n_jobs = 2,
							   .allow_io_uring = way & 1,
							   .allow_direct_io = way & 2,
							   .n_threads = 2,
							   .use = use_nothing};
		ReadReport report;
		Status status = reader_run(&request, &report);

		assert_int_equal(status.code, STATUS_INVALID_ARGUMENT);
		assert_string_equal(status.message, "part 2 of 2: the file ends at byte 20000 while it is read");
		request.n_jobs = 1;
		assert_string_equal(reader_run(&request, &report).message, "");
	}
	close(fds[0]);
	close(fds[1]);
}

static void
heads_cut_anywhere_are_refused(void **state)
{
	size_t data_start;
	ByteWriter file = writer_model(&tiny, &data_start);

	(void) state;
	for (size_t length = 0; length < data_start; length++)
	{
		/* a copy of exactly this length, so that a sanitizer sees any read past it */
		uint8_t *head = malloc(length + !length);
		Gguf gguf;

		memcpy(head, file.data, length);
		if (gguf_parse(head, length, file.length, &gguf).code == STATUS_OK)
		{
			/* only padding was cut */
			assert_true(length + 32 > data_start);
			gguf_close(&gguf);
		}
		free(head);
	}
	byte_writer_free(&file);
}

static void
flipped_heads_never_harm(void **state)
{
	size_t data_start;
	ByteWriter file = writer_model(&tiny, &data_start);
	uint64_t random = 99;
	unsigned refused = 0, accepted = 0;

	(void) state;
	for (int i = 0; i < 4000; i++)
	{
		size_t at = writer_random(&random) % data_start;
		uint8_t bit = (uint8_t) (1u << writer_random(&random) % 8);
		int fd = i % 20 == 0 ? memfd_create("image", 0) : -1;
		Gguf gguf;

		file.data[at] ^= bit;
		if (gguf_parse(file.data, data_start, file.length, &gguf).code == STATUS_OK)
		{
			accepted++;
			gguf_close(&gguf);
		}
		else
			refused++;
		if (fd >= 0)
		{
			ModelLoadReport report;
			Model *model;

			writer_save(folder, "flipped.gguf", file.data, file.length);
			if (load("flipped.gguf", fd, true, false, 2, 64 << 20, &report).code != STATUS_OK)
				assert_int_equal(file_bytes(fd), 0);
			else if (model_open(fd, &model).code == STATUS_OK)
				model_close(model);
			close(fd);
		}
		file.data[at] ^= bit;
	}
	assert_true(refused > 300 && accepted > 300);
	byte_writer_free(&file);
}

/* A file whose head has 8 bytes replaced at the first place of a mark. */
static void
save_patched(const char *name, const char *mark, long offset, const void *bytes, size_t n)
{
	ByteWriter file = writer_model(&tiny, NULL);
	uint8_t *at = memmem(file.data, file.length, mark, strlen(mark));

	assert_non_null(at);
	memcpy(at + strlen(mark) + offset, bytes, n);
	writer_save(folder, name, file.data, file.length);
	byte_writer_free(&file);
}

static void
hostile_numbers_are_refused(void **state)
{
	uint64_t huge = UINT64_MAX / 2, odd = 33, zero64 = 0;
	uint32_t zero = 0, many = 1000000, five = 5, type99 = 99, three = 3;

	(void) state;
	save_patched("x.gguf", "qwen2.block_count", 4, &zero, 4);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "qwen2.block_count is 0");
	save_patched("x.gguf", "qwen2.block_count", 4, &many, 4);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "qwen2.block_count is 1000000");
	save_patched("x.gguf", "qwen2.block_count", 4, &three, 4);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "\"blk.2.attn_norm.weight\" is missing");
	save_patched("x.gguf", "qwen2.attention.head_count_kv", 4, &three, 4);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "4 heads cannot share 3");
	save_patched("x.gguf", "qwen2.attention.head_count", 4, &five, 4);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "heads");
	save_patched("x.gguf", "qwen2.attention.key_length", 4, &five, 4);
	expect_failure("x.gguf", STATUS_UNSUPPORTED, "5");
	save_patched("x.gguf", "qwen2.rope.dimension_count", 4, &five, 4);
	expect_failure("x.gguf", STATUS_UNSUPPORTED, "5 of the 16 elements of a head are rotated");
	save_patched("x.gguf", "general.architectur", -19, "general.architectux", 19);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "general.architecture is missing");
	save_patched("x.gguf", "general.architecture", 12, "gemma", 5);
	expect_failure("x.gguf", STATUS_UNSUPPORTED,
				   "architecture \"gemma\" is not supported; supported are qwen2, qwen3, qwen2moe, qwen3moe, qwen, "
				   "qwen2vl, qwen3vl, qwen3vlmoe, qwen35, qwen35moe and qwen3next");
	save_patched("x.gguf", "tokenizer.ggml.tokens", 8, &huge, 8);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "an array of");
	save_patched("x.gguf", "token_embd.weight", 4, &huge, 8);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT,
				   "tensor \"token_embd.weight\" has an impossible shape: its dimension 1 is");
	save_patched("x.gguf", "token_embd.weight", 4, &zero64, 8);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "has an impossible shape: its dimension 1 is 0");
	save_patched("x.gguf", "token_embd.weight", 4, &odd, 8);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "blocks of 32");
	save_patched("x.gguf", "token_embd.weight", 20, &type99, 4);
	expect_failure("x.gguf", STATUS_UNSUPPORTED, "type 99; supported are F32, F16");
	save_patched("x.gguf", "token_embd.weight", 24, &huge, 8);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "offset");
	save_patched("x.gguf", "output_norm.weight", 16, &zero64, 8);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "overlaps");
	save_patched("x.gguf", "blk.1.attn_q.weight", 12, &odd, 8);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT,
				   "\"blk.1.attn_q.weight\" has the shape [33][64], expected [64][64]");
	save_patched("x.gguf", "blk.1.attn_q.bia", 0, "x", 1);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "\"blk.1.attn_q.bias\" is missing");
	save_patched("x.gguf", "GGUF", 0, &type99, 4);
	expect_failure("x.gguf", STATUS_UNSUPPORTED, "GGUF version 99");
	save_patched("x.gguf", "", 0, "GGML", 4);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "not a GGUF file");
}

static void
other_tensor_types_are_named(void **state)
{
	uint32_t iq1_s = 19;
	TinyModel shape = tiny;
	ByteWriter file;
	uint8_t *at;

	(void) state;
	shape.hidden = 256;
	shape.ffn = 256;
	shape.n_heads = shape.n_kv_heads = 16;
	shape.type = TENSOR_Q4_K;
	file = writer_model(&shape, NULL);
	at = memmem(file.data, file.length, "token_embd.weight", 17);
	assert_non_null(at);
	memcpy(at + 17 + 20, &iq1_s, 4);
	writer_save(folder, "iq1.gguf", file.data, file.length);
	expect_failure("iq1.gguf", STATUS_UNSUPPORTED,
				   "\"token_embd.weight\" has type IQ1_S; supported are F32, F16, BF16, Q8_0,");
	byte_writer_free(&file);
}

static void
other_files_are_refused(void **state)
{
	ByteWriter file = writer_model(&tiny, NULL);
	char path[512];

	(void) state;
	writer_save(folder, "empty.gguf", "", 0);
	expect_failure("empty.gguf", STATUS_INVALID_ARGUMENT, "is empty");
	expect_failure("missing.gguf", STATUS_NOT_FOUND, "No such file");
	expect_failure("../../etc/passwd", STATUS_NOT_ALLOWED, "not below");
	/* whether anything is there is not told */
	expect_failure("../nothing-here", STATUS_NOT_ALLOWED, "not below");
	expect_failure("/nowhere/at/all", STATUS_NOT_ALLOWED, "not below");
	expect_failure("sub/..", STATUS_NOT_ALLOWED, "not below");
	expect_failure("/etc/passwd", STATUS_NOT_ALLOWED, "not below");
	snprintf(path, sizeof path, "%s/link", folder);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	expect_failure("link", STATUS_NOT_ALLOWED, "not below");
	snprintf(path, sizeof path, "%s/fifo", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	expect_failure("fifo", STATUS_INVALID_ARGUMENT, "not a regular file");
	expect_failure(".", STATUS_NOT_ALLOWED, "not below");
	writer_save(folder, "cut.gguf", file.data, file.length - 5000);
	expect_failure("cut.gguf", STATUS_INVALID_ARGUMENT, "would end at byte");
	writer_save(folder, "cut.gguf", file.data, file.length - 1);
	expect_failure("cut.gguf", STATUS_INVALID_ARGUMENT, "would end at byte");
	byte_writer_free(&file);
}

static void
tensors_that_would_change_answers_are_not_passed_over(void **state)
{
	TinyModel shape = tiny;
	ModelLoadReport report;
	ByteWriter file;
	uint8_t *at;
	int fd = memfd_create("image", 0);

	(void) state;
	shape.own_output = true;
	file = writer_model(&shape, NULL);
	at = memmem(file.data, file.length, "output.weight", 13);
	assert_non_null(at);
	memcpy(at, "router", 6);
	writer_save(folder, "more.gguf", file.data, file.length);
	expect_failure("more.gguf", STATUS_UNSUPPORTED, "tensor \"router.weight\" is not part of architecture qwen2");
	/* what a classifier put on top does not */
	memcpy(at, "cls.up", 6);
	writer_save(folder, "more.gguf", file.data, file.length);
	assert_string_equal(load("more.gguf", fd, true, true, 1, 0, &report).message, "");
	close(fd);
	byte_writer_free(&file);
}

/* Load a file as it is now, and open it. The caller closes the model. */
static Model *
opened(const char *name)
{
	ModelLoadReport report;
	Model *model = NULL;
	int fd = memfd_create("image", 0);

	assert_string_equal(load(name, fd, true, true, 1, 0, &report).message, "");
	assert_string_equal(model_open(fd, &model).message, "");
	close(fd);
	return model;
}

static void
a_classifier_of_yes_and_no_ranks(void **state)
{
	TinyModel shape = tiny;
	ByteWriter file;
	Model *model;
	uint8_t *at;
	char words[] = "Is it about {query}? {document}";

	(void) state;
	shape.kind |= TINY_CLASSES;
	shape.own_output = true;
	file = writer_model(&shape, NULL);
	writer_save(folder, "rank.gguf", file.data, file.length);
	model = opened("rank.gguf");
	assert_int_equal(model->hyper.n_classes, 2);
	assert_non_null(model->rank_rows);
	assert_true(model->has_output);
	assert_int_equal(model->rerank_template.length, strlen(TINY_RERANK_TEMPLATE));
	model_close(model);
	/* one row more would change what is computed, and has no meaning */
	at = memmem(file.data, file.length, "output.weight", 13);
	assert_non_null(at);
	memcpy(at, "cls.what", 8);
	writer_save(folder, "rank.gguf", file.data, file.length);
	expect_failure("rank.gguf", STATUS_UNSUPPORTED, "tensor \"cls.whateight\" is not part of architecture qwen2");
	memcpy(at, "output.w", 8);
	/* a template that has no place for the document */
	at = memmem(file.data, file.length, words, strlen(words));
	assert_non_null(at);
	memcpy(at + strlen(words) - 10, "{querying}", 10);
	writer_save(folder, "rank.gguf", file.data, file.length);
	model = opened("rank.gguf");
	assert_null(model->rank_rows);
	assert_non_null(strstr(model->rank_error.message, "{query} and {document}, each once"));
	model_close(model);
	byte_writer_free(&file);
}

static void
a_model_without_words_cannot_rank(void **state)
{
	ByteWriter file = writer_model(&tiny, NULL);
	Model *model;

	(void) state;
	writer_save(folder, "words.gguf", file.data, file.length);
	model = opened("words.gguf");
	assert_null(model->rank_rows);
	assert_non_null(strstr(model->rank_error.message, "its vocabulary has no tokens \"yes\" and \"no\""));
	model_close(model);
	byte_writer_free(&file);
}

static void
what_a_file_does_not_say_has_its_default(void **state)
{
	ByteWriter file = writer_model(&tiny, NULL);
	ModelLoadReport report;
	uint8_t *at = memmem(file.data, file.length, "rope.freq_base", 14);
	float base = 5000;
	int fd = memfd_create("image", 0);

	(void) state;
	assert_non_null(at);
	memcpy(at + 14 + 4, &base, 4);
	writer_save(folder, "base.gguf", file.data, file.length);
	assert_string_equal(load("base.gguf", fd, true, true, 1, 0, &report).message, "");
	assert_true(report.hyper.rope_base == 5000);
	memcpy(at, "rope.freq_none", 14);
	writer_save(folder, "base.gguf", file.data, file.length);
	assert_string_equal(load("base.gguf", fd, true, true, 1, 0, &report).message, "");
	/* of the GGUF specification */
	assert_true(report.hyper.rope_base == 10000);
	close(fd);
	byte_writer_free(&file);
}

/* The beginning of a head of version 3. */
static ByteWriter
begin_head(uint64_t n_tensors, uint64_t n_values)
{
	ByteWriter head;

	byte_writer_init(&head);
	write_raw(&head, "GGUF", 4);
	write_u32(&head, 3);
	write_u64(&head, n_tensors);
	write_u64(&head, n_values);
	return head;
}

/* Parse a head of a file of 1 GB, expecting this failure; the head is freed. */
static void
expect_refused(ByteWriter *head, const char *words)
{
	Gguf gguf;
	Status status = gguf_parse(head->data, head->length, 1 << 30, &gguf);

	assert_int_equal(status.code, STATUS_INVALID_ARGUMENT);
	if (!strstr(status.message, words))
		fail_msg("\"%s\", expected \"%s\"", status.message, words);
	byte_writer_free(head);
}

/* The description of an F32 tensor. */
static void
write_tensor(ByteWriter *head, const char *name, uint32_t n_dims, const uint64_t *dims, uint64_t offset)
{
	writer_string(head, name);
	write_u32(head, n_dims);
	for (uint32_t d = 0; d < n_dims; d++)
		write_u64(head, dims[d]);
	write_u32(head, TENSOR_F32);
	write_u64(head, offset);
}

static void
heads_that_contradict_themselves_are_refused(void **state)
{
	/* 2^80 elements, which are none in 64 bits */
	static const uint64_t wraps[3] = {1u << 31, 1u << 29, 1u << 20}, sixteen[1] = {16};
	uint64_t n = 0;
	ByteWriter head = begin_head(0, 2);

	(void) state;
	writer_u32(&head, "key", 1, &n);
	writer_u32(&head, "key", 2, &n);
	expect_refused(&head, "the metadata key \"key\" stands twice");
	head = begin_head(1, 0);
	write_tensor(&head, "t", 3, wraps, 0);
	expect_refused(&head, "impossible shape");
	/* 64 bytes each */
	head = begin_head(2, 0);
	write_tensor(&head, "a", 1, sixteen, 0);
	write_tensor(&head, "b", 1, sixteen, 32);
	expect_refused(&head, "tensor \"b\" at offset 32 overlaps the one before it");
	head = begin_head(1, 0);
	write_tensor(&head, "a", 1, sixteen, 16);
	expect_refused(&head, "not a multiple of 32");
}

static void
memory_is_looked_at_before_it_is_taken(void **state)
{
	ByteWriter file = writer_model(&tiny, NULL);
	int fd = memfd_create("image", 0);
	ModelLoadReport report;
	Status status;

	(void) state;
	writer_save(folder, "good.gguf", file.data, file.length);
	status = load("good.gguf", fd, true, true, 1, 1000, &report);
	assert_int_equal(status.code, STATUS_TOO_LONG);
	assert_non_null(strstr(status.message, "but only 0 MB"));
	assert_int_equal(file_bytes(fd), 0);
	assert_string_equal(load("good.gguf", fd, true, true, 1, 0, &report).message, "");
	assert_int_equal(load("good.gguf", fd, true, true, 1, report.image_bytes - 1, &report).code, STATUS_TOO_LONG);
	assert_int_equal(file_bytes(fd), 0);
	assert_string_equal(load("good.gguf", fd, true, true, 1, 0, &report).message, "");
	assert_string_equal(load("good.gguf", fd, true, true, 1, report.image_bytes, &report).message, "");
	close(fd);
	byte_writer_free(&file);
}

static void
damaged_images_are_not_opened(void **state)
{
	ByteWriter file = writer_model(&tiny, NULL);
	int fd = memfd_create("image", 0);
	ModelLoadReport report;
	uint64_t random = 3, generation;
	uint8_t *image;
	Model *model;

	(void) state;
	writer_save(folder, "good.gguf", file.data, file.length);
	assert_string_equal(load("good.gguf", fd, true, true, 1, 0, &report).message, "");
	image = mmap(NULL, file_bytes(fd), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (int i = 0; i < 300; i++)
	{
		/* everything before the tensor data is under a checksum */
		size_t at = 24 + writer_random(&random) % 8000;

		image[at] ^= 1;
		assert_int_not_equal(model_open(fd, &model).code, STATUS_OK);
		image[at] ^= 1;
	}
	image[4] ^= 1; /* made by another version */
	assert_non_null(strstr(model_open(fd, &model).message, "another version of qwen_pg: restart the server"));
	image[4] ^= 1;
	image[8] ^= 1; /* not complete */
	assert_false(model_image_is_complete(fd, &generation));
	assert_int_not_equal(model_open(fd, &model).code, STATUS_OK);
	image[8] ^= 1;
	assert_string_equal(model_open(fd, &model).message, "");
	model_close(model);
	munmap(image, file_bytes(fd));
	close(fd);
	byte_writer_free(&file);
}

static void
directories_are_not_shown(void **state)
{
	(void) state;
	assert_string_equal(model_path_shown("/srv/models", "a.gguf"), "a.gguf");
	assert_string_equal(model_path_shown("/srv/models", "chat/a.gguf"), "chat/a.gguf");
	assert_string_equal(model_path_shown("/srv/models//", "/srv/models/chat/a.gguf"), "chat/a.gguf");
	assert_string_equal(model_path_shown("/srv/models", "/srv/models//a.gguf"), "a.gguf");
	assert_string_equal(model_path_shown("/srv/models", "/srv/modelsafe/a.gguf"), "a.gguf");
	assert_string_equal(model_path_shown("/srv/models", "/srv/models/../secret/a.gguf"), "a.gguf");
	assert_string_equal(model_path_shown("/srv/models", "../secret/a.gguf"), "a.gguf");
	assert_string_equal(model_path_shown("models", "/srv/models/a.gguf"), "a.gguf");
	assert_string_equal(model_path_shown("/", "/a.gguf"), "a.gguf");
}

/* A mixture of experts with n bytes behind a mark replaced. */
static void
save_patched_mixture(unsigned kind, const char *mark, long offset, const void *bytes, size_t n)
{
	TinyModel shape = {kind, 2, 64, 96, 4, 2, 16, 1024, true, TENSOR_Q8_0, 3, -1};
	ByteWriter file = writer_model(&shape, NULL);
	uint8_t *at = memmem(file.data, file.length, mark, strlen(mark));

	assert_non_null(at);
	memcpy(at + strlen(mark) + offset, bytes, n);
	writer_save(folder, "x.gguf", file.data, file.length);
	byte_writer_free(&file);
}

static void
mixtures_that_do_not_fit_are_named(void **state)
{
	const unsigned qwen2 = TINY_EXPERTS, qwen3 = TINY_EXPERTS | TINY_QWEN3;
	const uint32_t eight = 8, forty = 40, many = 100000, q8_0 = TENSOR_Q8_0, real[2] = {6, 0x40200000};

	(void) state;
	save_patched_mixture(qwen3, "qwen3moe.expert_used_count", 4, &eight, 4);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "8 experts are used, but there are 7");
	save_patched_mixture(qwen3, "qwen3moe.expert_used_count", 4, &many, 4);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "expert_used_count is 100000, not a number between 1 and 64");
	/* behind a key: its type, its value */
	save_patched_mixture(qwen3, "qwen3moe.expert_used_count", 0, real, 8);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "expert_used_count is 2.5, not a whole number between 1 and 64");
	save_patched_mixture(qwen3, "qwen3moe.expert_coun", 0, "x", 1);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "the metadata key qwen3moe.expert_count is missing");
	save_patched_mixture(qwen3, "qwen3moe.expert_feed_forward_length", 4, &forty, 4);
	expect_failure("x.gguf", STATUS_UNSUPPORTED,
				   "experts of 40 elements in a model of 64; supported are multiples of 32");
	save_patched_mixture(qwen3, "qwen3moe.expert_count", 4, &eight, 4);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT,
				   "\"blk.0.ffn_gate_inp.weight\" has the shape [7][64], expected [8][64]");
	save_patched_mixture(qwen2, "blk.1.ffn_gate_exps.weigh", 0, "x", 1);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "\"blk.1.ffn_gate_exps.weight\" is missing");
	save_patched_mixture(qwen2, "blk.0.ffn_gate_inp_shexp.weigh", 0, "x", 1);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "\"blk.0.ffn_gate_inp_shexp.weight\" is missing");
	save_patched_mixture(qwen2, "output.weigh", 0, "x", 1);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "\"output.weight\" is missing");
	/* behind a name: the number of dimensions, the dimensions, the type */
	save_patched_mixture(qwen2, "blk.1.ffn_gate_inp.weight", 20, &q8_0, 4);
	expect_failure("x.gguf", STATUS_UNSUPPORTED, "is quantized (Q8_0); only matrices may be, and no router");
}

/* Save a file with more keys, of which the first n_values are given, before another one. */
static void
save_with_keys(const char *name, const ByteWriter *file, const ByteWriter *keys, uint64_t n_values)
{
	static const char mark[] = "tokenizer.ggml.eos_token_id";
	const uint8_t *at = memmem(file->data, file->length, mark, sizeof mark - 1);
	uint64_t n_before;
	ByteWriter patched;
	size_t before;

	/* what stands behind moves by whole alignments of tensor data */
	assert_non_null(at);
	before = (size_t) (at - file->data) - 8;
	byte_writer_init(&patched);
	write_raw(&patched, file->data, before);
	write_raw(&patched, keys->data, keys->length);
	while ((patched.length - before) % 32)
	{
		/* keys that nobody asks for, up to the same alignment of tensor data */
		char key[16];

		snprintf(key, sizeof key, "x%llu", (unsigned long long) n_values);
		writer_key(&patched, key, 0, &n_values);
		write_u8(&patched, 0);
	}
	write_raw(&patched, file->data + before, file->length - before);
	memcpy(&n_before, file->data + 16, 8);
	n_values += n_before;
	memcpy(patched.data + 16, &n_values, 8);
	writer_save(folder, name, patched.data, patched.length);
	byte_writer_free(&patched);
}

/* A key with a list of whole numbers of 32 bits. */
static void
write_list(ByteWriter *keys, const char *key, const int32_t *numbers, uint32_t n, uint64_t *n_values)
{
	writer_key(keys, key, 9, n_values);
	write_u32(keys, 5);
	write_u64(keys, n);
	for (uint32_t i = 0; i < n; i++)
		write_u32(keys, (uint32_t) numbers[i]);
}

/* Rules that files may say and that must be the architecture's. */
static void
rules_of_mixtures_that_are_others_are_named(void **state)
{
	static const struct
	{
		const char *key;
		float value;
		const char *words; /* NULL: it loads */
	} cases[] = {
		{"qwen3moe.expert_weights_norm", 1, NULL},
		{"qwen3moe.expert_weights_norm", 0, "expert_weights_norm is 0; architecture qwen3moe is supported with 1"},
		{"qwen3moe.expert_weights_scale", 2.5f,
		 "expert_weights_scale is 2.5; architecture qwen3moe is supported with 1"},
		{"qwen3moe.expert_gating_func", 2, "expert_gating_func is 2; architecture qwen3moe is supported with 1"},
	};
	TinyModel grouped = {TINY_EXPERTS | TINY_QWEN3, 1, 64, 96, 4, 2, 16, 1024, false, TENSOR_F32, 3, -1};
	ByteWriter whole = writer_model(&grouped, NULL), groups;
	uint64_t n_groups = 0;

	(void) state;
	byte_writer_init(&groups);
	writer_u32(&groups, "qwen3moe.expert_group_count", 4, &n_groups);
	save_with_keys("x.gguf", &whole, &groups, n_groups);
	expect_failure("x.gguf", STATUS_UNSUPPORTED, "experts are chosen within 4 groups");
	byte_writer_free(&whole);
	byte_writer_free(&groups);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
	{
		TinyModel shape = {TINY_EXPERTS | TINY_QWEN3, 1, 64, 96, 4, 2, 16, 1024, false, TENSOR_F32, 3, -1};
		ByteWriter file = writer_model(&shape, NULL), keys;
		uint64_t n_values = 0;

		byte_writer_init(&keys);
		writer_f32(&keys, cases[i].key, cases[i].value, &n_values);
		save_with_keys("x.gguf", &file, &keys, n_values);
		if (cases[i].words)
			expect_failure("x.gguf", STATUS_UNSUPPORTED, cases[i].words);
		else
		{
			size_t bytes;
			uint8_t *image = image_of("x.gguf", true, true, &bytes);

			munmap(image, bytes);
		}
		byte_writer_free(&file);
		byte_writer_free(&keys);
	}
}

/* Files may say of each layer what is the same in all of them. */
static void
numbers_may_be_lists_of_equal_ones(void **state)
{
	static const struct
	{
		const char *key, *other; /* its name is taken away */
		uint32_t n;
		int32_t numbers[3];
		StatusCode code;
		const char *words; /* NULL: it loads */
	} cases[] = {
		{"qwen3moe.expert_used_count", "qwen3moe.expert_used_coun", 2, {3, 3}, STATUS_OK, NULL},
		{"qwen3moe.expert_used_count",
		 "qwen3moe.expert_used_coun",
		 2,
		 {3, 2},
		 STATUS_UNSUPPORTED,
		 "qwen3moe.expert_used_count is 3 in layer 0 and 2 in layer 1; supported are layers that are alike"},
		{"qwen3moe.expert_used_count",
		 "qwen3moe.expert_used_coun",
		 3,
		 {3, 3, 3},
		 STATUS_INVALID_ARGUMENT,
		 "qwen3moe.expert_used_count is a list of 3, not a number or a list of 2 numbers"},
		{"qwen3moe.expert_used_count",
		 "qwen3moe.expert_used_coun",
		 2,
		 {-1, -1},
		 STATUS_INVALID_ARGUMENT,
		 "qwen3moe.expert_used_count is -1, not a number between 1 and 64"},
		{"qwen3moe.attention.head_count_kv", "qwen3moe.attention.head_count_k", 2, {2, 2}, STATUS_OK, NULL},
		{"qwen3moe.attention.head_count_kv",
		 "qwen3moe.attention.head_count_k",
		 2,
		 {2, 4},
		 STATUS_UNSUPPORTED,
		 "supported are layers that are alike"},
		{"qwen3moe.expert_feed_forward_length", "qwen3moe.expert_feed_forward_lengt", 2, {96, 96}, STATUS_OK, NULL},
		{"qwen3moe.block_count", "qwen3moe.block_coun", 1, {2}, STATUS_INVALID_ARGUMENT, "block_count is a list of 1"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
	{
		TinyModel shape = {TINY_EXPERTS | TINY_QWEN3, 2, 64, 96, 4, 2, 16, 1024, false, TENSOR_F32, 3, -1};
		ByteWriter file = writer_model(&shape, NULL), keys;
		uint8_t *at = memmem(file.data, file.length, cases[i].key, strlen(cases[i].key));
		uint64_t n_values = 0;
		size_t bytes;

		at[strlen(cases[i].other)] = '-';
		byte_writer_init(&keys);
		write_list(&keys, cases[i].key, cases[i].numbers, cases[i].n, &n_values);
		save_with_keys("x.gguf", &file, &keys, n_values);
		if (cases[i].words)
			expect_failure("x.gguf", cases[i].code, cases[i].words);
		else
		{
			uint8_t *image = image_of("x.gguf", true, true, &bytes);

			munmap(image, bytes);
		}
		byte_writer_free(&file);
		byte_writer_free(&keys);
	}
}

/* The data of a tensor of a file that is in memory. */
static uint8_t *
data_of(const ByteWriter *file, const char *name)
{
	Gguf gguf;
	uint64_t offset;

	assert_string_equal(gguf_parse(file->data, file->length, file->length, &gguf).message, "");
	offset = gguf_find_tensor(&gguf, name)->offset;
	gguf_close(&gguf);
	return file->data + offset;
}

/* Write what stands apart in a file into the merged tensors of another one: each expert's gate, then its up. */
static void
merge_experts(const TinyModel *shape, const ByteWriter *apart, const ByteWriter *merged)
{
	size_t bytes = tensor_row_bytes(tensor_type_info(shape->type), shape->hidden) * shape->ffn;
	char name[64];

	for (uint32_t l = 0; l < shape->n_layers; l++)
	{
		const uint8_t *gate, *up;
		uint8_t *out;

		snprintf(name, sizeof name, "blk.%u.ffn_gate_exps.weight", l);
		gate = data_of(apart, name);
		snprintf(name, sizeof name, "blk.%u.ffn_up_exps.weight", l);
		up = data_of(apart, name);
		snprintf(name, sizeof name, "blk.%u.ffn_gate_up_exps.weight", l);
		out = data_of(merged, name);
		for (uint32_t e = 0; e < TINY_N_EXPERTS; e++)
		{
			memcpy(out + 2 * e * bytes, gate + e * bytes, bytes);
			memcpy(out + (2 * e + 1) * bytes, up + e * bytes, bytes);
		}
	}
}

static void
merged_experts_give_the_same_image(void **state)
{
	static const TensorType types[] = {TENSOR_F32, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_K};
	/* of the last one's rows an expert has five tiles, and four are read at once */
	static const uint32_t sizes[] = {32, 96, 160};
	static const uint32_t widths[] = {256, 256, 2048};

	(void) state;
	for (size_t k = 0; k < sizeof types / sizeof types[0]; k++)
		for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
		{
			TinyModel shape = {
				TINY_EXPERTS | TINY_QWEN3, 1, widths[s], sizes[s], 16, 4, 16, 1024, false, types[k], 8, -1};
			ByteWriter apart, merged;
			uint8_t *image, *other;
			size_t bytes, other_bytes;

			shape.ffn = types[k] == TENSOR_Q4_K ? 256 : sizes[s];
			apart = writer_model(&shape, NULL);
			shape.kind |= TINY_MERGED;
			merged = writer_model(&shape, NULL);
			merge_experts(&shape, &apart, &merged);
			writer_save(folder, "apart.gguf", apart.data, apart.length);
			writer_save(folder, "merged.gguf", merged.data, merged.length);
			image = image_of("apart.gguf", true, true, &bytes);
			other = image_of("merged.gguf", k & 1, s & 1, &other_bytes);
			assert_int_equal(bytes, other_bytes);
			assert_memory_equal(image, other, bytes);
			munmap(image, bytes);
			munmap(other, bytes);
			byte_writer_free(&apart);
			byte_writer_free(&merged);
		}
}

static void
merged_experts_of_another_shape_are_named(void **state)
{
	const uint64_t six = 6, narrow = 191, none = 0;
	uint32_t two = 2;

	(void) state;
	/* behind a name: the number of dimensions, the dimensions */
	save_patched_mixture(TINY_EXPERTS | TINY_MERGED, "blk.1.ffn_gate_up_exps.weight", 20, &six, 8);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT,
				   "\"blk.1.ffn_gate_up_exps.weight\" has the shape [6][192][64], expected [7][192][64]");
	save_patched_mixture(TINY_EXPERTS | TINY_MERGED, "blk.0.ffn_gate_up_exps.weight", 12, &narrow, 8);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "has the shape [7][191][64], expected [7][192][64]");
	save_patched_mixture(TINY_EXPERTS | TINY_MERGED, "blk.0.ffn_gate_up_exps.weight", 0, &two, 4);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "");
	save_patched_mixture(TINY_EXPERTS, "blk.0.ffn_gate_exps.weight", 20, &none, 8);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT,
				   "tensor \"blk.0.ffn_gate_exps.weight\" has an impossible shape: its dimension 3 is 0");
}

static void
a_tensor_alone_and_in_a_merged_one_is_named(void **state)
{
	(void) state;
	/* which of the two is meant, nobody can tell */
	save_patched_mixture(TINY_EXPERTS | TINY_MERGED, "blk.1.ffn_down_exps.weight", -16, "gate", 4);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT,
				   "tensor \"blk.1.ffn_gate_exps.weight\" stands twice: also in \"blk.1.ffn_gate_up_exps.weight\"");
}

/* Files that users take for models: each is told what it is. */
static void
what_is_no_model_is_told_what_it_is(void **state)
{
	static const struct
	{
		const char *type, *architecture, *words;
	} cases[] = {
		{"mmproj", "clip", "it is no model that can be loaded, but an encoder of images or sounds (mmproj)"},
		{"model", "clip", "an encoder of images or sounds (mmproj)"},
		{"adapter", "qwen3", "an adapter (LoRA)"},
		{"model", "eagle3", "a drafter (EAGLE-3)"},
		{"model", "dflash", "a drafter (DFlash)"},
		{"model", "qwen3tts", "makes speech"},
		{"model", "qwen4exp", "an experimental model"},
		{"model", "rwkv6qwen2", "a recurrent model (RWKV)"},
		{"model", "qwen25vl", "a file of Ollama"},
		{"imatrix", NULL, "an importance matrix"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
	{
		uint64_t n_values = 0;
		ByteWriter values, out;

		byte_writer_init(&values);
		byte_writer_init(&out);
		writer_text(&values, "general.type", cases[i].type, &n_values);
		if (cases[i].architecture)
			writer_text(&values, "general.architecture", cases[i].architecture, &n_values);
		write_raw(&out, "GGUF", 4);
		write_u32(&out, 3);
		write_u64(&out, 0);
		write_u64(&out, n_values);
		write_raw(&out, values.data, values.length);
		writer_save(folder, "other.gguf", out.data, out.length);
		expect_failure("other.gguf", STATUS_UNSUPPORTED, cases[i].words);
		byte_writer_free(&values);
		byte_writer_free(&out);
	}
	/* by their tensors: an encoder beside the text, and the layers that guess without the rest */
	save_patched("x.gguf", "blk.1.attn_norm.weight", -22, "v.blk.1.attn_norm.weig", 22);
	expect_failure("x.gguf", STATUS_UNSUPPORTED,
				   "it has an encoder of images or sounds (tensor \"v.blk.1.attn_norm.weig\")");
}

/* The layers that guess are in a file of their own, with the keys of the whole model. */
static void
layers_that_guess_are_no_model(void **state)
{
	static const uint64_t sixteen[1] = {16};
	ByteWriter model = writer_model(&tiny, NULL), out = begin_head(1, 0);
	const uint8_t *first = memmem(model.data, model.length, "token_embd.weight", 17);

	(void) state;
	assert_non_null(first);
	/* the number of keys, and the keys: from behind the counts up to the first tensor's name */
	memcpy(out.data + 16, model.data + 16, 8);
	write_raw(&out, model.data + 24, (size_t) (first - model.data) - 8 - 24);
	write_tensor(&out, "blk.2.nextn.enorm.weight", 1, sixteen, 0);
	while (out.length % 32)
		write_u8(&out, 0);
	write_raw(&out, model.data, 64);
	writer_save(folder, "mtp.gguf", out.data, out.length);
	expect_failure("mtp.gguf", STATUS_UNSUPPORTED,
				   "it has only the layers that guess tokens ahead (tensor \"blk.2.nextn.enorm.weight\"");
	byte_writer_free(&model);
	byte_writer_free(&out);
}

/* What is particular to Qwen 1.0's files. */
static void
files_of_qwen_1_say_other_things(void **state)
{
	TinyModel shape = {TINY_QWEN1, 2, 64, 96, 4, 4, 16, 32768, true, TENSOR_Q8_0, 3, -1};
	ByteWriter file = writer_model(&shape, NULL);
	int fd = memfd_create("image", 0);
	ModelLoadReport report;
	uint32_t odd = 191;
	float larger = 1000000;
	uint8_t *at;

	(void) state;
	/* its size is counted twice; beyond 8,192 tokens its own programs do what is not in the file */
	writer_save(folder, "x.gguf", file.data, file.length);
	assert_string_equal(load("x.gguf", fd, true, true, 2, 0, &report).message, "");
	assert_string_equal(report.architecture, "qwen");
	assert_int_equal(report.hyper.ffn, 96);
	assert_int_equal(report.hyper.context_length, 8192);
	assert_string_equal(
		report.notices.text,
		"the file says 32768 tokens of context, of which the model was trained on 8192: these are used");
	/* … but where it was trained on more */
	at = memmem(file.data, file.length, "qwen.rope.freq_base", 19);
	memcpy(at + 19 + 4, &larger, 4);
	writer_save(folder, "x.gguf", file.data, file.length);
	assert_string_equal(load("x.gguf", fd, true, true, 2, 0, &report).message, "");
	assert_int_equal(report.hyper.context_length, 32768);
	assert_string_equal(report.notices.text, "");
	close(fd);
	at = memmem(file.data, file.length, "qwen.feed_forward_length", 24);
	memcpy(at + 24 + 4, &odd, 4);
	writer_save(folder, "x.gguf", file.data, file.length);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "qwen.feed_forward_length is 191, which is not twice a size");
	byte_writer_free(&file);
	shape.own_output = false;
	file = writer_model(&shape, NULL);
	writer_save(folder, "x.gguf", file.data, file.length);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "\"output.weight\" is missing");
	byte_writer_free(&file);
}

/* Files are older than the key of the pre-tokenizer only where the architecture is. */
static void
only_early_architectures_lack_a_pre_tokenizer(void **state)
{
	static const unsigned kinds[] = {
		0, TINY_QWEN1, TINY_EXPERTS, TINY_QWEN3, TINY_QWEN3 | TINY_EXPERTS, TINY_AXES, TINY_AXES | TINY_QWEN3,
	};

	(void) state;
	for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
	{
		TinyModel shape = {kinds[k], 1, 64, 96, 4, 4, 16, 1024, true, TENSOR_F32, 3, -1};
		ByteWriter file = writer_model(&shape, NULL);
		uint8_t *at = memmem(file.data, file.length, "tokenizer.ggml.pre", 18);
		int fd = memfd_create("image", 0);
		ModelLoadReport report;

		at[17] = 'x';
		writer_save(folder, "x.gguf", file.data, file.length);
		if (k < 3)
		{
			assert_string_equal(load("x.gguf", fd, true, true, 1, 0, &report).message, "");
			assert_string_equal(report.notices.text, "the metadata key tokenizer.ggml.pre is missing: qwen2 is taken");
		}
		else
			expect_failure("x.gguf", STATUS_INVALID_ARGUMENT, "the metadata key tokenizer.ggml.pre is missing");
		close(fd);
		byte_writer_free(&file);
	}
}

static void
axes_must_share_the_rotary_pairs(void **state)
{
	static const struct
	{
		uint32_t at, value; /* which number of the list */
		StatusCode code;
		const char *words;
	} cases[] = {
		{0, 5, STATUS_INVALID_ARGUMENT, "qwen3vl.rope.dimension_sections has 9 pairs together, not the 8"},
		{0, 3, STATUS_INVALID_ARGUMENT, "qwen3vl.rope.dimension_sections has 7 pairs together, not the 8"},
		{1, 2000000000, STATUS_UNSUPPORTED, "has 2000000000 pairs for axis 1 of a head of 16 elements"},
		{2, UINT32_MAX, STATUS_UNSUPPORTED, "has -1 pairs for axis 2"},
		{3, 1, STATUS_UNSUPPORTED, "has 1 pairs for axis 3"},
	};
	TinyModel shape = {TINY_AXES | TINY_QWEN3, 1, 64, 96, 4, 4, 16, 1024, false, TENSOR_F32, 3, -1};
	static const char mark[] = "qwen3vl.rope.dimension_sections";

	(void) state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
	{
		ByteWriter file = writer_model(&shape, NULL);
		uint8_t *at = memmem(file.data, file.length, mark, sizeof mark - 1);

		/* behind the key: its type, the elements' type, their number */
		memcpy(at + sizeof mark - 1 + 16 + 4 * cases[i].at, &cases[i].value, 4);
		writer_save(folder, "x.gguf", file.data, file.length);
		expect_failure("x.gguf", cases[i].code, cases[i].words);
		at[10] = 'x';
		writer_save(folder, "x.gguf", file.data, file.length);
		expect_failure("x.gguf", STATUS_INVALID_ARGUMENT,
					   "the metadata key qwen3vl.rope.dimension_sections is missing");
		byte_writer_free(&file);
	}
}

/* Qwen1.5's first mixtures do not say how large an expert is. */
static void
early_mixtures_say_less(void **state)
{
	TinyModel shape = {TINY_EXPERTS, 1, 64, 96, 4, 2, 16, 1024, true, TENSOR_F32, 3, -1};
	uint32_t all = 3 * 96;
	ByteWriter file = writer_model(&shape, NULL);
	int fd = memfd_create("image", 0);
	ModelLoadReport report;
	uint8_t *at;

	(void) state;
	at = memmem(file.data, file.length, "expert_feed_forward_length", 26);
	at[0] = 'x';
	/* then feed_forward_length is that of all that a row uses; the shared expert's has its own key or is as large */
	at = memmem(file.data, file.length, "qwen2moe.feed_forward_length", 28);
	memcpy(at + 28 + 4, &all, 4);
	writer_save(folder, "x.gguf", file.data, file.length);
	expect_failure("x.gguf", STATUS_INVALID_ARGUMENT,
				   "\"blk.0.ffn_gate_shexp.weight\" has the shape [96][64], expected [288][64]");
	byte_writer_free(&file);
	shape.kind |= TINY_QWEN3;
	file = writer_model(&shape, NULL);
	at = memmem(file.data, file.length, "expert_feed_forward_length", 26);
	at[0] = 'x';
	at = memmem(file.data, file.length, "qwen3moe.feed_forward_length", 28);
	memcpy(at + 28 + 4, &all, 4);
	writer_save(folder, "x.gguf", file.data, file.length);
	assert_string_equal(load("x.gguf", fd, true, true, 2, 0, &report).message, "");
	assert_int_equal(report.hyper.expert_ffn, 96);
	close(fd);
	byte_writer_free(&file);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_way_of_reading_gives_the_same_image),
		cmocka_unit_test(fused_queries_keys_and_values_give_the_same_image),
		cmocka_unit_test(fused_tensors_of_another_shape_are_named),
		cmocka_unit_test(mixtures_that_do_not_fit_are_named),
		cmocka_unit_test(rules_of_mixtures_that_are_others_are_named),
		cmocka_unit_test(early_mixtures_say_less),
		cmocka_unit_test(numbers_may_be_lists_of_equal_ones),
		cmocka_unit_test(merged_experts_give_the_same_image),
		cmocka_unit_test(merged_experts_of_another_shape_are_named),
		cmocka_unit_test(a_tensor_alone_and_in_a_merged_one_is_named),
		cmocka_unit_test(what_is_no_model_is_told_what_it_is),
		cmocka_unit_test(layers_that_guess_are_no_model),
		cmocka_unit_test(files_of_qwen_1_say_other_things),
		cmocka_unit_test(only_early_architectures_lack_a_pre_tokenizer),
		cmocka_unit_test(axes_must_share_the_rotary_pairs),
		cmocka_unit_test(rows_are_those_of_the_file),
		cmocka_unit_test(split_files_give_the_image_of_the_whole_one),
		cmocka_unit_test(version_2_is_read_too),
		cmocka_unit_test(hybrids_that_cannot_be_computed_are_refused),
		cmocka_unit_test(parts_that_do_not_fit_are_named),
		cmocka_unit_test(flipped_parts_never_harm),
		cmocka_unit_test(a_part_that_ends_while_it_is_read_is_named),
		cmocka_unit_test(heads_cut_anywhere_are_refused),
		cmocka_unit_test(flipped_heads_never_harm),
		cmocka_unit_test(hostile_numbers_are_refused),
		cmocka_unit_test(other_tensor_types_are_named),
		cmocka_unit_test(other_files_are_refused),
		cmocka_unit_test(tensors_that_would_change_answers_are_not_passed_over),
		cmocka_unit_test(a_classifier_of_yes_and_no_ranks),
		cmocka_unit_test(a_model_without_words_cannot_rank),
		cmocka_unit_test(what_a_file_does_not_say_has_its_default),
		cmocka_unit_test(heads_that_contradict_themselves_are_refused),
		cmocka_unit_test(memory_is_looked_at_before_it_is_taken),
		cmocka_unit_test(damaged_images_are_not_opened),
		cmocka_unit_test(directories_are_not_shown),
	};

	return cmocka_run_group_tests_name("loader", tests, make_folder, remove_folder);
}
