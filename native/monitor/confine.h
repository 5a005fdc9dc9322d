/*
 * What the monitor gives up when its container is created. It reads bytes that the container controls for as long as
 * that runs. It stays root of the node, since its files are root's, but has no capability any more, gains none by a
 * program, cannot be traced by another process without capabilities, and makes few system calls. Whatever fails here
 * ends nothing.
 */
#ifndef DAVIT_MONITOR_CONFINE_H
#define DAVIT_MONITOR_CONFINE_H

#include "system.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <stddef.h>

#if defined(__x86_64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_X86_64
#else
#define OWN_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#define ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* The kernel kills first what is worth most to kill, and nobody would get the exit code of the container. */
static void protect_from_oom(void) {
  static const char path[] = "/proc/self/oom_score_adj", value[] = "-1000";
  long fd = call4(__NR_openat, AT_FDCWD, (long)path, O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return;
  call4(__NR_write, fd, (long)value, sizeof value - 1, 0);
  close_fd((int)fd);
}

__attribute__((unused)) static void filter_calls(void) {
  static struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCHITECTURE, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      ALLOW(ppoll),
      ALLOW(read),
      ALLOW(writev),
      ALLOW(clock_gettime),
      ALLOW(write),
      ALLOW(recvmsg),
      ALLOW(sendmsg),
      ALLOW(accept4),
      ALLOW(shutdown),
      ALLOW(setsockopt),
      ALLOW(close),
      ALLOW(fcntl),
      ALLOW(fstat),
      ALLOW(ftruncate),
      ALLOW(ioctl),
      ALLOW(madvise),
      ALLOW(wait4),
      ALLOW(openat),
      ALLOW(pread64),
      ALLOW(renameat2),
      ALLOW(unlinkat),
      ALLOW(restart_syscall),
      ALLOW(exit_group),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
  };
  static const struct {
    unsigned short length;
    struct sock_filter *filter;
  } program = {sizeof filter / sizeof *filter, filter};
  call5(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)&program, 0, 0);
}

static void confine(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
  protect_from_oom();
  call5(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  call4(__NR_capset, (long)&header, (long)none, 0, 0);
  call5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  call5(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
#ifndef DAVIT_HOSTED /* a report makes other calls */
  filter_calls();
#endif
}

#endif
