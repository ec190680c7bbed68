/*
 * kernels_i8mm.c - the operations of ops_table.h over the lanes of lanes_i8mm.h.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "formats.h"
#include "lanes_i8mm.h"
#include "ops_table.h"
