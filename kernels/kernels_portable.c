/*
 * kernels_portable.c - the operations of ops_table.h over the lanes of lanes_portable.h.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "formats.h"
/* gcc loses sight of the loops that set arrays of lanes before they are used */
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include "lanes_portable.h"
#include "ops_table.h"
