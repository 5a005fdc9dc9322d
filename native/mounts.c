/*
 * Mounts, on a thread of libuv's pool, because mount and umount can wait long for a lock or a device. A job
 * that fails leaves nothing mounted.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
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

struct overlay {
  struct fault *fault;
  const char *target, *upper, *work; /* no upper: read-only */
  const char *users; /* directory of the id-mapped layers, NULL without id mapping */
  const char *label; /* SELinux label of all files, or NULL */
  char **lower;      /* topmost first */
  size_t count;
};

/* The name of a layer for overlayfs. */
static const char *layer_name(const struct overlay *overlay, size_t i, char *buffer, size_t size) {
  if (overlay->users == NULL) return overlay->lower[i];
  snprintf(buffer, size, "%s/%zu", overlay->users, i);
  return buffer;
}

/*
 * The kernel has messages about the errors of a file system; the errno is EINVAL for most. Each
 * read(2) returns one message, after a letter for its level and a space: "e ", "w " or "i "
 * (fscontext_read() in fs/fsopen.c, logfc() in fs/fs_context.c). The first error counts; warnings
 * precede it.
 */
static int context_fault(struct fault *fault, int fs, const char *what, const char *object) {
  char message[256], error[256] = "";
  int err = errno;
  ssize_t length;
  while (error[0] == '\0' && (length = read(fs, message, sizeof message - 1)) > 0) {
    message[length] = '\0';
    char *end = strchr(message, '\n');
    if (end != NULL) *end = '\0';
    if (strncmp(message, "e ", 2) == 0) memcpy(error, message + 2, strlen(message + 2) + 1);
  }
  return fault_set_errno(fault, err, what, error[0] == '\0' ? object : error);
}

static int overlay_fault(struct overlay *overlay, int fs, const char *what) {
  return context_fault(overlay->fault, fs, what, overlay->target);
}

static int fsconfig_string(int fs, const char *key, const char *value) {
  return (int)syscall(SYS_fsconfig, fs, value == NULL ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING, key,
                      value, 0);
}

/*
 * Before Linux 6.5 overlayfs parses no parameters of fsconfig(2): the kernel joins any that it gets to options of
 * mount(2) (legacy_parse_param() in fs/fs_context.c), and only the creation fails.
 */
static bool takes_any_parameter(void) {
  int err = errno;
  int fs = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
  bool takes = fs >= 0 && fsconfig_string(fs, "no-such-parameter", "1") == 0;
  if (fs >= 0) close(fs);
  errno = err;
  return takes;
}

static atomic_bool has_old_overlay;

/* 1 where the kernel has no parameters of overlays at all, else the fault of the parameter or of the creation. */
static int overlay_refused(struct overlay *overlay, int fs, const char *what) {
  if (errno != EINVAL || !takes_any_parameter()) return overlay_fault(overlay, fs, what);
  atomic_store(&has_old_overlay, true);
  return 1;
}

/*
 * Each lower layer is a separate parameter, so that their number is not limited by the page of
 * options of mount(2). Returns 1 when the kernel does not have "lowerdir+" (before 6.7).
 */
static int overlay_by_fsopen(struct overlay *overlay) {
  if (atomic_load(&has_old_overlay)) return 1;
  int fs = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC), result = -1, mnt = -1;
  char buffer[64];
  if (fs < 0) return fault_set(overlay->fault, "fsopen", "overlay");
  for (size_t i = 0; i < overlay->count; i++) {
    const char *layer = layer_name(overlay, i, buffer, sizeof buffer);
    if (fsconfig_string(fs, "lowerdir+", layer) < 0) {
      result = i == 0 && errno == EINVAL ? 1 : overlay_refused(overlay, fs, "add layer to overlay");
      goto done;
    }
  }
  if (fsconfig_string(fs, "source", "overlay") < 0 ||
      (overlay->upper != NULL && (fsconfig_string(fs, "upperdir", overlay->upper) < 0 ||
                                  fsconfig_string(fs, "workdir", overlay->work) < 0 ||
                                  fsconfig_string(fs, "volatile", NULL) < 0)) ||
      (overlay->label != NULL && fsconfig_string(fs, "context", overlay->label) < 0) ||
      fsconfig_string(fs, "index", "off") < 0 ||
      syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
    result = overlay_refused(overlay, fs, "create overlay");
    goto done;
  }
  mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
                     overlay->upper == NULL ? MOUNT_ATTR_RDONLY : 0);
  if (mnt < 0) {
    overlay_fault(overlay, fs, "fsmount overlay");
  } else if (syscall(SYS_move_mount, mnt, "", AT_FDCWD, overlay->target, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
    fault_set(overlay->fault, "move_mount", overlay->target);
  } else {
    result = 0;
  }
done:
  if (mnt >= 0) close(mnt);
  close(fs);
  return result;
}

/* 127 names of layers do not fit into a page, but 127 symbolic links with a number as name do. */
static int overlay_by_mount(struct overlay *overlay) {
  char options[4096], name[24], buffer[64];
  size_t length = 0, made = 0;
  int result = -1;
  length += (size_t)snprintf(options, sizeof options, "lowerdir=");
  for (; made < overlay->count; made++) {
    snprintf(name, sizeof name, "%zu", made);
    const char *layer = layer_name(overlay, made, buffer, sizeof buffer);
    if (symlink(layer, name) < 0) {
      fault_set(overlay->fault, "symlink", layer);
      goto done;
    }
    length += (size_t)snprintf(options + length, sizeof options - length, "%s%s", made == 0 ? "" : ":",
                               name);
    if (length >= sizeof options - 512) {
      fault_set_errno(overlay->fault, E2BIG, "mount overlay on", overlay->target);
      goto done;
    }
  }
  length += (size_t)snprintf(options + length, sizeof options - length, ",index=off");
  if (overlay->label != NULL) { /* in quotes: it has commas */
    length += (size_t)snprintf(options + length, sizeof options - length, ",context=\"%s\"",
                               overlay->label);
    if (length >= sizeof options - 256) {
      fault_set_errno(overlay->fault, E2BIG, "label overlay on", overlay->target);
      goto done;
    }
  }
  if (overlay->upper != NULL) {
    snprintf(options + length, sizeof options - length, ",upperdir=%s,workdir=%s,volatile",
             overlay->upper, overlay->work);
  }
  unsigned long flags = overlay->upper == NULL ? MS_RDONLY : 0;
  if (mount("overlay", overlay->target, "overlay", flags, options) < 0) {
    fault_set(overlay->fault, "mount overlay on", overlay->target);
  } else {
    result = 0;
  }
done:
  for (size_t i = 0; i <= made && i < overlay->count; i++) {
    snprintf(name, sizeof name, "%zu", i);
    unlink(name);
  }
  return result;
}

/* A mount of a layer whose file ids are mapped to those of the user namespace. */
static int map_layer(struct overlay *overlay, size_t i, int users) {
  char target[64];
  struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)users};
  const char *layer = overlay->lower[i];
  int result = -1;
  snprintf(target, sizeof target, "%s/%zu", overlay->users, i);
  int tree = (int)syscall(SYS_open_tree, AT_FDCWD, layer, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (tree < 0) return fault_set(overlay->fault, "open_tree", layer);
  if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0) {
    fault_set(overlay->fault, "map the ids of layer", layer);
  } else if (mkdir(target, 0700) < 0) {
    fault_set(overlay->fault, "mkdir", target);
  } else if (syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
    fault_set(overlay->fault, "move_mount", target);
  } else {
    result = 0;
  }
  close(tree);
  return result;
}

/*
 * overlayfs opens layers by path and makes private mounts of them, so the mapped ones need a mount point
 * for a moment. They are on a tmpfs, so that one umount removes them all, also after a crash.
 */
static int mount_mapped_overlay(struct overlay *overlay, const char *namespace, bool as_old_kernel) {
  int result = -1;
  int users = open(namespace, O_RDONLY | O_CLOEXEC);
  if (users < 0) return fault_set(overlay->fault, "open namespace", namespace);
  if (mkdir(overlay->users, 0700) < 0) {
    fault_set(overlay->fault, "mkdir", overlay->users);
  } else if (mount("layers", overlay->users, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                   "size=64k,mode=700") < 0) {
    fault_set(overlay->fault, "mount tmpfs on", overlay->users);
  } else {
    size_t made = 0;
    while (made < overlay->count && map_layer(overlay, made, users) == 0) made++;
    if (made == overlay->count) {
      result = as_old_kernel ? 1 : overlay_by_fsopen(overlay);
      if (result == 1) result = overlay_by_mount(overlay);
    }
    umount2(overlay->users, MNT_DETACH | UMOUNT_NOFOLLOW);
  }
  rmdir(overlay->users);
  close(users);
  return result;
}

/*
 * strings: a directory, the path of a user namespace or null, then names that are short because they are
 * relative to the directory: a temporary directory for id-mapped layers, target, upper, work, then an
 * SELinux label or null, the lower layers with the topmost first; numbers: 1 to behave as on an old kernel. With an
 * empty upper the overlay is read-only and has at least two layers. The thread has a working directory of its own.
 *
 * volatile: otherwise umount would sync the upper layer, although no container survives a power loss. index=off:
 * a kernel may enable it by default, and then refuses layers that two overlays share at different paths.
 */
static void mount_overlay(struct job *job) {
  enum { DIRECTORY, NAMESPACE, USERS, TARGET, UPPER, WORK, LABEL, LOWER };
  const char *namespace = job->strings[NAMESPACE];
  struct overlay overlay = {
      .fault = &job->fault,
      .users = namespace == NULL ? NULL : job->strings[USERS],
      .target = job->strings[TARGET],
      .upper = job->strings[UPPER],
      .work = job->strings[WORK],
      .label = job->strings[LABEL],
      .lower = job->strings + LOWER,
      .count = job->string_count - LOWER,
  };
  for (size_t i = 0; i < job->string_count; i++) {
    if (job->strings[i] == NULL && i != NAMESPACE && i != LABEL) {
      fault_set_errno(&job->fault, EINVAL, "mount overlay on", overlay.target);
      return;
    }
  }
  if (overlay.upper[0] == '\0') overlay.upper = overlay.work = NULL;
  if (unshare(CLONE_FS) < 0 || chdir(job->strings[DIRECTORY]) < 0) {
    fault_set(&job->fault, "chdir", job->strings[DIRECTORY]);
    return;
  }
  bool as_old_kernel = job->numbers[0] == 1;
  if (namespace != NULL) {
    mount_mapped_overlay(&overlay, namespace, as_old_kernel);
  } else if (as_old_kernel || overlay_by_fsopen(&overlay) == 1) {
    overlay_by_mount(&overlay);
  }
}

/*
 * strings: an image, a directory to mount it on. Not by mount(2), whose caller would need a loop device: the kernel
 * reads the file itself (CONFIG_EROFS_FS_BACKED_BY_FILE, since 6.12). ENOTBLK means that it does not. The mount is
 * private. Not through a symbolic link, since another process has made the image.
 */
static void mount_erofs(struct job *job) {
  const char *image = job->strings[0], *target = job->strings[1];
  struct stat info;
  if (image == NULL || target == NULL || lstat(image, &info) < 0) {
    fault_set(&job->fault, "find image", image);
    return;
  }
  if (!S_ISREG(info.st_mode)) {
    fault_set_errno(&job->fault, EINVAL, "mount something else than a file:", image);
    return;
  }
  int fs = (int)syscall(SYS_fsopen, "erofs", FSOPEN_CLOEXEC), mnt = -1;
  if (fs < 0) {
    fault_set(&job->fault, "fsopen", "erofs");
    return;
  }
  if (fsconfig_string(fs, "source", image) < 0 || fsconfig_string(fs, "ro", NULL) < 0 ||
      syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
    context_fault(&job->fault, fs, "open image", image);
  } else if ((mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY)) < 0) {
    context_fault(&job->fault, fs, "mount image", image);
  } else if (syscall(SYS_move_mount, mnt, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
    fault_set(&job->fault, "move_mount", target);
  }
  if (mnt >= 0) close(mnt);
  close(fs);
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
    {"mountOverlay", 8, 1, mount_overlay, true},
    {"mountErofs", 2, 0, mount_erofs, false},
    {"canMapIds", 2, 0, can_map_ids, false},
    {NULL, 0, 0, NULL, false},
};
