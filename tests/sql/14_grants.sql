-- qwen_grant, as an administrator of a database uses it: a schema of its own, groups, everybody; and ordinary GRANTs, which make no administrators.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
DROP EXTENSION IF EXISTS qwen_pg;
CREATE SCHEMA qwen_own; CREATE EXTENSION qwen_pg SCHEMA qwen_own;
SET search_path = public, qwen_own;
SELECT plan(71);
CREATE ROLE gr_app; CREATE ROLE gr_group; CREATE ROLE gr_member IN ROLE gr_group; CREATE ROLE gr_stranger; CREATE ROLE gr_boss; CREATE ROLE gr_all;

-- the schema comes with the functions
SELECT ok(NOT has_schema_privilege('gr_app', 'qwen_own', 'USAGE'), 'before, a role cannot name what lies in the schema');
SELECT lives_ok($$SELECT qwen_grant('gr_app', 'use')$$, 'a literal will do');
SELECT lives_ok($$SELECT qwen_grant('gr_group'::regrole, 'use')$$, 'a regrole too');
SET ROLE gr_app;
SELECT is(qwen_count_tokens('a'), 1, 'who may use may use at once');
SET ROLE gr_member;
SELECT is(qwen_count_tokens('a'), 1, 'and members of a group');
SET ROLE gr_stranger;
SELECT throws_ok($$SELECT qwen_own.qwen_count_tokens('a')$$, '42501', 'permission denied for schema qwen_own', 'nobody else');
RESET ROLE;
SELECT lives_ok($$SELECT qwen_grant('public', 'use')$$, 'PUBLIC is known');
SET ROLE gr_stranger;
SELECT is(qwen_count_tokens('a'), 1, 'then everybody may');
SELECT throws_ok($$SELECT qwen_own.qwen_set_limit('gr_stranger')$$, '42501', NULL, 'use, not more');
RESET ROLE;
SELECT lives_ok($$SELECT qwen_revoke('PUBLIC', 'use')$$, 'and it is taken back');
SET ROLE gr_stranger;
SELECT throws_ok($$SELECT qwen_own.qwen_count_tokens('a')$$, '42501', 'permission denied for schema qwen_own', 'with the schema');
SET ROLE gr_app;
SELECT is(qwen_count_tokens('a'), 1, 'what a role was given itself stays');
RESET ROLE;

-- what cannot be granted
SELECT throws_ok($$SELECT qwen_grant('public', 'admin')$$, '22023', '"admin" cannot be granted to PUBLIC', 'everybody an administrator: no');
SELECT throws_ok($$SELECT qwen_grant('gr_app', 'uses')$$, '22023', 'privilege must be use, monitor or admin, not ''uses''', 'a privilege that there is not');
SELECT throws_ok($$SELECT qwen_grant('gr_app', NULL)$$, '22023', 'privilege must be use, monitor or admin, not null', 'none');
SELECT throws_ok($$SELECT qwen_grant(NULL, 'use')$$, '22023', 'role must not be null', 'no role');
SELECT throws_ok($$SELECT qwen_grant('-', 'use')$$, '22023', 'role must not be null', 'nor what regrole prints for none');
SELECT throws_ok($$SELECT qwen_grant(0::regrole, 'use')$$, '22023', 'role must not be null', 'in either form');
SELECT throws_ok($$SELECT qwen_grant('gr_nobody', 'use')$$, '42704', 'role "gr_nobody" does not exist', 'a role that there is not');
SELECT throws_ok($$SELECT qwen_grant('gr no body', 'use')$$, '42704', 'role "gr no body" does not exist', 'nor one with a name that GRANT would not read');
SELECT throws_ok(format('SELECT qwen_grant(%L, ''use'')', oid), '42704', format('role "%s" does not exist', oid), 'a number is no name') FROM pg_roles WHERE rolname = 'gr_app';

-- names as they stand in pg_roles reach the role that has them, and no other one
CREATE ROLE "gr_Bob"; CREATE ROLE gr_bob; CREATE ROLE "gr a b"; CREATE ROLE "PUBLIC"; CREATE ROLE "12345";
SELECT format('CREATE ROLE %I', repeat('r', 63)) \gexec
CREATE FUNCTION pg_temp.who_may(role text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
	PERFORM qwen_grant(role, 'use');
	SELECT string_agg(CASE grantee WHEN 0 THEN 'everybody' ELSE pg_get_userbyid(grantee) END, ',') INTO result
	FROM pg_proc p, aclexplode(proacl) WHERE p.oid = 'qwen_own.qwen_count_tokens(text, text, json)'::regprocedure AND grantee <> proowner AND (grantee = 0 OR grantee IN (SELECT oid FROM pg_roles WHERE rolname IN ('gr_Bob', 'gr_bob', 'gr a b', 'PUBLIC', '12345', repeat('r', 63))));
	PERFORM qwen_revoke(role, 'use');
	RETURN result;
END $$;
SELECT is(pg_temp.who_may(rolname::text), rolname::text, 'exactly ' || rolname) FROM pg_roles WHERE rolname IN ('gr_Bob', 'gr_bob', 'gr a b', 'PUBLIC', '12345') ORDER BY rolname COLLATE "C";
SELECT is(pg_temp.who_may('"gr_Bob"'), 'gr_Bob', 'a name in quotes, as GRANT reads it');
SELECT is(pg_temp.who_may('Gr_Bob'), 'gr_bob', 'a name that no role has, as GRANT reads it');
SELECT throws_ok(format('SELECT qwen_grant(%L, ''use'')', written), '42704', format('role "%s" does not exist', written), 'a longer name does not reach the role that it would be cut to')
FROM (SELECT repeat('r', 63) AS name) r, unnest(ARRAY[name || 'rest', '"' || name || 'x"', ' ' || upper(name) || 'X ']) AS written;
SELECT is(pg_temp.who_may(written), repeat('r', 63), 'the longest name reaches its role') FROM unnest(ARRAY[repeat('r', 63), '"' || repeat('r', 63) || '"', ' ' || repeat('R', 63) || ' ']) AS written;
SELECT is(pg_temp.who_may('public'), 'everybody', 'everybody, also beside a role PUBLIC');
SELECT qwen_grant('gr_bob', 'admin'), qwen_revoke(rolname, 'admin') FROM pg_roles WHERE rolname = 'gr_Bob';
SELECT ok(has_type_privilege('gr_bob', 'qwen_own.qwen_may_admin', 'USAGE'), 'nor is taken from another what a name is asked to lose');
SELECT qwen_revoke('gr_bob', 'admin');
SELECT lives_ok(format('DROP ROLE "gr_Bob", gr_bob, "gr a b", "PUBLIC", "12345", %I', repeat('r', 63)), 'what was granted by a name is revoked by it');

-- ordinary GRANTs
GRANT USAGE ON SCHEMA qwen_own TO gr_all; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA qwen_own TO gr_all;
SET ROLE gr_all;
SELECT throws_ok(sql, '42501', NULL, sql || ' needs more than EXECUTE') FROM unnest(ARRAY['SELECT qwen_set_limit(''gr_app'', 1)', 'SELECT qwen_clear_limit(''gr_app'')', 'SELECT qwen_allow_models(''gr_app'', NULL)',
	'SELECT qwen_load_model(''a'', ''b'')', 'SELECT qwen_unload_model(''chat'')', 'SELECT qwen_check_model(''a'')', 'SELECT qwen_stat_reset()', 'SELECT qwen_grant(''gr_all'', ''admin'')']) AS sql;
SELECT ok(NOT qwen_monitor(), 'nor does it see others');
RESET ROLE;
SELECT qwen_grant('gr_boss', 'admin');
SET ROLE gr_boss;
SELECT lives_ok($$SELECT qwen_set_limit('gr_app', 100)$$, 'who has been granted "admin" administers');
SELECT ok(qwen_monitor(), 'and sees');
RESET ROLE;
SELECT qwen_clear_limit('gr_app');
SELECT qwen_revoke('gr_boss', 'admin'), qwen_revoke('gr_group', 'use');
SELECT lives_ok('DROP ROLE gr_boss', 'nothing is left of what was revoked');
SELECT lives_ok('DROP ROLE gr_group', 'of a group neither');
SELECT lives_ok('DROP OWNED BY gr_app; DROP ROLE gr_app', 'a role with privileges goes after DROP OWNED');

-- of two privileges each is taken alone
CREATE ROLE gr_mon;
SELECT qwen_grant('gr_mon', 'monitor'), qwen_grant('gr_mon', 'admin'), qwen_revoke('gr_mon', 'admin');
SET ROLE gr_mon;
SELECT ok(qwen_own.qwen_monitor(), 'who was granted "monitor" sees when "admin" has gone');
SELECT throws_ok($$SELECT qwen_own.qwen_stat_reset()$$, '42501', NULL, 'and administers no more');
RESET ROLE;
SELECT qwen_grant('gr_mon', 'admin'), qwen_revoke('gr_mon', 'monitor');
SET ROLE gr_mon;
SELECT ok(qwen_monitor(), 'who administers sees without "monitor"');
SELECT lives_ok($$SELECT qwen_stat_reset()$$, 'and administers');
RESET ROLE;
SELECT qwen_grant('gr_mon', 'use'), qwen_revoke('gr_mon', 'admin');
SET ROLE gr_mon;
SELECT throws_ok($$SELECT qwen_monitor()$$, '42501', NULL, 'with "admin" goes what it brought');
SELECT is(qwen_count_tokens('a'), 1, 'and "use" stays');
RESET ROLE;
SELECT qwen_revoke('gr_mon', 'use');
SELECT lives_ok('DROP ROLE gr_mon', 'nothing is left of the three');

-- the schema goes with the last privilege, and stays where it may be for something else
CREATE ROLE gr_other; GRANT USAGE ON SCHEMA qwen_own TO gr_other;
SELECT qwen_revoke('gr_other', 'use');
SELECT ok(has_schema_privilege('gr_other', 'qwen_own', 'USAGE'), 'what takes nothing takes no schema');
SELECT qwen_grant('gr_other', 'use'), qwen_revoke('gr_other', 'use');
SELECT ok(NOT has_schema_privilege('gr_other', 'qwen_own', 'USAGE'), 'from a schema of ours alone the last privilege takes it');
CREATE FUNCTION pg_temp.keeps(made text, dropped text, role text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE result boolean;
BEGIN
	EXECUTE 'CREATE ' || made;
	EXECUTE 'GRANT USAGE ON SCHEMA qwen_own TO ' || role;
	PERFORM qwen_grant(role, 'use'), qwen_revoke(role, 'use');
	EXECUTE 'DROP ' || dropped;
	result := has_schema_privilege('gr_other', 'qwen_own', 'USAGE');
	EXECUTE 'REVOKE USAGE ON SCHEMA qwen_own FROM ' || role;
	RETURN result;
END $$;
SELECT ok(pg_temp.keeps(made, dropped, role), role || ' keeps it beside a ' || dropped) FROM (VALUES ('FUNCTION qwen_own.other() RETURNS int LANGUAGE sql AS ''SELECT 1''', 'FUNCTION qwen_own.other()', 'gr_other'),
	('FUNCTION qwen_own.other() RETURNS int LANGUAGE sql AS ''SELECT 1''', 'FUNCTION qwen_own.other()', 'PUBLIC'), ('VIEW qwen_own.other AS SELECT 1 AS one', 'VIEW qwen_own.other', 'gr_other'),
	('TYPE qwen_own.other AS (a int)', 'TYPE qwen_own.other', 'gr_other'), ('DOMAIN qwen_own.other AS int', 'DOMAIN qwen_own.other', 'gr_other'),
	('COLLATION qwen_own.other FROM "C"', 'COLLATION qwen_own.other', 'gr_other'), ('OPERATOR qwen_own.!=! (FUNCTION = int4ne, LEFTARG = int, RIGHTARG = int)', 'OPERATOR qwen_own.!=! (int, int)', 'gr_other'),
	('TEXT SEARCH CONFIGURATION qwen_own.other (COPY = pg_catalog.simple)', 'TEXT SEARCH CONFIGURATION qwen_own.other', 'gr_other')) AS v (made, dropped, role);
-- what a role has through others it may lose with them
SELECT qwen_grant('public', 'use'), qwen_grant('gr_other', 'use'), qwen_revoke('public', 'use');
SELECT ok(has_schema_privilege('gr_other', 'qwen_own', 'USAGE'), 'and has the schema itself when everybody has lost it');
CREATE ROLE gr_group; CREATE ROLE gr_of_group IN ROLE gr_group;
SELECT qwen_revoke('gr_other', 'use'), qwen_grant('gr_group', 'use'), qwen_grant('gr_of_group', 'admin'), qwen_revoke('gr_group', 'use');
SELECT ok(has_schema_privilege('gr_of_group', 'qwen_own', 'USAGE'), 'nor does it go with a group');
SELECT qwen_revoke('gr_of_group', 'admin');
DROP ROLE gr_group, gr_of_group;
SELECT qwen_grant(CURRENT_USER::text, 'use'), qwen_revoke(CURRENT_USER::text, 'use');
SELECT ok((SELECT bool_or(grantee = nspowner AND privilege_type = 'USAGE') FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'qwen_own'), 'an owner keeps its schema');
DROP ROLE gr_other;
DROP OWNED BY gr_all; DROP ROLE gr_all, gr_member, gr_stranger;
SELECT * FROM finish();
DROP EXTENSION qwen_pg; DROP SCHEMA qwen_own; RESET search_path; CREATE EXTENSION qwen_pg;
