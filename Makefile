# qwen_pg: builds the extension (PGXS), the engine program and the tests. See README.md and CONTRIBUTING.md.
#
#   make            engine, extension and test programs        make install   into PostgreSQL's folders
#   make demo       everything, and a server to look at        make check     all tests
#   make check-quick  under a minute                           make psql      a shell in the demo server
PG_CONFIG ?= pg_config
PYTHON ?= /usr/bin/python3
CC = gcc
B ?= build

VERSION := 0.1.0
WARNINGS := -Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes -Wshadow
OPTIMIZE ?= -O2
HARDENING ?= -fstack-protector-strong -D_FORTIFY_SOURCE=2
CFLAGS_OWN := -std=gnu11 -g -D_GNU_SOURCE= $(WARNINGS) -ffp-contract=off -fopenmp -fPIE $(HARDENING) -DQWEN_VERSION='"$(VERSION)"'
LDFLAGS_OWN := -fopenmp -pie -Wl,-z,relro,-z,now
LIBRARIES := -luring -lpcre2-8 -lutf8proc -ljansson -lm -lpthread

ENGINE_SOURCES := $(wildcard src/base/*.c src/protocol/*.c src/model/*.c src/model/template/*.c kernels/*.c) \
	$(filter-out src/engine/main.c,$(wildcard src/engine/*.c))
# the kernels of other architectures' instruction sets are left out where they mean nothing
ifneq ($(shell uname -m),x86_64)
ENGINE_SOURCES := $(filter-out %_avx2.c %_avx512.c,$(ENGINE_SOURCES))
endif
ENGINE_OBJECTS := $(ENGINE_SOURCES:%.c=$(B)/%.o)
ENGINE_LIBRARY := $(B)/libqwen_engine.a
ENGINE := $(B)/qwen_engine

EXTENSION_SOURCES := $(wildcard src/extension/*.c src/protocol/*.c src/base/*.c)
EXTENSION_OBJECTS := $(EXTENSION_SOURCES:%.c=$(B)/extension/%.o)
EXTENSION := $(B)/qwen_pg.so

UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))
CHECK_KERNELS := $(B)/tests/kernels/check_kernels
ENGINE_BENCH := $(B)/tests/bench/engine_bench
ENCODE_STDIN := $(B)/tests/golden/tokenizer/encode_stdin
TEST_PROGRAMS := $(UNIT_TESTS) $(CHECK_KERNELS) $(ENGINE_BENCH) $(ENCODE_STDIN)

.SECONDARY:
.DEFAULT_GOAL := all
.PHONY: all engine extension tests install uninstall clean deps format lint
all: engine extension tests
engine: $(ENGINE)
extension: $(EXTENSION)
tests: $(TEST_PROGRAMS)

# ---- engine ---------------------------------------------------------------------------------------------------------
$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "CC $<"; $(CC) $(CFLAGS_OWN) $(OPTIMIZE) $(ISA_FLAGS) -MMD -MP -c $< -o $@

$(B)/kernels/%.o: OPTIMIZE := $(if $(SANITIZE),-O1,-O3)
$(B)/kernels/%_avx2.o: ISA_FLAGS := -mavx2 -mfma -mf16c
$(B)/kernels/%_avx512.o: ISA_FLAGS := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c

$(ENGINE_LIBRARY): $(ENGINE_OBJECTS)
	@rm -f $@
	ar rcs $@ $^

$(ENGINE): $(B)/src/engine/main.o $(ENGINE_LIBRARY)
	$(CC) $(LDFLAGS_OWN) $^ $(LIBRARIES) -o $@

# ---- extension ------------------------------------------------------------------------------------------------------
PG_CPPFLAGS = $(shell $(PG_CONFIG) --cppflags) -I$(shell $(PG_CONFIG) --includedir-server)
PG_CFLAGS = -O2 -g -fPIC -Wall -Wmissing-prototypes -Wpointer-arith -Wendif-labels -Werror=vla -Wformat-security \
	-Werror -fno-strict-aliasing -fwrapv -fexcess-precision=standard -DQWEN_VERSION='"$(VERSION)"'

$(B)/extension/%.o: %.c
	@mkdir -p $(@D)
	@echo "CC (extension) $<"; $(CC) $(PG_CFLAGS) $(PG_CPPFLAGS) -MMD -MP -c $< -o $@

$(EXTENSION): $(EXTENSION_OBJECTS)
	$(CC) -shared -Wl,-z,relro,-z,now $^ -o $@

PG_LIBDIR = $(shell $(PG_CONFIG) --pkglibdir)
PG_EXTDIR = $(shell $(PG_CONFIG) --sharedir)/extension
PG_BINDIR = $(shell $(PG_CONFIG) --bindir)

install: engine extension
	install -d $(DESTDIR)$(PG_LIBDIR) $(DESTDIR)$(PG_EXTDIR) $(DESTDIR)$(PG_BINDIR)
	install -m 755 $(EXTENSION) $(DESTDIR)$(PG_LIBDIR)/qwen_pg.so
	install -m 644 qwen_pg.control sql/qwen_pg--*.sql $(DESTDIR)$(PG_EXTDIR)/
	install -m 755 $(ENGINE) $(DESTDIR)$(PG_BINDIR)/qwen_engine

uninstall:
	rm -f $(DESTDIR)$(PG_LIBDIR)/qwen_pg.so $(DESTDIR)$(PG_EXTDIR)/qwen_pg.control $(DESTDIR)$(PG_EXTDIR)/qwen_pg--*.sql \
		$(DESTDIR)$(PG_BINDIR)/qwen_engine

# ---- test programs --------------------------------------------------------------------------------------------------
$(B)/tests/%: $(B)/tests/%.o $(ENGINE_LIBRARY)
	$(CC) $(LDFLAGS_OWN) $^ -lcmocka $(LIBRARIES) -o $@

clean:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
