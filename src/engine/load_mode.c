/*
 * load_mode.c - see load_mode.h.
 */
#include "load_mode.h"

#include <stdio.h>
#include <string.h>

#include "../base/clock.h"
#include "../base/memory.h"
#include "death_watch.h"
#include "model_terms.h"

static void
show_progress(void *argument, uint64_t bytes_done, uint64_t bytes_total)
{
	SlotStatus *status = argument;

	if (atomic_load(&status->load_bytes_total) != bytes_total)
		atomic_store(&status->load_data_us, clock_now_us());
	atomic_store(&status->load_bytes_total, bytes_total);
	atomic_store(&status->load_bytes_done, bytes_done);
}

static void
write_report(SlotStatus *status, const ModelLoadReport *report)
{
	atomic_store(&status->load_io, report->load_io);
	snprintf(status->load_io_note, sizeof status->load_io_note, "%s", report->io_note);
	snprintf(status->architecture, sizeof status->architecture, "%s", report->architecture);
	snprintf(status->quantization, sizeof status->quantization, "%s", report->quantization);
	status->n_parameters = report->n_parameters;
	status->file_bytes = report->file_bytes;
	status->image_bytes = report->image_bytes;
	status->context_length = report->hyper.context_length;
	status->embedding_size = report->hyper.hidden;
	notices_write(&report->notices, status->notices, sizeof status->notices);
	status->memory_left = memory_available();
}

/* The status as it is before anything is read; the process ends when nobody wants the load any more. */
static Status
begin(SlotStatus *status, int death_fd)
{
	atomic_store(&status->load_error_code, STATUS_OK);
	status->load_error[0] = '\0';
	status->notices[0] = '\0';
	show_progress(status, 0, 0);
	return death_fd >= 0 ? death_watch_start(death_fd) : status_ok();
}

/* What became of it, for the supervisor. */
static Status
end(SlotStatus *status, uint64_t started_us, Status result)
{
	if (result.code != STATUS_OK)
	{
		snprintf(status->load_error, sizeof status->load_error, "%s", result.message);
		atomic_store(&status->load_error_code, result.code);
	}
	atomic_store(&status->load_us, clock_now_us() - started_us);
	return result;
}

Status
load_mode_run(ModelLoadRequest *request, SlotStatus *status, int death_fd)
{
	uint64_t start = clock_now_us();
	ContextSettings context = model_terms_context(&status->settings);
	ModelLoadReport report;
	Status result = begin(status, death_fd);

	request->context = &context;
	request->progress = show_progress;
	request->progress_argument = status;
	if (result.code == STATUS_OK)
		result = model_load(request, &report);
	if (result.code == STATUS_OK)
		write_report(status, &report);
	return end(status, start, result);
}

static void
write_adapter_report(SlotStatus *status, const AdapterLoadReport *report)
{
	atomic_store(&status->load_io, LOAD_IO_PREAD_BUFFERED);
	status->load_io_note[0] = '\0';
	snprintf(status->architecture, sizeof status->architecture, "%s", report->architecture);
	snprintf(status->quantization, sizeof status->quantization, "%s", report->quantization);
	status->n_parameters = report->n_parameters;
	status->file_bytes = report->file_bytes;
	status->image_bytes = report->image_bytes;
	status->adapter_rank = report->rank;
	status->adapter_matrices = report->n_matrices;
	notices_write(&report->notices, status->notices, sizeof status->notices);
	status->memory_left = memory_available();
}

Status
load_mode_run_adapter(AdapterLoadRequest *request, SlotStatus *status, int death_fd)
{
	uint64_t start = clock_now_us();
	AdapterLoadReport report;
	Status result = begin(status, death_fd);

	request->progress = show_progress;
	request->progress_argument = status;
	if (result.code == STATUS_OK)
		result = adapter_load(request, &report);
	if (result.code == STATUS_OK)
		write_adapter_report(status, &report);
	return end(status, start, result);
}
