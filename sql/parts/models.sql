@functions models

CREATE VIEW qwen_models AS SELECT * FROM _qwen_models_status();
COMMENT ON VIEW qwen_models IS 'models that are loaded, being loaded, or failed to load';

CREATE VIEW qwen_model_list AS
SELECT m.name, m.state, round(m.progress * 100::float8)::int AS percent, m.quantization, m.context_length AS context,
	pg_size_pretty(m.shared_memory_bytes) AS memory,
	-- a long one in lines: nothing of it is lost, and the table stays narrow
	rtrim(regexp_replace(regexp_replace(m.error, '(\S{32})'::text, '\1 '::text, 'g'::text), '(.{1,32})( +|$)'::text, '\1'::text || chr(10), 'g'::text), chr(10)) AS error
FROM qwen_models m;
COMMENT ON VIEW qwen_model_list IS 'models in few columns; qwen_models has all';

CREATE VIEW qwen_adapters AS SELECT * FROM _qwen_adapters_status();
COMMENT ON VIEW qwen_adapters IS 'adapters of models that are loaded, being loaded, or failed to load';
