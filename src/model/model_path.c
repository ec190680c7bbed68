/*
 * model_path.c - see model_path.h. The check is on what was opened, not on a name that could change in between.
 */
#include "model_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The path that an open descriptor stands for, links resolved. */
static bool
descriptor_path(int fd, char path[PATH_MAX])
{
	char link[64];
	ssize_t length;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, PATH_MAX - 1);
	if (length <= 0)
		return false;
	path[length] = '\0';
	return true;
}

/* What of path lies below directory, or NULL. */
static const char *
part_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	while (length > 0 && directory[length - 1] == '/')
		length--;
	if (strncmp(path, directory, length) != 0 || path[length] != '/')
		return NULL;
	return path + length + strspn(path + length, "/");
}

const char *
model_path_shown(const char *directory, const char *file)
{
	const char *slash = strrchr(file, '/');
	const char *below = *file == '/' ? part_below(file, directory) : file;

	if (below && !strstr(file, ".."))
		return below;
	return slash ? slash + 1 : file;
}

/*
 * Is it plain from the name alone that the file cannot be meant? Then it is not even looked for: whether something lies
 * at that place is nobody's business.
 */
static bool
leads_out(const char *file, const char *directory, const char *directory_path)
{
	const char *part = file;

	if (*file == '/' && !part_below(file, directory) && !part_below(file, directory_path))
		return true;
	while ((part = strstr(part, "..")) != NULL)
	{
		if ((part == file || part[-1] == '/') && (part[2] == '\0' || part[2] == '/'))
			return true;
		part += 2;
	}
	return false;
}

/* Is what was opened a file that may be read? file: its name for messages. */
static Status
check_opened(const char *directory_path, int fd, const char *file, uint64_t *file_bytes)
{
	char path[PATH_MAX];
	struct stat info;

	if (!descriptor_path(fd, path) || fstat(fd, &info) != 0)
		return status_error(STATUS_UNAVAILABLE, "cannot look at file \"%s\": %s", file, strerror(errno));
	if (!part_below(path, directory_path))
		return status_error(STATUS_NOT_ALLOWED, "file \"%s\" is not below the model directory", file);
	if (!S_ISREG(info.st_mode))
		return status_error(STATUS_INVALID_ARGUMENT, "file \"%s\" is not a regular file", file);
	if (info.st_size == 0)
		return status_error(STATUS_INVALID_ARGUMENT, "file \"%s\" is empty", file);
	*file_bytes = (uint64_t) info.st_size;
	return status_ok();
}

Status
model_path_open(const char *directory, const char *file, int *fd, uint64_t *file_bytes)
{
	const char *shown = model_path_shown(directory, file);
	int directory_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char directory_path[PATH_MAX];
	Status status;

	*fd = -1;
	if (directory_fd < 0 || !descriptor_path(directory_fd, directory_path))
	{
		status = status_error(STATUS_NOT_FOUND, "cannot open the model directory: %s", strerror(errno));
		if (directory_fd >= 0)
			close(directory_fd);
		return status;
	}
	if (leads_out(file, directory, directory_path))
	{
		close(directory_fd);
		return status_error(STATUS_NOT_ALLOWED, "file \"%s\" is not below the model directory", shown);
	}
	/* O_NONBLOCK: a fifo must not make us wait */
	*fd = openat(directory_fd, file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (*fd < 0)
		status = status_error(errno == ENOENT || errno == ENOTDIR ? STATUS_NOT_FOUND : STATUS_UNAVAILABLE,
							  "cannot open file \"%s\" in the model directory: %s", shown, strerror(errno));
	else
		status = check_opened(directory_path, *fd, shown, file_bytes);
	close(directory_fd);
	if (status.code != STATUS_OK && *fd >= 0)
	{
		close(*fd);
		*fd = -1;
	}
	return status;
}
