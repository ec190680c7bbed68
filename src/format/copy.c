/*
 * copy.c - see copy.h.
 */
#include "copy.h"

#include <string.h>
#include <utf8proc.h>

#include "../base/utf8.h"

#define NO_EDGE UINT32_MAX
#define NODE_OUTSIDE 0u

typedef enum NodeRole
{
	ROLE_OUTSIDE,
	ROLE_FRESH,  /* in a mark, of which nothing has come */
	ROLE_INSIDE, /* in a mark */
	ROLE_OPENING,
	ROLE_CLOSING,
} NodeRole;

/* A node; its edges are a list. */
typedef struct CopyNode
{
	uint32_t edge; /* the first one; NO_EDGE: none */
	uint16_t kind;
	uint8_t role;
	uint8_t n_opened; /* bytes of the opening character that have come, where it is all that has */
} CopyNode;

typedef struct CopyEdge
{
	uint32_t next, target;
	unsigned char byte;
} CopyEdge;

/* What may be at a place of the text. */
enum
{
	MAY_OPEN = 1,
	MAY_CLOSE = 2,
};

struct Copy
{
	const char *text;
	uint32_t n;
	uint8_t *places;     /* [n + 1] */
	uint32_t last_close; /* the last place where a mark may close; 0: none */
	ByteSpan open, close;
	ByteSpan *kinds;
	uint32_t n_kinds;
	CopyNode *nodes;
	uint32_t n_nodes, nodes_capacity;
	CopyEdge *edges;
	uint32_t n_edges, edges_capacity;
	uint32_t longest_mark;
};

static FormatState
state_of(const Copy *copy, uint32_t place, uint32_t node)
{
	return 1 + place * copy->n_nodes + node;
}

static uint32_t
inside_of(uint32_t kind)
{
	return 1 + 2 * kind;
}

static uint32_t
fresh_of(uint32_t kind)
{
	return 2 + 2 * kind;
}

/* ---- compiling ------------------------------------------------------------------------------------------------- */

static uint32_t
add_node(Pool *pool, Copy *copy, NodeRole role, uint32_t kind)
{
	if (!pool_grow(pool, &copy->nodes, copy->n_nodes, &copy->nodes_capacity, sizeof *copy->nodes))
		return 0;
	copy->nodes[copy->n_nodes] = (CopyNode){NO_EDGE, (uint16_t) kind, (uint8_t) role, 0};
	return copy->n_nodes++;
}

static uint32_t
find_edge(const Copy *copy, uint32_t node, unsigned char byte)
{
	for (uint32_t edge = copy->nodes[node].edge; edge != NO_EDGE; edge = copy->edges[edge].next)
		if (copy->edges[edge].byte == byte)
			return copy->edges[edge].target;
	return NO_EDGE;
}

static void
add_edge(Pool *pool, Copy *copy, uint32_t node, unsigned char byte, uint32_t target)
{
	if (!pool_grow(pool, &copy->edges, copy->n_edges, &copy->edges_capacity, sizeof *copy->edges))
		return;
	copy->edges[copy->n_edges] = (CopyEdge){copy->nodes[node].edge, target, byte};
	copy->nodes[node].edge = copy->n_edges++;
}

/* A mark's bytes from a node on, the last of which leads to end. Marks with one beginning share it. */
static void
add_mark(Pool *pool, Copy *copy, uint32_t node, ByteSpan mark, uint32_t end, NodeRole role, uint32_t kind)
{
	for (uint32_t i = 0; i < mark.length && !pool_failed(pool); i++)
	{
		unsigned char byte = (unsigned char) mark.data[i];
		uint32_t next = i + 1 < mark.length ? find_edge(copy, node, byte) : end;

		if (next == NO_EDGE)
		{
			next = add_node(pool, copy, role, kind);
			copy->nodes[next].n_opened = i < copy->open.length ? (uint8_t) (i + 1) : 0;
			add_edge(pool, copy, node, byte, next);
		}
		else if (next == end)
			add_edge(pool, copy, node, byte, end);
		node = next;
	}
	copy->longest_mark = mark.length > copy->longest_mark ? (uint32_t) mark.length : copy->longest_mark;
}

/* Opening, perhaps a slash, the kind, closing. */
static ByteSpan
write_mark(Pool *pool, const Copy *copy, ByteSpan slash, ByteSpan kind)
{
	size_t n = copy->open.length + slash.length + kind.length + copy->close.length;
	char *mark = pool_alloc(pool, n + 1, 1), *at = mark;

	if (!mark)
		return (ByteSpan){"", 0};
	memcpy(at, copy->open.data, copy->open.length);
	at += copy->open.length;
	memcpy(at, slash.data, slash.length);
	at += slash.length;
	memcpy(at, kind.data, kind.length);
	memcpy(at + kind.length, copy->close.data, copy->close.length);
	return (ByteSpan){mark, n};
}

static void
add_marks(Pool *pool, Copy *copy)
{
	(void) add_node(pool, copy, ROLE_OUTSIDE, 0);
	for (uint32_t kind = 0; kind < copy->n_kinds; kind++)
	{
		(void) add_node(pool, copy, ROLE_INSIDE, kind);
		(void) add_node(pool, copy, ROLE_FRESH, kind);
	}
	for (uint32_t kind = 0; kind < copy->n_kinds && !pool_failed(pool); kind++)
	{
		add_mark(pool, copy, NODE_OUTSIDE, write_mark(pool, copy, (ByteSpan){"", 0}, copy->kinds[kind]), fresh_of(kind),
				 ROLE_OPENING, kind);
		add_mark(pool, copy, inside_of(kind), write_mark(pool, copy, (ByteSpan){"/", 1}, copy->kinds[kind]),
				 NODE_OUTSIDE, ROLE_CLOSING, kind);
	}
}

/* What a letter makes one word, or number, of with its like beside it; 0: nothing. Scripts without capitals often leave
 * no space between words. */
static int
word_class(utf8proc_int32_t letter)
{
	switch (utf8proc_category(letter))
	{
		case UTF8PROC_CATEGORY_LU:
		case UTF8PROC_CATEGORY_LL:
		case UTF8PROC_CATEGORY_LT:
			return 1;
		case UTF8PROC_CATEGORY_ND:
			return 2;
		default:
			return 0;
	}
}

static bool
is_combining(utf8proc_int32_t letter)
{
	utf8proc_category_t category = utf8proc_category(letter);

	return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

/* Find where marks may open and close. */
static void
find_places(Copy *copy)
{
	utf8proc_int32_t before = 0, grapheme = 0;
	int word = 0; /* class of the last letter that does not combine with one before it */

	for (uint32_t i = 0; i <= copy->n;)
	{
		int bytes = i < copy->n ? utf8_character_bytes(copy->text + i, copy->n - i) : 1;
		utf8proc_int32_t letter = i < copy->n ? (utf8proc_int32_t) utf8_code_point(copy->text + i, bytes) : 0;
		bool breaks = i == 0 || i == copy->n || utf8proc_grapheme_break_stateful(before, letter, &grapheme);

		breaks = breaks && (i == copy->n || word == 0 || word != word_class(letter));
		if (breaks && i > 0 && !utf8_code_point_is_blank((uint32_t) before))
		{
			copy->places[i] |= MAY_CLOSE;
			copy->last_close = i;
		}
		if (breaks && i < copy->n && !utf8_code_point_is_blank((uint32_t) letter))
			copy->places[i] |= MAY_OPEN;
		before = letter;
		word = is_combining(letter) ? word : word_class(letter);
		i += (uint32_t) bytes;
	}
	/* what opens must be able to close */
	for (uint32_t i = copy->last_close; i < copy->n; i++)
		copy->places[i] &= (uint8_t) ~MAY_OPEN;
}

/* One character, as a member says or the usual one. */
static ByteSpan
read_character(Pool *pool, const JsonNode *json, const char *name, const char *usual)
{
	const JsonNode *member = json_member_named(json, name);

	if (!member)
		return (ByteSpan){usual, strlen(usual)};
	if (member->kind != NODE_IS_STRING || member->n == 0 ||
		utf8_character_bytes(member->text, member->n) != (int) member->n)
	{
		pool_fail(pool, STATUS_INVALID_ARGUMENT, "\"%s\" must be one character", name);
		return (ByteSpan){usual, strlen(usual)};
	}
	return (ByteSpan){member->text, member->n};
}

static bool
contains(const char *text, size_t n, ByteSpan part)
{
	return memmem(text, n, part.data, part.length) != NULL;
}

/* A kind, unlike those before it, that has neither of the characters that enclose it. */
static void
read_kind(Pool *pool, Copy *copy, const JsonNode *one)
{
	uint32_t place = copy->n_kinds + 1;

	if (one->kind != NODE_IS_STRING || one->n == 0 || one->n > COPY_MAX_KIND_BYTES || memchr(one->text, 0, one->n))
	{
		pool_fail(pool, STATUS_INVALID_ARGUMENT, "kind %u must be a string of 1 to %d bytes", place,
				  COPY_MAX_KIND_BYTES);
		return;
	}
	if (contains(one->text, one->n, copy->open) || contains(one->text, one->n, copy->close))
		pool_fail(pool, STATUS_INVALID_ARGUMENT, "kind %u must not have the characters that enclose it", place);
	for (uint32_t i = 0; i < copy->n_kinds; i++)
		if (json_compare(copy->kinds[i].data, copy->kinds[i].length, one->text, one->n) == 0)
			pool_fail(pool, STATUS_INVALID_ARGUMENT, "kind %u is the same as kind %u", place, i + 1);
	copy->kinds[copy->n_kinds++] = (ByteSpan){one->text, one->n};
}

static void
read_kinds(Pool *pool, Copy *copy, const JsonNode *kinds)
{
	if (!kinds || kinds->kind != NODE_IS_ARRAY || kinds->n == 0)
		pool_fail(pool, STATUS_INVALID_ARGUMENT, "the form \"copy\" must have a member \"kinds\", an array of strings");
	else if (kinds->n > COPY_MAX_KINDS)
		pool_fail(pool, STATUS_TOO_LONG, "\"kinds\" has %u strings, the limit is %d", kinds->n, COPY_MAX_KINDS);
	else if ((copy->kinds = pool_alloc(pool, kinds->n, sizeof *copy->kinds)))
		for (const JsonNode *one = kinds->first; one && !pool_failed(pool); one = one->next)
			read_kind(pool, copy, one);
}

static void
read_text(Pool *pool, Copy *copy, const JsonNode *text)
{
	if (!text || text->kind != NODE_IS_STRING || text->n == 0 || memchr(text->text, 0, text->n) ||
		!utf8_is_valid(text->text, text->n))
	{
		pool_fail(pool, STATUS_INVALID_ARGUMENT,
				  "the form \"copy\" must have a member \"text\", a string that is not empty");
		return;
	}
	if (text->n > COPY_MAX_BYTES)
		pool_fail(pool, STATUS_TOO_LONG, "the text of the form \"copy\" has %u bytes, the limit is %d", text->n,
				  COPY_MAX_BYTES);
	else if (contains(text->text, text->n, copy->open))
		pool_fail(pool, STATUS_INVALID_ARGUMENT,
				  "the text of the form \"copy\" must not have the character \"%.*s\", which opens marks",
				  (int) copy->open.length, copy->open.data);
	copy->text = text->text;
	copy->n = text->n;
}

Copy *
copy_open(Pool *pool, const JsonNode *json)
{
	Copy *copy = pool_alloc(pool, 1, sizeof *copy);

	if (!copy)
		return NULL;
	copy->open = read_character(pool, json, "open", "<");
	copy->close = read_character(pool, json, "close", ">");
	if (copy->open.length == copy->close.length && memcmp(copy->open.data, copy->close.data, copy->open.length) == 0)
		pool_fail(pool, STATUS_INVALID_ARGUMENT, "\"open\" and \"close\" must not be the same");
	read_text(pool, copy, json_member_named(json, "text"));
	read_kinds(pool, copy, json_member_named(json, "kinds"));
	if (pool_failed(pool))
		return NULL;
	add_marks(pool, copy);
	copy->places = pool_alloc(pool, (size_t) copy->n + 1, 1);
	if (pool_failed(pool))
		return NULL;
	if ((uint64_t) (copy->n + 1) * copy->n_nodes >= UINT32_MAX)
	{
		pool_fail(pool, STATUS_TOO_LONG,
				  "the text of %u bytes and kinds of %u characters are too much for the form \"copy\"", copy->n,
				  copy->n_nodes);
		return NULL;
	}
	find_places(copy);
	return copy;
}

/* ---- running --------------------------------------------------------------------------------------------------- */

FormatState
copy_start(const Copy *copy)
{
	return state_of(copy, 0, NODE_OUTSIDE);
}

/* The text goes on by a byte, outside or in a mark of a kind. */
static FormatState
copy_on(const Copy *copy, uint32_t place, bool is_outside, uint32_t kind, unsigned char byte)
{
	if (place >= (is_outside ? copy->n : copy->last_close) || (unsigned char) copy->text[place] != byte)
		return 0;
	return state_of(copy, place + 1, is_outside ? NODE_OUTSIDE : inside_of(kind));
}

/* May a node's edges be taken at a place of the text? */
static bool
may_leave(const Copy *copy, const CopyNode *node, uint32_t place)
{
	switch ((NodeRole) node->role)
	{
		case ROLE_OUTSIDE:
			return copy->places[place] & MAY_OPEN;
		case ROLE_INSIDE:
			return copy->places[place] & MAY_CLOSE;
		case ROLE_FRESH:
			return false;
		default:
			return true;
	}
}

/* Is what has come of a mark the beginning of a character of the text too, which begins as the one that opens marks? */
static bool
is_perhaps_text(const Copy *copy, const CopyNode *node, uint32_t place)
{
	return node->n_opened > 0 && node->n_opened < copy->open.length && copy->n - place > node->n_opened &&
		   memcmp(copy->text + place, copy->open.data, node->n_opened) == 0;
}

FormatState
copy_step(const Copy *copy, FormatState state, unsigned char byte)
{
	uint32_t place, at, target = NO_EDGE;
	const CopyNode *node;

	if (state == 0)
		return 0;
	place = (state - 1) / copy->n_nodes;
	at = (state - 1) % copy->n_nodes;
	node = &copy->nodes[at];
	if (may_leave(copy, node, place))
		target = find_edge(copy, at, byte);
	if (target != NO_EDGE)
		return state_of(copy, place, target);
	if (node->role != ROLE_OPENING && node->role != ROLE_CLOSING)
		return copy_on(copy, place, node->role == ROLE_OUTSIDE, node->kind, byte);
	if (!is_perhaps_text(copy, node, place))
		return 0;
	return copy_on(copy, place + node->n_opened, node->role == ROLE_OPENING, node->kind, byte);
}

bool
copy_is_complete(const Copy *copy, FormatState state)
{
	return state == state_of(copy, copy->n, NODE_OUTSIDE);
}

uint32_t
copy_completion_bound(const Copy *copy, FormatState state)
{
	return copy->n - (state - 1) / copy->n_nodes + 2 * copy->longest_mark;
}

/* The next byte where the text goes on and a mark is left as soon as it can be. */
static unsigned char
completion_byte(const Copy *copy, FormatState state)
{
	uint32_t place = (state - 1) / copy->n_nodes;
	const CopyNode *node = &copy->nodes[(state - 1) % copy->n_nodes];
	bool leaves;

	if (node->role == ROLE_OPENING && is_perhaps_text(copy, node, place))
		return (unsigned char) copy->text[place + node->n_opened];
	leaves = node->role == ROLE_OPENING || node->role == ROLE_CLOSING ||
			 (node->role == ROLE_INSIDE && (copy->places[place] & MAY_CLOSE));

	return leaves ? copy->edges[node->edge].byte : (unsigned char) copy->text[place];
}

void
copy_complete(const Copy *copy, FormatState state, ByteWriter *out)
{
	while (state != 0 && !copy_is_complete(copy, state) && !out->failed)
	{
		unsigned char byte = completion_byte(copy, state);

		write_u8(out, byte);
		state = copy_step(copy, state, byte);
	}
}

/* The next byte where what was begun goes on: a mark that has but one way, else the text. 0: none is likelier. */
static unsigned char
likely_byte(const Copy *copy, FormatState state)
{
	uint32_t place = (state - 1) / copy->n_nodes;
	const CopyNode *node = &copy->nodes[(state - 1) % copy->n_nodes];
	bool in_mark = node->role == ROLE_OPENING || node->role == ROLE_CLOSING;
	bool is_at_end = node->role == ROLE_INSIDE && place == copy->last_close;

	if (in_mark && is_perhaps_text(copy, node, place))
		return (unsigned char) copy->text[place + node->n_opened];
	if (in_mark || is_at_end)
		return copy->edges[node->edge].next == NO_EDGE ? copy->edges[node->edge].byte : 0;
	return place < copy->n ? (unsigned char) copy->text[place] : 0;
}

void
copy_likely(const Copy *copy, FormatState state, size_t limit, ByteWriter *out)
{
	size_t start = out->length;

	for (size_t i = 0; i < limit && state != 0 && !out->failed; i++)
	{
		unsigned char byte = likely_byte(copy, state);

		if (byte == 0)
			return;
		write_u8(out, byte);
		state = copy_step(copy, state, byte);
	}
	if (!out->failed)
		out->length = start + utf8_cut((char *) out->data + start, out->length - start, limit - 1);
}

uint32_t
copy_tokens(const Copy *copy, const Vocabulary *vocabulary, FormatState state, uint32_t *got)
{
	const TrieNode *nodes = vocabulary->all.nodes;
	FormatState at[257];
	uint32_t n = 0;

	at[0] = state;
	for (uint32_t i = 1; i < vocabulary->all.n;)
	{
		const TrieNode *node = &nodes[i];
		FormatState next = copy_step(copy, at[node->depth - 1], node->byte);

		at[node->depth] = next;
		if (next == 0)
		{
			i += node->subtree;
			continue;
		}
		if (node->token != VOCABULARY_NO_TOKEN)
			got[n++] = node->token;
		i++;
	}
	return n;
}
