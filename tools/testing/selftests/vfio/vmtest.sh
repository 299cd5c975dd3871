#!/bin/bash
# SPDX-License-Identifier: GPL-2.0

set -ue

test_dir=$(realpath "$(dirname "$0")")
kernel_dir=$(realpath "$test_dir/../../../..")
liveupdate_dir=$(realpath "$test_dir/../liveupdate")

workspace_dir=""
build_dir=""
KEEP_WORKSPACE=0
QEMU_CMD="qemu-system-x86_64"
TIMEOUT=600s

# Each test with the devices that it needs, each behind a root port of its own
TESTS=(
	vfio_pci_liveupdate_kexec_test
	vfio_pci_liveupdate_life_test
	vfio_pci_liveupdate_order_test
	vfio_pci_liveupdate_unhappy_test
)

source "$test_dir/../kselftest/ktap_helpers.sh"

function usage() {
	cat <<USAGE
$0 [-d build_dir] [-j jobs] [-T test_name]... [-w workspace_dir] [-k] [-h]
Options:
	-d)	path to the kernel build directory (default: .vfio_test_build.x86)
	-j)	number of jobs for compilation
	-T)	test to run, can be repeated (default: all)
	-w)	custom workspace directory (default: creates temp dir)
	-k)	keep workspace directory
	-h)	display this help

Builds a kernel with LLVM and Rust, and runs tests in a VM of QEMU's, with an
emulated Intel VT-d, through a kexec each. Needs static libraries of the C library
and of libuuid.

Tests: ${TESTS[*]}
USAGE
}

function cleanup() {
	if [ "$KEEP_WORKSPACE" -eq 1 ]; then
		echo "# Workspace preserved at: $workspace_dir"
	else
		rm -fr "$workspace_dir"
	fi
}

# Nothing can be run: $1 says why.
function skip_all() {
	ktap_skip_all "$1"
	exit "$KSFT_SKIP"
}

function fail_all() {
	echo "Bail out! $1"
	exit "$KSFT_FAIL"
}

function devices_of() {
	case $1 in
	vfio_pci_liveupdate_kexec_test)		echo igb e1000e ;;
	vfio_pci_liveupdate_life_test)		printf 'igb %.0s' {1..9} ;;
	vfio_pci_liveupdate_order_test)		printf 'virtio-net-pci %.0s' {1..6} ;;
	vfio_pci_liveupdate_unhappy_test)	printf 'virtio-net-pci %.0s' {1..14} ;;
	*)					return 1 ;;
	esac
}

# In which stages the test binds the devices itself
function unbound_in() {
	case $1 in
	vfio_pci_liveupdate_order_test)		echo 2 ;;
	esac
}

function cmdline_of() {
	case $1 in
	vfio_pci_liveupdate_life_test)		echo vfio_pci.enable_sriov=1 ;;
	esac
}

function check_host() {
	local device

	[ "$(uname -m)" = x86_64 ] || skip_all "needs an x86_64 host"
	command -v "$QEMU_CMD" >/dev/null || skip_all "$QEMU_CMD not found"
	for device in intel-iommu igb e1000e virtio-net-pci; do
		"$QEMU_CMD" -device help | grep "\"$device\"" >/dev/null ||
			skip_all "$QEMU_CMD has no $device"
	done
}

function build_kernel() {
	local make_cmd=$1
	local config="$build_dir/.config"
	local wanted="$build_dir/vfio.config"

	$make_cmd rustavailable >/dev/null 2>&1 ||
		skip_all "no Rust for the kernel: make LLVM=1 rustavailable says why"

	echo "# Building kernel in: $build_dir"
	sort -u "$liveupdate_dir/config" "$liveupdate_dir/config.x86_64" \
		"$test_dir/config" "$test_dir/config.x86_64" | tee "$config" >"$wanted"
	$make_cmd olddefconfig || return 1

	# What an option needs may be missing, or another architecture's.
	while read -r opt; do
		case $opt in
		CONFIG_SERIAL_AMBA_*) ;;
		*) grep -x "$opt" "$config" >/dev/null || skip_all "$opt is missing" ;;
		esac
	done <"$wanted"

	$make_cmd bzImage && $make_cmd headers
}

function build_tests() {
	local include="$build_dir/usr/include"

	mkdir -p "$workspace_dir/tests"
	make -s -C "$test_dir" OUTPUT="$workspace_dir/tests"			\
		KHDR_INCLUDES="-isystem $include" LDFLAGS="-static -pthread" &&	\
	gcc -static -O2 -Wall -o "$workspace_dir/test_binary"			\
		"$test_dir/vmtest_run.c" &&					\
	gcc -s -static -Os -nostdinc -nostdlib					\
		-fno-asynchronous-unwind-tables -fno-ident			\
		-fno-stack-protector						\
		-I "$include"							\
		-I "$kernel_dir/tools/include/nolibc"				\
		-o "$workspace_dir/init" "$liveupdate_dir/init.c"
}

function mkinitrd() {
	local kernel=$1
	local test_name=$2
	local list="$workspace_dir/cpio_list"

	unbound_in "$test_name" >"$workspace_dir/unbound"
	cat >"$list" <<LIST
dir /dev 0755 0 0
dir /proc 0755 0 0
dir /sys 0755 0 0
dir /debugfs 0755 0 0
nod /dev/console 0600 0 0 c 5 1
file /init $workspace_dir/init 0755 0 0
file /test_binary $workspace_dir/test_binary 0755 0 0
file /vfio_test $workspace_dir/tests/$test_name 0755 0 0
file /unbound $workspace_dir/unbound 0644 0 0
LIST
	"$build_dir/usr/gen_init_cpio" "$list" >"$workspace_dir/inner_initrd.cpio"
	cat >>"$list" <<LIST
file /kernel $kernel 0644 0 0
file /initrd.img $workspace_dir/inner_initrd.cpio 0644 0 0
LIST
	"$build_dir/usr/gen_init_cpio" "$list" >"$workspace_dir/initrd.cpio"
}

# Both stages: results are in $workspace_dir/$test_name.results.
function run_qemu() {
	local kernel=$1
	local test_name=$2
	local console="$workspace_dir/$test_name.console"
	local results="$workspace_dir/$test_name.results"
	local devices=()
	local device
	local n=0

	for device in $(devices_of "$test_name"); do
		n=$((n + 1))
		devices+=(-device "pcie-root-port,id=rp$n,chassis=$n,addr=$n")
		devices+=(-device "$device,bus=rp$n,romfile=")
	done

	: >"$results"
	echo "# Console of $test_name: $console"
	timeout "$TIMEOUT" \
	"$QEMU_CMD" -M q35,kernel-irqchip=split -accel kvm -accel tcg -cpu max	\
		-m 2G -smp 2 -no-reboot -nodefaults -display none		\
		-serial file:"$console" -serial file:"$results"			\
		-device intel-iommu,intremap=on "${devices[@]}"			\
		-kernel "$kernel" -initrd "$workspace_dir/initrd.cpio"		\
		-append "console=ttyS0 liveupdate=on panic=-1 $(cmdline_of "$test_name")" \
		>"$workspace_dir/$test_name.qemu" 2>&1 || return 1

	grep "INIT: Stage 2 completed successfully" "$console" >/dev/null
}

function main() {
	local jobs=$(nproc)
	local names=()
	local workspace_arg=""
	local make_cmd
	local kernel
	local name

	while getopts 'hd:j:T:w:k' opt; do
		case $opt in
		d) build_dir="$OPTARG" ;;
		j) jobs="$OPTARG" ;;
		T) names+=("$OPTARG") ;;
		w) workspace_arg="$OPTARG" ;;
		k) KEEP_WORKSPACE=1 ;;
		h) usage; exit 0 ;;
		*) usage; exit 1 ;;
		esac
	done
	[ ${#names[@]} -gt 0 ] || names=("${TESTS[@]}")
	for name in "${names[@]}"; do
		devices_of "$name" >/dev/null || { usage; exit 1; }
	done

	ktap_print_header
	check_host
	if [ -n "$workspace_arg" ]; then
		workspace_dir="$(realpath -m "$workspace_arg")"
		mkdir -p "$workspace_dir"
		# Not ours to remove
		KEEP_WORKSPACE=1
	else
		workspace_dir=$(mktemp -d /tmp/vfio-test.XXXXXXXX)
	fi
	trap cleanup EXIT
	echo "# Workspace created at: $workspace_dir"

	[ -n "$build_dir" ] || build_dir="$kernel_dir/.vfio_test_build.x86"
	mkdir -p "$build_dir"
	build_dir=$(realpath "$build_dir")
	make_cmd="make -s LLVM=1 ARCH=x86 -j$jobs -C $kernel_dir O=$build_dir"
	kernel="$build_dir/arch/x86/boot/bzImage"
	build_kernel "$make_cmd" || fail_all "the kernel cannot be built"
	build_tests || fail_all "the tests cannot be built"

	ktap_set_plan ${#names[@]}
	for name in "${names[@]}"; do
		mkinitrd "$kernel" "$name"
		if run_qemu "$kernel" "$name"; then
			sed 's/^/# /' "$workspace_dir/$name.results"
			ktap_test_pass "$name"
		else
			sed 's/^/# /' "$workspace_dir/$name.results"
			ktap_test_fail "$name"
		fi
	done
	ktap_finished
}

main "$@"
