@functions models

CREATE VIEW qwen_models AS SELECT * FROM qwen_models_status();
COMMENT ON VIEW qwen_models IS 'models that are loaded, being loaded, or failed to load';

CREATE VIEW qwen_adapters AS SELECT * FROM qwen_adapters_status();
COMMENT ON VIEW qwen_adapters IS 'adapters of models that are loaded, being loaded, or failed to load';
