DECLARE
	called regprocedure;
BEGIN
	IF privilege IS NULL OR privilege NOT IN ('use', 'monitor', 'admin') THEN
		RAISE EXCEPTION USING ERRCODE = '22023',
			MESSAGE = format('privilege must be use, monitor or admin, not %s', coalesce(quote_literal(privilege), 'null'));
	END IF;
	IF role IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'role must not be null';
	END IF;
	FOR called IN EXECUTE format(
		-- who administers sees everything too
		'SELECT p.oid FROM pg_proc p
			JOIN pg_depend d ON d.classid = ''pg_proc''::regclass AND d.objid = p.oid AND d.deptype = ''e''
			JOIN pg_extension e ON d.refclassid = ''pg_extension''::regclass AND d.refobjid = e.oid AND e.extname = ''qwen_pg''
		WHERE %s.qwen_privilege_of(p.proname) IN ($1, CASE $1 WHEN ''admin'' THEN ''monitor'' END)',
		(SELECT e.extnamespace::regnamespace FROM pg_extension e WHERE e.extname = 'qwen_pg')) USING privilege
	LOOP
		EXECUTE format(statement, called, role);
	END LOOP;
END
