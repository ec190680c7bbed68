/*
 * queue.c - the room's start: its part of shared memory, and what it wants to hear of.
 */
#include "queue.h"

#include "letters.h"
#include "lost_column.h"
#include "lost_extension.h"
#include "lost_key.h"
#include "lost_trigger.h"
#include "new_trigger.h"
#include "prepared.h"
#include "renamed_label.h"
#include "shared_part.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

static const SharedPart *const parts[] = {&job_places_part, &job_letters_part, &job_sweeps_part, &job_ends_part,
										  &job_prepared_part};

static Size
bytes_of_parts(void)
{
	Size bytes = 0;

	for (int i = 0; i < (int) lengthof(parts); i++)
		bytes += MAXALIGN(parts[i]->bytes);
	return bytes;
}

void
job_shared_request(void)
{
	RequestAddinShmemSpace(bytes_of_parts());
}

void
job_shared_start(void)
{
	bool found;
	char *memory = ShmemInitStruct("qwen_pg jobs", bytes_of_parts(), &found);

	if (!found)
		memset(memory, 0, bytes_of_parts());
	for (int i = 0; i < (int) lengthof(parts); i++)
	{
		parts[i]->start(memory, !found);
		memory += MAXALIGN(parts[i]->bytes);
	}
}

void
job_queue_init(void)
{
	job_letters_init();
	job_prepared_init();
	job_new_trigger_init();
	job_lost_trigger_init();
	job_lost_column_init();
	job_lost_key_init();
	job_renamed_label_init();
	job_lost_extension_init();
}
