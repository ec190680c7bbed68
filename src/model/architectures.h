/*
 * architectures.h - the architectures that are supported, in one table.
 *
 * An architecture is a set of traits. Each metadata key (hyperparameters.c) and each tensor (tensor_roles.c) belongs to
 * a trait, and layers are made of parts, for which the engine has phases (src/engine/forward_layers.c). So a new
 * architecture that is put together from known parts is a row here; a new part brings a trait, its keys and tensors,
 * and its phases.
 */
#ifndef QWEN_ARCHITECTURES_H
#define QWEN_ARCHITECTURES_H

#include "../base/bytes.h"
#include "model.h"

/* What models have: bits. */
typedef enum Trait
{
	TRAIT_ALWAYS = 1 << 0,       /* embeddings, norms, sizes */
	TRAIT_OWN_OUTPUT = 1 << 1,   /* an output matrix; without it the embeddings serve */
	TRAIT_ATTENTION = 1 << 2,    /* grouped-query attention */
	TRAIT_QKV_BIAS = 1 << 3,     /* … with a bias on queries, keys and values */
	TRAIT_QK_NORM = 1 << 4,      /* … with an RMS norm on each head's query and key */
	TRAIT_DENSE = 1 << 5,        /* one feed-forward network with a gate */
	TRAIT_EXPERTS = 1 << 6,      /* many of them, and a router */
	TRAIT_SUM_TO_1 = 1 << 7,     /* … the weights of those chosen are divided by their sum */
	TRAIT_SHARED = 1 << 8,       /* … and one that every row has, as much as a router of its own says */
	TRAIT_AXES = 1 << 9,         /* rotary positions have axes (time, height, width), which are alike in text */
	TRAIT_DOUBLED_FFN = 1 << 10, /* feed_forward_length counts gate and up together */
	TRAIT_EARLY = 1 << 11,       /* its files may be older than some keys that all later ones have */
	TRAIT_HYBRID = 1 << 16,      /* some layers have a delta net, the others attention, which turns a part of a head */
	TRAIT_GROUPED = 1 << 17,     /* … the delta nets' value heads that share a key head stand together */
	TRAIT_GATED = 1 << 18,       /* attention with a gate on what it gives */
	TRAIT_DELTA = 1 << 19,       /* a delta net */
	TRAIT_POST_NORM = 1 << 21,   /* the norm before the feed-forward network is named after the part before it */
	TRAIT_CLASSIFIER = 1 << 20,  /* ranks documents by classes of its own */
	TRAIT_GUESS = 1 << 22,       /* a layer behind the others that guesses tokens ahead … */
	TRAIT_GUESS_OWN = 1 << 23,   /* … and may have embeddings, output norm and output matrix of its own */
} Trait;

/* A kind of layer. */
typedef struct LayerKind
{
	LayerPart parts[LAYER_PARTS];
	unsigned required; /* Trait bits that such a layer must have … */
	unsigned optional; /* … and may have */
} LayerKind;

typedef struct ArchitectureRow
{
	const char *name;  /* general.architecture, and the beginning of its keys */
	unsigned required; /* Trait bits of the whole model … */
	unsigned optional;
	LayerKind layer; /* its layers … */
	LayerKind delta; /* … and those of a hybrid that have a delta net */
} ArchitectureRow;

/* The row of an Architecture; NULL for a number that is none. */
extern const ArchitectureRow *architecture_row(uint32_t architecture);

/* Its name; "unknown" for a number that is none. */
extern const char *architecture_name(uint32_t architecture);

/* The Architecture of a name, or 0. */
extern uint32_t architecture_find(const char *name, size_t length);

/* "qwen2 and qwen3", for messages; a list that is longer than ARCHITECTURE_LIST_BYTES is cut. */
#define ARCHITECTURE_LIST_BYTES 200
extern void architecture_list(char *text, size_t bytes);

/* What a file is that says this of itself and is no model for us though it may be taken for one ("a drafter, which …");
 * NULL: nothing is known of it. type: general.type, architecture: general.architecture, both may be empty. */
extern const char *architecture_other(ByteSpan type, ByteSpan architecture);

/* The kind of a layer of a model whose architecture has a row. */
extern const LayerKind *architecture_layer(const ModelHyper *hyper, uint32_t layer);

/* Trait bits that a model of this architecture has in any case. */
extern unsigned architecture_traits(uint32_t architecture);

#endif
