/*
 * replay.c - runs a fuzz target over kept inputs, without libFuzzer: replay FILE|FOLDER…
 *            or over N random ones: replay --random N SEED
 *
 * Each file is run whole, cut after each of its first bytes, and with each of them changed, so that the targets
 * themselves are seen to work in every make check. The promise is that the program comes to its end.
 */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "fuzz.h"

#define MAX_CUT_BYTES 512    /* of a file, that are cut and changed */
#define MAX_RANDOM_BYTES 120 /* of a random input */

static size_t n_files, n_inputs;

/* One input, in memory of exactly its size. */
static void
run(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	memcpy(copy, data, size);
	PROMISE(LLVMFuzzerTestOneInput(copy, size) == 0);
	free(copy);
	n_inputs++;
}

/* A file's bytes; free them. */
static uint8_t *
read_file(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rb");
	ByteWriter bytes;
	uint8_t buffer[4096];
	size_t n;

	if (!file)
	{
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(2);
	}
	byte_writer_init(&bytes);
	while ((n = fread(buffer, 1, sizeof buffer, file)) > 0)
		write_raw(&bytes, buffer, n);
	fclose(file);
	write_u8(&bytes, 0);
	*size = bytes.length - 1;
	return bytes.data;
}

static void
replay_file(const char *path)
{
	size_t size;
	uint8_t *data = read_file(path, &size);
	size_t edges = size < MAX_CUT_BYTES ? size : MAX_CUT_BYTES;

	run(data, size);
	for (size_t cut = 0; cut < edges; cut++)
		run(data, cut);
	for (size_t at = 0; at < edges; at++)
	{
		static const uint8_t changes[] = {0x01, 0x80, 0xFF};

		for (size_t i = 0; i < sizeof changes; i++)
		{
			data[at] ^= changes[i];
			run(data, size);
			data[at] ^= changes[i];
		}
	}
	free(data);
	n_files++;
}

static void
replay(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	char inside[4096];

	if (!folder)
	{
		replay_file(path);
		return;
	}
	while ((entry = readdir(folder)) != NULL)
	{
		if (entry->d_name[0] == '.')
			continue;
		snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
		replay_file(inside);
	}
	closedir(folder);
}

/* Random bytes, for targets that make something of any. An input is found again by its number and the seed. */
static void
run_random(unsigned long long n, uint64_t seed)
{
	for (unsigned long long i = 0; i < n; i++)
	{
		uint64_t mixed = (seed << 40) + i;
		uint8_t data[MAX_RANDOM_BYTES];
		size_t size = 0, wanted;

		wanted = (size_t) ((mixed * 0x9E3779B97F4A7C15u) >> 40) % MAX_RANDOM_BYTES;
		while (size <= wanted)
		{
			uint64_t z = mixed += 0x9E3779B97F4A7C15u;

			z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
			z = (z ^ z >> 27) * 0x94D049BB133111EBu;
			data[size++] = (uint8_t) (z >> 56);
		}
		if (i % 10000 == 0)
			fprintf(stderr, "\r%llu", i);
		run(data, size);
	}
	fprintf(stderr, "\r");
	printf("%llu random inputs\n", n);
}

int
main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "--random") == 0)
	{
		run_random(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
		return 0;
	}
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	if (n_files == 0)
	{
		fprintf(stderr, "no inputs\n");
		return 2;
	}
	printf("%zu files, %zu inputs\n", n_files, n_inputs);
	return 0;
}
