/*
 * kernels_neon.c - the operations of ops_table.h over the lanes of lanes_neon.h.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "formats.h"
#include "lanes_neon.h"
#include "ops_table.h"
