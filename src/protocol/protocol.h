/*
 * protocol.h - everything that is said between a PostgreSQL backend (client) and qwen_engine.
 *
 * Transport: a SOCK_STREAM Unix socket "pgsql_tmp_qwen_pg.sock" in the data directory, mode 0600; the engine also
 * checks that the peer has its own user id. A connection carries any number of requests at once, told apart by the
 * request id that the client chose; answers of different requests come in any order, those of one in order.
 *
 * Frame: a header of 16 bytes (FrameHeader, little-endian), then body_bytes of body. A frame that
 * breaks a rule of this file (unknown type, too long, fields missing or left over) closes the connection it came on.
 *
 * A request's life, as seen on the wire:
 *
 *     client                      engine
 *     REQUEST  ------------------>            renders the template, tokenizes, checks lengths
 *              <------------------  ERROR     … it cannot be done: the end
 *              <------------------  RESULT    … kinds that need no model step (see request_kind_is_immediate): the end
 *              <------------------  ACCEPTED  prompt_tokens, max_tokens, kv need: the client may now charge limits
 *                                             (again after a GO for which the queue had no room: it may say GO later)
 *     GO       ------------------>            queued, and metered; or CANCEL to give it up
 *              <------------------  ERROR     … or NOT_BEGUN instead of waiting for GO: the end; a GO that crosses it
 *                                             ends its meter and means nothing else
 *              <------------------  PIECE*    only when REQUEST_FLAG_STREAM is set
 *              <------------------  DONE | RESULT | ERROR   the end
 *     CANCEL   ------------------>            at any time after REQUEST; no answer follows, what crosses is ignored
 *
 * A client that closes its connection cancels all its requests. An id may be used again after the end.
 */
#ifndef QWEN_PROTOCOL_H
#define QWEN_PROTOCOL_H

#include "../base/bytes.h"
#include "../base/status.h"

#define PROTOCOL_VERSION 2
/* pg_basebackup and pg_rewind pass over whatever begins with pgsql_tmp */
#define PROTOCOL_SOCKET_NAME "pgsql_tmp_qwen_pg.sock"

#define PROTOCOL_HEADER_BYTES 16
#define PROTOCOL_MAX_BODY_BYTES                                                                                        \
	((uint32_t) 64 * 1024 * 1024)  /* a frame's body; a longer text is refused with 54000 by the client */
#define PROTOCOL_MAX_NAME_BYTES 63 /* a model's name, as a PostgreSQL name */
#define ADAPTED_NAME_BYTES                                                                                             \
	(2 * PROTOCOL_MAX_NAME_BYTES + 2) /* of "model+adapter" with its end: both, where one name is wanted */
#define PROTOCOL_MAX_STOPS 16
#define PROTOCOL_MAX_STOP_BYTES 1024
#define PROTOCOL_NO_METER UINT32_MAX
#define PROTOCOL_MAX_REQUESTS_PER_CLIENT 4096 /* in flight on one connection; one more: ERROR 54000 */

typedef enum FrameType
{
	/* client to engine */
	FRAME_REQUEST = 1,
	FRAME_GO = 2,     /* empty body, or a meter (uint32; see RequestMeter of status_page.h) */
	FRAME_CANCEL = 3, /* empty body */
	/* engine to client */
	FRAME_ACCEPTED = 16,
	FRAME_PIECE = 17,
	FRAME_DONE = 18,
	FRAME_RESULT = 19,
	FRAME_ERROR = 20,
} FrameType;

typedef struct FrameHeader
{
	uint32_t body_bytes;
	uint32_t request_id;
	uint16_t type;    /* FrameType */
	uint16_t version; /* PROTOCOL_VERSION */
	uint32_t zero;    /* must be 0 */
} FrameHeader;

typedef enum RequestKind
{
	REQUEST_CHAT = 1,         /* messages (JSON) through the chat template, then generate */
	REQUEST_GENERATE = 2,     /* text as it is (no template), then generate */
	REQUEST_EMBED = 3,        /* text -> RESULT_FLOATS */
	REQUEST_TOKENIZE = 4,     /* text -> RESULT_TOKENS; parse_special as given */
	REQUEST_DETOKENIZE = 5,   /* tokens -> RESULT_TEXT */
	REQUEST_COUNT_TOKENS = 6, /* text -> RESULT_COUNT */
	REQUEST_RENDER_CHAT = 7,  /* messages -> RESULT_TEXT, the exact prompt */
	REQUEST_LOGPROBS = 8,     /* text as it is -> RESULT_LOGPROBS of its tokens */
	REQUEST_SCORE = 9,        /* messages through the template; how likely each of candidates is -> RESULT_FLOATS */
	REQUEST_CHUNK = 10,       /* text -> RESULT_OFFSETS of pieces of at most chunk_tokens; ready before GO */
	REQUEST_RERANK = 11,      /* text, a document, and query -> RESULT_FLOATS of one: the logit of its relevance */
	REQUEST_CHECK_FORMAT =
		12, /* text: what response_format says -> RESULT_TEXT, a JSON array of what is wrong with it */
} RequestKind;

#define REQUEST_FLAG_STREAM 1u        /* send PIECE frames as text is sampled; else all content comes in DONE */
#define REQUEST_FLAG_PARSE_SPECIAL 2u /* TOKENIZE, GENERATE: added tokens in the text are recognised */
#define REQUEST_FLAG_FORMAT                                                                                            \
	4u /* set by encode_request where format or tools are given: near the beginning, for who reads it first */
#define REQUEST_FLAGS_KNOWN (3u | REQUEST_LOGPROBS_MASK)
/* CHAT, GENERATE: the answer's tokens come with their log-probabilities, and with those of the n likeliest beside each.
 */
#define REQUEST_LOGPROBS_MASK 0xff00u
#define REQUEST_FLAG_LOGPROBS(n) (((uint32_t) (n) + 1) << 8)
#define REQUEST_N_LOGPROBS(flags) ((((flags) &REQUEST_LOGPROBS_MASK) >> 8) - 1)
#define REQUEST_MAX_LOGPROBS 20
#define REQUEST_MIN_CHUNK_TOKENS 16 /* the smallest chunk_tokens but 0 */

/* Which members of SamplingOptions the caller gave; the others take the model's defaults. */
typedef enum SamplingOptionBit
{
	OPTION_MAX_TOKENS = 1u << 0,
	OPTION_TEMPERATURE = 1u << 1,
	OPTION_TOP_P = 1u << 2,
	OPTION_MIN_P = 1u << 3,
	OPTION_TOP_K = 1u << 4,
	OPTION_REPETITION_PENALTY = 1u << 5,
	OPTION_PRESENCE_PENALTY = 1u << 6,
	OPTION_FREQUENCY_PENALTY = 1u << 7,
	OPTION_SEED = 1u << 8,
	OPTION_THINKING = 1u << 9,
	OPTION_THINKING_BUDGET = 1u << 10,
	OPTION_ADAPTER_SCALE = 1u << 11,
} SamplingOptionBit;

#define OPTIONS_KNOWN ((1u << 12) - 1)

/* Who may use the keys and values that were computed for this request's text again. */
typedef enum PrefixSharing
{
	PREFIX_OFF = 0,    /* nobody; and it uses nobody's */
	PREFIX_ROLE = 1,   /* requests of the same role; for shared_messages' part, all */
	PREFIX_SHARED = 2, /* all requests with PREFIX_SHARED */
} PrefixSharing;

/* May an answer call tools, and which? */
typedef enum ToolChoice
{
	TOOL_CHOICE_NOT_GIVEN = 0, /* as AUTO; what a schema says that cannot be kept is no error */
	TOOL_CHOICE_AUTO = 1,
	TOOL_CHOICE_NONE = 2,
	TOOL_CHOICE_REQUIRED = 3,
	TOOL_CHOICE_NAMED = 4, /* the one of tool_name */
} ToolChoice;

typedef struct SamplingOptions
{
	uint32_t given;     /* SamplingOptionBit mask */
	int32_t max_tokens; /* not given: the caller's default (0: the engine's), cut to what the context leaves */
	double temperature; /* 0 (greedy) … 2 */
	double top_p;       /* 0 … 1 */
	double min_p;       /* 0 … 1 */
	int32_t top_k;      /* 0: off */
	double repetition_penalty;
	double presence_penalty;
	double frequency_penalty;
	int64_t seed;
	bool thinking;
	int32_t thinking_budget;
	double adapter_scale; /* of what the adapter adds; -8 … 8, not given: 1 */
} SamplingOptions;

/* Body of REQUEST. Spans point into the caller's memory (encode) or into the frame's body (decode). All text is UTF-8.
 */
typedef struct Request
{
	uint8_t kind;         /* RequestKind */
	const char *function; /* the client's own note of who asks; not part of the message */
	uint32_t flags;
	ByteSpan model;              /* name; not given: the model in the lowest serving slot */
	ByteSpan adapter;            /* name, among those of the model; not given: the model alone */
	ByteSpan text;               /* GENERATE, EMBED, TOKENIZE, COUNT_TOKENS, LOGPROBS, CHUNK, RERANK */
	ByteSpan messages;           /* CHAT, RENDER_CHAT, SCORE: a JSON array */
	ByteSpan tools;              /* CHAT, RENDER_CHAT: a JSON array, or not given */
	ByteSpan format;             /* CHAT, GENERATE: the form of the answer (response_format, JSON), or not given */
	ByteSpan instruction;        /* EMBED, RERANK, or not given */
	ByteSpan query;              /* RERANK */
	ByteSpan suffix;             /* GENERATE, or not given: the answer stands between text and it */
	ByteSpan candidates;         /* SCORE: a JSON array of strings, the answers among which the model has to choose */
	const unsigned char *tokens; /* DETOKENIZE: n_tokens little-endian int32; unaligned: read with request_token() */
	uint32_t n_tokens;
	uint32_t dimensions;    /* EMBED: 0 = all */
	uint32_t chunk_tokens;  /* CHUNK: 0 = what leaves room in the context for a prompt and options.max_tokens */
	uint32_t chunk_overlap; /* CHUNK: tokens at the end of a piece that the next one repeats, at most */
	uint32_t n_stops;
	ByteSpan stops[PROTOCOL_MAX_STOPS]; /* none empty */
	SamplingOptions options;
	uint32_t role;          /* who asks (an OID): for fairness between roles, and for PREFIX_ROLE */
	int32_t priority;       /* a higher one goes first; 0: normal */
	uint8_t prefix_sharing; /* PrefixSharing */
	ByteSpan
		shared_messages; /* CHAT, SCORE, or not given: messages that are nobody's secret (a built-in prompt without
							the user's text). As far as the prompt begins with the same tokens, all may share it. */
	uint8_t tool_choice; /* ToolChoice; needs tools */
	ByteSpan tool_name;  /* TOOL_CHOICE_NAMED, else not given */
} Request;

/* Body of ACCEPTED. */
typedef struct Accepted
{
	uint32_t prompt_tokens;
	uint32_t max_tokens; /* that can be generated at most, after the defaults and the context; 0 for EMBED */
} Accepted;

typedef enum PieceKind
{
	PIECE_CONTENT = 0,
	PIECE_THINKING = 1,
} PieceKind;

/* Body of PIECE: whole UTF-8 characters, never empty. */
typedef struct Piece
{
	uint8_t kind; /* PieceKind */
	ByteSpan text;
} Piece;

typedef enum FinishReason
{
	FINISH_STOP = 0,   /* the model ended its answer, or a stop string came */
	FINISH_LENGTH = 1, /* max_tokens or the context is used up */
	FINISH_TOOL_CALLS = 2,
} FinishReason;

/* Body of DONE. content and thinking are whole answers unless REQUEST_FLAG_STREAM was set (then empty). */
typedef struct Done
{
	uint8_t finish_reason; /* FinishReason */
	uint32_t prompt_tokens;
	uint32_t cached_tokens;
	uint32_t completion_tokens;
	uint64_t queue_us;           /* GO until the first step with it */
	uint64_t ttft_us;            /* GO until the first sampled token */
	uint64_t total_us;           /* GO until the end */
	uint32_t constrained_tokens; /* those for which a form (format) said what may come … */
	uint32_t forced_tokens;      /* … and of these, those of which it left no choice */
	uint64_t mask_us;            /* it took to find what may come */
	ByteSpan model;
	ByteSpan content;
	ByteSpan thinking;   /* not given where the model did not think */
	ByteSpan tool_calls; /* JSON array, or not given */
	ByteSpan logprobs;   /* JSON array of {"token", "logprob", "top": [{"token", "logprob"}, …]}, or not given */
} Done;

typedef enum ResultKind
{
	RESULT_TOKENS = 1,
	RESULT_TEXT = 2,
	RESULT_COUNT = 3,
	RESULT_FLOATS = 4,
	RESULT_LOGPROBS = 5,
	RESULT_OFFSETS = 6,
} ResultKind;

/* Body of RESULT. */
typedef struct RequestResult
{
	uint8_t kind;                /* ResultKind */
	uint32_t count;              /* RESULT_COUNT: the count; others: how many */
	const unsigned char *values; /* little-endian, unaligned; TOKENS: int32, FLOATS: float32, OFFSETS: two int32 each,
									first byte and length; LOGPROBS: int32 token, float32 natural logarithm, int32 rank
									(1: the likeliest; 0: the first token, which nothing predicts), int32 bytes of its
									piece in text */
	ByteSpan text;               /* RESULT_TEXT; LOGPROBS: all pieces, one after the other */
	uint32_t prompt_tokens;
	uint32_t cached_tokens; /* of the prompt */
} RequestResult;

/* Body of ERROR. */
typedef struct ProtocolError
{
	uint16_t code; /* StatusCode, never STATUS_OK */
	ByteSpan message;
	ByteSpan detail; /* or not given */
	ByteSpan hint;   /* or not given */
} ProtocolError;

/*
 * The one place where the ranges of the common arguments are checked: by the client before sending and by the decoder.
 * INVALID_ARGUMENT naming the argument, the range and the value. max_tokens' upper end (the context) is the engine's to
 * check.
 */
extern Status sampling_options_check(const SamplingOptions *options);

/* Bytes of a value of RESULT_TOKENS, FLOATS, LOGPROBS or OFFSETS; 0 for other kinds. */
extern uint32_t result_value_bytes(uint8_t kind);

/* True for kinds that are answered by RESULT at once, without ACCEPTED and GO. */
extern bool request_kind_is_immediate(uint8_t kind);

/* Token i of a DETOKENIZE request or a RESULT_TOKENS; float i of a RESULT_FLOATS. */
extern int32_t protocol_token(const unsigned char *values, uint32_t i);
extern float protocol_float(const unsigned char *values, uint32_t i);

/*
 * Append one whole frame (header and body) to writer. Failure (no memory, a limit of this file broken)
 * shows in writer->failed or, for a limit, in the Status; then nothing usable was written.
 */
extern Status encode_request(ByteWriter *writer, uint32_t request_id, const Request *request);
extern Status encode_empty(ByteWriter *writer, uint32_t request_id, FrameType type); /* GO, CANCEL */
/* GO with the number of the meter that the engine keeps while it works on the request. */
extern Status encode_go(ByteWriter *writer, uint32_t request_id, uint32_t meter);
extern Status encode_accepted(ByteWriter *writer, uint32_t request_id, const Accepted *accepted);
extern Status encode_piece(ByteWriter *writer, uint32_t request_id, const Piece *piece);
extern Status encode_done(ByteWriter *writer, uint32_t request_id, const Done *done);
extern Status encode_result(ByteWriter *writer, uint32_t request_id, const RequestResult *result);
extern Status encode_error(ByteWriter *writer, uint32_t request_id, const ProtocolError *error);

/*
 * Read a header from PROTOCOL_HEADER_BYTES bytes. from_client says which types are acceptable. An error means
 * that the stream cannot be trusted any more and must be closed.
 */
extern Status decode_header(const unsigned char *bytes, bool from_client, FrameHeader *header);

/* The meter of a GO; PROTOCOL_NO_METER when its body is empty. */
extern Status decode_go(const unsigned char *body, size_t length, uint32_t *meter);

/* Read a body of exactly length bytes; every length, enum, flag and UTF-8 text is checked. Spans point into body. */
extern Status decode_request(const unsigned char *body, size_t length, Request *request);

/* The same in two parts: all but what takes longer the longer the texts are, and whether these are valid UTF-8 without
 * NUL. */
extern Status decode_request_unchecked(const unsigned char *body, size_t length, Request *request);

/* The role alone, which stands at the beginning: length bytes of the body are there by now. false: too few. */
extern bool decode_request_role(const unsigned char *body, size_t length, uint32_t *role);
extern Status request_check_texts(const Request *request);

extern Status decode_accepted(const unsigned char *body, size_t length, Accepted *accepted);
extern Status decode_piece(const unsigned char *body, size_t length, Piece *piece);
extern Status decode_done(const unsigned char *body, size_t length, Done *done);
extern Status decode_result(const unsigned char *body, size_t length, RequestResult *result);
extern Status decode_error(const unsigned char *body, size_t length, ProtocolError *error);

#endif
