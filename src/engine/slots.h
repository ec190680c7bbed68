/*
 * slots.h - the models of the slots: opened when the supervisor wants them, closed when nobody uses them any more.
 */
#ifndef QWEN_SLOTS_H
#define QWEN_SLOTS_H

#include "../protocol/status_page.h"
#include "adapter_slots.h"
#include "forward.h"
#include "page_worker.h"
#include "prefix_cache.h"
#include "scorer.h"
#include "step_cost.h"
#include "workplace.h"

#define DRAFT_ROWS 8 /* rows that guesses may bring a step to, and so many with logits more */

/* Whose rows are in a step. */
typedef enum StepTurn
{
	TURN_BOTH,
	TURN_PROMPTS,
	TURN_ANSWERS,
} StepTurn;

typedef struct Slot
{
	int fd; /* of the image, read-only */
	SlotStatus *status;
	uint64_t settings_number;                 /* of the settings that the model is served with */
	Model *model;                             /* NULL: nothing is served */
	Tokenizer *desk_tokenizers[N_DESK_LANES]; /* handles on the model's, one for each thread of the desk */
	KvPool *pool;
	PrefixCache *cache; /* of the pool's blocks */
	Forward *forward;
	PageWorker *page_worker; /* NULL: none is wanted, or to be had */
	struct Slot *draft; /* of the model that guesses for this one, while both are served (draft_models.h); or NULL */
	uint64_t draft_generation; /* … which is of this one, or was refused; 0: none */
	float *draft_logits;       /* [DRAFT_ROWS][vocab], where that one has fewer of them */
	uint32_t n_requests;       /* that use the model, here and at the desk; kept by the scheduler's caller */
	uint32_t n_borrowers;      /* texts of other models that it guesses for */
	StepTurn turn;             /* of the last step; kept by the scheduler, as … */
	StepCost cost;             /* … what its steps take … */
	double guess_us;           /* … and a guess of its layer for that, of a few sequences together; 0: not known */
	uint32_t n_short;          /* times that some were made, since more than believed to pay were */
	uint32_t n_refused;        /* times that guesses were too dear, since one was made */
	uint32_t even_positions; /* that a row sees when it takes twice as long as one at a text's beginning; 0: none do */
	bool draining;           /* closed once n_requests is 0, and perhaps opened again with other settings */
	uint64_t draining_us;    /* since when */
} Slot;

typedef struct SlotSettings
{
	Team *team;
	KvBudget *budget;
	KvType kv_type;
	StateType state_type;
	uint32_t max_rows, max_running;
	uint64_t cache_bytes; /* for keys and values, as far as models leave them (memory.h); 0: a share of memory */
	bool huge_pages;      /* weights are put on huge pages where the system can */
	bool lock_memory;     /* weights are never swapped out */
} SlotSettings;

typedef struct Slots
{
	SlotSettings settings;
	StatusPage *page;
	uint64_t memory_total; /* UINT64_MAX: not known */
	uint32_t n;
	Slot slots[STATUS_PAGE_MAX_SLOTS];
	uint32_t n_adapters;
	AdapterSlot adapters[STATUS_PAGE_MAX_ADAPTERS];
	uint32_t n_adapters_opened; /* so far */
	StateCounts ended;          /* of caches that are closed */
} Slots;

/* n slots of models with the descriptors first_fd … on, and n_adapters of adapters with those STATUS_PAGE_MAX_SLOTS
 * higher. */
extern void slots_init(Slots *slots, const SlotSettings *settings, StatusPage *page, uint32_t n, uint32_t n_adapters,
					   int first_fd);

/* Compare what is wanted with what is served and do what can be done now. Call it at start, when told to, and when a
 * slot drains. */
extern void slots_look(Slots *slots);

/* Is there a slot that waits to be closed, and nobody uses its model any more? Then it is time to look. */
extern bool slots_have_drained(const Slots *slots);

/* Is a slot's model, or an adapter (or NULL), to be closed, since before a moment; is any of them? */
extern bool slots_drain_since(const Slot *slot, const AdapterSlot *adapter, uint64_t before_us);
extern bool slots_any_drains_since(const Slots *slots, uint64_t before_us);

/* The slot of a model's name (not given: the lowest one that serves), or NULL. */
extern Slot *slots_find(Slots *slots, ByteSpan name);

/* "chat, embed": the names that are served, cut when they do not fit. */
extern void slots_names(const Slots *slots, char *out, size_t bytes);

/* The adapter of a name among those of a slot's model, or NULL; and the names of all of them. */
extern AdapterSlot *slots_find_adapter(Slots *slots, const Slot *slot, ByteSpan name);
extern void slots_adapter_names(const Slots *slots, const Slot *slot, char *out, size_t bytes);

/* Give back the memory of the cached block that was used least recently, of any model. false: no cached block is
 * without a user. */
extern bool slots_evict_block(Slots *slots);

/* Cached blocks: the bytes of those that no request uses, with the states that are kept with them, and the number of
 * all. */
extern uint64_t slots_idle_bytes(const Slots *slots);
extern uint32_t slots_cached_blocks(const Slots *slots);

/* Tell of the memory of keys, values and states on the status page. After a look at the slots that has been done. */
extern void slots_publish_memory(const Slots *slots, StatusPage *page);

/* Close all. */
extern void slots_close(Slots *slots);

#endif
