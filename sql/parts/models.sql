@functions models

CREATE VIEW qwen_models AS SELECT * FROM qwen_models_status();
COMMENT ON VIEW qwen_models IS 'models that are loaded, being loaded, or failed to load';

CREATE VIEW qwen_model_list AS
SELECT m.name, m.state, round(m.progress * 100::float8)::int AS percent, m.architecture, m.quantization, m.context_length AS context,
	pg_size_pretty(m.shared_memory_bytes) AS memory, m.error
FROM qwen_models m;
COMMENT ON VIEW qwen_model_list IS 'models in few columns; qwen_models has all';

CREATE VIEW qwen_adapters AS SELECT * FROM qwen_adapters_status();
COMMENT ON VIEW qwen_adapters IS 'adapters of models that are loaded, being loaded, or failed to load';
