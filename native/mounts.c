/*
 * Mounts, on a thread of libuv's pool: a mount or umount can wait long for a lock or a device. A job
 * that fails leaves nothing mounted.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x00002000
#endif

enum { BIND_PRIVATE = 1, BIND_READONLY = 2, BIND_RECURSIVE = 4 };

/*
 * mount_setattr(2) changes the read-only flag alone and leaves nosuid, nodev and noexec of the
 * source in place, where a MS_REMOUNT | MS_BIND | MS_RDONLY would clear them.
 */
static int make_readonly(const char *target, bool recursive) {
  struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
  return (int)syscall(SYS_mount_setattr, AT_FDCWD, target, recursive ? AT_RECURSIVE : 0, &attr,
                      sizeof attr);
}

/* strings: source, target; numbers: BIND_* */
static void bind_mount(struct job *job) {
  const char *source = job->strings[0], *target = job->strings[1];
  int64_t options = job->numbers[0];
  bool recursive = options & BIND_RECURSIVE;
  unsigned long rec = recursive ? MS_REC : 0;
  if (source == NULL || target == NULL) {
    fault_set_errno(&job->fault, EINVAL, "bind", source);
    return;
  }
  if (mount(source, target, NULL, MS_BIND | rec, NULL) < 0) {
    fault_set(&job->fault, "bind", source);
    if (job->fault.err == ENOENT && access(source, F_OK) == 0) {
      fault_set_errno(&job->fault, ENOENT, "bind to", target);
    }
    return;
  }
  if ((options & BIND_PRIVATE) && mount(NULL, target, NULL, MS_PRIVATE | rec, NULL) < 0) {
    fault_set(&job->fault, "make private", target);
  } else if ((options & BIND_READONLY) && make_readonly(target, recursive) < 0) {
    fault_set(&job->fault, "make read-only", target);
  }
  if (job->fault.err != 0) umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW);
}

/* strings: source (what mountinfo shows), target, options */
static void mount_tmpfs(struct job *job) {
  const char *target = job->strings[1];
  if (target == NULL || mount(job->strings[0], target, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                              job->strings[2]) < 0) {
    fault_set(&job->fault, "mount tmpfs on", target);
  }
}

/* The topmost mount on the path goes; ENOENT and EINVAL mean that there was none. */
static void unmount(struct job *job) {
  const char *target = job->strings[0];
  if (umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != ENOENT && errno != EINVAL) {
    fault_set(&job->fault, "umount2", target);
  }
}

/*
 * strings: a folder. The bind is recursive so that what is mounted below stays visible, private so
 * that what will be mounted below appears nowhere else. Two callers at once would stack two binds;
 * the daemon holds its lock file by then.
 */
static void make_private_bind(struct job *job) {
  const char *dir = job->strings[0];
  struct statx info;
  if (statx(AT_FDCWD, dir, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &info) < 0) {
    fault_set(&job->fault, "statx", dir);
    return;
  }
  bool made = false;
  if (!(info.stx_attributes & STATX_ATTR_MOUNT_ROOT)) {
    if (mount(dir, dir, NULL, MS_BIND | MS_REC, NULL) < 0) {
      fault_set(&job->fault, "bind", dir);
      return;
    }
    made = true;
  }
  if (mount(NULL, dir, NULL, MS_PRIVATE | MS_REC, NULL) < 0) {
    fault_set(&job->fault, "make private", dir);
    if (made) umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW);
  }
}

const struct job_kind mount_jobs[] = {
    {"bindMount", 2, 1, bind_mount, false},
    {"mountTmpfs", 3, 0, mount_tmpfs, false},
    {"unmount", 1, 0, unmount, false},
    {"makePrivateBind", 1, 0, make_private_bind, false},
    {NULL, 0, 0, NULL, false},
};
