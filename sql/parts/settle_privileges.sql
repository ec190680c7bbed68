-- What default privileges gave is taken back, what they took is given; this goes over everything that this script has made, and ends with it
CREATE FUNCTION qwen_settle_privileges(kept oid[])
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	extension pg_extension;
	given record;
	name text;
	is_view boolean;
BEGIN
	SELECT * INTO extension FROM pg_extension WHERE extname = 'qwen_pg';
	FOR given IN
		WITH member AS (SELECT d.classid, d.objid FROM pg_depend d WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = extension.oid AND d.deptype = 'e'),
		-- with the sequences of identity columns, which belong to their tables
		relation AS (SELECT m.objid FROM member m WHERE m.classid = 'pg_class'::regclass UNION
			SELECT i.objid FROM member m JOIN pg_depend i ON i.refclassid = m.classid AND i.refobjid = m.objid AND i.deptype = 'i' AND i.classid = 'pg_class'::regclass
			WHERE m.classid = 'pg_class'::regclass)
		SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS object, a.grantee
		FROM relation r JOIN pg_class c ON c.oid = r.objid, LATERAL aclexplode(c.relacl) a
		WHERE c.relkind IN ('r', 'v', 'S') AND c.oid <> ALL (kept) AND a.grantee <> c.relowner
		UNION
		SELECT 'ROUTINE', p.oid::regprocedure::text, a.grantee
		FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid, LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
		WHERE p.oid <> ALL (kept) AND a.grantee <> p.proowner
		UNION
		SELECT 'TYPE', t.oid::regtype::text, a.grantee
		FROM member m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid, LATERAL aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) a
		WHERE t.oid <> ALL (kept) AND t.typrelid <> ALL (SELECT v.objid FROM member v WHERE v.classid = 'pg_class'::regclass) AND a.grantee <> t.typowner
			-- arrays, members from PostgreSQL 17 on, have the privileges of their elements
			AND NOT EXISTS (SELECT FROM pg_type element WHERE element.typarray = t.oid)
	LOOP
		EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', given.kind, given.object,
			CASE WHEN given.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END);
	END LOOP;
	FOR name IN EXECUTE format('SELECT p.oid::regprocedure::text FROM pg_proc p
		JOIN pg_depend d ON d.classid = ''pg_proc''::regclass AND d.objid = p.oid AND d.refclassid = ''pg_extension''::regclass AND d.refobjid = $1 AND d.deptype = ''e''
		WHERE %s.qwen_privilege_of(p.proname) = ''everybody'' ORDER BY p.oid', extension.extnamespace::regnamespace) USING extension.oid
	LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO PUBLIC', name);
	END LOOP;
	FOR name, is_view IN SELECT c.oid::regclass::text, c.relkind = 'v' FROM pg_class c
		JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = extension.oid AND d.deptype = 'e'
		WHERE c.relkind IN ('r', 'v') ORDER BY c.oid
	LOOP
		EXECUTE format(CASE WHEN is_view THEN 'GRANT SELECT ON TABLE %s TO PUBLIC' ELSE 'REVOKE ALL ON TABLE %s FROM PUBLIC' END, name);
	END LOOP;
	EXECUTE format('GRANT USAGE ON TYPE %s.qwen_response TO PUBLIC', extension.extnamespace::regnamespace);
END
$$;
