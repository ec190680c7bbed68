/*
 * model_terms.h - from the settings of one model (protocol) to what the engine and the model's file make of them.
 */
#ifndef QWEN_MODEL_TERMS_H
#define QWEN_MODEL_TERMS_H

#include "../../kernels/kernels.h"
#include "../model/context.h"
#include "../protocol/model_settings.h"

/* Of context and rotation. */
extern ContextSettings model_terms_context(const ModelSettings *settings);

/* What was set, or what holds for all. */
extern KvType model_terms_kv_type(const ModelSettings *settings, KvType of_all);
extern StateType model_terms_state_type(const ModelSettings *settings, StateType of_all);
extern bool model_terms_huge_pages(const ModelSettings *settings, bool of_all);

#endif
