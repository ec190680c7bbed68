@functions models

CREATE VIEW qwen_models AS SELECT * FROM qwen_models_status();
COMMENT ON VIEW qwen_models IS 'models that are loaded, being loaded, or failed to load';
