BEGIN
	EXECUTE format('SELECT %s.qwen_change_privilege($1, $2, $3)', (SELECT e.extnamespace::regnamespace FROM pg_extension e WHERE e.extname = 'qwen_pg'))
		USING role, privilege, 'GRANT EXECUTE ON ROUTINE %s TO %s';
END
