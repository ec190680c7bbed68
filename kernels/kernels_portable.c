/*
 * kernels_portable.c - the operations of ops_vector.h and ops_matmul.h over the lanes of lanes_portable.h.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "formats.h"
/* gcc loses sight of the loops that set arrays of lanes before they are used */
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include "lanes_portable.h"
#include "ops_matmul.h"
#include "ops_adapters.h"
#include "ops_vector.h"

const Kernels LANES_TABLE = {
	.name = LANES_NAME,
	.quantize_panel = op_quantize_panel,
	.matmul_quantized = op_matmul_quantized,
	.matmul_float = op_matmul_float,
	.dot_rows = op_dot_rows,
	.add_thin = op_add_thin,
	.rms_norm = op_rms_norm,
	.rope = op_rope,
	.silu_mul = op_silu_mul,
	.kv_store_k = op_kv_store_k,
	.kv_store_v = op_kv_store_v,
	.attention_queries = op_attention_queries,
	.attention_block = op_attention_block,
	.attention_merge = op_attention_merge,
	.argmax = op_argmax,
	.sigmoid_mul = op_sigmoid_mul,
	.delta_conv = op_delta_conv,
	.unit_norm = op_unit_norm,
	.delta_gates = op_delta_gates,
	.delta_rows = op_delta_rows,
	.state_store = op_state_store,
	.state_load = op_state_load,
	.delta_output = op_delta_output,
};
