/*
 * masks.h - which tokens may come next: the tokens whose bytes a format's machine takes, kept by state.
 *
 * A mask is put together of pieces: the tokens that a frame takes, entered at some nodes of the vocabulary's trie, and
 * the nodes at which it is left, where the frame below goes on. Pieces are the same wherever a frame stands, and serve
 * all requests of a format.
 */
#ifndef QWEN_FORMAT_MASKS_H
#define QWEN_FORMAT_MASKS_H

#include "format.h"
#include "vocabulary.h"

typedef struct Masks Masks;

/* Tokens that may come: a list in order, or a bitset. Not those that end an answer. In a free text: all but a list. */
typedef struct TokenMask
{
	bool is_free;
	uint32_t n; /* of the list; 0: none, or see bits */
	const uint32_t *list;
	const uint64_t *bits; /* NULL: the list */
} TokenMask;

/* Room for one walk at a time through a vocabulary, which the masks of all formats share. NULL: no memory. */
typedef struct MaskScratch MaskScratch;
extern MaskScratch *mask_scratch_create(const Vocabulary *vocabulary);
extern void mask_scratch_destroy(MaskScratch *scratch);

/* All three outlive the masks. NULL: no memory. */
extern Masks *masks_create(Format *format, const Vocabulary *vocabulary, MaskScratch *scratch);
extern void masks_destroy(Masks *masks);

/* The mask of a state, valid until the second masks_trim from here on. NULL after a failure, which format_status or
 * memory tells. */
extern const TokenMask *masks_get(Masks *masks, FormatState state);

/* Bytes of masks that are kept; with those that go at the next trim. */
extern size_t masks_bytes(const Masks *masks);
extern size_t masks_all_bytes(const Masks *masks);

/* Forget all masks; nothing where none was asked for since the last time, so that those of a step stay until its end.
 */
extern void masks_trim(Masks *masks);

#endif
