/*
 * tokenizer.h - byte-level BPE as the Hugging Face tokenizers of the Qwen family do it.
 *
 * Text is NFC-normalized (utf8proc) where the file's pre-tokenizer says so, cut by added tokens (only where
 * the caller allows it), split by the Qwen pattern (PCRE2, JIT), mapped to bytes and merged by rank.
 * A Tokenizer's tables are immutable after creation. Encoding has scratch in it, so one thread at a time may encode
 * with it; another one takes a handle of its own (tokenizer_share). Working memory does not grow with a word's length.
 */
#ifndef QWEN_TOKENIZER_H
#define QWEN_TOKENIZER_H

#include "../base/bytes.h"
#include "../base/cancel.h"
#include "../base/notices.h"
#include "../base/status.h"

typedef struct Tokenizer Tokenizer;

/* GGUF's tokenizer.ggml.token_type. */
typedef enum TokenType
{
	TOKEN_NORMAL = 1,
	TOKEN_UNKNOWN = 2,
	TOKEN_CONTROL = 3,      /* an added token that is special: never part of an answer's text */
	TOKEN_USER_DEFINED = 4, /* an added token that is not: <think>, <tool_call> */
	TOKEN_UNUSED = 5,
	TOKEN_BYTE = 6,
} TokenType;

/*
 * What a tokenizer is made of, as it stands in the image. All arrays belong to the image and outlive the tokenizer.
 * Strings are concatenated; string i is bytes[offsets[i] .. offsets[i+1]), so offsets has n + 1 entries. The image's
 * reader has checked that offsets rise and stay inside; nothing else is known of the content.
 */
typedef struct TokenizerSource
{
	const char *model; /* tokenizer.ggml.model; only "gpt2" (byte-level BPE) is supported */
	const char
		*pre; /* tokenizer.ggml.pre: "qwen2" or, treated alike, "qwen35", "deepseek-r1-qwen"; others: UNSUPPORTED */
	uint32_t n_tokens;
	const uint64_t *token_offsets;
	const char *token_bytes;    /* in GPT-2's byte-to-character alphabet for NORMAL tokens, plain text for the others */
	const int32_t *token_types; /* TokenType */
	uint32_t n_merges;
	const uint64_t *merge_offsets;
	const char *merge_bytes;        /* "left right" */
	int32_t bos, eos, eot, padding; /* -1: none */
	bool add_bos, add_eos;
} TokenizerSource;

/*
 * Build the tables; INVALID_ARGUMENT naming the entry when a token or merge makes no sense. What real files have wrong
 * in a few places is passed over and noted: tokens that stand there twice (the last one is made, as llama.cpp has it),
 * merges that stand there twice or whose parts or result are not in the vocabulary, special tokens outside of it. When
 * that is most of the entries, the first of them is the error.
 */
extern Status tokenizer_create(const TokenizerSource *source, Tokenizer **tokenizer);
extern void tokenizer_destroy(Tokenizer *tokenizer);

/* What was odd in the source and passed over. */
extern const Notices *tokenizer_notices(const Tokenizer *tokenizer);
/* Another handle on the same tables, with scratch of its own, for another thread. Destroy it before the first one. */
extern Status tokenizer_share(const Tokenizer *tokenizer, Tokenizer **shared);

/* Encoding with this handle ends with CANCELLED within milliseconds of the flag's being set. NULL: nothing ends it. */
extern void tokenizer_set_cancel(Tokenizer *tokenizer, const CancelFlag *cancelled);

/* Tokens in a growing array. Zero-initialize; free with token_buffer_free. */
typedef struct TokenBuffer
{
	int32_t *tokens;
	size_t n;
	size_t capacity;
	size_t limit; /* encoding ends with TOO_LONG once there are more; 0: no limit */
	bool is_over; /* and then this is set */
} TokenBuffer;

extern void token_buffer_free(TokenBuffer *buffer);

/* One token more at its end. UNAVAILABLE: no memory, it is as it was. */
extern Status token_buffer_add(TokenBuffer *buffer, int32_t token);

/*
 * Append the tokens of text (valid UTF-8). parse_added: added tokens in it are recognised; otherwise all of it is
 * ordinary text. add_bos/add_eos of the file are not applied here.
 */
extern Status tokenizer_encode(Tokenizer *tokenizer, const char *text, size_t length, bool parse_added,
							   TokenBuffer *out);

/* As tokenizer_encode, with added tokens recognised only where they lie wholly inside one of the trusted runs, which
 * are in order and do not overlap. */
extern Status tokenizer_encode_runs(Tokenizer *tokenizer, const char *text, size_t length, const TextRun *trusted,
									size_t n_trusted, TokenBuffer *out);

/*
 * The bytes a token stands for (for NORMAL tokens decoded from the alphabet; maybe half a character), in the
 * tokenizer's memory. Tokens out of range give an empty span.
 */
extern ByteSpan tokenizer_token_bytes(const Tokenizer *tokenizer, int32_t token);

extern uint32_t tokenizer_n_tokens(const Tokenizer *tokenizer);
extern TokenType tokenizer_token_type(const Tokenizer *tokenizer, int32_t token);

/* The token whose whole text is this (added tokens first), or -1. */
extern int32_t tokenizer_find(const Tokenizer *tokenizer, const char *text, size_t length);

/* True for tokens that end an answer: eos, eot, <|im_end|>, <|endoftext|>, where the vocabulary has them. */
extern bool tokenizer_is_end(const Tokenizer *tokenizer, int32_t token);

/* These, each once: how many there are. */
#define TOKENIZER_MAX_ENDS 4
extern uint32_t tokenizer_ends(const Tokenizer *tokenizer, int32_t ends[TOKENIZER_MAX_ENDS]);

/* The bos / eos / padding id or -1, and whether the file says that texts get them. */
extern int32_t tokenizer_bos(const Tokenizer *tokenizer);
extern int32_t tokenizer_eos(const Tokenizer *tokenizer);
extern bool tokenizer_add_bos(const Tokenizer *tokenizer);
extern bool tokenizer_add_eos(const Tokenizer *tokenizer);

/*
 * Streaming detokenisation: tokens in, whole characters out. Holds back at most 3 bytes of a character that is not
 * complete; bytes that can never become one are U+FFFD, one for each maximal ill-formed part (as Unicode recommends,
 * and Python's errors="replace" does).
 */
typedef struct Detokenizer
{
	char held[4];
	uint32_t n_held;
} Detokenizer;

/*
 * Append the characters that bytes completes to out (a ByteWriter). At the end call with is_last: what is still held
 * becomes U+FFFD.
 */
extern void detokenizer_push(Detokenizer *detokenizer, ByteSpan bytes, bool is_last, ByteWriter *out);

#endif
