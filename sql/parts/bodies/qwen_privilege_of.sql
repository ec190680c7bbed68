	SELECT CASE
@privileges
	END
