/*
 * kernels_avxvnni.c - the operations of ops_table.h over the lanes of lanes_avxvnni.h.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "formats.h"
#include "lanes_avxvnni.h"
#include "ops_table.h"
