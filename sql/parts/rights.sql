-- Types without values: USAGE on them is what qwen_grant gives beside EXECUTE, so that GRANT EXECUTE ON ALL FUNCTIONS makes nobody an administrator
CREATE TYPE qwen_may_monitor AS ENUM ();
CREATE TYPE qwen_may_admin AS ENUM ();
COMMENT ON TYPE qwen_may_monitor IS 'who has USAGE on it sees what concerns all roles; by qwen_grant(role, ''monitor'')';
COMMENT ON TYPE qwen_may_admin IS 'who has USAGE on it administers models and limits; by qwen_grant(role, ''admin'')';
