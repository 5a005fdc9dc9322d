/*
 * Pinned namespaces and sysctls. A job that changes the namespaces of its thread runs on a thread of its own,
 * which ends afterwards. Each job does all of its steps in one call and leaves no pin
 * behind when one of them fails, because the caller cannot know which steps succeeded.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

const struct pin_kind pin_kinds[PIN_COUNT] = {
    {CLONE_NEWNET, "/proc/thread-self/ns/net"},
    {CLONE_NEWIPC, "/proc/thread-self/ns/ipc"},
    {CLONE_NEWUTS, "/proc/thread-self/ns/uts"},
};

/* A new network namespace has only `lo`, and it is down (network_namespaces(7)). */
int lo_up(struct fault *fault) {
  struct ifreq request;
  int rc = 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* any socket accepts interface ioctls */
  if (fd < 0) return fault_set(fault, "socket", "lo");
  memset(&request, 0, sizeof request);
  memcpy(request.ifr_name, "lo", 3);
  if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
    rc = fault_set(fault, "get flags of", "lo");
  } else {
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0) rc = fault_set(fault, "bring up", "lo");
  }
  close(fd);
  return rc;
}

/* O_EXCL: an existing file belongs to another sandbox, and must not be mounted over or unlinked. */
int pin_one(struct fault *fault, const char *source, const char *path) {
  int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
  if (fd < 0) return fault_set(fault, "create", path);
  close(fd);
  if (mount(source, path, NULL, MS_BIND, NULL) < 0) {
    fault_set(fault, "bind namespace to", path);
    unlink(path);
    return -1;
  }
  return 0;
}

void unpin_one(const char *path) {
  umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
  unlink(path);
}

/* strings: net, ipc, uts paths and the hostname, each or null */
static void pin_namespaces(struct job *job) {
  int flags = 0, pinned = 0;
  const char *hostname = job->strings[PIN_COUNT];
  for (int i = 0; i < PIN_COUNT; i++) {
    if (job->strings[i] != NULL) flags |= pin_kinds[i].flag;
  }
  /* Without a new uts namespace sethostname would rename the host. */
  if (flags == 0 || (hostname != NULL && !(flags & CLONE_NEWUTS))) {
    fault_set_errno(&job->fault, EINVAL, "pin namespaces", hostname);
    return;
  }
  if (unshare(flags) < 0) {
    fault_set(&job->fault, "unshare", "");
    return;
  }
  if ((flags & CLONE_NEWNET) && lo_up(&job->fault) < 0) return;
  if (hostname != NULL && sethostname(hostname, strlen(hostname)) < 0) {
    fault_set(&job->fault, "sethostname", hostname);
    return;
  }
  for (int i = 0; i < PIN_COUNT; i++) {
    if (job->strings[i] == NULL) continue;
    if (pin_one(&job->fault, pin_kinds[i].source, job->strings[i]) < 0) break;
    pinned |= 1 << i;
  }
  if (job->fault.err == 0) return;
  for (int i = 0; i < PIN_COUNT; i++) {
    if (pinned & (1 << i)) unpin_one(job->strings[i]);
  }
}

/*
 * strings: paths. Tries all of them and reports the first failure. EINVAL: not a mount point (any
 * more). pin_one made the files.
 */
static void unpin_namespaces(struct job *job) {
  for (size_t i = 0; i < job->string_count; i++) {
    const char *path = job->strings[i], *call = NULL;
    if (path == NULL) continue;
    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT) {
      call = "umount2";
    } else if (unlink(path) < 0 && errno != ENOENT) {
      call = "unlink";
    }
    if (call != NULL && job->fault.err == 0) fault_set(&job->fault, call, path);
  }
}

int enter_namespace(struct fault *fault, const char *path, int kind) {
  if (path == NULL) return 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fault_set(fault, "open namespace", path);
  int rc = setns(fd, kind);
  if (rc < 0) fault_set(fault, "setns", path);
  close(fd);
  return rc;
}

int write_file(struct fault *fault, const char *path, const char *value) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return fault_set(fault, "open", path);
  size_t length = strlen(value);
  ssize_t written = write(fd, value, length);
  if (written < 0) fault_set(fault, "write", path);
  else if ((size_t)written != length) fault_set_errno(fault, EIO, "write", path);
  close(fd);
  return fault->err == 0 ? 0 : -1;
}

/*
 * strings: net path or null, ipc path or null, then pairs of file below /proc/sys and value.
 * The values in /proc/sys/net, kernel/shm* and fs/mqueue depend on the namespaces of the thread that
 * opens them (proc_sys(5)).
 */
static void write_sysctls(struct job *job) {
  if (enter_namespace(&job->fault, job->strings[0], CLONE_NEWNET) < 0) return;
  if (enter_namespace(&job->fault, job->strings[1], CLONE_NEWIPC) < 0) return;
  for (size_t i = 2; i + 1 < job->string_count; i += 2) {
    if (write_file(&job->fault, job->strings[i], job->strings[i + 1]) < 0) return;
  }
}

const struct job_kind namespace_jobs[] = {
    {"pinNamespaces", PIN_COUNT + 1, 0, pin_namespaces, true},
    {"unpinNamespaces", 0, 0, unpin_namespaces, false},
    {"writeSysctls", 2, 0, write_sysctls, true},
    {NULL, 0, 0, NULL, false},
};
