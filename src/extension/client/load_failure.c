/*
 * load_failure.c - why a model is not there, as its user can act on it. Of one that could not be loaded one HINT for
 * the cause, found by looking where the file should lie, and the whole path for those who may see paths (members of
 * pg_read_all_settings).
 *
 * This looks, after a load has failed, at what the loader saw; it opens nothing.
 */
#include "../core/core.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/compat.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "client.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"

#define MAX_NAMED_FILES 5

/* A job's worker asks models where no transaction is open, in which nobody's roles can be looked up. */
static bool
may_see_paths(void)
{
	return IsTransactionState() && has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS);
}

/* The model directory as one would write it in a shell. */
static char *
whole_directory(void)
{
	if (qwen_model_directory[0] == '/')
		return pstrdup(qwen_model_directory);
	return psprintf("%s/%s", DataDir, qwen_model_directory);
}

/* The name of the user that the server runs as. */
static const char *
server_user(void)
{
	const struct passwd *user = getpwuid(geteuid());

	return user ? user->pw_name : "the server's user";
}

/* Some of the files that do lie in the directory, or NULL. */
static char *
files_there(const char *directory)
{
	DIR *opened = AllocateDir(directory);
	struct dirent *entry;
	StringInfoData names;
	int n = 0;

	if (!opened)
		return NULL;
	initStringInfo(&names);
	while (n < MAX_NAMED_FILES && (entry = ReadDirExtended(opened, directory, LOG)) != NULL)
	{
		size_t length = strlen(entry->d_name);
		struct stat info;

		if (length > 5 && strcmp(entry->d_name + length - 5, ".gguf") == 0 &&
			stat(psprintf("%s/%s", directory, entry->d_name), &info) == 0 && S_ISREG(info.st_mode))
			appendStringInfo(&names, "%s\"%s\"", n++ > 0 ? ", " : "", entry->d_name);
	}
	FreeDir(opened);
	return n > 0 ? names.data : NULL;
}

/* What to do where the directory is the cause, or NULL. */
static char *
directory_hint(const char *directory)
{
	struct stat info;

	if (qwen_model_directory[0] == '~')
		return "\"~\" is not expanded: set qwen.model_directory to the whole path, and reload.";
	if (stat(directory, &info) != 0 && errno == ENOENT)
		return psprintf("Make the directory: mkdir -p %s && chown %s %s. Or set qwen.model_directory to where the "
						"files are, and reload.",
						directory, server_user(), directory);
	if (access(directory, R_OK | X_OK) != 0)
		return psprintf("The server runs as \"%s\", which may not read the directory \"%s\": chown or chmod it and the "
						"directories above.",
						server_user(), directory);
	return NULL;
}

/* Does a file that there is lie elsewhere, links followed? */
static bool
leads_out(const char *directory, const char *path)
{
	char *real_directory = realpath(directory, NULL), *real_path = realpath(path, NULL);
	size_t length = real_directory ? strlen(real_directory) : 0;
	bool is_out = real_directory && real_path &&
				  (strncmp(real_path, real_directory, length) != 0 || (length > 1 && real_path[length] != '/'));

	free(real_directory);
	free(real_path);
	return is_out;
}

/* What to do where the file's name or place is the cause, or NULL. path: of the file. */
static char *
file_hint(const char *directory, const char *file, const char *path)
{
	char *there;

	if (strstr(file, "..") || (file[0] == '/' && strncmp(file, directory, strlen(directory)) != 0) ||
		leads_out(directory, path))
		return psprintf("Files lie in \"%s\", and links do not lead out of it: move the file there, or set "
						"qwen.model_directory and reload.",
						directory);
	if (access(path, F_OK) != 0 && errno == ENOENT)
	{
		there = files_there(directory);
		return there ? psprintf("There are: %s. Put the file there, or name one of these.", there)
					 : psprintf("Put the file there, or set qwen.model_directory to where it is, and reload.");
	}
	if (access(path, R_OK) != 0)
		return psprintf("The server runs as \"%s\", which may not read it: chown %s %s.", server_user(), server_user(),
						path);
	return NULL;
}

/* One HINT for the cause, or NULL. */
static const char *
hint_of(const char *directory, const char *file, const char *path)
{
	const char *hint;

	if (file[0] == '~')
		return "\"~\" is not expanded: name the file as it is called in qwen.model_directory.";
	if (strchr(file, '='))
		return "A file is named without the model's name and \"=\": qwen_load_model('name', 'file.gguf').";
	if (!may_see_paths())
		return NULL;
	hint = directory_hint(directory);
	return hint ? hint : file_hint(directory, file, path);
}

void
raise_load_failure(int sqlstate, const char *name, const char *file, const char *why, const char *otherwise)
{
	raise_file_failure(sqlstate, psprintf("model \"%s\" could not be loaded", name), file, why, otherwise);
}

void
raise_file_failure(int sqlstate, const char *message, const char *file, const char *why, const char *otherwise)
{
	char *directory = whole_directory();
	char *path = file[0] == '/' ? pstrdup(file) : psprintf("%s/%s", directory, file);
	const char *hint = hint_of(directory, file, path);
	char *shown = server_string(path);

	if (!hint)
		hint = otherwise;
	if (!hint && !may_see_paths())
		hint = "The server log has the whole path; so has this message for members of pg_read_all_settings.";
	hint = hint ? server_string(hint) : NULL;
	ereport(ERROR, (errcode(sqlstate), errmsg("%s", message),
					may_see_paths() && file[0] != '~' ? errdetail("%s\nThe file is \"%s\".", why, shown)
													  : errdetail("%s", why),
					hint ? errhint("%s", hint) : 0));
}

/* Names of the models that are served, or NULL. */
static char *
served_models(void)
{
	StringInfoData names;
	int n = 0;

	initStringInfo(&names);
	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	for (int i = 0; i < qwen_max_models; i++)
		if (qwen_shared->slots[i].state == SLOT_SERVING)
			appendStringInfo(&names, "%s%s", n++ > 0 ? ", " : "", qwen_shared->slots[i].name);
	LWLockRelease(qwen_shared->lock);
	return n > 0 ? names.data : NULL;
}

/* Its file in qwen.models, as it is shown, or NULL. */
static char *
configured_file(const char *name)
{
	ConfiguredModels configured;

	if (configured_models_parse(qwen_models, &configured).code != STATUS_OK)
		return NULL;
	for (int i = 0; i < configured.n; i++)
		if (strcmp(configured.models[i].name, name) == 0)
			return server_string(configured.models[i].file);
	return NULL;
}

/* Was qwen.models refused? Sessions see it as empty then. What stands in it is not for everybody. */
static bool
is_refused(void)
{
	bool refused;

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	refused = qwen_shared->refused.models[0] != '\0';
	LWLockRelease(qwen_shared->lock);
	return refused;
}

/* No call names a model, and there is none. */
static void
raise_no_model(void)
{
	char *there = may_see_paths() ? files_there(whole_directory()) : NULL;
	char *directory = server_string(whole_directory());

	if (!*qwen_models && is_refused())
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("no model is loaded"),
						errdetail("The value of qwen.models is refused."),
						errhint("qwen_health_checks and the server log say why: correct it and reload the "
								"configuration.")));
	there = there ? server_string(there) : NULL;

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("no model is loaded"),
			 *qwen_models ? errdetail("All models of qwen.models have been unloaded.")
						  : errdetail("qwen.models is empty, and none was loaded with qwen_load_model."),
			 *qwen_models ? errhint("SELECT pg_reload_conf() loads them again.")
			 : there
				 ? errhint("The model directory has: %s. Set qwen.models = 'chat=FILE' and reload the configuration.",
						   there)
				 : errhint("Put a GGUF file of a Qwen model into the model directory%s, set qwen.models = "
						   "'chat=FILE' and reload the configuration.",
						   may_see_paths() ? psprintf(" (%s)", directory) : "")));
}

/* The setting that calls without a model have such a name from, or NULL. */
static const char *
setting_that_names(const char *model)
{
	if (*model == '\0')
		return NULL;
	return strcmp(model, qwen_default_model) == 0             ? "qwen.default_model"
		   : strcmp(model, qwen_default_embedding_model) == 0 ? "qwen.default_embedding_model"
		   : strcmp(model, qwen_default_rerank_model) == 0    ? "qwen.default_rerank_model"
															  : NULL;
}

void
raise_not_loaded(const char *model)
{
	char *served = served_models(), *file = configured_file(model);
	/* of a name that is no model's, anything may be there */
	char *name = server_text((ByteSpan){model, strlen(model)});
	const char *setting = setting_that_names(model);

	if (*name == '\0' && !served)
		raise_no_model();
	if (file)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("model \"%s\" is not loaded", name),
				 errdetail("It is in qwen.models, and was unloaded or could not be loaded."),
				 errhint("Load it: SELECT qwen_load_model('%s', '%s'), or SELECT pg_reload_conf().", name, file)));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("model \"%s\" is not loaded", name),
			 served ? errdetail("Loaded models: %s.", served) : errdetail("No model is loaded."),
			 setting ? errhint("%s names it: correct that, or load it with qwen_load_model(name, file).", setting)
					 : errhint("Set qwen.models, or load one with qwen_load_model(name, file).")));
}
