/*
 * usage_charges.h - what requests under way are charged for.
 */
#ifndef QWEN_USAGE_CHARGES_H
#define QWEN_USAGE_CHARGES_H

#include "usage.h"

/* After a reset nothing is under way; what was used until then is charged. Nobody else is there. */
extern void usage_charges_end(void);

#endif
