# Coresieve. Quiet unless V=1; everything built lies under build/.
#
#   make all | check | soak | unit | e2e | lint | bench | fuzz | demo | install | uninstall | clean
#
# The pipeline: bpf/*.bpf.c -> .bpf.o -> one linked object -> .skel.h -> user space.

PREFIX     ?= /usr
DESTDIR    ?=
LIBEXECDIR ?= $(PREFIX)/libexec/coresieve
SBINDIR    ?= $(PREFIX)/sbin
B          ?= build
CLANG      ?= clang
BPFTOOL    ?= $(firstword $(shell command -v bpftool) /usr/sbin/bpftool)

# make has a CC of its own, which ?= would not replace.
ifeq ($(origin CC),default)
CC := gcc
endif

V ?= 0
ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' '$(1)' '$(2)'
else
Q :=
say = @:
endif

WARN    := -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes -Wshadow -Wvla \
           -Wformat=2 -Wno-format-nonliteral
CPPFLAGS += -I. -Iuserspace/lib -I$(B) -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
CFLAGS  ?= -O2 -g
BASE    := -std=gnu17 $(WARN) -fstack-protector-strong -fPIE -MMD -MP
HARDEN  := -D_FORTIFY_SOURCE=2
LDFLAGS += -pie -Wl,-z,relro,-z,now,-z,noexecstack
SANITIZE := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

LIB_SRC    := $(sort $(wildcard userspace/lib/*/*.c))
WORKER_SRC := core_pattern/worker.c core_pattern/sandbox.c
HELPER_SRC := $(filter-out $(WORKER_SRC),$(sort $(wildcard core_pattern/*.c)))
CLI_SRC    := $(sort $(wildcard userspace/coresieve/*.c))
BPF_SRC    := $(sort $(wildcard bpf/*.bpf.c))
UNIT_SRC   := $(sort $(wildcard tests/unit/*/test_*.c))
FUZZ_SRC   := $(sort $(wildcard tests/fuzz/fuzz_*.c))
TOOL_SRC   := $(sort $(wildcard tests/tools/*.c))

# What each program links, and no more: the helper must start on a host whose crypto library is
# broken, so that such a host still gets its records.
HELPER_LIBS := -lbpf -ljansson -lmd
WORKER_LIBS := -lelf -ldw -lcrypto -lzstd -lseccomp
CLI_LIBS    := -lbpf -ljansson -lmd -lzstd -lelf -ldw -lcrypto -lseccomp
ALL_LIBS    := $(CLI_LIBS)

obj = $(patsubst %.c,$(B)/$(1)/%.o,$(2))

LIB := $(B)/libcoresieve.a
SAN_LIB := $(B)/libcoresieve-san.a
BINS := $(B)/bin/coresieve-helper $(B)/bin/coresieve-worker $(B)/bin/coresieve
# Libraries to preload are named in TOOL_SO; every other tool is a program.
TOOL_SO := crash_thread
TOOLS := $(foreach t,$(notdir $(TOOL_SRC:.c=)),$(B)/tools/$(t)$(if $(filter $(t),$(TOOL_SO)),.so))
UNITS := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT_SRC))
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(FUZZ_SRC))
SKEL := $(if $(BPF_SRC),$(B)/coresieve.skel.h)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all check soak unit e2e lint bench fuzz fuzz-replay demo install uninstall clean tools
.DEFAULT_GOAL := all

all: $(BINS)
tools: $(TOOLS)

# --- BPF --------------------------------------------------------------------------------------
BPF_OBJ := $(patsubst %.bpf.c,$(B)/%.bpf.o,$(BPF_SRC))

$(B)/%.bpf.o: %.bpf.c
	$(call say,BPF,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) -target bpf -mcpu=v3 -g -O2 -Wall -Wextra -Werror -D__bpf__ -D__TARGET_ARCH_x86 \
	    -I. -I/usr/include/$(shell $(CLANG) -print-multiarch) -MMD -MP -MF $(@:.o=.d) -c $< -o $@

$(B)/coresieve.bpf.o: $(BPF_OBJ)
	$(call say,BPFLINK,$@)
	$(Q)$(BPFTOOL) gen object $@ $^

$(B)/coresieve.skel.h: $(B)/coresieve.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name coresieve_bpf > $@

# --- user space -------------------------------------------------------------------------------
$(B)/obj/%.o: %.c | $(SKEL)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(HARDEN) $(BASE) $(CFLAGS) -c $< -o $@

$(B)/san/%.o: %.c | $(SKEL)
	$(call say,CC-SAN,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(BASE) $(SANITIZE) -c $< -o $@

$(B)/fuzzobj/%.o: %.c | $(SKEL)
	$(call say,CC-FUZZ,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(CPPFLAGS) $(BASE) $(SANITIZE) -fsanitize=fuzzer-no-link -c $< -o $@

$(LIB): $(call obj,obj,$(LIB_SRC))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(SAN_LIB): $(call obj,san,$(LIB_SRC))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

link = $(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) -Wl,--as-needed

$(B)/bin/coresieve-helper: $(call obj,obj,$(HELPER_SRC)) $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(link) $(HELPER_LIBS)

$(B)/bin/coresieve-worker: $(call obj,obj,$(WORKER_SRC)) $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(link) $(WORKER_LIBS)

# The command confines its worker exactly as the helper does: the same sources.
$(B)/bin/coresieve: $(call obj,obj,$(CLI_SRC) $(filter-out core_pattern/helper.c,$(HELPER_SRC))) $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(link) $(CLI_LIBS)

# --- tests ------------------------------------------------------------------------------------
# Tools whose ` * link:` line names the library wait for it.
LIB_TOOLS := $(patsubst tests/tools/%.c,$(B)/tools/%,$(shell grep -l '^ \* link: .*libcoresieve' $(TOOL_SRC)))
$(LIB_TOOLS): $(LIB)

$(B)/tools/%: tests/tools/%.c
	$(call say,TOOL,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 -Wall -Wextra -Werror -O1 -g -MMD -MP -MF $@.d -o $@ $< \
	    -pthread $(subst build/,$(B)/,$(shell sed -n 's/^ \* link: //p' $<))

$(B)/tools/%.so: tests/tools/%.c
	$(call say,TOOL,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 -Wall -Wextra -Werror -O1 -g -shared -fPIC -o $@ $< -pthread

# A unit test may name sources outside of userspace/lib that it tests: ` * with: core_pattern/x.c`.
with = $(patsubst %.c,$(B)/san/%.o,$(shell sed -n 's/^ \* with: //p' tests/unit/$(1).c))

.SECONDEXPANSION:
$(B)/unit/%: $(B)/san/tests/unit/%.o $(B)/san/tests/unit/filter.o $(SAN_LIB) $$(call with,$$*)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(SANITIZE) -pie -o $@ $(filter %.o,$^) $(SAN_LIB) -Wl,--as-needed -lcmocka $(ALL_LIBS)

$(B)/fuzz/%: $(B)/fuzzobj/tests/fuzz/%.o $(call obj,fuzzobj,$(LIB_SRC))
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(SANITIZE) -fsanitize=fuzzer -o $@ $^ -Wl,--as-needed $(ALL_LIBS)

unit: $(UNITS)
	$(Q)scripts/run-unit $(UNITS)

e2e: all tools
	$(Q)scripts/run-e2e

fuzz: $(FUZZERS)
	$(Q)scripts/run-fuzz $(FUZZERS)

fuzz-replay: $(FUZZERS)
	$(Q)scripts/run-fuzz --replay $(FUZZERS)

check: all tools $(UNITS) $(FUZZERS)
	$(Q)scripts/run-all check

soak: all tools $(UNITS) $(FUZZERS)
	$(Q)scripts/run-all soak

bench: all tools
	$(Q)tests/bench/run

demo: all tools
	$(Q)scripts/demo-run

lint: $(SKEL)
	$(Q)scripts/lint

# --- installation -----------------------------------------------------------------------------
install: all
	$(call say,INSTALL,$(DESTDIR)$(PREFIX))
	$(Q)scripts/install --destdir '$(DESTDIR)' --prefix '$(PREFIX)' --libexecdir '$(LIBEXECDIR)' \
	    --sbindir '$(SBINDIR)' --build '$(B)'

uninstall:
	$(Q)scripts/install --uninstall --destdir '$(DESTDIR)' --prefix '$(PREFIX)' \
	    --libexecdir '$(LIBEXECDIR)' --sbindir '$(SBINDIR)' --build '$(B)'

clean:
	$(Q)rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
