/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How others give descriptors to luo_fd_store, the first process: as to systemd's
 * fd store, but for the name of the socket.
 */
#ifndef SELFTESTS_LIVEUPDATE_LIB_LUO_FD_STORE_H
#define SELFTESTS_LIVEUPDATE_LIB_LUO_FD_STORE_H

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/un.h>

/* In the abstract namespace, for datagrams */
#define LUO_FD_STORE_NAME	"luo-fd-store"

/* What comes with a descriptor that is to be kept */
#define LUO_FD_STORE_KEEP	"FDSTORE=1"

static inline socklen_t luo_fd_store_address(struct sockaddr_un *address)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path + 1, LUO_FD_STORE_NAME, strlen(LUO_FD_STORE_NAME));

	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(LUO_FD_STORE_NAME);
}

/* Give a descriptor away, and keep it, too. Returns 0 or -errno. */
static inline int luo_fd_store_keep(int fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(fd))];
	} control = {};
	char keep[] = LUO_FD_STORE_KEEP;
	struct iovec iov = { .iov_base = keep, .iov_len = strlen(keep) };
	struct sockaddr_un address;
	struct msghdr msg = {
		.msg_name = &address,
		.msg_namelen = luo_fd_store_address(&address),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int s, ret;

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));

	s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return -errno;
	ret = sendmsg(s, &msg, 0) < 0 ? -errno : 0;
	close(s);

	return ret;
}

#endif /* SELFTESTS_LIVEUPDATE_LIB_LUO_FD_STORE_H */
