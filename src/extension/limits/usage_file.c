/*
 * usage_file.c - what roles have used, on disk: pgsql_tmp_qwen_pg_usage in the data directory.
 *
 * What a server has used is no business of its standbys and of those that are restored from its backups, so the file
 * has a name that pg_basebackup passes over; nothing at the start of a server removes it there.
 *
 * The supervisor writes it every 10 s and at its end, under another name first, so that the file is whole at any time;
 * not at once: a server that starts from a backup or after a crash has all files of its directory synchronized first,
 * and says of one that has another name by then that it cannot be opened;
 * the postmaster reads it once, when the server starts. What was used in the last 10 s before a crash of the whole
 * server is forgotten. A file that is damaged, or of another version, is left out with a WARNING: then the windows
 * begin at zero.
 *
 * Between two starts of one machine the time in between is measured by its monotonic clock, else by the wall clock; one
 * that was put back counts as if no time had passed.
 */
#include "../core/core.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../base/clock.h"
#include "limits.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "usage.h"
#include "utils/timestamp.h"

#define USAGE_FILE_OF_0_1_0 "qwen_pg_usage"
#define USAGE_FILE "pgsql_tmp_qwen_pg_usage"
#define NEW_USAGE_FILE "pgsql_tmp_qwen_pg_usage.new"
#define WRITE_EVERY_US ((uint64) 10 * 1000000)
#define FILE_MAGIC 0x51504755u
#define FILE_VERSION 1
#define BOOT_ID_BYTES 40

/* The file: this, then the records. */
typedef struct FileHeader
{
	uint32 magic, version;
	uint32 record_bytes, n_records;
	TimestampTz written_at;
	uint64 written_us;           /* clock_now_us */
	char boot_id[BOOT_ID_BYTES]; /* of the machine's start */
	pg_crc32c crc;               /* of the header up to here and of the records */
} FileHeader;

/* What tells one start of the machine from another; "" where the system does not say. */
static void
read_boot_id(char boot_id[BOOT_ID_BYTES])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	memset(boot_id, 0, BOOT_ID_BYTES);
	if (fd < 0)
		return;
	if (read(fd, boot_id, BOOT_ID_BYTES - 1) < 0)
		boot_id[0] = '\0';
	close(fd);
}

static pg_crc32c
file_crc(const FileHeader *header, const RoleUsage *records)
{
	pg_crc32c crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, header, offsetof(FileHeader, crc));
	COMP_CRC32C(crc, records, sizeof *records * header->n_records);
	FIN_CRC32C(crc);
	return crc;
}

/* How long ago a file was written. */
static uint64
file_age_seconds(const FileHeader *header)
{
	char boot_id[BOOT_ID_BYTES];
	uint64 now_us = clock_now_us();
	TimestampTz now = GetCurrentTimestamp();

	read_boot_id(boot_id);
	if (boot_id[0] && memcmp(boot_id, header->boot_id, BOOT_ID_BYTES) == 0 && now_us >= header->written_us)
		return (now_us - header->written_us) / 1000000;
	return now > header->written_at ? (uint64) (now - header->written_at) / 1000000 : 0;
}

/* All of a file that is whole, malloc'd; NULL: it is not, and *why says why. */
static FileHeader *
read_file(int fd, const char **why)
{
	struct stat status;
	FileHeader *header = NULL;

	*why = "it cannot be read";
	if (fstat(fd, &status) != 0 || status.st_size < (off_t) sizeof *header || status.st_size > (off_t) 1 << 32)
		return NULL;
	header = malloc(status.st_size);
	if (!header || read(fd, header, status.st_size) != (ssize_t) status.st_size)
	{
		free(header);
		return NULL;
	}
	*why = NULL;
	if (header->magic != FILE_MAGIC || header->version != FILE_VERSION || header->record_bytes != sizeof(RoleUsage))
		*why = "it is of another version";
	else if ((uint64) status.st_size != sizeof *header + (uint64) header->n_records * sizeof(RoleUsage))
		*why = "it is not whole";
	else if (!EQ_CRC32C(header->crc, file_crc(header, (RoleUsage *) (header + 1))))
		*why = "its checksum is wrong";
	if (*why)
	{
		free(header);
		return NULL;
	}
	return header;
}

static void
usage_file_load(void)
{
	FileHeader *header;
	const char *why;
	uint64 age_seconds;
	int fd;

	(void) rename(USAGE_FILE_OF_0_1_0, USAGE_FILE);
	fd = open(USAGE_FILE, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(LOG, (errcode_for_file_access(), errmsg("qwen_pg: could not open file \"%s\": %m", USAGE_FILE)));
		return;
	}
	header = read_file(fd, &why);
	close(fd);
	if (!header)
	{
		ereport(WARNING, (errmsg("qwen_pg: file \"%s\" is left out: %s", USAGE_FILE, why),
						  errdetail("What roles have used before this start does not count against their limits.")));
		return;
	}
	age_seconds = file_age_seconds(header);
	for (uint32 i = 0; i < header->n_records; i++)
		usage_restore((RoleUsage *) (header + 1) + i, age_seconds);
	free(header);
}

/* All of it into a file that is on disk before it gets its name. */
static bool
write_file(const FileHeader *header, const RoleUsage *records)
{
	int fd = open(NEW_USAGE_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t bytes = sizeof *records * header->n_records;
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, header, sizeof *header) == (ssize_t) sizeof *header && write(fd, records, bytes) == bytes &&
		 pg_fsync(fd) == 0;
	if (close(fd) != 0)
		ok = false;
	return ok && rename(NEW_USAGE_FILE, USAGE_FILE) == 0;
}

void
usage_file_write(bool at_once)
{
	static uint64 written_us;
	static bool complained;
	FileHeader header = {.magic = FILE_MAGIC, .version = FILE_VERSION, .record_bytes = sizeof(RoleUsage)};
	uint64 now_us = clock_now_us();
	RoleUsage *records;
	int n;

	if (written_us == 0)
		written_us = now_us;
	if (!at_once && now_us - written_us < WRITE_EVERY_US)
		return;
	written_us = now_us;
	records = usage_copy_all(&n);
	header.n_records = n;
	header.written_at = GetCurrentTimestamp();
	header.written_us = now_us;
	read_boot_id(header.boot_id);
	header.crc = file_crc(&header, records);
	errno = 0;
	if (!write_file(&header, records) && !complained)
		ereport(LOG, (errcode_for_file_access(), errmsg("qwen_pg: could not write file \"%s\": %m", USAGE_FILE)));
	/* a full disk is told of once, not every ten seconds */
	complained = errno != 0;
	pfree(records);
}

/* The postmaster begins, or begins again after a crash: then what roles have used is still in memory. */
void
usage_start(void)
{
	static bool loaded;

	usage_start_memory(!loaded);
	if (!loaded && !IsUnderPostmaster)
		usage_file_load();
	loaded = true;
}
