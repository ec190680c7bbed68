-- Users see the tables through views. What stands in them is believed: nobody but the extension's functions writes them, whatever privileges
-- a role has. Jobs and queued rows are this server's own ('local'), limits and lists of models come by replication too ('shared').
ALTER TABLE qwen_job_table ENABLE ROW LEVEL SECURITY;
CREATE TRIGGER qwen_guard BEFORE INSERT OR UPDATE OR DELETE ON qwen_job_table FOR EACH ROW EXECUTE FUNCTION _qwen_guard_rows('local');
CREATE TRIGGER qwen_guard_truncate BEFORE TRUNCATE ON qwen_job_table FOR EACH STATEMENT EXECUTE FUNCTION _qwen_guard_rows('local');
ALTER TABLE qwen_job_table ENABLE ALWAYS TRIGGER qwen_guard;
ALTER TABLE qwen_job_table ENABLE ALWAYS TRIGGER qwen_guard_truncate;

ALTER TABLE qwen_job_row ENABLE ROW LEVEL SECURITY;
CREATE TRIGGER qwen_guard BEFORE INSERT OR UPDATE OR DELETE ON qwen_job_row FOR EACH ROW EXECUTE FUNCTION _qwen_guard_rows('local');
CREATE TRIGGER qwen_guard_truncate BEFORE TRUNCATE ON qwen_job_row FOR EACH STATEMENT EXECUTE FUNCTION _qwen_guard_rows('local');
ALTER TABLE qwen_job_row ENABLE ALWAYS TRIGGER qwen_guard;
ALTER TABLE qwen_job_row ENABLE ALWAYS TRIGGER qwen_guard_truncate;

CREATE TRIGGER qwen_guard BEFORE INSERT OR UPDATE OR DELETE ON qwen_role_limit FOR EACH ROW EXECUTE FUNCTION _qwen_guard_rows('shared');
CREATE TRIGGER qwen_guard_truncate BEFORE TRUNCATE ON qwen_role_limit FOR EACH STATEMENT EXECUTE FUNCTION _qwen_guard_rows('shared');
ALTER TABLE qwen_role_limit ENABLE ALWAYS TRIGGER qwen_guard;
ALTER TABLE qwen_role_limit ENABLE ALWAYS TRIGGER qwen_guard_truncate;

CREATE TRIGGER qwen_guard BEFORE INSERT OR UPDATE OR DELETE ON qwen_role_models FOR EACH ROW EXECUTE FUNCTION _qwen_guard_rows('shared');
CREATE TRIGGER qwen_guard_truncate BEFORE TRUNCATE ON qwen_role_models FOR EACH STATEMENT EXECUTE FUNCTION _qwen_guard_rows('shared');
ALTER TABLE qwen_role_models ENABLE ALWAYS TRIGGER qwen_guard;
ALTER TABLE qwen_role_models ENABLE ALWAYS TRIGGER qwen_guard_truncate;
