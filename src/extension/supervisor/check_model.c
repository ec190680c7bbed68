/*
 * check_model.c - qwen_check_model: what a model file is, without loading it.
 *
 * The file may come from anywhere, so no process of PostgreSQL reads it: the session starts the engine program for it,
 * with the rights of a loader and no descriptor but a pipe, and takes lines of text from there (check_lines.h). It
 * needs neither a slot nor the supervisor, and it ends with the statement.
 */
#include "../core/core.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../protocol/check_lines.h"
#include "../client/client.h"
#include "../core/arguments.h"
#include "../core/compat.h"
#include "../core/errors.h"
#include "../core/privileges.h"
#include "../core/results.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "funcapi.h"
#include "launch.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#define N_CHECK_COLUMNS 3
#define END_POLL_MS 2
#define END_PATIENCE_MS 1000 /* for a program that was killed */
#define MAX_LATE 16

/* The program that reads the file, and the pipes to it. */
typedef struct Checker
{
	pid_t pid; /* 0: none */
	int pidfd;
	int answer[2], death_pipe[2];
} Checker;

/* Those that were killed and that the kernel did not let go in time, as at a disk that hangs. */
static pid_t late[MAX_LATE];
static int n_late;

static void
reap_late(void)
{
	int n_left = 0;

	for (int i = 0; i < n_late; i++)
		if (waitpid(late[i], NULL, WNOHANG) == 0)
			late[n_left++] = late[i];
	n_late = n_left;
}

/* So that what has ended meanwhile is nobody's orphan. */
static void
reap_late_at_exit(int code, Datum argument)
{
	reap_late();
}

static void
remember_late(pid_t pid)
{
	static bool is_registered;

	if (n_late == MAX_LATE)
		return;
	late[n_late++] = pid;
	if (!is_registered)
		on_proc_exit(reap_late_at_exit, 0);
	is_registered = true;
}

static void
close_once(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* However it ends: what is not waited for would be the postmaster's where that is process 1, and count as a crash. */
static void
end_checker(Checker *checker)
{
	if (checker->pid > 0 && !launch_end(checker->pid, END_PATIENCE_MS))
		remember_late(checker->pid);
	checker->pid = 0;
	close_once(&checker->pidfd);
	for (int i = 0; i < 2; i++)
	{
		close_once(&checker->answer[i]);
		close_once(&checker->death_pipe[i]);
	}
}

/* A session that is terminated takes no PG_FINALLY. */
static void
end_checker_at_exit(int code, Datum checker)
{
	end_checker((Checker *) DatumGetPointer(checker));
}

static void
start_checker(Checker *checker, const char *file)
{
	if (pipe2(checker->answer, O_CLOEXEC | O_NONBLOCK) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not make a pipe: %m")));
	/* the program's end blocks, as it expects */
	(void) fcntl(checker->answer[1], F_SETFL, 0);
	checker->pid = launch_checker(file, checker->answer[1], checker->death_pipe, &checker->pidfd);
	if (checker->pid < 0)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR), errmsg("the program that reads model files could not be started: %m")));
	close_once(&checker->answer[1]);
}

/* Everything that it writes, until it closes its end; waits so that the statement can be cancelled. */
static void
take_answer(const Checker *checker, StringInfo answer)
{
	char part[8192];

	for (;;)
	{
		ssize_t n = read(checker->answer[0], part, sizeof part);

		if (n == 0)
			return;
		if (n > 0)
		{
			if (answer->len + n > (ssize_t) CHECK_LINES_MAX_BYTES)
				ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the program that reads model files wrote more "
																	  "than %zu bytes",
																	  CHECK_LINES_MAX_BYTES)));
			appendBinaryStringInfo(answer, part, (int) n);
			continue;
		}
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("could not read from a pipe: %m")));
		(void) WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE | WL_EXIT_ON_PM_DEATH, checker->answer[0],
								 -1, qwen_wait_event());
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Its end, behind all that it wrote: its status. The statement can be cancelled meanwhile. */
static int
wait_for_end(const Checker *checker)
{
	int status = 0;

	while (waitpid(checker->pid, &status, WNOHANG) == 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, END_POLL_MS, qwen_wait_event());
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return status;
}

/* Its end without an answer. */
static void
raise_end(int status)
{
	const char *how = WIFSIGNALED(status)          ? psprintf("It was terminated by signal %d.", WTERMSIG(status))
					  : WEXITSTATUS(status) == 127 ? "It could not be executed."
												   : psprintf("It exited with code %d.", WEXITSTATUS(status));

	ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the program that reads model files gave no answer"),
					errdetail("%s", how),
					WIFEXITED(status) && WEXITSTATUS(status) == 127
						? errhint("The server log says where it should be and why it cannot be run; qwen.engine_path "
								  "names it.")
						: 0));
}

/* What the program says of a file: its bytes, ended by an end. */
static StringInfo
ask_checker(const char *file)
{
	Checker *checker = palloc(sizeof *checker);
	StringInfo answer = makeStringInfo();
	volatile int how = 0;
	int status;

	*checker = (Checker){0, -1, {-1, -1}, {-1, -1}};
	reap_late();
	PG_ENSURE_ERROR_CLEANUP(end_checker_at_exit, PointerGetDatum(checker));
	{
		start_checker(checker, file);
		take_answer(checker, answer);
		how = wait_for_end(checker);
		checker->pid = 0;
	}
	PG_END_ENSURE_ERROR_CLEANUP(end_checker_at_exit, PointerGetDatum(checker));
	end_checker(checker);
	status = how;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		raise_end(status);
	return answer;
}

static Datum
text_of(ByteSpan span, bool *is_null)
{
	*is_null = span.data == NULL;
	return *is_null ? (Datum) 0 : CStringGetTextDatum(server_string(pnstrdup(span.data, span.length)));
}

static void
put_line(ReturnSetInfo *set, ByteSpan item, ByteSpan value, ByteSpan problem)
{
	Datum values[N_CHECK_COLUMNS];
	bool nulls[N_CHECK_COLUMNS];

	values[0] = text_of(item, &nulls[0]);
	values[1] = text_of(value, &nulls[1]);
	values[2] = text_of(problem, &nulls[2]);
	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

/* The end of the answer; there must be one, behind whole lines. */
static CheckLine
find_end(StringInfo answer)
{
	ByteReader reader;
	CheckLine line;

	byte_reader_init(&reader, answer->data, answer->len);
	while (check_line_read(&reader, &line))
		if (line.is_end)
			return line;
	ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR),
					errmsg("the program that reads model files gave an answer without an end")));
	return line;
}

QWEN_FUNCTION(qwen_check_model, 1, 1)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	ByteReader reader;
	CheckLine end, line;
	StringInfo answer;
	char *file;

	require_administrator(fcinfo);
	require_preloaded();
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("file must not be null")));
	file = file_name_from_text(PG_GETARG_TEXT_PP(0));
	if (*file == '\0' || strlen(file) >= CONFIGURED_MAX_FILE_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("file must have between 1 and %d bytes, not %zu",
																  CONFIGURED_MAX_FILE_BYTES - 1, strlen(file))));
	init_materialized_set(fcinfo);
	answer = ask_checker(file);
	end = find_end(answer);
	if (end.code == STATUS_NOT_FOUND || end.code == STATUS_NOT_ALLOWED)
		raise_file_failure(sqlstate_of(end.code),
						   psprintf("model file \"%s\" could not be looked at", server_string(file)), file,
						   server_string(pnstrdup(end.value.data, end.value.length)), NULL);
	put_line(set, span_from_cstring("loads"), span_from_cstring(end.code == STATUS_OK ? "true" : "false"), end.value);
	byte_reader_init(&reader, answer->data, answer->len);
	while (check_line_read(&reader, &line) && !line.is_end)
		put_line(set, line.item, line.value, line.problem);
	return (Datum) 0;
}
