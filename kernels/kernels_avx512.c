/*
 * kernels_avx512.c - the operations of ops_table.h over the lanes of lanes_avx512.h.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "formats.h"
#include "lanes_avx512.h"
#include "ops_table.h"
