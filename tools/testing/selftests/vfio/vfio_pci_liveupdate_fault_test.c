// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of accesses to a BAR of a vfio-pci device that is frozen for a kexec: a
 * vCPU's and the kernel's own. They wait until the kexec is called off, and can
 * be killed before.
 *
 * Needs two devices bound to vfio-pci, an image loaded with kexec -s -l, and KVM
 * for the vCPU. The second device is preserved after the first, and refuses when
 * an operation on it has not ended for a second: so long the first one is frozen.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_options.h>

#include "kselftest_harness.h"

#define DEVICE_SESSION		"fault"
#define OTHER_SESSION		"fault-other"
#define TOKEN			0x1234

/* How long something may take that happens by itself */
#define PATIENCE_MS		20000
/* For a shorter time than a device waits for operations */
#define LOOK_US			200000

#define NR_ROUNDS		5
#define TEST_SECONDS		180

static const char *device_bdf;
static const char *other_bdf;

FIXTURE(vfio_pci_liveupdate_fault) {
	struct iommu *iommu;
	struct iommu *other_iommu;
	struct vfio_pci_device *device;
	struct vfio_pci_device *other;
	void *bar;
	pid_t reader;
	pthread_t kexec;
	int luo_fd;
	int session_fd;
	int other_session_fd;
};

/* Never returns: reads from a device into a page that nobody delivers. */
static void read_what_never_ends(struct vfio_pci_device *device)
{
	const size_t size = getpagesize();
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	void *page;
	int uffd;

	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	reg.range.start = (uintptr_t)page;
	reg.range.len = size;
	if (page == MAP_FAILED || uffd < 0 || ioctl(uffd, UFFDIO_API, &api) ||
	    ioctl(uffd, UFFDIO_REGISTER, &reg))
		_exit(1);
	pread(device->fd, page, sizeof(u32), device->config_space.offset);
	_exit(2);
}

static bool is_frozen(struct vfio_pci_device *device)
{
	u16 vendor;

	return pread(device->fd, &vendor, sizeof(vendor), device->config_space.offset) < 0 &&
	       errno == EIO;
}

/* Whether the device is frozen, or becomes it, and has been for a while */
static bool freezes(struct vfio_pci_device *device)
{
	int ms;

	for (ms = 0; ms < PATIENCE_MS && !is_frozen(device); ms++)
		usleep(1000);
	usleep(LOOK_US / 2);
	return is_frozen(device);
}

static void *try_kexec(void *arg)
{
	return (void *)(intptr_t)(reboot(RB_KEXEC) ? -errno : 0);
}

/* While it is refused, the device is frozen. */
static void kexec_start(struct __test_metadata *_metadata,
			FIXTURE_DATA(vfio_pci_liveupdate_fault) * self)
{
	ASSERT_EQ(pthread_create(&self->kexec, NULL, try_kexec, NULL), 0);
	ASSERT_TRUE(freezes(self->device));
}

static void kexec_end(struct __test_metadata *_metadata,
		      FIXTURE_DATA(vfio_pci_liveupdate_fault) * self)
{
	void *ret;

	ASSERT_EQ(pthread_join(self->kexec, &ret), 0);
	EXPECT_EQ((intptr_t)ret, -EBUSY);
	EXPECT_TRUE(config_readable(self->device));
}

FIXTURE_SETUP(vfio_pci_liveupdate_fault)
{
	int i;

	self->luo_fd = luo_open_device();
	ASSERT_GE(self->luo_fd, 0);
	self->session_fd = luo_create_session(self->luo_fd, DEVICE_SESSION);
	ASSERT_GE(self->session_fd, 0);
	self->other_session_fd = luo_create_session(self->luo_fd, OTHER_SESSION);
	ASSERT_GE(self->other_session_fd, 0);

	self->iommu = iommu_init(MODE_IOMMUFD);
	self->device = vfio_pci_device_init(device_bdf, self->iommu);
	vfio_pci_cmd_set(self->device, PCI_COMMAND_MEMORY);
	self->other_iommu = iommu_init(MODE_IOMMUFD);
	self->other = vfio_pci_device_init(other_bdf, self->other_iommu);

	for (i = 0; i < PCI_STD_NUM_BARS - 1 && !self->device->bars[i].vaddr; i++)
		continue;
	self->bar = self->device->bars[i].vaddr;
	ASSERT_NE(self->bar, NULL);

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd, TOKEN), 0);
	ASSERT_EQ(luo_session_preserve_fd(self->other_session_fd, self->other->fd, TOKEN), 0);

	self->reader = fork();
	ASSERT_GE(self->reader, 0);
	if (!self->reader)
		read_what_never_ends(self->other);

	/* Time to come to where it waits */
	usleep(300000);
	ASSERT_EQ(waitpid(self->reader, NULL, WNOHANG), 0);
}

FIXTURE_TEARDOWN(vfio_pci_liveupdate_fault)
{
	ASSERT_EQ(kill(self->reader, SIGKILL), 0);
	ASSERT_EQ(waitpid(self->reader, NULL, 0), self->reader);
	ASSERT_EQ(close(self->other_session_fd), 0);
	ASSERT_EQ(close(self->session_fd), 0);
	ASSERT_EQ(close(self->luo_fd), 0);

	vfio_pci_device_cleanup(self->device);
	iommu_cleanup(self->iommu);
	vfio_pci_device_cleanup(self->other);
	iommu_cleanup(self->other_iommu);
}

/* Has the kernel read from a BAR, again and again, and counts. */
static void read_in_kernel(void *bar, u64 *count)
{
	int fds[2];
	u64 word;

	if (pipe(fds))
		_exit(1);
	while (write(fds[1], bar, sizeof(word)) == sizeof(word) &&
	       read(fds[0], &word, sizeof(word)) == sizeof(word))
		WRITE_ONCE(*count, *count + 1);
	_exit(2);
}

/* Whether someone who counts goes on */
static bool counts(const u64 *count)
{
	u64 start = READ_ONCE(*count);
	int ms;

	/* The first one may have been on its way. */
	for (ms = 0; ms < PATIENCE_MS && READ_ONCE(*count) - start < 2; ms++)
		usleep(1000);
	return READ_ONCE(*count) - start >= 2;
}

static bool stands_still(const u64 *count)
{
	u64 start = READ_ONCE(*count);

	usleep(LOOK_US);
	return READ_ONCE(*count) == start;
}

/* What the kernel reads for a process goes on when the kexec is called off. */
TEST_F_TIMEOUT(vfio_pci_liveupdate_fault, read_by_kernel, TEST_SECONDS)
{
	u64 *count;
	pid_t child;
	int i;

	count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	ASSERT_NE(count, MAP_FAILED);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child)
		read_in_kernel(self->bar, count);

	for (i = 0; i < NR_ROUNDS; i++) {
		EXPECT_TRUE(counts(count));
		kexec_start(_metadata, self);
		EXPECT_TRUE(stands_still(count));
		kexec_end(_metadata, self);
	}
	EXPECT_TRUE(counts(count));
	EXPECT_EQ(waitpid(child, NULL, WNOHANG), 0);

	/* It can be killed while it waits, and not only when the device is back. */
	kexec_start(_metadata, self);
	EXPECT_EQ(waitpid(child, NULL, WNOHANG), 0);
	EXPECT_EQ(kill(child, SIGKILL), 0);
	EXPECT_EQ(waitpid(child, NULL, 0), child);
	EXPECT_TRUE(is_frozen(self->device));
	kexec_end(_metadata, self);
	munmap(count, sizeof(*count));
}

#ifdef __x86_64__

#define GUEST_CODE		0x1000
#define GUEST_COUNT		0x2000
#define GUEST_MEMORY		0x3000
#define GUEST_BAR		0x10000

/* In real mode: reads a BAR and counts, for ever. */
static const u8 guest_code[] = {
	0xb8, GUEST_BAR >> 4 & 0xff, GUEST_BAR >> 12,		/* mov $GUEST_BAR >> 4, %ax */
	0x8e, 0xd8,						/* mov %ax, %ds */
	0x31, 0xc0,						/* xor %ax, %ax */
	0x8e, 0xc0,						/* mov %ax, %es */
	0x66, 0xa1, 0x00, 0x00,					/* 1: mov %ds:0, %eax */
	0x26, 0x66, 0xff, 0x06, 0x00, GUEST_COUNT >> 8,		/* incl %es:GUEST_COUNT */
	0xeb, 0xf4,						/* jmp 1b */
};

/* A VM with one vCPU */
struct vm {
	int kvm_fd;
	int fd;
	int vcpu_fd;
	struct kvm_run *run;
	size_t run_size;
	void *memory;
	pthread_t thread;
	bool stop;
	/* What KVM_RUN returned, other than that there was a signal */
	int ret;
	int err;
	u32 exit_reason;
};

static int vm_add_memory(struct vm *vm, u32 slot, u64 address, void *memory, u64 size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = address,
		.memory_size = size,
		.userspace_addr = (uintptr_t)memory,
	};

	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static void *vm_run(void *arg)
{
	struct vm *vm = arg;

	while (!READ_ONCE(vm->stop)) {
		vm->ret = ioctl(vm->vcpu_fd, KVM_RUN, 0);
		vm->err = vm->ret ? errno : 0;
		vm->exit_reason = vm->run->exit_reason;
		if (vm->err != EINTR)
			return NULL;
	}
	vm->err = 0;
	return NULL;
}

static void ignore(int signal)
{
}

static void vm_start(struct __test_metadata *_metadata, struct vm *vm, void *bar)
{
	struct sigaction action = { .sa_handler = ignore };
	struct kvm_regs regs = { .rip = GUEST_CODE, .rflags = 2 };
	struct kvm_sregs sregs;

	vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	ASSERT_GE(vm->fd, 0);
	vm->memory = mmap(NULL, GUEST_MEMORY, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(vm->memory, MAP_FAILED);
	memcpy(vm->memory + GUEST_CODE, guest_code, sizeof(guest_code));
	ASSERT_EQ(vm_add_memory(vm, 0, 0, vm->memory, GUEST_MEMORY), 0);
	ASSERT_EQ(vm_add_memory(vm, 1, GUEST_BAR, bar, getpagesize()), 0);

	vm->vcpu_fd = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	ASSERT_GE(vm->vcpu_fd, 0);
	vm->run_size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
	ASSERT_NE(vm->run, MAP_FAILED);
	ASSERT_EQ(ioctl(vm->vcpu_fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	ASSERT_EQ(ioctl(vm->vcpu_fd, KVM_SET_SREGS, &sregs), 0);
	ASSERT_EQ(ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs), 0);

	ASSERT_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	ASSERT_EQ(pthread_create(&vm->thread, NULL, vm_run, vm), 0);
}

static void vm_end(struct __test_metadata *_metadata, struct vm *vm)
{
	WRITE_ONCE(vm->stop, true);
	WRITE_ONCE(vm->run->immediate_exit, 1);
	pthread_kill(vm->thread, SIGUSR1);
	ASSERT_EQ(pthread_join(vm->thread, NULL), 0);

	munmap(vm->run, vm->run_size);
	close(vm->vcpu_fd);
	close(vm->fd);
	munmap(vm->memory, GUEST_MEMORY);
}

/* A vCPU reads from a BAR, and never learns of a kexec that is called off. */
TEST_F_TIMEOUT(vfio_pci_liveupdate_fault, read_by_vcpu, TEST_SECONDS)
{
	struct vm vm = { .kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC) };
	const u64 *count;
	int i;

	if (vm.kvm_fd < 0)
		SKIP(return, "needs /dev/kvm");
	vm_start(_metadata, &vm, self->bar);
	count = vm.memory + GUEST_COUNT;

	for (i = 0; i < NR_ROUNDS; i++) {
		EXPECT_TRUE(counts(count));
		kexec_start(_metadata, self);
		EXPECT_TRUE(stands_still(count));
		kexec_end(_metadata, self);
	}
	EXPECT_TRUE(counts(count));

	vm_end(_metadata, &vm);
	EXPECT_EQ(vm.err, 0) {
		TH_LOG("KVM_RUN fails with %s, exit reason %u", strerror(vm.err),
		       vm.exit_reason);
	}
	EXPECT_NE(vm.ret, 0) {
		TH_LOG("KVM_RUN returns, exit reason %u", vm.exit_reason);
	}
	close(vm.kvm_fd);
}

#endif

int main(int argc, char *argv[])
{
	int luo_fd, nr_bdfs;
	char **bdfs;

	luo_help(argc, argv, "[-h|-l|-t NAME ...] segment:bus:device.function ...",
		 "Accesses to a BAR of a device that is frozen for a kexec.\n"
		 "Needs two devices that are bound to vfio-pci, and an image that is loaded with\n"
		 "kexec -s -l. The second device refuses each kexec. -h lists the other options.");

	bdfs = vfio_selftests_get_bdfs(&argc, argv, &nr_bdfs);
	luo_fd = luo_open_device();
	if (luo_fd < 0 || nr_bdfs != 2 || !image_is_loaded()) {
		ksft_print_header();
		ksft_exit_skip("needs liveupdate=on, two devices, and an image (kexec -s -l)\n");
	}
	close(luo_fd);

	device_bdf = bdfs[0];
	other_bdf = bdfs[1];
	return test_harness_run(argc, argv);
}
