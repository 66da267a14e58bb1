# make run, make test: each sets up what it needs first.

NIGHTLY_TARGET := x86_64-unknown-linux-gnu
LISTEN ?= 127.0.0.1:8443
PREFIX ?= /usr/local
TO = $(DESTDIR)$(PREFIX)
FUZZ_SECONDS ?= 60
MINUTES ?= 60
FUZZ_TARGETS ?= calls keys params uri
# DPDK's devices, where DPDK is installed. (Asked when it is used: after setup.)
DPDK = $(shell pkg-config --exists libdpdk && echo --features dpdk)
# What cargo-fuzz would set.
FUZZ := RUSTFLAGS="-Zsanitizer=address --cfg spinlane_asan -Cpasses=sancov-module \
	-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
O4 := $(CURDIR)/.deps/openssl4
OPENSSL4 := OPENSSL_DIR=$(O4) LD_LIBRARY_PATH=$(O4)/lib PATH=$(O4)/bin:$(PATH) CPATH=$(O4)/include LIBRARY_PATH=$(O4)/lib
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)

.PHONY: help setup run test check check-abi install test-openssl4 test-debian13 fuzz fuzz-net bench loom tsan tsan-pkcs11 asan asan-core valgrind soak wire

help: ## Say what there is to make.
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## Install what building and testing need.
	@tools/setup/setup.sh

run: setup ## Serve HTTPS on LISTEN with a throw-away certificate and a built-in responder.
	cargo build --release --package spinlane-tools $(DPDK)
	target/release/spinlane proxy --listen $(LISTEN) --backend respond

test: setup ## Run every test.
	cargo test --workspace $(DPDK)

check: ## Formatting, lints, documentation, scripts, dependencies. Installs nothing: what is not here is skipped, and said.
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets $(DPDK) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps $(DPDK)
	tools/gate.sh scripts licences advisories unused

check-abi: ## Compare spinlane.h with that of the last release (needs abigail-tools): what was built then must still run.
	tools/check_abi.sh

install: ## Put libspinlane.so (with DPDK, if that is here), spinlane.h, a pkg-config file and a CMake package under PREFIX (and DESTDIR).
	cargo build --release --package spinlane-capi $(DPDK)
	install -d $(TO)/lib/pkgconfig $(TO)/lib/cmake/spinlane $(TO)/include $(TO)/share/spinlane
	install -m 755 target/release/libspinlane.so $(TO)/lib/libspinlane.so.$(VERSION)
	ln -sf libspinlane.so.$(VERSION) $(TO)/lib/libspinlane.so.0
	ln -sf libspinlane.so.0 $(TO)/lib/libspinlane.so
	install -m 644 crates/capi/include/spinlane.h $(TO)/include
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' crates/capi/spinlane.pc.in >$(TO)/lib/pkgconfig/spinlane.pc
	for part in config config-version; do sed 's|@VERSION@|$(VERSION)|' crates/capi/spinlane-$$part.cmake.in \
		>$(TO)/lib/cmake/spinlane/spinlane-$$part.cmake || exit 1; done
	sed 's|@PREFIX@|$(PREFIX)|g' crates/capi/openssl.cnf >$(TO)/share/spinlane/openssl.cnf

test-openssl4: setup ## Run what speaks to OpenSSL against OpenSSL 4.0, which is built first.
	tools/setup/openssl4.sh
	$(OPENSSL4) cargo test --target-dir target/openssl4 --package spinlane-openssl --package spinlane-capi

test-debian13: ## Run every test on Debian 13, in a root that debootstrap makes (needs root and debootstrap).
	tools/debian13.sh

# Afterwards, inputs that add nothing are thrown away.
fuzz: setup ## Fuzz the C entry points and PKCS#11 URIs (FUZZ_TARGETS), FUZZ_SECONDS each (needs a nightly toolchain).
	$(FUZZ) cargo +nightly build --release --manifest-path crates/capi/fuzz/Cargo.toml \
		--target $(NIGHTLY_TARGET) --target-dir target/fuzz
	crates/capi/fuzz/seed.sh target/fuzz/corpus
	cd target/fuzz && for target in $(FUZZ_TARGETS); do \
		run=$(NIGHTLY_TARGET)/release/$$target all=corpus/$$target few=corpus/$$target.few; \
		$$run -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=60 -print_final_stats=1 $$all && \
			rm -rf $$few && mkdir $$few && $$run -merge=1 $$few $$all && rm -rf $$all && mv $$few $$all || exit 1; \
	done

# Needs neither OpenSSL nor DPDK.
fuzz-net: ## Fuzz what strangers' frames and segments reach, FUZZ_SECONDS each (needs a nightly toolchain).
	$(FUZZ) cargo +nightly build --release --manifest-path crates/net/fuzz/Cargo.toml \
		--target $(NIGHTLY_TARGET) --target-dir target/fuzz
	cd target/fuzz && for target in frame segments; do mkdir -p corpus/$$target && \
		$(NIGHTLY_TARGET)/release/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=60 \
			-print_final_stats=1 corpus/$$target || exit 1; \
	done

bench: setup ## Criterion benches, whether OpenSSL is measured at its best, then whole handshakes.
	cargo bench --package spinlane-benches
	cargo build --release --package spinlane-tools $(DPDK)
	target/release/spinlane speed --check-peers
	target/release/spinlane bench handshake --tls openssl --cert rsa2048 --protocol 1.3
	target/release/spinlane bench handshake --tls openssl --cert p256 --protocol 1.3

loom: ## Model-check the ring, how clients attach to crypto cores, and how a token's workers sleep and are replaced.
	RUSTFLAGS="--cfg loom" cargo test --package spinlane-ring --release --test loom --target-dir target/loom
	RUSTFLAGS="--cfg loom" cargo test --package spinlane-driver-lookaside --release --lib --target-dir target/loom
	RUSTFLAGS="--cfg loom" cargo test --package spinlane-driver-pkcs11 --release --lib --target-dir target/loom

tsan: tsan-pkcs11 ## Run the stress test of the ring and the tests of the PKCS#11 driver under ThreadSanitizer (needs a nightly toolchain, with rust-src).
	RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" cargo +nightly test \
		--package spinlane-ring --test stress --target $(NIGHTLY_TARGET) --target-dir target/tsan

# The standard library is instrumented too: otherwise the sanitizer takes its locks for none. A sanitized process cannot fork and
# then make threads, and is slow, so that the tests go one by one. Its symbolizer would be a process whose pipes the tests take for
# leaked descriptors: without it a report has modules and offsets, which addr2line makes names of.
tsan-pkcs11:
	cargo build --package spinlane-pkcs11-shim
	PKCS11_TEST_SHIM=$(CURDIR)/target/debug/libspinlane_pkcs11_shim.so \
		TSAN_OPTIONS=external_symbolizer_path=:suppressions=$(CURDIR)/crates/drivers/pkcs11/tests/tsan.supp \
		RUSTFLAGS="-Zsanitizer=thread" \
		cargo +nightly test -Zbuild-std --package spinlane-driver-pkcs11 --lib --test failures --test queue_pair \
		--target $(NIGHTLY_TARGET) --target-dir target/tsan -- --test-threads 1 --skip forked_child

# An abandoned job leaks what its frames owned (in stock OpenSSL too): tests that abandon run without
# the leak check. The sanitizer's frames do not fit the smallest stack.
ABANDON := ssl_free_on_a_paused a_wait_ctx_freed_under jobs_do_what_their_model_does abandoning_gives
ASAN := RUSTFLAGS="-Zsanitizer=address --cfg spinlane_asan" cargo +nightly test --target $(NIGHTLY_TARGET) --target-dir target/asan

asan: asan-core ## Run fibers, jobs, dropped connections and DPDK under AddressSanitizer (needs a nightly toolchain).
	$(ASAN) --tests --package spinlane-rustls
	$(if $(DPDK),ASAN_OPTIONS=detect_leaks=0 $(ASAN) --package spinlane-driver-dpdk $(DPDK) \
		--lib --test aead --test curves --test device --test lcore)

asan-core: setup ## What of it CI runs: fibers, jobs, libssl's connections.
	$(ASAN) --tests --package spinlane-fiber
	$(ASAN) --tests --package spinlane-job -- --skip smallest_stack $(ABANDON:%=--skip %)
	$(ASAN) --package spinlane-openssl --test abi --test ssl -- $(ABANDON:%=--skip %)
	ASAN_OPTIONS=detect_leaks=0 $(ASAN) --package spinlane-job --test model --test start_job -- $(ABANDON)
	ASAN_OPTIONS=detect_leaks=0 $(ASAN) --package spinlane-openssl --test abi --test ssl -- $(ABANDON)

wire: ## What testssl.sh, sslscan, tlslite-ng and tlsfuzzer (TLSFUZZER=DIR) see of the proxy and of the stock libraries; docs/wire.md.
	tools/wire.sh

valgrind: setup ## Run the C programs of the tests under memcheck and helgrind.
	cargo test --package spinlane-capi --test valgrind -- --ignored --nocapture

soak: setup ## Run simulated devices and resumed handshakes for MINUTES: no rule is broken, no op fails, memory stays flat.
	tools/soak.sh $(MINUTES)
