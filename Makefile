# A menu over meson and ninja; what is built, and how, stands in meson.build. `make help` lists it.
MESON := /usr/bin/meson
JOBS ?= $(shell nproc)

.PHONY: all check check-san check-tsan check-gpu bench fuzz sim fmt map docs cuda-abi nightly clean help
.DEFAULT_GOAL := all

all: build/build.ninja ## build everything into build/
	@ninja -C build -j$(JOBS)

check: all ## build, then every test; the last line is `N passed, N failed` (./check installs what is missing, too)
	@tools/run_tests.py

check-san: build-san/build.ninja ## unit tests under the address and undefined-behaviour sanitizers
	@ninja -C build-san -j$(JOBS)
	@UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 $(MESON) test -C build-san --no-rebuild --print-errorlogs --num-processes $(JOBS) \
		--timeout-multiplier 10

# What has threads of its own: the ledger, the gate, the arbiter's shell, the OpenCL layer, the front ends over the stand-in drivers, the
# store's writer, the log.
TSAN_TESTS := vgpu/arbiter vgpu/claims vgpu/gate vgpu/ledger vgpu/page vgpu/server shim/opencl shim/settle store/writer store/faults base/log \
	$(addprefix shim/cuda_,edges memory names submit load share lent newer processes late) shim/nvml \
	shim/hip_memory shim/hip_submit shim/hip_names
check-tsan: build-tsan/build.ninja ## unit tests of what has threads, under the thread sanitizer
	@TSAN_OPTIONS=halt_on_error=1:die_after_fork=0 $(MESON) test -C build-tsan --print-errorlogs --num-processes $(JOBS) \
		--timeout-multiplier 10 $(TSAN_TESTS)

check-gpu: all ## check an NVIDIA GPU and the CUDA front end on it: a table, also in check-gpu.txt
	@tests/gpu/run

bench: all ## measure; prints the numbers that docs quote
	@$(call need,bench/run,there are no benchmarks yet)
	@bench/run

fuzz: ## fuzz the parsers
	@$(call need,tests/fuzz/run,there are no fuzzers yet)
	@tests/fuzz/run

SEED ?= $(shell date +%s)
sim: all ## 20 simulated worlds of a million events each, from SEED on (default: the time)
	@build/src/sim/fgpu-sim --seeds 20 --seed $(SEED) --events 1000000

fmt: ## clang-format over src, tests and bench
	@find src tests bench -name '*.[ch]' -exec clang-format -i {} +

map: ## who includes whom, and whether an arrow runs up
	@/usr/bin/python3 tools/map.py

docs: ## the pages that come from the tables in api/
	@$(call need,tools/docs.py,there are no generated pages yet)
	@/usr/bin/python3 tools/docs.py

cuda-abi: ## our declarations of CUDA's driver interface against the cuda.h files found
	@/usr/bin/python3 tools/check_cuda_abi

nightly: export FGPU_LONG = 1
nightly: export FGPU_SEED ?= random
nightly: check check-san check-tsan map bench fuzz sim docs cuda-abi ## all that needs no GPU

clean: ## remove the build folders
	@rm -rf build build-san build-tsan

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r t d; do printf '  make %-10s %s\n' "$$t" "$$d"; done

build/build.ninja:
	@$(MESON) setup build

build-san/build.ninja:
	@$(MESON) setup build-san -Db_sanitize=address,undefined -Db_lundef=false

build-tsan/build.ninja:
	@$(MESON) setup build-tsan -Db_sanitize=thread -Db_lundef=false

# A target whose program is not written yet says so and fails: a silent success would be a claim.
need = test -e $(1) || { echo '$@: $(2) ($(1) is missing)' >&2; exit 1; }
