/*
 * model_files.c - see model_files.h.
 *
 * The part that was named says how many there are; all are then opened in order and each must say the same. A file
 * without split.count, or with a count of 1, is a whole model whatever its name.
 */
#include "model_files.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model_path.h"

#define SUFFIX_LENGTH 20 /* "-00001-of-00003.gguf" */

/* A whole number of the metadata that must be at most limit. */
static Status
read_count(const Gguf *gguf, const char *key, uint64_t limit, uint64_t *out)
{
	const GgufValue *value = gguf_find(gguf, key);

	if (!value)
		return status_error(STATUS_INVALID_ARGUMENT, "the metadata key %s is missing", key);
	if ((value->type > GGUF_I32 && value->type != GGUF_U64 && value->type != GGUF_I64) || value->integer > limit)
		return status_error(STATUS_INVALID_ARGUMENT, "%s is not a number from 0 to %llu", key,
							(unsigned long long) limit);
	*out = value->integer;
	return status_ok();
}

/* How many files a head says that there are: 1 when it says nothing. */
static Status
read_n_files(const Gguf *gguf, uint32_t *n_files)
{
	uint64_t count = 1;

	if (gguf_find(gguf, "split.count"))
		STATUS_TRY(read_count(gguf, "split.count", MODEL_MAX_FILES, &count));
	*n_files = count < 1 ? 1 : (uint32_t) count;
	return status_ok();
}

/* Five digits as a number, or -1. */
static int
five_digits(const char *text)
{
	int number = 0;

	for (int i = 0; i < 5; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return -1;
		number = number * 10 + (text[i] - '0');
	}
	return number;
}

/* How many bytes of file stand before "-0000I-of-0000N.gguf"; -1 when it is not named so, with n files. */
static int
prefix_length(const char *file, uint32_t n_files)
{
	size_t length = strlen(file);
	const char *suffix = file + length - SUFFIX_LENGTH;

	if (length <= SUFFIX_LENGTH || length >= PATH_MAX)
		return -1;
	if (suffix[0] != '-' || memcmp(suffix + 6, "-of-", 4) != 0 || memcmp(suffix + 15, ".gguf", 5) != 0)
		return -1;
	if (five_digits(suffix + 1) < 1 || five_digits(suffix + 1) > (int) n_files ||
		five_digits(suffix + 10) != (int) n_files)
		return -1;
	return (int) (length - SUFFIX_LENGTH);
}

/* Open one file as number index, and read its head. */
static Status
open_file(const char *directory, const char *file, ModelFiles *files, uint32_t index)
{
	uint64_t file_bytes;

	STATUS_TRY(model_path_open(directory, file, &files->fds[index], &file_bytes));
	files->file_bytes += file_bytes;
	return status_prefix(gguf_open(files->fds[index], file_bytes, &files->heads[index]), "model file \"%s\"",
						 model_path_shown(directory, file));
}

/* Does a part say of itself what its name and the first part say? */
static Status
check_part(const ModelFiles *files, uint32_t index)
{
	const Gguf *head = &files->heads[index];
	uint64_t number, count, n_tensors, n_tensors_first;

	STATUS_TRY(read_count(head, "split.count", MODEL_MAX_FILES, &count));
	STATUS_TRY(read_count(head, "split.no", MODEL_MAX_FILES, &number));
	STATUS_TRY(read_count(head, "split.tensors.count", GGUF_MAX_TENSORS, &n_tensors));
	STATUS_TRY(read_count(&files->heads[0], "split.tensors.count", GGUF_MAX_TENSORS, &n_tensors_first));
	if (count != files->n_files)
		return status_error(STATUS_INVALID_ARGUMENT, "it is of a model of %llu parts, not %u",
							(unsigned long long) count, files->n_files);
	if (number != index)
		return status_error(STATUS_INVALID_ARGUMENT, "it says that it is part %llu of the model, not part %u",
							(unsigned long long) number + 1, index + 1);
	if (n_tensors != n_tensors_first)
		return status_error(STATUS_INVALID_ARGUMENT, "it is of a model of %llu tensors, the first part of one of %llu",
							(unsigned long long) n_tensors, (unsigned long long) n_tensors_first);
	return status_ok();
}

/* All parts in order, with the names that belong to the one that was named. */
static Status
open_parts(const char *directory, const char *file, int prefix, ModelFiles *files)
{
	char part[PATH_MAX];

	for (uint32_t i = 0; i < files->n_files; i++)
	{
		snprintf(part, sizeof part, "%.*s-%05u-of-%05u.gguf", prefix, file, i + 1, files->n_files);
		STATUS_TRY(open_file(directory, part, files, i));
		STATUS_TRY(status_prefix(check_part(files, i), "model file \"%s\"", model_path_shown(directory, part)));
	}
	return status_ok();
}

/* The tensors of all files in one list, behind the metadata of the first. */
static Status
merge_heads(ModelFiles *files)
{
	Gguf *gguf = &files->gguf;
	uint64_t n_tensors = 0, n_expected = 0;

	*gguf = files->heads[0];
	for (uint32_t i = 0; i < files->n_files; i++)
		n_tensors += files->heads[i].n_tensors;
	gguf->tensors = arena_alloc_array(gguf->arena, n_tensors + 1, sizeof *gguf->tensors);
	if (!gguf->tensors)
		return status_error(STATUS_UNAVAILABLE, "out of memory for %llu tensors", (unsigned long long) n_tensors);
	gguf->n_tensors = 0;
	for (uint32_t i = 0; i < files->n_files; i++)
		for (uint32_t t = 0; t < files->heads[i].n_tensors; t++)
		{
			gguf->tensors[gguf->n_tensors] = files->heads[i].tensors[t];
			gguf->tensors[gguf->n_tensors++].file = i;
		}
	if (files->n_files == 1)
		return status_ok();
	STATUS_TRY(read_count(gguf, "split.tensors.count", GGUF_MAX_TENSORS, &n_expected));
	if (n_tensors != n_expected)
		return status_error(STATUS_INVALID_ARGUMENT,
							"the parts have %llu tensors together, split.tensors.count is %llu",
							(unsigned long long) n_tensors, (unsigned long long) n_expected);
	return gguf_check_names(gguf);
}

static Status
open_all(const char *directory, const char *file, ModelFiles *files)
{
	const char *shown = model_path_shown(directory, file);
	int prefix;

	files->n_files = 1;
	STATUS_TRY(open_file(directory, file, files, 0));
	STATUS_TRY(status_prefix(read_n_files(&files->heads[0], &files->n_files), "model file \"%s\"", shown));
	if (files->n_files > 1)
	{
		uint32_t n_files = files->n_files;

		prefix = prefix_length(file, n_files);
		if (prefix < 0)
			return status_error(STATUS_INVALID_ARGUMENT,
								"model file \"%s\": it is one of the %u parts of a model, but is not named like one: "
								"NAME-00001-of-%05u.gguf",
								shown, n_files, n_files);
		model_files_close(files);
		files->n_files = n_files;
		STATUS_TRY(open_parts(directory, file, prefix, files));
	}
	return status_prefix(merge_heads(files), "model file \"%s\"", shown);
}

Status
model_files_open(const char *directory, const char *file, ModelFiles *files)
{
	Status status;

	memset(files, 0, sizeof *files);
	for (uint32_t i = 0; i < MODEL_MAX_FILES; i++)
		files->fds[i] = -1;
	status = open_all(directory, file, files);
	if (status.code != STATUS_OK)
		model_files_close(files);
	return status;
}

void
model_files_close(ModelFiles *files)
{
	for (uint32_t i = 0; i < files->n_files; i++)
	{
		if (files->fds[i] >= 0)
			close(files->fds[i]);
		files->fds[i] = -1;
		gguf_close(&files->heads[i]);
	}
	memset(&files->gguf, 0, sizeof files->gguf);
	files->n_files = 0;
	files->file_bytes = 0;
}
