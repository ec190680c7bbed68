/*
 * desk.c - see desk.h: two threads, the papers that wait for them in turns, and those that are done.
 */
#include "desk.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "prepare.h"

#define DESK_NICE 3 /* below the threads that compute; never before other processes */

/* Memory is given back to the system whenever so many bytes of requests have been worked on in a lane. */
#define TRIM_BYTES ((size_t) 256 * 1024)

/* Papers of one client, in order of arrival. */
typedef struct DeskLine
{
	struct DeskLine *next;
	const void *line;
	DeskPaper *first, **last;
} DeskLine;

/* Lines of one role; the first has the next turn. */
typedef struct DeskRole
{
	struct DeskRole *next;
	uint32_t role;
	DeskLine *lines;
} DeskRole;

/* What a thread works on. */
typedef struct Lane
{
	struct Desk *desk;
	pthread_t thread;
	bool has_thread;
	pthread_cond_t has_papers;
	DeskRole *roles; /* with papers that wait; the first has the next turn */
	DeskPaper *current;
} Lane;

/* All of it but the descriptor is guarded by lock; a paper that is worked on is its thread's. */
struct Desk
{
	pthread_mutex_t lock;
	pthread_cond_t started;
	uint32_t n_started;
	bool stop;
	Lane lanes[N_DESK_LANES];
	DeskPaper *done, **last_done;
	int descriptor; /* an eventfd */
};

/* The role's entry, made at the end where there is none; NULL without memory. */
static DeskRole *
role_of(Lane *lane, uint32_t role)
{
	DeskRole **link = &lane->roles;

	while (*link && (*link)->role != role)
		link = &(*link)->next;
	if (!*link && (*link = calloc(1, sizeof **link)) != NULL)
		(*link)->role = role;
	return *link;
}

/* The client's line, as role_of. */
static DeskLine *
line_of(DeskRole *role, const void *line)
{
	DeskLine **link = &role->lines;

	while (*link && (*link)->line != line)
		link = &(*link)->next;
	if (!*link && (*link = calloc(1, sizeof **link)) != NULL)
	{
		(*link)->line = line;
		(*link)->last = &(*link)->first;
	}
	return *link;
}

/* Take out the first role that has no lines, if there is one. */
static void
forget_empty_role(Lane *lane)
{
	for (DeskRole **link = &lane->roles; *link; link = &(*link)->next)
		if (!(*link)->lines)
		{
			DeskRole *role = *link;

			*link = role->next;
			free(role);
			return;
		}
}

/* The turn is over: the first line of a role goes behind the others, or away. */
static void
turn_line(DeskRole *role)
{
	DeskLine *line = role->lines, **link = &role->lines;

	*link = line->next;
	line->next = NULL;
	if (!line->first)
	{
		free(line);
		return;
	}
	while (*link)
		link = &(*link)->next;
	*link = line;
}

/* And the first role. */
static void
turn_role(Lane *lane)
{
	DeskRole *role = lane->roles, **link = &lane->roles;

	*link = role->next;
	role->next = NULL;
	if (!role->lines)
	{
		free(role);
		return;
	}
	while (*link)
		link = &(*link)->next;
	*link = role;
}

/* The paper whose turn it is, out of its line, or NULL. */
static DeskPaper *
take_turn(Lane *lane)
{
	DeskLine *line = lane->roles ? lane->roles->lines : NULL;
	DeskPaper *paper;

	if (!line)
		return NULL;
	paper = line->first;
	line->first = paper->next;
	if (!line->first)
		line->last = &line->first;
	paper->next = NULL;
	turn_line(lane->roles);
	turn_role(lane);
	return paper;
}

/* Take a paper out of a line. false: it is not in it. */
static bool
take_from_line(DeskLine *line, DeskPaper *paper)
{
	DeskPaper **link = &line->first;

	while (*link && *link != paper)
		link = &(*link)->next;
	if (!*link)
		return false;
	*link = paper->next;
	if (!*link)
		line->last = link;
	paper->next = NULL;
	return true;
}

/* Take a paper that waits out of its lane. false: it does not wait. */
static bool
take_waiting(Lane *lane, DeskPaper *paper)
{
	for (DeskRole *role = lane->roles; role; role = role->next)
		for (DeskLine **link = &role->lines; role->role == paper->message.role && *link; link = &(*link)->next)
		{
			DeskLine *line = *link;

			if (line->line != paper->line || !take_from_line(line, paper))
				continue;
			if (!line->first)
			{
				*link = line->next;
				free(line);
				forget_empty_role(lane);
			}
			return true;
		}
	return false;
}

/* Work on a paper, with no lock held. */
static void
work(DeskPaper *paper)
{
	paper->place.cancelled = &paper->cancelled;
	paper->status = request_check_texts(&paper->message);
	paper->is_broken = paper->status.code != STATUS_OK;
	if (paper->is_broken)
		return;
	paper->status = prepare_request(&paper->place, &paper->message, paper->request_id, &paper->out, &paper->request);
	if (paper->status.code == STATUS_OK && paper->out.failed)
		paper->status = status_error(STATUS_UNAVAILABLE, "out of memory in the engine");
}

/* Put a paper where desk_take finds it, and tell the loop. Under the lock. */
static void
hand_back(Desk *desk, DeskPaper *paper)
{
	uint64_t one = 1;

	*desk->last_done = paper;
	desk->last_done = &paper->next;
	/* full or not, it is readable then */
	if (write(desk->descriptor, &one, sizeof one) != (ssize_t) sizeof one)
		return;
}

static void *
run_lane(void *argument)
{
	Lane *lane = argument;
	Desk *desk = lane->desk;
	pid_t thread = (pid_t) syscall(SYS_gettid);
	size_t untrimmed = 0;
	int own;

	/* a thread's own, on Linux; who starts with less may have no more taken away */
	own = getpriority(PRIO_PROCESS, (id_t) thread);
	(void) setpriority(PRIO_PROCESS, (id_t) thread, own < 0 ? 0 : own + DESK_NICE);
	pthread_mutex_lock(&desk->lock);
	desk->n_started++;
	pthread_cond_signal(&desk->started);
	while (!desk->stop)
	{
		DeskPaper *paper = take_turn(lane);

		if (!paper)
		{
			pthread_cond_wait(&lane->has_papers, &desk->lock);
			continue;
		}
		lane->current = paper;
		pthread_mutex_unlock(&desk->lock);
		untrimmed += paper->body.length;
		work(paper);
		pthread_mutex_lock(&desk->lock);
		lane->current = NULL;
		hand_back(desk, paper);
		if (untrimmed < TRIM_BYTES)
			continue;
		pthread_mutex_unlock(&desk->lock);
		(void) malloc_trim(0);
		untrimmed = 0;
		pthread_mutex_lock(&desk->lock);
	}
	pthread_mutex_unlock(&desk->lock);
	return NULL;
}

/* The threads, each on its way before this returns. false: one could not be had. */
static bool
start_lanes(Desk *desk)
{
	uint32_t n = 0;

	for (int i = 0; i < N_DESK_LANES; i++)
	{
		Lane *lane = &desk->lanes[i];

		lane->has_thread = pthread_create(&lane->thread, NULL, run_lane, lane) == 0;
		n += lane->has_thread;
	}
	pthread_mutex_lock(&desk->lock);
	while (desk->n_started < n)
		pthread_cond_wait(&desk->started, &desk->lock);
	pthread_mutex_unlock(&desk->lock);
	return n == N_DESK_LANES;
}

Desk *
desk_create(void)
{
	Desk *desk = calloc(1, sizeof *desk);

	if (!desk)
		return NULL;
	pthread_mutex_init(&desk->lock, NULL);
	pthread_cond_init(&desk->started, NULL);
	desk->last_done = &desk->done;
	for (int i = 0; i < N_DESK_LANES; i++)
	{
		desk->lanes[i].desk = desk;
		pthread_cond_init(&desk->lanes[i].has_papers, NULL);
	}
	desk->descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (desk->descriptor >= 0 && start_lanes(desk))
		return desk;
	desk_destroy(desk);
	return NULL;
}

void
desk_destroy(Desk *desk)
{
	DeskPaper *paper;

	if (!desk)
		return;
	pthread_mutex_lock(&desk->lock);
	desk->stop = true;
	for (int i = 0; i < N_DESK_LANES; i++)
	{
		if (desk->lanes[i].current)
			atomic_store(&desk->lanes[i].current->cancelled, true);
		pthread_cond_signal(&desk->lanes[i].has_papers);
	}
	pthread_mutex_unlock(&desk->lock);
	for (int i = 0; i < N_DESK_LANES; i++)
	{
		if (desk->lanes[i].has_thread)
			pthread_join(desk->lanes[i].thread, NULL);
		while ((paper = take_turn(&desk->lanes[i])) != NULL)
			desk_paper_free(paper);
		pthread_cond_destroy(&desk->lanes[i].has_papers);
	}
	while ((paper = desk_take(desk)) != NULL)
		desk_paper_free(paper);
	if (desk->descriptor >= 0)
		close(desk->descriptor);
	pthread_cond_destroy(&desk->started);
	pthread_mutex_destroy(&desk->lock);
	free(desk);
}

int
desk_descriptor(const Desk *desk)
{
	return desk->descriptor;
}

bool
desk_give(Desk *desk, DeskPaper *paper)
{
	Lane *lane = &desk->lanes[paper->lane];
	DeskRole *role;
	DeskLine *line;

	pthread_mutex_lock(&desk->lock);
	role = role_of(lane, paper->message.role);
	line = role ? line_of(role, paper->line) : NULL;
	if (line)
	{
		paper->next = NULL;
		*line->last = paper;
		line->last = &paper->next;
		pthread_cond_signal(&lane->has_papers);
	}
	else if (role)
		forget_empty_role(lane);
	pthread_mutex_unlock(&desk->lock);
	return line != NULL;
}

bool
desk_withdraw(Desk *desk, DeskPaper *paper)
{
	bool was_waiting;

	pthread_mutex_lock(&desk->lock);
	was_waiting = take_waiting(&desk->lanes[paper->lane], paper);
	pthread_mutex_unlock(&desk->lock);
	if (!was_waiting)
		atomic_store(&paper->cancelled, true);
	return was_waiting;
}

DeskPaper *
desk_take(Desk *desk)
{
	uint64_t count;
	DeskPaper *paper;

	pthread_mutex_lock(&desk->lock);
	paper = desk->done;
	if (paper)
		desk->done = paper->next;
	if (!desk->done)
		desk->last_done = &desk->done;
	/* under the lock, so that no paper can come in between and go unnoticed */
	if (!paper && desk->descriptor >= 0 && read(desk->descriptor, &count, sizeof count) < 0)
		count = 0;
	pthread_mutex_unlock(&desk->lock);
	return paper;
}

void
desk_paper_free(DeskPaper *paper)
{
	request_destroy(paper->request);
	byte_writer_free(&paper->out);
	byte_writer_free(&paper->body);
	free(paper);
}
