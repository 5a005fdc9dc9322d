/*
 * Mounts of images' layers: overlays and EROFS images, on a thread of libuv's pool. A job that fails leaves nothing
 * mounted.
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

const struct job_kind layer_mount_jobs[] = {
    {"mountOverlay", 8, 1, mount_overlay, true},
    {"mountErofs", 2, 0, mount_erofs, false},
    {NULL, 0, 0, NULL, false},
};
