/*
 * ops_table.h - the table of one instruction set: all operations over the lanes that were included before.
 *
 * The last thing that kernels_*.c include; ops_vector.h says how the operations are written.
 */
#include "ops_matmul.h"

/* these are written over the first */
#include "ops_adapters.h"
#include "ops_vector.h"

const Kernels LANES_TABLE = {
	.name = LANES_NAME,
	.quantize_panel = op_quantize_panel,
	.matmul_quantized = op_matmul_quantized,
	.unpack = op_unpack,
	.matmul_unpacked = op_matmul_unpacked,
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
	.attention_output = op_attention_output,
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
