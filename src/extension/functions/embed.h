/*
 * embed.h - which model embeds.
 */
#ifndef QWEN_EMBED_H
#define QWEN_EMBED_H

/* The setting that holds for embeddings when no model is named. */
extern const char *default_embedding_model(void);

#endif
