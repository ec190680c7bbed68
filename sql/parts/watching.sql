@functions watching

CREATE VIEW qwen_stat_engine AS SELECT * FROM qwen_engine_status(), qwen_engine_memory();
COMMENT ON VIEW qwen_stat_engine IS 'the engine process: state, requests, memory and tokens since it started';

CREATE VIEW qwen_stat_activity AS SELECT * FROM qwen_activity();
COMMENT ON VIEW qwen_stat_activity IS 'requests under way, of all sessions; of other roles only for those who may see them';

CREATE VIEW qwen_stat_requests AS SELECT * FROM qwen_request_totals();
COMMENT ON VIEW qwen_stat_requests IS 'what requests have cost, per role, model and function';

CREATE VIEW qwen_stat_roles AS SELECT * FROM qwen_role_totals();
COMMENT ON VIEW qwen_stat_roles IS 'what requests have cost, per role';
