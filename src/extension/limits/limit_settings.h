/*
 * limit_settings.h - the settings of limits that are nobody else's.
 */
#ifndef QWEN_LIMIT_SETTINGS_H
#define QWEN_LIMIT_SETTINGS_H

#include "limits.h"

#define LIMIT_ACTION_ERROR 0
#define LIMIT_ACTION_WAIT 1

extern int qwen_limit_action, qwen_max_limited_roles, qwen_default_limits[N_LIMITS], qwen_default_priority;
extern char *qwen_allowed_models;

#endif
