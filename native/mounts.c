/*
 * Mounts, on a thread of libuv's pool, because mount and umount can wait long for a lock or a device. A job
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
 * mount_setattr(2) changes only the read-only flag and keeps nosuid, nodev and noexec of the
 * source; MS_REMOUNT | MS_BIND | MS_RDONLY would clear them.
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

/* strings: source (as shown in mountinfo), target, options */
static void mount_tmpfs(struct job *job) {
  const char *target = job->strings[1];
  if (target == NULL || mount(job->strings[0], target, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                              job->strings[2]) < 0) {
    fault_set(&job->fault, "mount tmpfs on", target);
  }
}

/* strings: directories. Removes the topmost mount on each; ENOENT and EINVAL mean that there is none. */
static void unmount(struct job *job) {
  for (size_t i = 0; i < job->string_count; i++) {
    const char *target = job->strings[i];
    if (umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != ENOENT && errno != EINVAL) {
      fault_set(&job->fault, "umount2", target);
      return;
    }
  }
}

/* Changes only the mount at the path itself, and only these flags. */
static int make_inert(const char *target) {
  struct mount_attr attr = {.attr_set =
                                MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
  return (int)syscall(SYS_mount_setattr, AT_FDCWD, target, 0, &attr, sizeof attr);
}

/*
 * strings: a directory; numbers: 1 to make it nosuid, nodev and noexec, even if it was a mount before. The
 * bind is recursive so that mounts below stay visible, and private so that later mounts
 * below appear nowhere else. Two concurrent callers would make two binds; the daemon has its lock file
 * then.
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
  } else if (job->numbers[0] == 1 && make_inert(dir) < 0) {
    fault_set(&job->fault, "make nosuid, nodev and noexec", dir);
  }
  if (job->fault.err != 0 && made) umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW);
}

/*
 * strings: file or directory, user namespace. Whether a mount of the file can have its ids mapped to those of the
 * namespace (result 1 or 0), by a mount that is attached nowhere and ends with the call. EINVAL: the file system has no
 * ID-mapped mounts. EPERM: the mount that the file is on has mapped ids already, or belongs to another user namespace.
 */
static void can_map_ids(struct job *job) {
  const char *file = job->strings[0], *namespace = job->strings[1];
  if (file == NULL || namespace == NULL) {
    fault_set_errno(&job->fault, EINVAL, "map the ids of", file);
    return;
  }
  int users = open(namespace, O_RDONLY | O_CLOEXEC);
  if (users < 0) {
    fault_set(&job->fault, "open", namespace);
    return;
  }
  struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)users};
  int tree = (int)syscall(SYS_open_tree, AT_FDCWD, file, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (tree < 0) {
    fault_set(&job->fault, "open_tree", file);
  } else {
    int mapped = (int)syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr);
    if (mapped < 0 && errno != EINVAL && errno != EPERM) {
      fault_set(&job->fault, "map the ids of", file);
    } else {
      job->results[0] = mapped == 0;
      job->result_count = 1;
    }
    close(tree);
  }
  close(users);
}

const struct job_kind mount_jobs[] = {
    {"bindMount", 2, 1, bind_mount, false},
    {"mountTmpfs", 3, 0, mount_tmpfs, false},
    {"unmount", 1, 0, unmount, false},
    {"makePrivateBind", 1, 1, make_private_bind, false},
    {"canMapIds", 2, 0, can_map_ids, false},
    {NULL, 0, 0, NULL, false},
};
