// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of what makes a kexec fail with a vfio-pci device in a session: that it
 * fails with the right reason, that it costs the device nothing, and that the
 * reason is gone once it is undone.
 *
 * Needs two devices bound to vfio-pci and an image loaded with kexec -s -l. The
 * second device is preserved after the first, and always refuses: it makes sure
 * that no kexec happens, and its turn comes only if the first device agreed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <liveupdate_test.h>
#include <luo_options.h>

#include "kselftest_harness.h"

#define DEVICE_SESSION		"freeze"
#define OTHER_SESSION		"freeze-other"
#define LARGE_SESSION		"freeze-large"
#define LARGE_SIZE		SZ_128M
#define DEVICE_TOKEN		0x1234
#define OTHER_TOKEN		0x5678

/* How long runtime power management may take */
#define SUSPEND_TIMEOUT_MS	5000

static const char *device_bdf;
static const char *other_bdf;

FIXTURE(vfio_pci_liveupdate_freeze) {
	struct iommu *iommu;
	struct iommu *other_iommu;
	struct vfio_pci_device *device;
	struct vfio_pci_device *other;
	struct test_memory mem;
	int luo_fd;
	int session_fd;
	int other_session_fd;
};

/* libvfio's drivers enable MSI-X, which would make the device refuse. */
static void driver_init(struct vfio_pci_device *device)
{
	if (!device->driver.ops)
		return;

	vfio_pci_driver_init(device);
	if (device->msi_eventfds[device->driver.msi] >= 0)
		vfio_pci_msix_disable(device);
}

static void driver_remove(struct vfio_pci_device *device)
{
	if (!device->driver.initialized)
		return;

	if (device->msi_eventfds[device->driver.msi] < 0)
		vfio_pci_msix_enable(device, device->driver.msi, 1);
	vfio_pci_driver_remove(device);
}

/* What the device does while kexecs are refused */
static void work_start(struct vfio_pci_device *device, struct test_memory *mem)
{
	u64 size = min_t(u64, mem->half, device->driver.max_memcpy_size);

	if (!device->driver.ops)
		return;

	memset(mem->dst, 0, size);
	vfio_pci_driver_memcpy_start(device, to_iova(device, mem->src),
				     to_iova(device, mem->dst), size,
				     device->driver.max_memcpy_count);
}

static bool work_done(struct vfio_pci_device *device, struct test_memory *mem)
{
	u64 size = min_t(u64, mem->half, device->driver.max_memcpy_size);

	if (!config_readable(device))
		return false;

	return !device->driver.ops ||
	       (!vfio_pci_driver_memcpy_wait(device) &&
		!memcmp(mem->src, mem->dst, size));
}

static bool refused_by_device(const char *why)
{
	return kexec_refused_by(device_bdf, DEVICE_SESSION, DEVICE_TOKEN, why);
}

static bool refused_by_other(void)
{
	return kexec_refused_by(other_bdf, OTHER_SESSION, OTHER_TOKEN,
				"interrupts are enabled");
}

/* While the first device works */
#define EXPECT_REFUSED(_refused) do {					\
	work_start(self->device, &self->mem);				\
	EXPECT_TRUE(_refused);						\
	EXPECT_TRUE(work_done(self->device, &self->mem));		\
} while (0)

FIXTURE_SETUP(vfio_pci_liveupdate_freeze)
{
	self->luo_fd = luo_open_device();
	ASSERT_GE(self->luo_fd, 0);

	self->session_fd = luo_create_session(self->luo_fd, DEVICE_SESSION);
	ASSERT_GE(self->session_fd, 0);
	self->other_session_fd = luo_create_session(self->luo_fd, OTHER_SESSION);
	ASSERT_GE(self->other_session_fd, 0);

	self->iommu = iommu_init(MODE_IOMMUFD);
	self->device = vfio_pci_device_init(device_bdf, self->iommu);
	memory_create(&self->mem, SZ_1M, 0);
	ASSERT_EQ(memory_map_dma(&self->mem, self->device), 0);
	driver_init(self->device);

	self->other_iommu = iommu_init(MODE_IOMMUFD);
	self->other = vfio_pci_device_init(other_bdf, self->other_iommu);
	ASSERT_GT(self->other->msix_info.count, 0);
	vfio_pci_msix_enable(self->other, 0, 1);

	ASSERT_EQ(luo_session_preserve_fd(self->other_session_fd,
					  self->other->fd, OTHER_TOKEN), 0);
}

FIXTURE_TEARDOWN(vfio_pci_liveupdate_freeze)
{
	ASSERT_EQ(close(self->other_session_fd), 0);
	ASSERT_EQ(close(self->session_fd), 0);
	ASSERT_EQ(close(self->luo_fd), 0);

	if (self->device) {
		driver_remove(self->device);
		vfio_pci_device_cleanup(self->device);
	}
	iommu_cleanup(self->iommu);
	vfio_pci_device_cleanup(self->other);
	iommu_cleanup(self->other_iommu);
}

/* One vector, as libvfio does for MSI and MSI-X only */
static int irq_set(int device_fd, unsigned int index, int eventfd)
{
	char buf[sizeof(struct vfio_irq_set) + sizeof(eventfd)] = {};
	struct vfio_irq_set *irq = (void *)buf;

	irq->argsz = sizeof(buf);
	irq->index = index;
	irq->flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE;
	if (eventfd >= 0) {
		irq->flags = VFIO_IRQ_SET_ACTION_TRIGGER |
			     VFIO_IRQ_SET_DATA_EVENTFD;
		irq->count = 1;
		memcpy(irq->data, &eventfd, sizeof(eventfd));
	}

	return ioctl(device_fd, VFIO_DEVICE_SET_IRQS, irq) ? -errno : 0;
}

static bool irq_arrives(struct vfio_pci_device *device, unsigned int index,
			int eventfd)
{
	u64 count;

	vfio_pci_irq_trigger(device, index, 0);
	return read(eventfd, &count, sizeof(count)) == sizeof(count);
}

TEST_F(vfio_pci_liveupdate_freeze, interrupts)
{
	int device_fd = self->device->fd;
	int fd, index;

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, device_fd,
					  DEVICE_TOKEN), 0);
	EXPECT_REFUSED(refused_by_other());

	fd = eventfd(0, EFD_NONBLOCK);
	ASSERT_GE(fd, 0);

	for (index = VFIO_PCI_INTX_IRQ_INDEX; index <= VFIO_PCI_MSIX_IRQ_INDEX; index++) {
		struct vfio_irq_info info = {
			.argsz = sizeof(info),
			.index = index,
		};

		ASSERT_EQ(ioctl(device_fd, VFIO_DEVICE_GET_IRQ_INFO, &info), 0);
		TH_LOG("interrupts of index %d: %u", index, info.count);
		if (!info.count)
			continue;

		ASSERT_EQ(irq_set(device_fd, index, fd), 0);
		EXPECT_REFUSED(refused_by_device("interrupts are enabled"));
		EXPECT_TRUE(irq_arrives(self->device, index, fd));

		ASSERT_EQ(irq_set(device_fd, index, -1), 0);
		EXPECT_REFUSED(refused_by_other());

		ASSERT_EQ(irq_set(device_fd, index, fd), 0);
		EXPECT_TRUE(irq_arrives(self->device, index, fd));
		ASSERT_EQ(irq_set(device_fd, index, -1), 0);
	}

	ASSERT_EQ(close(fd), 0);
}

/* At the start of the first BAR, which is never written: nobody signals it. */
static int ioeventfd_set(struct vfio_pci_device *device, int eventfd)
{
	struct vfio_device_ioeventfd args = {
		.argsz = sizeof(args),
		.flags = VFIO_DEVICE_IOEVENTFD_32,
		.offset = device->bars[0].info.offset,
		.fd = eventfd,
	};

	return ioctl(device->fd, VFIO_DEVICE_IOEVENTFD, &args) ? -errno : 0;
}

TEST_F(vfio_pci_liveupdate_freeze, ioeventfd)
{
	int fd;

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);

	fd = eventfd(0, EFD_NONBLOCK);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ioeventfd_set(self->device, fd), 0);
	EXPECT_REFUSED(refused_by_device("eventfds are connected"));

	ASSERT_EQ(ioeventfd_set(self->device, -1), 0);
	EXPECT_REFUSED(refused_by_other());

	ASSERT_EQ(ioeventfd_set(self->device, fd), 0);
	ASSERT_EQ(ioeventfd_set(self->device, -1), 0);
	ASSERT_EQ(close(fd), 0);
}

static int feature_set(int device_fd, unsigned int feature)
{
	struct vfio_device_feature args = {
		.argsz = sizeof(args),
		.flags = VFIO_DEVICE_FEATURE_SET | feature,
	};

	return ioctl(device_fd, VFIO_DEVICE_FEATURE, &args) ? -errno : 0;
}

static bool in_d0(const char *bdf)
{
	char state[32];

	VFIO_ASSERT_EQ(sysfs_read(bdf, "power_state", state, sizeof(state)), 0);
	return !strcmp(state, "D0");
}

/* Whether the device is asleep, at the latest after a while */
static bool falls_asleep(const char *bdf)
{
	int timeout_ms = SUSPEND_TIMEOUT_MS;

	while (in_d0(bdf) && timeout_ms-- > 0)
		usleep(1000);

	return !in_d0(bdf);
}

TEST_F(vfio_pci_liveupdate_freeze, low_power)
{
	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);

	driver_remove(self->device);
	ASSERT_EQ(feature_set(self->device->fd,
			      VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY), 0);
	ASSERT_TRUE(falls_asleep(device_bdf));
	EXPECT_TRUE(refused_by_device("it is not in D0"));
	EXPECT_FALSE(in_d0(device_bdf));

	ASSERT_EQ(feature_set(self->device->fd,
			      VFIO_DEVICE_FEATURE_LOW_POWER_EXIT), 0);
	ASSERT_TRUE(in_d0(device_bdf));
	driver_init(self->device);
	EXPECT_REFUSED(refused_by_other());
}

/* Send a descriptor to a socket, or receive one: -1 if there is none. */
static int descriptor_send(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] __aligned(8) = {}, data = 0;
	struct iovec iov = { .iov_base = &data, .iov_len = sizeof(data) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));

	return sendmsg(socket, &msg, 0) == sizeof(data) ? 0 : -errno;
}

static int descriptor_receive(int socket)
{
	char control[CMSG_SPACE(sizeof(int))] __aligned(8) = {}, data;
	struct iovec iov = { .iov_base = &data, .iov_len = sizeof(data) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(socket, &msg, 0) != sizeof(data))
		return -1;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -1;

	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

/* Whether the device could interrupt, without a look at it through its file */
static bool has_interrupts(const char *bdf)
{
	u8 config[PCI_CFG_SPACE_SIZE] = {};
	char path[PATH_MAX];
	int fd, pos, ttl;
	u16 command;

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	fd = open(path, O_RDONLY);
	VFIO_ASSERT_GE(fd, 0);
	VFIO_ASSERT_EQ(pread(fd, config, sizeof(config), 0), sizeof(config));
	close(fd);

	memcpy(&command, &config[PCI_COMMAND], sizeof(command));
	if (!(command & PCI_COMMAND_INTX_DISABLE))
		return true;

	pos = config[PCI_CAPABILITY_LIST];
	for (ttl = 48; pos && ttl; ttl--, pos = config[pos + PCI_CAP_LIST_NEXT])
		if (config[pos] == PCI_CAP_ID_MSIX)
			return config[pos + PCI_MSIX_FLAGS + 1] & (PCI_MSIX_FLAGS_ENABLE >> 8);

	return false;
}

static void leave(struct vfio_pci_device **device)
{
	vfio_pci_device_cleanup(*device);
	*device = NULL;
}

/*
 * Whoever has the file, in whatever way, could disable interrupts. Once nobody but
 * the session has it, the kernel does, while the kexec lasts and after it.
 */
TEST_F(vfio_pci_liveupdate_freeze, owner_is_gone)
{
	static const char why[] = "interrupts are enabled";
	static const char done[] = ": its owner is gone, and left ";
	int sockets[2], kmsg, fd, i;
	u64 offset;
	void *page;

	for (i = 0; i < PCI_STD_NUM_BARS - 1 && !self->device->bars[i].vaddr; i++)
		continue;
	ASSERT_NE(self->device->bars[i].vaddr, NULL);
	offset = self->device->bars[i].info.offset;
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);
	driver_remove(self->device);
	vfio_pci_msix_enable(self->device, 0, 1);
	fd = dup(self->device->fd);
	ASSERT_GE(fd, 0);
	page = mmap(NULL, getpagesize(), PROT_READ, MAP_SHARED, fd, offset);
	ASSERT_NE(page, MAP_FAILED);
	leave(&self->device);

	TH_LOG("a descriptor and a mapping are left");
	EXPECT_TRUE(refused_by_device(why));
	ASSERT_EQ(descriptor_send(sockets[0], fd), 0);
	ASSERT_EQ(close(fd), 0);
	ASSERT_EQ(munmap(page, getpagesize()), 0);
	TH_LOG("one that nobody received is left");
	EXPECT_TRUE(refused_by_device(why));

	fd = descriptor_receive(sockets[1]);
	ASSERT_GE(fd, 0);
	TH_LOG("the one that was received is left");
	EXPECT_TRUE(refused_by_device(why));
	EXPECT_EQ(device_get_info(fd), 0);

	page = mmap(NULL, getpagesize(), PROT_READ, MAP_SHARED, fd, offset);
	ASSERT_NE(page, MAP_FAILED);
	ASSERT_EQ(close(fd), 0);
	TH_LOG("a mapping is left");
	EXPECT_TRUE(refused_by_device(why));
	ASSERT_EQ(munmap(page, getpagesize()), 0);

	TH_LOG("nothing is left");
	EXPECT_TRUE(has_interrupts(device_bdf));
	kmsg = kmsg_open();
	EXPECT_TRUE(refused_by_other());
	EXPECT_FALSE(has_interrupts(device_bdf));
	EXPECT_TRUE(kmsg_says(kmsg, done));
	EXPECT_TRUE(refused_by_other());
	EXPECT_FALSE(kmsg_says(kmsg, done));
	close(kmsg);

	/* It is anybody's once the session is closed. */
	ASSERT_EQ(close(self->session_fd), 0);
	self->session_fd = luo_create_session(self->luo_fd, DEVICE_SESSION);
	ASSERT_GE(self->session_fd, 0);
	EXPECT_EQ(ordinary_open(device_bdf), 0);
	close(sockets[0]);
	close(sockets[1]);
}

/* The same with a device that its owner put to sleep, and that others connected to an eventfd */
TEST_F(vfio_pci_liveupdate_freeze, owner_left_it_asleep)
{
	int fd;

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);
	driver_remove(self->device);
	fd = eventfd(0, EFD_NONBLOCK);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ioeventfd_set(self->device, fd), 0);
	vfio_pci_msix_enable(self->device, 0, 1);
	ASSERT_EQ(feature_set(self->device->fd,
			      VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY), 0);
	leave(&self->device);
	ASSERT_TRUE(falls_asleep(device_bdf));

	EXPECT_TRUE(refused_by_other());
	EXPECT_TRUE(in_d0(device_bdf));
	EXPECT_FALSE(has_interrupts(device_bdf));
	EXPECT_TRUE(refused_by_other());

	ASSERT_EQ(close(self->session_fd), 0);
	self->session_fd = luo_create_session(self->luo_fd, DEVICE_SESSION);
	ASSERT_GE(self->session_fd, 0);
	EXPECT_EQ(ordinary_open(device_bdf), 0);
	ASSERT_EQ(close(fd), 0);
}

/* The first page of the first BAR that can be mapped, or -errno */
static int dma_buf_export(struct vfio_pci_device *device)
{
	char buf[sizeof(struct vfio_device_feature) +
		 sizeof(struct vfio_device_feature_dma_buf) +
		 sizeof(struct vfio_region_dma_range)] __aligned(8) = {};
	struct vfio_device_feature *feature = (void *)buf;
	struct vfio_device_feature_dma_buf *dma_buf = (void *)feature->data;
	int fd, i;

	for (i = 0; i < PCI_STD_NUM_BARS - 1 && !device->bars[i].vaddr; i++)
		continue;

	feature->argsz = sizeof(buf);
	feature->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF;
	dma_buf->region_index = i;
	dma_buf->open_flags = O_RDWR | O_CLOEXEC;
	dma_buf->nr_ranges = 1;
	dma_buf->dma_ranges[0].length = getpagesize();

	fd = ioctl(device->fd, VFIO_DEVICE_FEATURE, feature);
	return fd < 0 ? -errno : fd;
}

TEST_F(vfio_pci_liveupdate_freeze, dma_buf)
{
	int fd = dma_buf_export(self->device);

	if (fd == -ENOTTY)
		SKIP(return, "the kernel has no CONFIG_VFIO_PCI_DMABUF");
	ASSERT_GE(fd, 0);

	EXPECT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), -EOPNOTSUPP);
	ASSERT_EQ(close(fd), 0);
	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);
	EXPECT_REFUSED(refused_by_other());

	fd = dma_buf_export(self->device);
	ASSERT_GE(fd, 0);
	EXPECT_REFUSED(refused_by_device("its memory is exported"));

	ASSERT_EQ(close(fd), 0);
	EXPECT_REFUSED(refused_by_other());
}

/* A device that refuses keeps the ones before it, of other sessions or not, as they were. */
TEST_F(vfio_pci_liveupdate_freeze, again_and_again)
{
	int i;

	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->device->fd,
					  DEVICE_TOKEN), 0);
	ASSERT_EQ(luo_session_preserve_fd(self->session_fd, self->mem.fd,
					  OTHER_TOKEN), 0);

	for (i = 0; i < 5; i++)
		EXPECT_REFUSED(refused_by_other());
}

/* What one who preserves a large file and lets go of it, all the time, came to */
struct preserver {
	int stop;
	int preserved;
	int err;
};

static void preserve_until_stopped(int luo_fd, struct preserver *preserver)
{
	int memfd, session_fd, err = 0;

	memfd = memfd_create("large", 0);
	if (memfd < 0 || ftruncate(memfd, LARGE_SIZE))
		err = -errno;
	while (!err && !READ_ONCE(preserver->stop)) {
		session_fd = luo_create_session(luo_fd, LARGE_SESSION);
		err = session_fd < 0 ? session_fd :
				       luo_session_preserve_fd(session_fd, memfd, 1);
		close(session_fd);
		if (!err)
			WRITE_ONCE(preserver->preserved, preserver->preserved + 1);
	}
	preserver->err = err;
}

/* Who preserves a file lets a kexec go first, and never knows of it if that is refused. */
TEST_F(vfio_pci_liveupdate_freeze, beside_one_who_preserves)
{
	struct preserver *preserver;
	int i, status;
	pid_t child;

	preserver = mmap(NULL, sizeof(*preserver), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(preserver, MAP_FAILED);

	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		preserve_until_stopped(self->luo_fd, preserver);
		_exit(0);
	}

	for (i = 0; i < 20; i++) {
		EXPECT_REFUSED(refused_by_other());
		/* In the middle of it, most of the time */
		usleep(i * 10000);
	}
	WRITE_ONCE(preserver->stop, 1);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(preserver->err, 0);
	EXPECT_GT(preserver->preserved, 0);
	munmap(preserver, sizeof(*preserver));
}

/* Never returns: keeps the lock of a memfd, and waits for a page that nobody delivers. */
static void write_what_never_comes(int memfd)
{
	const size_t size = getpagesize();
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	void *page;
	int uffd;

	page = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	reg.range.start = (uintptr_t)page;
	reg.range.len = size;
	if (page == MAP_FAILED || uffd < 0 || ioctl(uffd, UFFDIO_API, &api) ||
	    ioctl(uffd, UFFDIO_REGISTER, &reg))
		_exit(1);
	write(memfd, page, size);
	_exit(2);
}

/* Whether a process still runs, after a while in which it comes to where it waits */
static bool still_runs(pid_t pid)
{
	usleep(300000);
	return !waitpid(pid, NULL, WNOHANG);
}

static bool dies(pid_t pid)
{
	int status;

	return !kill(pid, SIGKILL) && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status);
}

/* Who has user space keep him waiting keeps nobody else, and can be killed. */
TEST_F(vfio_pci_liveupdate_freeze, beside_one_who_waits_for_user_space)
{
	pid_t writer, preserver;
	int memfd, session_fd;

	memfd = memfd_create("never", 0);
	ASSERT_GE(memfd, 0);
	ASSERT_EQ(ftruncate(memfd, SZ_1M), 0);
	session_fd = luo_create_session(self->luo_fd, LARGE_SESSION);
	ASSERT_GE(session_fd, 0);

	writer = fork();
	ASSERT_GE(writer, 0);
	if (!writer)
		write_what_never_comes(memfd);
	ASSERT_TRUE(still_runs(writer));

	preserver = fork();
	ASSERT_GE(preserver, 0);
	if (!preserver)
		_exit(luo_session_preserve_fd(session_fd, memfd, 1) ? 1 : 0);
	ASSERT_TRUE(still_runs(preserver));

	EXPECT_REFUSED(refused_by_other());
	EXPECT_REFUSED(refused_by_other());
	EXPECT_TRUE(dies(preserver));
	EXPECT_TRUE(dies(writer));

	/* Nor does who lets go of the file wait. */
	ASSERT_EQ(luo_session_preserve_fd(session_fd, memfd, 1), 0);
	writer = fork();
	ASSERT_GE(writer, 0);
	if (!writer)
		write_what_never_comes(memfd);
	ASSERT_TRUE(still_runs(writer));
	EXPECT_EQ(close(session_fd), 0);
	EXPECT_REFUSED(refused_by_other());
	EXPECT_TRUE(dies(writer));
	close(memfd);
}

int main(int argc, char *argv[])
{
	int luo_fd, nr_bdfs;
	char **bdfs;

	luo_help(argc, argv, "[-h|-l|-t NAME ...] segment:bus:device.function ...",
		 "What makes a kexec fail with a preserved device, and that it costs nothing.\n"
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
