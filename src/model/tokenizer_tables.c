/*
 * tokenizer_tables.c - the tokenizer's tables, made of what stands in the file and checked while they are made.
 *
 * Nothing of the source is trusted except that its offsets rise and stay inside. A token or merge that makes no sense
 * is refused by number; what a few tools leave behind (duplicates, merges of tokens that were pruned) is passed over
 * and noted, unless it is most of the entries. What real files contain is accepted: padding tokens of type UNUSED (any
 * text, any number of times), vocabularies without some of the 256 bytes (Hugging Face's tokenizers leave such bytes
 * out of the tokens, and so do we), ordinary tokens that are not written in GPT-2's alphabet (they stand for their
 * text, as there, and are never made by encoding).
 */
#include <string.h>

#include "../base/utf8.h"
#include "tokenizer_private.h"

/* The largest number of tokens or merges: table sizes and token numbers stay well inside 32 bits. */
#define MAX_ENTRIES ((uint32_t) 1 << 26)

/* A short, printable form of a string of the file, for error messages. */
typedef struct Excerpt
{
	char text[72];
} Excerpt;

static Excerpt
excerpt_of(const char *bytes, size_t length)
{
	static const char hex[] = "0123456789abcdef";
	Excerpt excerpt;
	size_t n = 0;

	for (size_t i = 0; i < length; i++)
	{
		unsigned char byte = (unsigned char) bytes[i];

		if (n + 8 > sizeof excerpt.text)
		{
			memcpy(excerpt.text + n, "...", 3);
			n += 3;
			break;
		}
		if (byte >= 0x20 && byte < 0x7F)
			excerpt.text[n++] = (char) byte;
		else
		{
			excerpt.text[n++] = '\\';
			excerpt.text[n++] = 'x';
			excerpt.text[n++] = hex[byte >> 4];
			excerpt.text[n++] = hex[byte & 15];
		}
	}
	excerpt.text[n] = '\0';
	return excerpt;
}

/* Entries that are passed over, and what is wrong with the first of them. */
typedef struct Odd
{
	uint32_t n;
	Status first;
} Odd;

/* Pass an entry over. */
static Status
pass_over(Odd *odd, Status what)
{
	if (odd->n++ == 0)
		odd->first = what;
	return status_ok();
}

/* After the last of n_entries: are they few? Then a notice, else the error. */
static Status
judge_odd(const Odd *odd, uint32_t n_entries, const char *kind, Notices *notices)
{
	if (odd->n > n_entries / 2)
		return odd->first;
	if (odd->n > 1)
		notice_add(notices, "%u %s are passed over, the first one: %s", odd->n, kind, odd->first.message);
	else if (odd->n == 1)
		notice_add(notices, "passed over: %s", odd->first.message);
	return status_ok();
}

static Status
out_of_memory(void)
{
	return status_error(STATUS_UNAVAILABLE, "out of memory for the tokenizer's tables");
}

/*
 * GPT-2's alphabet writes each byte as one character: printable Latin-1 characters as themselves, the other bytes in
 * order as U+0100, U+0101, ... (openai/gpt-2, encoder.py, bytes_to_unicode). True for the bytes of the first kind.
 */
static bool
byte_writes_itself(uint32_t byte)
{
	return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

/* The byte of each character of the alphabet, -1 for the other code points below 0x144. */
#define N_ALPHABET 0x144
static void
alphabet_build(int16_t *byte_of)
{
	uint32_t next = 0x100;

	for (uint32_t i = 0; i < N_ALPHABET; i++)
		byte_of[i] = -1;
	for (uint32_t byte = 0; byte < 256; byte++)
		byte_of[byte_writes_itself(byte) ? byte : next++] = (int16_t) byte;
}

/* Decode text from the alphabet into out (at least length bytes); false when a character is not of the alphabet. */
static bool
alphabet_decode(const int16_t *byte_of, const char *text, size_t length, char *out, size_t *out_length)
{
	size_t n = 0;
	size_t i = 0;

	while (i < length)
	{
		int n_bytes = utf8_character_bytes(text + i, length - i);
		uint32_t code_point;

		if (n_bytes <= 0)
			return false;
		code_point = utf8_code_point(text + i, n_bytes);
		if (code_point >= N_ALPHABET || byte_of[code_point] < 0)
			return false;
		out[n++] = (char) byte_of[code_point];
		i += (size_t) n_bytes;
	}
	*out_length = n;
	return true;
}

/* A power of two with at least twice as many slots as entries, so that searches are short and end. */
static size_t
slots_for(uint32_t n_entries)
{
	size_t n_slots = 16;

	while (n_slots < (size_t) n_entries * 2)
		n_slots *= 2;
	return n_slots;
}

/* The slot of the ordinary token of these bytes, or the free slot where it would go. */
static TextSlot *
find_text_slot(const Tokenizer *tokenizer, const char *bytes, size_t length, uint32_t hash)
{
	size_t slot = hash & (tokenizer->n_text_slots - 1);

	for (;;)
	{
		TextSlot *found = &tokenizer->text_slots[slot];
		size_t start;

		if (found->token == NO_TOKEN)
			return found;
		start = tokenizer->text_offsets[found->token];
		if (found->hash == hash && tokenizer->text_offsets[found->token + 1] - start == length &&
			memcmp(tokenizer->text + start, bytes, length) == 0)
			return found;
		slot = (slot + 1) & (tokenizer->n_text_slots - 1);
	}
}

int32_t
tokenizer_find_ordinary(const Tokenizer *tokenizer, const char *bytes, size_t length)
{
	return find_text_slot(tokenizer, bytes, length, (uint32_t) hash_bytes(bytes, length))->token;
}

/* The child of a node for a byte, or 0. */
static uint32_t
added_child(const Tokenizer *tokenizer, uint32_t node, unsigned char byte)
{
	uint32_t child = tokenizer->added_nodes[node].child;

	while (child != 0 && tokenizer->added_nodes[child].byte != byte)
		child = tokenizer->added_nodes[child].sibling;
	return child;
}

int32_t
tokenizer_match_added(const Tokenizer *tokenizer, const char *text, size_t length, size_t *matched)
{
	int32_t token = NO_TOKEN;
	uint32_t node = 0;

	*matched = 0;
	for (size_t i = 0; i < length; i++)
	{
		node = added_child(tokenizer, node, (unsigned char) text[i]);
		if (node == 0)
			break;
		if (tokenizer->added_nodes[node].token != NO_TOKEN)
		{
			token = tokenizer->added_nodes[node].token;
			*matched = i + 1;
		}
	}
	return token;
}

int32_t
tokenizer_find_added(const Tokenizer *tokenizer, const char *text, size_t length)
{
	uint32_t node = 0;

	for (size_t i = 0; i < length; i++)
	{
		node = added_child(tokenizer, node, (unsigned char) text[i]);
		if (node == 0)
			return NO_TOKEN;
	}
	return tokenizer->added_nodes[node].token;
}

/* Put an added token into the tree; false when its text is there already. */
static bool
added_insert(Tokenizer *tokenizer, int32_t token, const char *text, size_t length)
{
	uint32_t node = 0;

	for (size_t i = 0; i < length; i++)
	{
		uint32_t child = added_child(tokenizer, node, (unsigned char) text[i]);

		if (child == 0)
		{
			child = tokenizer->n_added_nodes++;
			tokenizer->added_nodes[child].byte = (unsigned char) text[i];
			tokenizer->added_nodes[child].token = NO_TOKEN;
			tokenizer->added_nodes[child].sibling = tokenizer->added_nodes[node].child;
			tokenizer->added_nodes[node].child = child;
		}
		node = child;
	}
	if (tokenizer->added_nodes[node].token != NO_TOKEN)
		return false;
	tokenizer->added_nodes[node].token = token;
	tokenizer->added_first_bytes[(unsigned char) text[0]] = true;
	return true;
}

/* Allocate every table for the numbers of the source; their slots are free. */
static Status
tables_allocate(Tokenizer *tokenizer, const TokenizerSource *source)
{
	size_t n_text_bytes = (size_t) (source->token_offsets[source->n_tokens] - source->token_offsets[0]);
	size_t n_added_bytes = 0;

	for (uint32_t i = 0; i < source->n_tokens; i++)
	{
		if (source->token_types[i] == TOKEN_CONTROL || source->token_types[i] == TOKEN_USER_DEFINED)
			n_added_bytes += (size_t) (source->token_offsets[i + 1] - source->token_offsets[i]);
	}
	if (n_added_bytes >= MAX_ENTRIES)
		return status_error(STATUS_INVALID_ARGUMENT, "the texts of the added tokens have %zu bytes, more than %u",
							n_added_bytes, MAX_ENTRIES);

	tokenizer->text = arena_alloc(tokenizer->arena, n_text_bytes + 1);
	tokenizer->text_offsets =
		arena_alloc_array(tokenizer->arena, (size_t) source->n_tokens + 1, sizeof *tokenizer->text_offsets);
	tokenizer->n_text_slots = slots_for(source->n_tokens);
	tokenizer->text_slots = arena_alloc_array(tokenizer->arena, tokenizer->n_text_slots, sizeof *tokenizer->text_slots);
	tokenizer->n_merge_slots = slots_for(source->n_merges);
	tokenizer->merge_slots =
		arena_alloc_array(tokenizer->arena, tokenizer->n_merge_slots, sizeof *tokenizer->merge_slots);
	tokenizer->added_nodes = arena_alloc_array(tokenizer->arena, n_added_bytes + 1, sizeof *tokenizer->added_nodes);
	tokenizer->byte_pair_products =
		arena_alloc_array(tokenizer->arena, 256 * 256, sizeof *tokenizer->byte_pair_products);
	tokenizer->byte_pair_ranks = arena_alloc_array(tokenizer->arena, 256 * 256, sizeof *tokenizer->byte_pair_ranks);
	if (!tokenizer->text || !tokenizer->text_offsets || !tokenizer->text_slots || !tokenizer->merge_slots ||
		!tokenizer->added_nodes || !tokenizer->byte_pair_products || !tokenizer->byte_pair_ranks)
		return out_of_memory();

	for (size_t i = 0; i < tokenizer->n_text_slots; i++)
		tokenizer->text_slots[i].token = NO_TOKEN;
	for (size_t i = 0; i < tokenizer->n_merge_slots; i++)
		tokenizer->merge_slots[i].token = NO_TOKEN;
	tokenizer->added_nodes[0].token = NO_TOKEN;
	tokenizer->n_added_nodes = 1;
	return status_ok();
}

/* Check token i, write its bytes behind those of the tokens before it, and make it findable. */
static Status
add_token(Tokenizer *tokenizer, const TokenizerSource *source, const int16_t *byte_of, uint32_t i, Odd *odd)
{
	const char *text = source->token_bytes + source->token_offsets[i];
	size_t length = (size_t) (source->token_offsets[i + 1] - source->token_offsets[i]);
	size_t start = tokenizer->text_offsets[i];
	char *bytes = tokenizer->text + start;
	size_t n_bytes = length;
	int32_t type = source->token_types[i];
	bool is_added = type == TOKEN_CONTROL || type == TOKEN_USER_DEFINED;

	if (type < TOKEN_NORMAL || type > TOKEN_BYTE)
		return status_error(STATUS_INVALID_ARGUMENT, "token %u (\"%s\") has the unknown type %d", i,
							excerpt_of(text, length).text, (int) type);
	if (length == 0 && (is_added || type == TOKEN_NORMAL))
		return status_error(STATUS_INVALID_ARGUMENT, "token %u is empty", i);
	if (!utf8_is_valid(text, length))
		return status_error(STATUS_INVALID_ARGUMENT, "token %u (\"%s\") is not valid UTF-8", i,
							excerpt_of(text, length).text);

	if (type == TOKEN_NORMAL && alphabet_decode(byte_of, text, length, bytes, &n_bytes))
	{
		uint32_t hash = (uint32_t) hash_bytes(bytes, n_bytes);
		TextSlot *slot;

		tokenizer->text_offsets[i + 1] = start + n_bytes;
		slot = find_text_slot(tokenizer, bytes, n_bytes, hash);
		if (slot->token != NO_TOKEN)
			(void) pass_over(odd, status_error(STATUS_INVALID_ARGUMENT, "token %d is the same as token %u (\"%s\")",
											   slot->token, i, excerpt_of(text, length).text));
		slot->hash = hash;
		slot->token = (int32_t) i;
		return status_ok();
	}
	memcpy(bytes, text, length);
	tokenizer->text_offsets[i + 1] = start + length;
	if (is_added && !added_insert(tokenizer, (int32_t) i, text, length))
		return pass_over(odd,
						 status_error(STATUS_INVALID_ARGUMENT, "added token %u (\"%s\") is the same as token %d", i,
									  excerpt_of(text, length).text, tokenizer_find_added(tokenizer, text, length)));
	return status_ok();
}

/* The bytes of a merge, decoded into scratch: left[n_left] and right behind it; false when it is not "left right". */
static bool
decode_merge(const int16_t *byte_of, const char *text, size_t length, char *scratch, size_t *n_left, size_t *n_right)
{
	const char *space = memchr(text, ' ', length);
	size_t left_length = space ? (size_t) (space - text) : 0;

	if (!space || left_length == 0 || left_length + 1 == length)
		return false;
	return alphabet_decode(byte_of, text, left_length, scratch, n_left) &&
		   alphabet_decode(byte_of, space + 1, length - left_length - 1, scratch + *n_left, n_right);
}

/* Check merge i and put it into the table with its number as its rank. scratch has room for its text. */
static Status
add_merge(Tokenizer *tokenizer, const TokenizerSource *source, const int16_t *byte_of, uint32_t i, char *scratch,
		  Odd *odd)
{
	const char *text = source->merge_bytes + source->merge_offsets[i];
	size_t length = (size_t) (source->merge_offsets[i + 1] - source->merge_offsets[i]);
	size_t n_left = 0, n_right = 0, slot;
	int32_t left, right, product;
	uint64_t pair;

	if (!decode_merge(byte_of, text, length, scratch, &n_left, &n_right))
		return status_error(STATUS_INVALID_ARGUMENT,
							"merge %u (\"%s\") is not two byte-level tokens with a space between them", i,
							excerpt_of(text, length).text);
	left = tokenizer_find_ordinary(tokenizer, scratch, n_left);
	right = tokenizer_find_ordinary(tokenizer, scratch + n_left, n_right);
	product = tokenizer_find_ordinary(tokenizer, scratch, n_left + n_right);
	if (left == NO_TOKEN || right == NO_TOKEN || product == NO_TOKEN)
		return pass_over(odd, status_error(STATUS_INVALID_ARGUMENT,
										   "merge %u (\"%s\"): the %s is not a token of the vocabulary", i,
										   excerpt_of(text, length).text,
										   left == NO_TOKEN    ? "left part"
										   : right == NO_TOKEN ? "right part"
															   : "result"));

	pair = (uint64_t) (uint32_t) left << 32 | (uint32_t) right;
	slot = merge_slot_of(pair, tokenizer->n_merge_slots);
	while (tokenizer->merge_slots[slot].token != NO_TOKEN)
	{
		if (tokenizer->merge_slots[slot].pair == pair)
			return pass_over(odd, status_error(STATUS_INVALID_ARGUMENT, "merge %u (\"%s\") is the same as merge %u", i,
											   excerpt_of(text, length).text, tokenizer->merge_slots[slot].rank));
		slot = (slot + 1) & (tokenizer->n_merge_slots - 1);
	}
	tokenizer->merge_slots[slot].pair = pair;
	tokenizer->merge_slots[slot].rank = i;
	tokenizer->merge_slots[slot].token = product;
	return status_ok();
}

/* Note the token of each byte, and the merge of each pair of bytes: every word begins with those. */
static void
build_byte_tables(Tokenizer *tokenizer)
{
	for (int byte = 0; byte < 256; byte++)
	{
		char text = (char) byte;

		tokenizer->byte_tokens[byte] = tokenizer_find_ordinary(tokenizer, &text, 1);
	}
	for (int i = 0; i < 256 * 256; i++)
	{
		const MergeSlot *merge =
			tokenizer_find_merge(tokenizer, tokenizer->byte_tokens[i >> 8], tokenizer->byte_tokens[i & 255]);

		tokenizer->byte_pair_products[i] = merge ? merge->token : NO_TOKEN;
		tokenizer->byte_pair_ranks[i] = merge ? merge->rank : NO_RANK;
	}
}

Status
tokenizer_build_tables(Tokenizer *tokenizer, const TokenizerSource *source)
{
	int16_t byte_of[N_ALPHABET];
	Odd odd_tokens = {0}, odd_merges = {0};
	size_t longest_merge = 0;
	char *scratch;

	if (source->n_tokens == 0 || source->n_tokens > MAX_ENTRIES)
		return status_error(STATUS_INVALID_ARGUMENT, "the vocabulary has %u tokens; 1 to %u are possible",
							source->n_tokens, MAX_ENTRIES);
	if (source->n_merges > MAX_ENTRIES)
		return status_error(STATUS_INVALID_ARGUMENT, "the vocabulary has %u merges; at most %u are possible",
							source->n_merges, MAX_ENTRIES);
	if (!source->token_offsets || !source->token_bytes || !source->token_types ||
		(source->n_merges > 0 && (!source->merge_offsets || !source->merge_bytes)))
		return status_error(STATUS_INVALID_ARGUMENT, "the vocabulary lacks its tokens, their types or its merges");

	alphabet_build(byte_of);
	STATUS_TRY(tables_allocate(tokenizer, source));
	tokenizer->n_tokens = source->n_tokens;
	tokenizer->types = source->token_types;
	for (uint32_t i = 0; i < source->n_tokens; i++)
		STATUS_TRY(add_token(tokenizer, source, byte_of, i, &odd_tokens));
	STATUS_TRY(judge_odd(&odd_tokens, source->n_tokens, "tokens", &tokenizer->notices));

	for (uint32_t i = 0; i < source->n_merges; i++)
	{
		size_t length = (size_t) (source->merge_offsets[i + 1] - source->merge_offsets[i]);

		longest_merge = length > longest_merge ? length : longest_merge;
	}
	scratch = arena_alloc(tokenizer->arena, longest_merge + 1);
	if (!scratch)
		return out_of_memory();
	for (uint32_t i = 0; i < source->n_merges; i++)
		STATUS_TRY(add_merge(tokenizer, source, byte_of, i, scratch, &odd_merges));
	STATUS_TRY(judge_odd(&odd_merges, source->n_merges, "merges", &tokenizer->notices));
	build_byte_tables(tokenizer);
	return status_ok();
}
