/*
 * fuzz_schema.c - schemas that are made of the input, keyword by keyword, so that all of them are valid JSON and most
 * are schemas: compiled, walked through by the tokens of a small vocabulary, completed.
 *
 * Each byte chooses what comes next, and when there are no more, what is open is closed. The first byte seeds the walk.
 */
#include "../../src/format/masks.h"
#include "fuzz.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))
#define STEPS 24
#define MAX_ANSWER (512 * 1024)
#define DEPTH 4

static const char *const names[] = {"a", "b", "ab", "abc", "x_1", "b\\u00e9"};
static const char *const patterns[] = {"^a",
									   "b$",
									   "^[a-c]{1,3}$",
									   "\\\\S",
									   "^\\\\S+( \\\\S+){0,9}$",
									   "^x_",
									   "^(?!b)",
									   "[0-9]",
									   "^[ -~]*a[ -~]{3}$",
									   "^(a|bc)*$",
									   "^[^<>&]*$",
									   "_at$"};
static const char *const formats[] = {"date", "date-time", "uuid", "email", "ipv4", "uri", "json-pointer", "hostname"};
static const char *const types[] = {"string", "number", "integer", "boolean", "null", "object", "array"};
static const char *const values[] = {"null", "true",       "0",     "1",          "-2.50",
									 "12",   "\"\"",       "\"a\"", "\"ab\"",     "\"b\\u00e9 c\"",
									 "[]",   "[1, \"a\"]", "{}",    "{\"a\": 1}", "{\"ab\": [null]}"};
static const char *const numbers[] = {"0", "1", "2", "3", "5", "0.5", "-1", "1e2", "9007199254740993"};

static const char *const tokens[] = {
	"{\"",     "\": ",     "\", \"",   "\"}",      "}]",      "[{\"", "abc", "ab",
	"a\"",     "\\u00",    "\\\"",     "true",     "null",    "12",   "0.",  ", ",
	"\"a\": ", "\xC3\xA9", "\xF0\x9F", "\x98\x80", "}}",      "-0",   " a",  " abc ",
	"  ",      "x_1\": ",  "\"ab",     "b\", \"",  "2024-02", "@.",   "://", "aaaaaaaaaaaaaaaaaaaaaaaa",
};

#define N_TOKENS (256 + LENGTH(tokens))

static char single_bytes[256];
static Vocabulary *vocabulary;
static MaskScratch *scratch;

static ByteSpan
token_bytes(uint32_t token)
{
	if (token < 256)
		return (ByteSpan){&single_bytes[token], 1};
	return (ByteSpan){tokens[token - 256], strlen(tokens[token - 256])};
}

/* The vocabulary is the same for all inputs. */
static void
make_vocabulary(void)
{
	ByteSpan spans[N_TOKENS];

	for (int i = 0; i < 256; i++)
		single_bytes[i] = (char) i;
	for (uint32_t i = 0; i < N_TOKENS; i++)
		spans[i] = token_bytes(i);
	vocabulary = vocabulary_create(spans, N_TOKENS);
	scratch = vocabulary ? mask_scratch_create(vocabulary) : NULL;
	PROMISE(scratch != NULL);
}

/* ---- a schema of bytes ---- */

typedef struct Making
{
	ByteReader input;
	ByteWriter text;
} Making;

static uint32_t
choose(Making *making, uint32_t n)
{
	return read_u8(&making->input) % n;
}

static void
put(Making *making, const char *text)
{
	write_raw(&making->text, text, strlen(text));
}

static void
put_quoted(Making *making, const char *text)
{
	put(making, "\"");
	put(making, text);
	put(making, "\"");
}

static void make_schema(Making *making, int depth);

/* "name": schema, … */
static void
make_members(Making *making, int depth, const char *const *words, uint32_t n_words)
{
	uint32_t n = choose(making, 3) + 1, first = choose(making, n_words);

	put(making, "{");
	for (uint32_t i = 0; i < n; i++)
	{
		put(making, i ? ", " : "");
		put_quoted(making, words[(first + i) % n_words]);
		put(making, ": ");
		make_schema(making, depth);
	}
	put(making, "}");
}

static void
make_list(Making *making, int depth)
{
	uint32_t n = choose(making, 3) + 1;

	put(making, "[");
	for (uint32_t i = 0; i < n; i++)
	{
		put(making, i ? ", " : "");
		make_schema(making, depth);
	}
	put(making, "]");
}

/* [word, …], none of them twice */
static void
make_words(Making *making, const char *const *words, uint32_t n_words, bool is_quoted)
{
	uint32_t n = choose(making, 4) + 1, first = choose(making, n_words);

	put(making, "[");
	for (uint32_t i = 0; i < n; i++)
	{
		put(making, i ? ", " : "");
		put(making, is_quoted ? "\"" : "");
		put(making, words[(first + i) % n_words]);
		put(making, is_quoted ? "\"" : "");
	}
	put(making, "]");
}

/* What a keyword has. */
typedef enum ValueKind
{
	A_SCHEMA,
	A_LIST,
	MEMBERS,
	PATTERN_MEMBERS,
	A_COUNT,
	A_NUMBER,
	A_BOOLEAN,
	A_TYPE,
	TYPES,
	A_VALUE,
	VALUES,
	A_PATTERN,
	A_FORMAT,
	NAMES,
	A_REFERENCE,
	NEEDED_NAMES,
} ValueKind;

static const struct
{
	const char *name;
	ValueKind kind;
} keywords[] = {
	{"type", A_TYPE},
	{"type", TYPES},
	{"properties", MEMBERS},
	{"required", NAMES},
	{"additionalProperties", A_SCHEMA},
	{"patternProperties", PATTERN_MEMBERS},
	{"propertyNames", A_SCHEMA},
	{"minProperties", A_COUNT},
	{"maxProperties", A_COUNT},
	{"dependentRequired", NEEDED_NAMES},
	{"dependentSchemas", MEMBERS},
	{"unevaluatedProperties", A_SCHEMA},
	{"items", A_SCHEMA},
	{"prefixItems", A_LIST},
	{"minItems", A_COUNT},
	{"maxItems", A_COUNT},
	{"uniqueItems", A_BOOLEAN},
	{"contains", A_SCHEMA},
	{"minContains", A_COUNT},
	{"maxContains", A_COUNT},
	{"unevaluatedItems", A_SCHEMA},
	{"enum", VALUES},
	{"const", A_VALUE},
	{"minimum", A_NUMBER},
	{"maximum", A_NUMBER},
	{"exclusiveMinimum", A_NUMBER},
	{"exclusiveMaximum", A_NUMBER},
	{"multipleOf", A_NUMBER},
	{"minLength", A_COUNT},
	{"maxLength", A_COUNT},
	{"pattern", A_PATTERN},
	{"format", A_FORMAT},
	{"anyOf", A_LIST},
	{"oneOf", A_LIST},
	{"allOf", A_LIST},
	{"not", A_SCHEMA},
	{"if", A_SCHEMA},
	{"then", A_SCHEMA},
	{"else", A_SCHEMA},
	{"$ref", A_REFERENCE},
};

static void
make_value(Making *making, ValueKind kind, int depth)
{
	char count[8];

	switch (kind)
	{
		case A_SCHEMA:
			make_schema(making, depth);
			break;
		case A_LIST:
			make_list(making, depth);
			break;
		case MEMBERS:
			make_members(making, depth, names, LENGTH(names));
			break;
		case PATTERN_MEMBERS:
			make_members(making, depth, patterns, LENGTH(patterns));
			break;
		case A_COUNT:
			snprintf(count, sizeof count, "%u", choose(making, 6));
			put(making, count);
			break;
		case A_NUMBER:
			put(making, numbers[choose(making, LENGTH(numbers))]);
			break;
		case A_BOOLEAN:
			put(making, choose(making, 4) ? "true" : "false");
			break;
		case A_TYPE:
			put_quoted(making, types[choose(making, LENGTH(types))]);
			break;
		case TYPES:
			make_words(making, types, LENGTH(types), true);
			break;
		case A_VALUE:
			put(making, values[choose(making, LENGTH(values))]);
			break;
		case VALUES:
			make_words(making, values, LENGTH(values), false);
			break;
		case A_PATTERN:
			put_quoted(making, patterns[choose(making, LENGTH(patterns))]);
			break;
		case A_FORMAT:
			put_quoted(making, formats[choose(making, LENGTH(formats))]);
			break;
		case NAMES:
			make_words(making, names, LENGTH(names), true);
			break;
		case A_REFERENCE:
			put(making, choose(making, 2) ? "\"#\"" : "\"#/$defs/d\"");
			break;
		case NEEDED_NAMES:
			put(making, "{");
			put_quoted(making, names[choose(making, LENGTH(names))]);
			put(making, ": ");
			make_words(making, names, LENGTH(names), true);
			put(making, "}");
			break;
	}
}

static void
make_schema(Making *making, int depth)
{
	uint32_t n = depth > 0 ? choose(making, 5) : 0, used[4];

	if (n == 0)
	{
		put(making, choose(making, 8) ? "true" : "false");
		return;
	}
	put(making, "{");
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t keyword = choose(making, LENGTH(keywords));
		bool is_there = false;

		/* a keyword stands in a schema once */
		for (uint32_t k = 0; k < i; k++)
			is_there |= strcmp(keywords[used[k]].name, keywords[keyword].name) == 0;
		used[i] = keyword;
		if (is_there)
			continue;
		put(making, i ? ", " : "");
		put_quoted(making, keywords[keyword].name);
		put(making, ": ");
		make_value(making, keywords[keyword].kind, depth - 1);
	}
	put(making, "}");
}

/* ---- what is held ---- */

static bool
mask_has(const TokenMask *mask, uint32_t token)
{
	if (mask->bits)
		return mask->bits[token / 64] >> token % 64 & 1;
	for (uint32_t i = 0; i < mask->n; i++)
		if (mask->list[i] == token)
			return true;
	return false;
}

/* The mask of a state is what its tokens are one by one. */
static void
check_mask(Format *format, FormatState state, const TokenMask *mask)
{
	for (uint32_t token = 0; token < N_TOKENS; token++)
	{
		ByteSpan bytes = token_bytes(token);
		bool is_taken = format_take(format, state, bytes.data, bytes.length) != 0;

		if (format_status(format).code != STATUS_OK)
			return;
		PROMISE(is_taken == mask_has(mask, token));
	}
}

static uint64_t
next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return *seed >> 33;
}

/* A token of a mask at random; UINT32_MAX: there is none. */
static uint32_t
pick(const TokenMask *mask, uint64_t *seed)
{
	uint32_t first = (uint32_t) (next_random(seed) % N_TOKENS);

	/* longer ones first as often as not: they are the fewer */
	if (next_random(seed) % 2)
		first = 256 + first % (uint32_t) LENGTH(tokens);
	for (uint32_t i = 0; i < N_TOKENS; i++)
		if (mask_has(mask, (first + i) % N_TOKENS))
			return (first + i) % N_TOKENS;
	return UINT32_MAX;
}

static void
walk(Format *format, Masks *masks, uint64_t seed, ByteWriter *answer)
{
	FormatState state = format_start(format);
	uint32_t looked_at = (uint32_t) (next_random(&seed) % STEPS);

	for (uint32_t step = 0; step < STEPS && !format_is_over(format, state); step++)
	{
		const TokenMask *mask = masks_get(masks, state);
		uint32_t token;
		ByteSpan bytes;

		if (!mask)
			break;
		if (step == 0 || step == looked_at)
			check_mask(format, state, mask);
		token = pick(mask, &seed);
		/* no dead ends */
		PROMISE(token != UINT32_MAX || format_is_complete(format, state) || format_status(format).code != STATUS_OK);
		if (token == UINT32_MAX)
			break;
		bytes = token_bytes(token);
		state = format_take(format, state, bytes.data, bytes.length);
		if (format_status(format).code != STATUS_OK)
			break;
		PROMISE(state != 0);
		write_raw(answer, bytes.data, bytes.length);
	}
	if (format_status(format).code != STATUS_OK || format_complete(format, state, answer).code != STATUS_OK)
	{
		PROMISE(format_status(format).code != STATUS_INTERNAL);
		return;
	}
	PROMISE(answer->length > 0 && answer->length < MAX_ANSWER);
	PROMISE(utf8_is_valid((char *) answer->data, answer->length));
	state = format_take(format, format_start(format), (char *) answer->data, answer->length);
	PROMISE(format_status(format).code != STATUS_OK || (state && format_is_complete(format, state)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Making making;
	uint64_t seed;
	Format *format;
	Status status;

	if (!vocabulary)
		make_vocabulary();
	byte_reader_init(&making.input, data, size);
	byte_writer_init(&making.text);
	seed = read_u8(&making.input);
	put(&making, "{\"type\": \"json_schema\", \"schema\": {\"$defs\": {\"d\": ");
	make_schema(&making, 1);
	put(&making, "}, \"allOf\": [");
	make_schema(&making, DEPTH);
	put(&making, "]}}");
	status = format_compile((ByteSpan){(char *) making.text.data, making.text.length}, NULL, &format);
	byte_writer_free(&making.text);
	PROMISE(status.code == STATUS_OK || status.code == STATUS_INVALID_ARGUMENT || status.code == STATUS_UNSUPPORTED ||
			status.code == STATUS_TOO_LONG);
	PROMISE((status.code == STATUS_OK) == (format != NULL));
	if (format)
	{
		Masks *masks = masks_create(format, vocabulary, scratch);
		ByteWriter answer;

		PROMISE(masks != NULL);
		byte_writer_init(&answer);
		walk(format, masks, seed + 1, &answer);
		byte_writer_free(&answer);
		masks_destroy(masks);
		format_destroy(format);
	}
	return 0;
}
