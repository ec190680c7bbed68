/*
 * model_wait.h - what a call waits for before it is sent.
 */
#ifndef QWEN_MODEL_WAIT_H
#define QWEN_MODEL_WAIT_H

#include "client.h"

/* 58000 with what is known of an engine that cannot be reached. */
extern void raise_unavailable(const char *message);

/* A client that has gone away ends us as PostgreSQL itself would, were client_connection_check_interval set. */
extern void check_client(void);

/* Wait until the request's model can be asked; a request without a name gets that of the first model. name: where it
 * is kept, for as long as the request. */
extern void choose_model(Request *request, char name[PROTOCOL_MAX_NAME_BYTES + 1], char full[ADAPTED_NAME_BYTES]);

/* Are the request's model, and its adapter if it names one, served now? */
extern bool model_can_be_asked(const Request *request);

#endif
