/*
 * qwen_pg--0.1.0--@version@.sql - from version 0.1.0 to the catalogs that a fresh @version@ has; users' views, jobs and data stay.
 *
 * A function that has got arguments keeps its row in pg_proc, so everything of users' that depends on it and all grants on it hold: a stored
 * expression has the arguments that were given, and the defaults of the others come from pg_proc when it is planned. So the new form is made
 * beside the old one, exactly as in the script of the new version, and qwen_take_over puts it into the old one's row. What cannot stand beside
 * the old one, because the types of its arguments are the same, is made as NAME__new.
 */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION qwen_pg UPDATE TO '@version@'" to load this file. \quit

-- What somebody else has put on the tables would run with the rights of who updates: nothing is written before a look at that, and nothing comes
-- in between. Of triggers the old script had only those of qwen_limits_changed.
LOCK TABLE qwen_job_table, qwen_job_row IN ACCESS EXCLUSIVE MODE;
LOCK TABLE qwen_role_limit, qwen_role_models IN SHARE ROW EXCLUSIVE MODE;

CREATE FUNCTION qwen_look_at_tables()
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	other record;
BEGIN
	SELECT c.oid::regclass AS relation, o.what, o.way_out INTO other FROM pg_extension x
		JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
		JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'r',
		LATERAL (
			SELECT CASE k.contype WHEN 'f' THEN format('is part of the foreign key %I of %s', k.conname, k.conrelid::regclass) ELSE format('has the trigger %I', t.tgname) END,
				CASE k.contype WHEN 'f' THEN format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname) ELSE format('DROP TRIGGER %I ON %s', t.tgname, c.oid::regclass) END
			FROM pg_trigger t LEFT JOIN pg_constraint k ON k.oid = t.tgconstraint
			WHERE t.tgrelid = c.oid AND NOT EXISTS (SELECT FROM pg_proc p JOIN pg_depend m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid AND m.deptype = 'e' AND
				m.refclassid = 'pg_extension'::regclass AND m.refobjid = x.oid WHERE p.oid = t.tgfoid AND p.proname = 'qwen_limits_changed')
			UNION ALL
			SELECT format('has the rule %I', r.rulename), format('DROP RULE %I ON %s', r.rulename, c.oid::regclass) FROM pg_rewrite r WHERE r.ev_class = c.oid
			UNION ALL
			SELECT format('has the policy %I', p.polname), format('DROP POLICY %I ON %s', p.polname, c.oid::regclass) FROM pg_policy p WHERE p.polrelid = c.oid
		) o (what, way_out)
		WHERE x.extname = 'qwen_pg' LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('table %s %s, which is not one of qwen_pg''s', other.relation, other.what),
			DETAIL = 'It would run with the rights of who updates the extension.',
			HINT = format('%s, revoke all rights on the table, and update again.', other.way_out);
	END IF;
END
$$;
SELECT qwen_look_at_tables();
DROP FUNCTION qwen_look_at_tables();

-- functions, views and types that there were before, so that grants on them stay (nobody's on tables do); dropped at the end, as all helpers are
CREATE TABLE qwen_before AS SELECT pg_catalog.array_agg(oid) AS objects FROM (SELECT oid FROM pg_catalog.pg_proc UNION ALL SELECT oid FROM pg_catalog.pg_type UNION ALL
	SELECT oid FROM pg_catalog.pg_class WHERE relkind NOT IN ('r', 'S')) AS o;

-- what nobody calls by name is out of the way of \df qwen_*
@renamed functions

CREATE FUNCTION qwen_take_over()
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	pair record;
	made pg_proc;
	comment text;
BEGIN
	-- of one name and one C symbol, the one with more arguments; or of any symbol, what is called __new
	FOR pair IN
		SELECT o.oid AS old, n.oid AS new FROM pg_proc o
			JOIN pg_proc n ON n.pronamespace = o.pronamespace AND
				((n.proname = o.proname AND n.prosrc = o.prosrc AND n.pronargs > o.pronargs) OR
				(n.proname = o.proname || '__new' AND n.proargtypes = o.proargtypes))
			JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = o.oid AND d.deptype = 'e'
			JOIN pg_depend e ON e.classid = 'pg_proc'::regclass AND e.objid = n.oid AND e.deptype = 'e' AND e.refobjid = d.refobjid
			JOIN pg_extension x ON x.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND x.extname = 'qwen_pg'
	LOOP
		SELECT * INTO made FROM pg_proc WHERE oid = pair.new;
		comment := obj_description(pair.new, 'pg_proc');
		EXECUTE format('DROP FUNCTION %s', pair.new::regprocedure);
		UPDATE pg_proc SET prorettype = made.prorettype, procost = made.procost, prorows = made.prorows, provariadic = made.provariadic,
			prosupport = made.prosupport, prosecdef = made.prosecdef, proleakproof = made.proleakproof, proisstrict = made.proisstrict,
			proretset = made.proretset, provolatile = made.provolatile, proparallel = made.proparallel, pronargs = made.pronargs,
			pronargdefaults = made.pronargdefaults, proargtypes = made.proargtypes, proallargtypes = made.proallargtypes,
			proargmodes = made.proargmodes, proargnames = made.proargnames, proargdefaults = made.proargdefaults, prosrc = made.prosrc,
			probin = made.probin, proconfig = made.proconfig
		WHERE oid = pair.old;
		EXECUTE format('COMMENT ON FUNCTION %s IS %L', pair.old::regprocedure, comment);
	END LOOP;
END
$$;

-- with tables of that type
ALTER TYPE qwen_response ADD ATTRIBUTE logprobs jsonb CASCADE;

@include rights.sql

-- ---- functions that have got arguments or columns, as in the script of a fresh install ----------------------------------
@changed functions

SELECT qwen_take_over();
DROP FUNCTION qwen_take_over();

-- ---- functions that are new, and what else of functions is another -------------------------------------------------------
@new functions

@support

@changed bodies

@changed comments

DROP FUNCTION qwen_change_privilege(regrole, text, text);

-- ---- tables: new columns stand at the end --------------------------------------------------------------------------------
ALTER TABLE qwen_job_table ADD COLUMN options json, ADD COLUMN truncated bigint NOT NULL DEFAULT 0;

-- what was queued follows its trigger and its key columns, and knows through which answers it came; a job says what it left out
ALTER TABLE qwen_job_table ADD COLUMN note text, ADD COLUMN arguments json, ADD COLUMN target_columns text[],
	ALTER COLUMN target_column DROP NOT NULL, ADD CHECK (num_nulls(target_column, target_columns) = 1);
ALTER TABLE qwen_job_row ADD COLUMN trigger_oid oid, ADD COLUMN key_numbers smallint[], ADD COLUMN via bigint[], ADD COLUMN target_numbers smallint[];
DROP INDEX qwen_job_row_failed, qwen_job_row_job;
CREATE INDEX qwen_job_row_job ON qwen_job_row (job, id) WHERE job IS NOT NULL;
CREATE INDEX qwen_job_row_failed ON qwen_job_row (relation, failed_at) WHERE failed_at IS NOT NULL;
CREATE INDEX qwen_job_row_key ON qwen_job_row (relation, hash_array(key)) WHERE relation IS NOT NULL;

-- ---- views: new columns stand at the end ---------------------------------------------------------------------------------
@changed views

@columns

-- ---- the extension's own tables: nobody but its functions writes them ----------------------------------------------------
-- A job that somebody else may have put there waits for its owner's word. Others are those who have rights now, by whatever way.
CREATE FUNCTION qwen_settle_jobs()
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	owned pg_class;
	doubtful bigint;
BEGIN
	SELECT c.* INTO owned FROM pg_class c JOIN pg_extension e ON e.extname = 'qwen_pg' AND e.extnamespace = c.relnamespace WHERE c.relname = 'qwen_job_table';
	-- rights on the table, on columns of it, on what stands over it (but views of the extension cannot be written through), also by way of a role that one is a member of
	IF NOT EXISTS (
		WITH RECURSIVE reached (relation) AS (
			SELECT owned.oid
			UNION
			SELECT w.ev_class FROM reached r JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = r.relation AND d.classid = 'pg_rewrite'::regclass
				JOIN pg_rewrite w ON w.oid = d.objid
			WHERE NOT EXISTS (SELECT FROM pg_depend m JOIN pg_extension e ON m.refclassid = 'pg_extension'::regclass AND m.refobjid = e.oid AND e.extname = 'qwen_pg'
				WHERE m.classid = 'pg_class'::regclass AND m.objid = w.ev_class AND m.deptype = 'e'))
		SELECT FROM reached r, pg_roles p
		WHERE NOT p.rolsuper AND p.oid <> owned.relowner AND
			(has_table_privilege(p.oid, r.relation, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER') OR has_any_column_privilege(p.oid, r.relation, 'INSERT, UPDATE')) AND
			EXISTS (SELECT FROM pg_roles m WHERE NOT m.rolsuper AND m.oid <> owned.relowner AND m.oid >= 16384 AND pg_has_role(m.oid, p.oid, 'MEMBER'))) THEN
		RETURN;
	END IF;
	EXECUTE format('UPDATE %s SET state = $1, ended = now(), error = $2 WHERE state IN ($3, $4)', owned.oid::regclass)
		USING 'failed', 'submitted while other roles had rights on the table of jobs: qwen_retry(id) goes on with it', 'queued', 'running';
	GET DIAGNOSTICS doubtful = ROW_COUNT;
	IF doubtful > 0 THEN
		RAISE WARNING '% jobs have been stopped, because other roles had rights on the table of jobs', doubtful
			USING HINT = 'Their owners can go on with them by qwen_retry(id), after a look at qwen_jobs.';
	END IF;
END
$$;
SELECT qwen_settle_jobs();
DROP FUNCTION qwen_settle_jobs();

SELECT pg_catalog.pg_extension_config_dump('qwen_role_limit', 'WHERE role IN (SELECT oid FROM pg_catalog.pg_roles)');
SELECT pg_catalog.pg_extension_config_dump('qwen_role_models', 'WHERE role IN (SELECT oid FROM pg_catalog.pg_roles)');

@include guards.sql

-- ---- privileges ------------------------------------------------------------------------------------------------------------
@include settle_privileges.sql
SELECT qwen_settle_privileges(objects) FROM qwen_before;
DROP FUNCTION qwen_settle_privileges(oid[]);
DROP TABLE qwen_before;

-- whoever may use what a new function belongs to may use that
CREATE FUNCTION qwen_grant_beside()
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	schema text := (SELECT e.extnamespace::regnamespace::text FROM pg_extension e WHERE e.extname = 'qwen_pg');
	pair record;
BEGIN
	FOR pair IN
		SELECT format('%s.%s', schema, made.f)::regprocedure AS made, a.grantee, a.is_grantable
		FROM (VALUES
@like
			) made (f, beside)
			JOIN pg_proc p ON p.oid = format('%s.%s', schema, made.beside)::regprocedure, LATERAL aclexplode(p.proacl) a
		WHERE a.grantee <> p.proowner
	LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s%s', pair.made, CASE WHEN pair.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(pair.grantee)) END,
			CASE WHEN pair.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
	END LOOP;
END
$$;
SELECT qwen_grant_beside();
DROP FUNCTION qwen_grant_beside();

-- whoever had been given all functions of a privilege has what now stands beside them, that of admin alone where it is both; PUBLIC has not
CREATE FUNCTION qwen_grant_rights()
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	schema regnamespace := (SELECT e.extnamespace FROM pg_extension e WHERE e.extname = 'qwen_pg');
	given record;
BEGIN
	FOR given IN
		SELECT g.grantee, min(g.kind) AS kind FROM (SELECT a.grantee, r.kind FROM (VALUES ('monitor', ARRAY['qwen_monitor']),
				('admin', ARRAY['qwen_load_model', 'qwen_unload_model', 'qwen_stat_reset', 'qwen_set_limit', 'qwen_clear_limit', 'qwen_allow_models'])) r (kind, functions),
			pg_proc p, LATERAL aclexplode(p.proacl) a
		WHERE p.pronamespace = schema AND p.proname = ANY (r.functions::name[]) AND a.grantee NOT IN (0, p.proowner)
		GROUP BY a.grantee, r.kind, r.functions HAVING count(DISTINCT p.proname) = cardinality(r.functions)) g GROUP BY g.grantee
	LOOP
		EXECUTE format('GRANT USAGE ON TYPE %s.qwen_may_%s TO %s', schema, given.kind, quote_ident(pg_get_userbyid(given.grantee)));
	END LOOP;
END
$$;
SELECT qwen_grant_rights();
DROP FUNCTION qwen_grant_rights();

-- ---- what was queued before goes on --------------------------------------------------------------------------------------
CREATE FUNCTION qwen_look_for_work()
RETURNS void AS 'MODULE_PATHNAME', 'qwen_look_for_work' LANGUAGE C;
SELECT qwen_look_for_work();
DROP FUNCTION qwen_look_for_work();
