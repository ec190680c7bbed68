@functions limits

CREATE TABLE qwen_role_limit (
	role regrole PRIMARY KEY,
	requests_per_minute int,
	tokens_per_minute int,
	tokens_per_day bigint,
	max_concurrent int,
	max_tokens int,
	priority int
);
COMMENT ON TABLE qwen_role_limit IS 'limits per role; change it by qwen_set_limit and qwen_clear_limit, read it through qwen_limits';
-- a role that was dropped is in no dump: its number may be another role's where that is restored
SELECT pg_catalog.pg_extension_config_dump('qwen_role_limit', 'WHERE role IN (SELECT oid FROM pg_catalog.pg_roles)');

CREATE TRIGGER qwen_limits_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON qwen_role_limit
	FOR EACH STATEMENT EXECUTE FUNCTION _qwen_limits_changed();
ALTER TABLE qwen_role_limit ENABLE ALWAYS TRIGGER qwen_limits_changed;

CREATE VIEW qwen_limits WITH (security_barrier) AS
	SELECT role, requests_per_minute, tokens_per_minute, tokens_per_day, max_concurrent, max_tokens, priority
	FROM qwen_role_limit WHERE _qwen_may_see_role(role);
COMMENT ON VIEW qwen_limits IS 'limits that were set for roles; NULL: no limit of that kind';

CREATE TABLE qwen_role_models (
	role regrole PRIMARY KEY,
	models text[] NOT NULL
);
COMMENT ON TABLE qwen_role_models IS 'models that roles may ask; change it by qwen_allow_models, read it through qwen_allowed_models';
SELECT pg_catalog.pg_extension_config_dump('qwen_role_models', 'WHERE role IN (SELECT oid FROM pg_catalog.pg_roles)');
CREATE TRIGGER qwen_limits_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON qwen_role_models
	FOR EACH STATEMENT EXECUTE FUNCTION _qwen_limits_changed();
ALTER TABLE qwen_role_models ENABLE ALWAYS TRIGGER qwen_limits_changed;

CREATE VIEW qwen_allowed_models WITH (security_barrier) AS
	SELECT role, models FROM qwen_role_models WHERE _qwen_may_see_role(role);
COMMENT ON VIEW qwen_allowed_models IS 'models that roles may ask; who is not in it may ask what its roles may, or all';

CREATE VIEW qwen_usage AS SELECT * FROM _qwen_usage_rows();
COMMENT ON VIEW qwen_usage IS 'what roles have used in each window, and what is left of their limits';
