CREATE TYPE qwen_response AS (
	content text,
	thinking text,
	tool_calls jsonb,
	finish_reason text,
	model text,
	prompt_tokens int,
	cached_tokens int,
	completion_tokens int,
	queue_ms float8,
	ttft_ms float8,
	total_ms float8,
	logprobs jsonb
);
