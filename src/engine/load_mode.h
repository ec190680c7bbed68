/*
 * load_mode.h - the engine program as a loader: one file of a model or an adapter into one slot's image, then exit.
 */
#ifndef QWEN_LOAD_MODE_H
#define QWEN_LOAD_MODE_H

#include "../model/adapter.h"
#include "../protocol/status_page.h"

/*
 * Run one load with the slot's status kept up to date; death_fd (or -1) ends the process when it closes. The request's
 * progress members are set here. Returns what model_load said; the status has it too.
 */
extern Status load_mode_run(ModelLoadRequest *request, SlotStatus *status, int death_fd);

/* The same for an adapter. */
extern Status load_mode_run_adapter(AdapterLoadRequest *request, SlotStatus *status, int death_fd);

#endif
