/*
 * schema_texts.c - names and other texts of a schema, as numbers.
 */
#include "schema.h"

#include <string.h>

uint32_t
schema_text(Schema *schema, const char *text, size_t length)
{
	uint32_t n = (uint32_t) (1 + (length + 3) / 4), *words = pool_alloc(schema->pool, n, sizeof *words);

	if (!words)
		return 0;
	words[0] = (uint32_t) length;
	if (length)
		memcpy(words + 1, text, length);
	return intern(schema->pool, &schema->texts, words, n, NULL);
}

ByteSpan
schema_span(const Schema *schema, uint32_t text)
{
	const uint32_t *words;

	if (text >= schema->texts.n)
		return (ByteSpan){"", 0};
	words = interned(&schema->texts, text, NULL);
	return (ByteSpan){(const char *) (words + 1), words[0]};
}
