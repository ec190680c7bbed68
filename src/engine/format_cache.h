/*
 * format_cache.h - compiled formats of answers, shared by the requests that ask for the same one of the same model, and
 * the models' vocabularies as tries.
 *
 * Compiled at the desk, used by the event loop alone from then on. What nobody uses stays while there is room; then the
 * role that has most of it gives up what it used least recently, so that nobody's many forms drive out those of others.
 */
#ifndef QWEN_FORMAT_CACHE_H
#define QWEN_FORMAT_CACHE_H

#include "../format/format.h"
#include "../format/masks.h"
#include "../protocol/protocol.h"
#include "workplace.h"

typedef struct SharedFormat SharedFormat;

#define FORMAT_CACHE_BYTES ((size_t) 64 << 20) /* of formats that nobody uses */

/*
 * The format of a message's answer (response_format, tools); *shared is NULL where any answer is one. Release it. While
 * it is used its memory is that of a role, of the first that uses it (kept_memory.h): STATUS_UNAVAILABLE where there is
 * no room.
 */
extern Status format_cache_get(const Workplace *place, const Request *message, SharedFormat **shared);
extern void format_cache_release(SharedFormat *shared);

/* All that are compiled, used or kept. */
typedef struct FormatTotals
{
	uint32_t n;
	size_t bytes;
} FormatTotals;

extern FormatTotals format_cache_totals(void);

extern Format *shared_format(SharedFormat *shared);
extern Masks *shared_masks(SharedFormat *shared);
extern const Vocabulary *shared_vocabulary(const SharedFormat *shared);

/* The model's own tokens for what opens and closes a call of a tool; -1: it has none, they are ordinary text. */
extern void call_tokens(const Tokenizer *tokenizer, int32_t *open, int32_t *close);

/* Between steps: forget masks where there are too many; who comes from here on gets a format anew that has grown much.
 */
extern void shared_format_trim(SharedFormat *shared);

/*
 * Has a format grown so much with its answers, or beyond its limit, that each of them should walk on in another one?
 * Then renew gives that (release both), in which the answer walks to where it is, and settle says that it has. What
 * others have left behind in the old one is forgotten with it.
 */
extern bool shared_format_is_worn(const SharedFormat *shared);
extern Status format_cache_renew(SharedFormat *worn, uint32_t role, SharedFormat **shared);
extern void shared_format_settle(SharedFormat *shared);

/* Nobody uses a model any more: forget what was made for it. */
extern void format_cache_forget(const Model *model);

#endif
