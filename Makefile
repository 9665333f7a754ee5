# Everything sets itself up: `make demo` and `make test` are all a newcomer needs.
PREFIX ?= /usr/local
CARGO  ?= cargo
export PATH := $(HOME)/.cargo/bin:$(PATH)
# Crates with fuzz targets.
FUZZED := cow-ops nbd cow-files

.PHONY: all demo test test-long bench lint advisories doc install fuzz guest-tests clean
all:
	$(CARGO) build --release

demo:
	@scripts/setup.sh demo
	@$(CARGO) build --release --quiet -p uml-moo -p cowtool -p uml-kernel
	@scripts/demo.sh

# The program that makes every system call, on the host and in the guest: static, so that it needs nothing there.
guest-tests:
	RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=target/guest-tests \
		$(CARGO) build --quiet --release -p guest-tests --target x86_64-unknown-linux-gnu

# All that CI runs.
test:
	scripts/setup.sh test
	$(MAKE) --no-print-directory lint guest-tests
	$(CARGO) build --release -p uml-moo -p cowtool
	$(CARGO) test --workspace --quiet
	tests/kill9.sh 20

# What takes long: kills of merges, mounts and guests, a 100 GiB base, ten minutes of each fuzz target.
test-long: test
	tests/kill9.sh 100
	scripts/mount_kill9.sh 50
	scripts/mount_demo.sh
	uml-kernel/tests/kills.py 100
	tests/big.sh
	tests/debian.sh
	tests/debian_tar.sh
	for crate in $(FUZZED); do $$crate/fuzz/run.sh 600 || exit 1; done

bench:
	scripts/setup.sh bench
	$(CARGO) run --release -p bench
	bench/nbd.sh
	$(CARGO) build --release --quiet -p cowtool
	bench/status.sh target/release/cowtool
	bench/mount.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		for crate in . $(FUZZED:%=%/fuzz); do \
			$(CARGO) deny --log-level error --manifest-path $$crate/Cargo.toml check licenses bans sources || exit 1; done; \
	else echo "SKIPPED: cargo deny: not installed (cargo install --locked cargo-deny)"; fi

# Known flaws of what we stand on; fetches the RustSec database from GitHub.
advisories:
	$(CARGO) deny check advisories

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

fuzz:
	for crate in $(FUZZED); do $$crate/fuzz/run.sh 60 || exit 1; done

install: all
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(addprefix target/release/,uml_moo cowtool uml-kernel hostfs-mirror)
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -d $(DESTDIR)$(PREFIX)/share/man/man8
	target/release/cowtool man $(DESTDIR)$(PREFIX)/share/man/man1
	mv $(DESTDIR)$(PREFIX)/share/man/man1/*.8 $(DESTDIR)$(PREFIX)/share/man/man8
	target/release/uml_moo --man > $(DESTDIR)$(PREFIX)/share/man/man1/uml_moo.1
	target/release/cowtool completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cowtool

clean:
	$(CARGO) clean
	rm -rf demo
