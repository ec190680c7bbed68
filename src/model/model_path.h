/*
 * model_path.h - opening a model file that must lie below a directory.
 */
#ifndef QWEN_MODEL_PATH_H
#define QWEN_MODEL_PATH_H

#include "../base/status.h"

/*
 * Open file (relative to directory) for reading. Links are resolved first; what is then not below the resolved
 * directory is NOT_ALLOWED, so neither "..", an absolute path nor a link leads out; a name that leads out by itself is
 * not even looked for. NOT_FOUND: no such file or directory; INVALID_ARGUMENT: no regular file, or empty.
 */
extern Status model_path_open(const char *directory, const char *file, int *fd, uint64_t *file_bytes);

/*
 * What may be shown of file to everybody: its name below directory and, where it was given in another way, nothing but
 * its last part. Points into file. Messages of model_path_open name files like this and never the directory.
 */
extern const char *model_path_shown(const char *directory, const char *file);

#endif
