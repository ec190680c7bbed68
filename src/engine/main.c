/*
 * main.c - the program qwen_engine: reads its arguments and becomes a server, a loader, or one that looks at a file.
 *
 *   qwen_engine serve --slots=N --adapters=N --threads=N --kv-cache-bytes=N --kv-cache-type=f16|q8_0|f32
 *                     --state-type=f32|f16 --prefill-chunk=N --max-running=N --queue-size=N --sandbox=0|1
 *                     --lock-memory=0|1 --huge-pages=0|1
 *   qwen_engine load  --slot=K --generation=G --directory=D --file=F --name=N --io=auto|pread --threads=N
 *                     --heads=0|1 --kv-cache-bytes=N (that keys and values may still take)
 *   qwen_engine load-adapter --slot=K --generation=G --base-generation=G --directory=D --file=F --name=N --model=N
 *   qwen_engine check --directory=D --file=F --kv-cache-bytes=N --kv-cache-type=f16|q8_0|f32
 *                     --state-type=f32|f16 --cache-to-come=N --heads=0|1
 *   qwen_engine --version
 *   qwen_engine --help
 *
 * It is started by qwen_pg's supervisor with the descriptors of status_page.h, not by hand. Exit: 0 done, 1 failed, 2
 * bad arguments.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "check_mode.h"
#include "load_mode.h"
#include "server.h"

typedef enum Option
{
	OPTION_SLOTS = 1,
	OPTION_THREADS,
	OPTION_KV_CACHE_BYTES,
	OPTION_KV_CACHE_TYPE,
	OPTION_STATE_TYPE,
	OPTION_PREFILL_CHUNK,
	OPTION_SPECULATION,
	OPTION_MAX_RUNNING,
	OPTION_QUEUE_SIZE,
	OPTION_SANDBOX,
	OPTION_LOCK_MEMORY,
	OPTION_HUGE_PAGES,
	OPTION_SLOT,
	OPTION_GENERATION,
	OPTION_DIRECTORY,
	OPTION_FILE,
	OPTION_NAME,
	OPTION_IO,
	OPTION_ADAPTERS,
	OPTION_BASE_GENERATION,
	OPTION_MODEL,
	OPTION_CACHE_TO_COME,
	OPTION_HEADS,
	N_OPTIONS,
} Option;

static const struct option long_options[] = {
	{"slots", required_argument, NULL, OPTION_SLOTS},
	{"threads", required_argument, NULL, OPTION_THREADS},
	{"kv-cache-bytes", required_argument, NULL, OPTION_KV_CACHE_BYTES},
	{"kv-cache-type", required_argument, NULL, OPTION_KV_CACHE_TYPE},
	{"state-type", required_argument, NULL, OPTION_STATE_TYPE},
	{"prefill-chunk", required_argument, NULL, OPTION_PREFILL_CHUNK},
	{"speculation", required_argument, NULL, OPTION_SPECULATION},
	{"max-running", required_argument, NULL, OPTION_MAX_RUNNING},
	{"queue-size", required_argument, NULL, OPTION_QUEUE_SIZE},
	{"sandbox", required_argument, NULL, OPTION_SANDBOX},
	{"lock-memory", required_argument, NULL, OPTION_LOCK_MEMORY},
	{"huge-pages", required_argument, NULL, OPTION_HUGE_PAGES},
	{"slot", required_argument, NULL, OPTION_SLOT},
	{"generation", required_argument, NULL, OPTION_GENERATION},
	{"directory", required_argument, NULL, OPTION_DIRECTORY},
	{"file", required_argument, NULL, OPTION_FILE},
	{"name", required_argument, NULL, OPTION_NAME},
	{"io", required_argument, NULL, OPTION_IO},
	{"adapters", required_argument, NULL, OPTION_ADAPTERS},
	{"base-generation", required_argument, NULL, OPTION_BASE_GENERATION},
	{"model", required_argument, NULL, OPTION_MODEL},
	{"cache-to-come", required_argument, NULL, OPTION_CACHE_TO_COME},
	{"heads", required_argument, NULL, OPTION_HEADS},
	{NULL, 0, NULL, 0},
};

/* The values of all options as given, NULL where not. */
typedef struct Arguments
{
	const char *values[N_OPTIONS];
} Arguments;

static void
complain(const char *what, const char *value)
{
	fprintf(stderr, "qwen_engine: %s%s%s\n", what, value ? ": " : "", value ? value : "");
}

/* What somebody who tries it by hand should know. */
static const char usage[] =
	"usage: qwen_engine --version | --help\n"
	"Computes the answers of the extension qwen_pg. PostgreSQL's background worker \"qwen_pg supervisor\" starts it\n"
	"to serve, to load a model or an adapter and to check a file, with descriptors that only the server has; it is "
	"not\n"
	"started by hand. Settings: qwen.* in postgresql.conf. See: man qwen_engine.\n";

/* A number in low … high; false (and a message) otherwise. */
static bool
number(const Arguments *arguments, Option option, uint64_t low, uint64_t high, uint64_t *out)
{
	const char *value = arguments->values[option];
	char *end = NULL;

	errno = 0;
	*out = value && *value >= '0' && *value <= '9' ? strtoull(value, &end, 10) : 0;
	if (!end || *end || errno || *out < low || *out > high)
	{
		complain("missing or impossible value of an option", long_options[option - 1].name);
		return false;
	}
	return true;
}

/* The number types of keys and values and of states; false (and a message): not given, or none. */
static bool
types(const Arguments *arguments, KvType *kv_type, StateType *state_type)
{
	const char *kv = arguments->values[OPTION_KV_CACHE_TYPE], *state = arguments->values[OPTION_STATE_TYPE];

	if (!kv || !kv_type_by_name(kv, kv_type))
		complain("--kv-cache-type must be f16, q8_0, q4 or f32", NULL);
	else if (!state || !state_type_by_name(state, state_type))
		complain("--state-type must be f32 or f16", NULL);
	else
		return true;
	return false;
}

static StatusPage *
map_status_page(void)
{
	StatusPage *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, ENGINE_FD_STATUS, 0);

	if (page == MAP_FAILED)
		complain("cannot map the status page", strerror(errno));
	else if (page->magic != STATUS_PAGE_MAGIC || page->version != STATUS_PAGE_VERSION)
		complain("the status page is of another version", NULL);
	else
		return page;
	return NULL;
}

static int
run_serve(const Arguments *arguments)
{
	uint64_t slots, adapters, threads, kv_cache_bytes, prefill_chunk, max_running, queue_size, speculation, sandbox,
		lock_memory, huge_pages;
	KvType kv_type;
	StateType state_type;
	ServerSettings settings;
	Status status;

	if (!number(arguments, OPTION_SLOTS, 1, STATUS_PAGE_MAX_SLOTS, &slots) ||
		!number(arguments, OPTION_ADAPTERS, 0, STATUS_PAGE_MAX_ADAPTERS, &adapters) ||
		!number(arguments, OPTION_THREADS, 0, 256, &threads) ||
		!number(arguments, OPTION_KV_CACHE_BYTES, 0, (uint64_t) 1 << 50, &kv_cache_bytes) ||
		!number(arguments, OPTION_PREFILL_CHUNK, 1, 65536, &prefill_chunk) ||
		!number(arguments, OPTION_SPECULATION, SPECULATION_OFF, SPECULATION_ALWAYS, &speculation) ||
		!number(arguments, OPTION_MAX_RUNNING, 1, 65536, &max_running) ||
		!number(arguments, OPTION_QUEUE_SIZE, 1, 1 << 30, &queue_size) ||
		!number(arguments, OPTION_SANDBOX, 0, 1, &sandbox) ||
		!number(arguments, OPTION_LOCK_MEMORY, 0, 1, &lock_memory) ||
		!number(arguments, OPTION_HUGE_PAGES, 0, 1, &huge_pages) || !types(arguments, &kv_type, &state_type))
		return 2;
	settings = (ServerSettings){
		.n_slots = (uint32_t) slots,
		.n_adapters = (uint32_t) adapters,
		.n_threads = (int) threads,
		.kv_cache_bytes = kv_cache_bytes,
		.kv_type = kv_type,
		.state_type = state_type,
		.prefill_chunk = (uint32_t) prefill_chunk,
		.speculation = (Speculation) speculation,
		.max_running = (uint32_t) max_running,
		.queue_size = (uint32_t) queue_size,
		.sandbox = sandbox != 0,
		.lock_memory = lock_memory != 0,
		.huge_pages = huge_pages != 0,
		.listener_fd = ENGINE_FD_LISTENER,
		.death_fd = ENGINE_FD_DEATH,
		.first_slot_fd = ENGINE_FD_SLOT_0,
		.page = map_status_page(),
	};
	if (!settings.page)
		return 1;
	status = server_run(&settings);
	if (status.code != STATUS_OK)
		complain(status.message, NULL);
	return status.code == STATUS_OK ? 0 : 1;
}

static int
run_load_adapter(const Arguments *arguments)
{
	uint64_t slot, generation, base_generation;
	AdapterLoadRequest request;
	StatusPage *page;

	if (!number(arguments, OPTION_SLOT, STATUS_PAGE_MAX_SLOTS, STATUS_PAGE_ALL_SLOTS - 1, &slot) ||
		!number(arguments, OPTION_GENERATION, 1, UINT64_MAX, &generation) ||
		!number(arguments, OPTION_BASE_GENERATION, 1, UINT64_MAX, &base_generation))
		return 2;
	if (!arguments->values[OPTION_DIRECTORY] || !arguments->values[OPTION_FILE] || !arguments->values[OPTION_NAME] ||
		!arguments->values[OPTION_MODEL])
	{
		complain("load-adapter needs --directory, --file, --name and --model", NULL);
		return 2;
	}
	page = map_status_page();
	if (!page)
		return 1;
	request = (AdapterLoadRequest){
		.image_fd = ENGINE_FD_SLOT_0,
		.base_fd = ENGINE_FD_BASE,
		.directory = arguments->values[OPTION_DIRECTORY],
		.file = arguments->values[OPTION_FILE],
		.name = arguments->values[OPTION_NAME],
		.model = arguments->values[OPTION_MODEL],
		.generation = generation,
		.base_generation = base_generation,
	};
	return load_mode_run_adapter(&request, &page->slots[slot], ENGINE_FD_DEATH).code == STATUS_OK ? 0 : 1;
}

static int
run_load(const Arguments *arguments)
{
	uint64_t slot, generation, threads, cache_bytes, heads;
	const char *io = arguments->values[OPTION_IO];
	ModelLoadRequest request;
	StatusPage *page;

	if (!number(arguments, OPTION_SLOT, 0, STATUS_PAGE_MAX_SLOTS - 1, &slot) ||
		!number(arguments, OPTION_GENERATION, 1, UINT64_MAX, &generation) ||
		!number(arguments, OPTION_KV_CACHE_BYTES, 0, (uint64_t) 1 << 50, &cache_bytes) ||
		!number(arguments, OPTION_THREADS, 0, 256, &threads) || !number(arguments, OPTION_HEADS, 0, 1, &heads))
		return 2;
	if (!arguments->values[OPTION_DIRECTORY] || !arguments->values[OPTION_FILE] || !arguments->values[OPTION_NAME] ||
		!io || (strcmp(io, "auto") != 0 && strcmp(io, "pread") != 0))
	{
		complain("load needs --directory, --file, --name and --io=auto|pread", NULL);
		return 2;
	}
	page = map_status_page();
	if (!page)
		return 1;
	request = (ModelLoadRequest){
		.image_fd = ENGINE_FD_SLOT_0,
		.directory = arguments->values[OPTION_DIRECTORY],
		.file = arguments->values[OPTION_FILE],
		.name = arguments->values[OPTION_NAME],
		.generation = generation,
		.allow_io_uring = strcmp(io, "auto") == 0,
		.allow_direct_io = strcmp(io, "auto") == 0,
		.n_threads = (int) threads,
		.without_heads = heads == 0,
		.cache_bytes = cache_bytes,
	};
	return load_mode_run(&request, &page->slots[slot], ENGINE_FD_DEATH).code == STATUS_OK ? 0 : 1;
}

static int
run_check(const Arguments *arguments)
{
	CheckSettings settings = {
		.directory = arguments->values[OPTION_DIRECTORY],
		.file = arguments->values[OPTION_FILE],
		.answer_fd = ENGINE_FD_ANSWER,
		.death_fd = ENGINE_FD_DEATH,
	};
	uint64_t heads;
	Status status;

	if (!number(arguments, OPTION_KV_CACHE_BYTES, 0, (uint64_t) 1 << 50, &settings.kv_cache_bytes) ||
		!number(arguments, OPTION_CACHE_TO_COME, 0, (uint64_t) 1 << 50, &settings.cache_bytes) ||
		!number(arguments, OPTION_HEADS, 0, 1, &heads) || !types(arguments, &settings.kv_type, &settings.state_type))
		return 2;
	if (!settings.directory || !settings.file)
	{
		complain("check needs --directory and --file", NULL);
		return 2;
	}
	settings.without_heads = heads == 0;
	status = check_mode_run(&settings);
	if (status.code != STATUS_OK)
		complain(status.message, NULL);
	return status.code == STATUS_OK ? 0 : 1;
}

int
main(int argc, char **argv)
{
	Arguments arguments = {{NULL}};
	int option;

	if (argc == 2 && strcmp(argv[1], "--version") == 0)
	{
		printf("qwen_engine %s\n", QWEN_VERSION);
		return 0;
	}
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
	{
		fputs(usage, stdout);
		return 0;
	}
	/* started by a descriptor, the kernel calls us by its number */
	(void) prctl(PR_SET_NAME, "qwen_engine");
	if (argc < 2)
	{
		complain("started by qwen_pg, not by hand; see the documentation", NULL);
		return 2;
	}
	opterr = 0; /* its messages would not say who we are */
	while ((option = getopt_long(argc - 1, argv + 1, "", long_options, NULL)) != -1)
	{
		if (option < OPTION_SLOTS || option >= N_OPTIONS)
		{
			complain("unknown option, or one without its value", argv[optind]);
			return 2;
		}
		arguments.values[option] = optarg;
	}
	if (optind != argc - 1)
	{
		complain("unexpected argument", argv[optind + 1]);
		return 2;
	}
	if (strcmp(argv[1], "serve") == 0)
		return run_serve(&arguments);
	if (strcmp(argv[1], "load") == 0)
		return run_load(&arguments);
	if (strcmp(argv[1], "load-adapter") == 0)
		return run_load_adapter(&arguments);
	if (strcmp(argv[1], "check") == 0)
		return run_check(&arguments);
	complain("unknown mode", argv[1]);
	return 2;
}
