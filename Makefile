# SPDX-License-Identifier: GPL-2.0
# The harness only: this file is never copied into a kernel tree.
#
# Everything runs in a Debian build root that tools/enter makes on first use;
# the work is done by the Rust program in tools/.

LU := ./tools/enter lu
.DEFAULT_GOAL := help
.PHONY: help run test test-full test-debug bench bench-full legend check tree build patches mail install-into uninstall-from shell clean

# Read by tools/enter, which passes them on.
export CASE J KSRC

# Names have any characters in them: the shell takes these two from the environment.
export FROM BASE

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## Live Update of passthrough devices.  Commands:
##   make run               boot a VM, carry an igb on vfio-pci through two live updates, say and plot what happened
##   make test [T=names]    everything: VM tests, KUnit, host tests, cheap checks; T= runs VM tests by name or
##                          pattern: T="luo-kexec forged-*@debug"; T=--list names them
##   make test-full         the same, and what only repeats other tests with other properties
##   make test-debug [T=names]  the VM tests, or those of T= or CASE=, on debug kernels only
##   make test CASE=FILE    the VM tests that a file describes, which is wherever you have it
##   make bench [T=names]   what a live update costs, in instructions: figures, JSON and a plot
##   make bench-full        the same, up to a TiB that is mapped in small pages
##   make legend            what each VM test shows, and which pitfalls it covers
##   make check             formatting, clippy, checkpatch, rustdoc, kernel-doc, the pages of Documentation,
##                          layering, names in ARCHITECTURE.md, the patch series per commit
##   make tree              the patched kernel tree alone (FORCE=1 drops commits not in patches/)
##   make build             the kernel and the kselftests alone
##   make patches           regenerate patches/ from the commits in that tree
##   make mail FROM="Name <address>" [BASE=commit]
##                          write all as series of mails, one per subsystem, from whoever sends them
##   make install-into KSRC=/path     put our code and patches into your own 7.3.y tree
##   make uninstall-from KSRC=/path   take them out again
##   make shell             a shell in the build root (checkout at /src, cache at /cache)
##   make clean             remove the cache, after naming it
## Variables:
##   KSRC=/path             use this 7.3.y tree instead of Debian's newest linux-source-7.3
##   J=n                    parallel jobs (default: all processors)
##   CASE=FILE              a file of VM tests, as tools/tests/README.md describes them
##   LIVEUPDATE_RS_CACHE=/path        where all outputs go (default: ~/.cache/liveupdate_rs)

run:
	@$(LU) run

test:
	@set -f; $(LU) test $(T)

test-full:
	@$(LU) test --full

test-debug:
	@set -f; $(LU) test --debug $(T)

bench:
	@set -f; $(LU) bench $(T)

bench-full:
	@$(LU) bench --full

legend:
	@$(LU) legend

check:
	@$(LU) check

tree:
	@$(LU) tree $(if $(FORCE),--force)

build:
	@$(LU) build

patches:
	@$(LU) patches

mail:
	@$(LU) mail --from="$$FROM" $${BASE:+--base="$$BASE"}

install-into:
	@$(LU) $(if $(REVERT),uninstall-from,install-into)

uninstall-from:
	@$(LU) uninstall-from

shell:
	@./tools/enter bash

clean:
	@./tools/enter --clean
