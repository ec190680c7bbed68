	SELECT CASE
@privileges
		ELSE 'use'
	END
