/*
 * Files of an image by untrusted paths of the image or a client, resolved by openat2 with RESOLVE_IN_ROOT,
 * so that no symbolic link and no ".." leads out of the image. On a thread of libuv's pool.
 */
#include "davit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { MAX_DEPTH = 256, BUFFER = 1 << 18 };

/* A rename or mount anywhere on the machine can make the kernel fail with EAGAIN. */
static int open_in_root(const char *root, const char *path, uint64_t flags) {
  struct open_how how = {
      .flags = flags | O_CLOEXEC,
      .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
  };
  int top = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;
  if (top < 0) return -1;
  for (int attempt = 0; attempt < 32; attempt++) {
    fd = (int)syscall(SYS_openat2, top, path[0] == '\0' ? "." : path, &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN) break;
  }
  int err = errno;
  close(top);
  errno = err;
  return fd;
}

/*
 * strings: root, path in it, target. Mounts the directory at the path on the target, read-only, without
 * mounts below it. A job that fails leaves nothing mounted.
 */
static void bind_in_root(struct job *job) {
  const char *root = job->strings[0], *path = job->strings[1], *target = job->strings[2];
  struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY, .propagation = MS_PRIVATE};
  int tree = -1;
  if (root == NULL || path == NULL || target == NULL) {
    fault_set_errno(&job->fault, EINVAL, "bind", path);
    return;
  }
  int found = open_in_root(root, path, O_PATH | O_DIRECTORY);
  if (found < 0) {
    fault_set(&job->fault, "find directory", path);
  } else if ((tree = (int)syscall(SYS_open_tree, found, "",
                                  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)) < 0) {
    fault_set(&job->fault, "open_tree", path);
  } else if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0) {
    fault_set(&job->fault, "make read-only", path);
  } else if (syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
    fault_set(&job->fault, "move_mount", target);
  }
  if (tree >= 0) close(tree);
  if (found >= 0) close(found);
}

/* The copy of a file with more than one name, relative to the target. */
struct link {
  dev_t device;
  ino_t inode;
  char *path;
};

struct copy {
  int target;
  void *links; /* a tree of struct link: an image may have very many */
  char path[PATH_MAX]; /* of the current entry, relative to the target */
  char *buffer;
  struct fault *fault;
};

static int copy_fault(struct copy *copy, const char *call) {
  return fault_set(copy->fault, call, copy->path);
}

static int compare_links(const void *one, const void *other) {
  const struct link *a = one, *b = other;
  if (a->inode != b->inode) return a->inode < b->inode ? -1 : 1;
  return a->device == b->device ? 0 : a->device < b->device ? -1 : 1;
}

/* tfind(3) and tsearch(3) return a pointer to the pointer in the tree. */
static const char *known_link(const struct copy *copy, const struct stat *info) {
  struct link wanted = {info->st_dev, info->st_ino, NULL};
  void *found = tfind(&wanted, &copy->links, compare_links);
  return found == NULL ? NULL : (*(struct link **)found)->path;
}

static void free_link(void *node) {
  struct link *link = node;
  free(link->path);
  free(link);
}

static int remember_link(struct copy *copy, const struct stat *info) {
  struct link *link = malloc(sizeof *link);
  if (link == NULL) return copy_fault(copy, "remember link");
  *link = (struct link){info->st_dev, info->st_ino, strdup(copy->path)};
  if (link->path == NULL || tsearch(link, &copy->links, compare_links) == NULL) {
    free_link(link);
    return copy_fault(copy, "remember link");
  }
  return 0;
}

bool is_private_xattr(const char *name) {
  return strncmp(name, "trusted.overlay.", 16) == 0 || strcmp(name, "security.selinux") == 0;
}

/* Uses the descriptor of the parent, because l*xattr(2) has only paths; it does not follow a link at the end. */
static int copy_xattrs(struct copy *copy, int from, int to, const char *name) {
  char source[64 + NAME_MAX], target[64 + NAME_MAX], *names = copy->buffer;
  char *value = copy->buffer + BUFFER / 2;
  snprintf(source, sizeof source, "/proc/self/fd/%d/%s", from, name);
  snprintf(target, sizeof target, "/proc/self/fd/%d/%s", to, name);
  ssize_t length = llistxattr(source, names, BUFFER / 2);
  if (length < 0) return errno == EOPNOTSUPP ? 0 : copy_fault(copy, "list xattrs of");
  for (char *each = names; each < names + length; each += strlen(each) + 1) {
    if (is_private_xattr(each)) continue;
    ssize_t size = lgetxattr(source, each, value, BUFFER / 2);
    if (size < 0) return copy_fault(copy, "read xattr of");
    if (lsetxattr(target, each, value, (size_t)size, 0) < 0 && errno != EOPNOTSUPP) {
      return copy_fault(copy, "set xattr of");
    }
  }
  return 0;
}

/* In this order: chown(2) clears setuid bits and file capabilities. */
static int copy_attributes(struct copy *copy, int from, int to, const char *name,
                           const struct stat *info) {
  struct timespec times[2] = {info->st_atim, info->st_mtim};
  if (fchownat(to, name, info->st_uid, info->st_gid, AT_SYMLINK_NOFOLLOW) < 0) {
    return copy_fault(copy, "chown");
  }
  if (copy_xattrs(copy, from, to, name) < 0) return -1;
  if (!S_ISLNK(info->st_mode) && fchmodat(to, name, info->st_mode & 07777, 0) < 0) {
    return copy_fault(copy, "chmod");
  }
  if (utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0) return copy_fault(copy, "set times of");
  return 0;
}

static int copy_bytes(struct copy *copy, int in, int out) {
  if (ioctl(out, FICLONE, in) == 0) return 0;
  for (;;) {
    ssize_t length = read(in, copy->buffer, BUFFER);
    if (length == 0) return 0;
    if (length < 0) {
      if (errno == EINTR) continue;
      return copy_fault(copy, "read");
    }
    for (ssize_t done = 0; done < length;) {
      ssize_t written = write(out, copy->buffer + done, (size_t)(length - done));
      if (written < 0) {
        if (errno == EINTR) continue;
        return copy_fault(copy, "write");
      }
      done += written;
    }
  }
}

static int copy_file(struct copy *copy, int from, int to, const char *name) {
  int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), out = -1, result = -1;
  if (in < 0) return copy_fault(copy, "open");
  out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (out < 0) {
    copy_fault(copy, "create");
  } else {
    result = copy_bytes(copy, in, out);
    close(out);
  }
  close(in);
  return result;
}

static int copy_symlink(struct copy *copy, int from, int to, const char *name) {
  ssize_t length = readlinkat(from, name, copy->buffer, PATH_MAX);
  if (length < 0) return copy_fault(copy, "readlink");
  copy->buffer[length] = '\0';
  return symlinkat(copy->buffer, to, name) < 0 ? copy_fault(copy, "symlink") : 0;
}

static int copy_directory(struct copy *copy, int from, int to, size_t length, int depth);

static int copy_subdirectory(struct copy *copy, int from, int to, const char *name, int depth) {
  const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  if (depth >= MAX_DEPTH) return fault_set_errno(copy->fault, ELOOP, "copy directory", copy->path);
  if (mkdirat(to, name, 0700) < 0) return copy_fault(copy, "mkdir");
  int below = openat(from, name, flags), target = openat(to, name, flags);
  int result = below < 0 || target < 0 ? copy_fault(copy, "open directory")
                                       : copy_directory(copy, below, target, strlen(copy->path), depth);
  if (below >= 0) close(below);
  if (target >= 0) close(target);
  return result;
}

static int copy_entry(struct copy *copy, int from, int to, const char *name, int depth) {
  struct stat info;
  if (fstatat(from, name, &info, AT_SYMLINK_NOFOLLOW) < 0) return copy_fault(copy, "stat");
  bool linked = !S_ISDIR(info.st_mode) && info.st_nlink > 1;
  const char *first = linked ? known_link(copy, &info) : NULL;
  if (first != NULL) {
    return linkat(copy->target, first, to, name, 0) < 0 ? copy_fault(copy, "link") : 0;
  }
  int result;
  if (S_ISREG(info.st_mode)) {
    result = copy_file(copy, from, to, name);
  } else if (S_ISDIR(info.st_mode)) {
    result = copy_subdirectory(copy, from, to, name, depth + 1);
  } else if (S_ISLNK(info.st_mode)) {
    result = copy_symlink(copy, from, to, name);
  } else {
    result = mknodat(to, name, info.st_mode, info.st_rdev) < 0 ? copy_fault(copy, "mknod") : 0;
  }
  if (result == 0) result = copy_attributes(copy, from, to, name, &info);
  return result == 0 && linked ? remember_link(copy, &info) : result;
}

/* `length` is the length of the directory's own path. */
static int copy_directory(struct copy *copy, int from, int to, size_t length, int depth) {
  int fd = fcntl(from, F_DUPFD_CLOEXEC, 0), result = 0;
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  struct dirent *entry;
  if (dir == NULL) {
    if (fd >= 0) close(fd);
    return copy_fault(copy, "open directory");
  }
  while (result == 0 && (errno = 0, entry = readdir(dir)) != NULL) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    size_t left = sizeof copy->path - length;
    int used = snprintf(copy->path + length, left, "%s%s", length == 0 ? "" : "/", name);
    result = (size_t)used >= left ? fault_set_errno(copy->fault, ENAMETOOLONG, "copy", name)
                                  : copy_entry(copy, from, to, name, depth);
    copy->path[length] = '\0';
  }
  if (result == 0 && errno != 0) result = copy_fault(copy, "read directory");
  closedir(dir);
  return result;
}

/*
 * strings: root, path in it, target: an empty directory. Copies the content of the directory at the path, and
 * its own attributes. Result: 1, or 0 when nothing is at the path.
 */
static void copy_in_root(struct job *job) {
  const char *root = job->strings[0], *path = job->strings[1], *target = job->strings[2];
  struct copy copy = {.target = -1, .fault = &job->fault};
  struct stat info;
  job->result_count = 1;
  if (root == NULL || path == NULL || target == NULL) {
    fault_set_errno(&job->fault, EINVAL, "copy", path);
    return;
  }
  int from = open_in_root(root, path, O_RDONLY | O_DIRECTORY);
  if (from < 0) {
    if (errno != ENOENT) fault_set(&job->fault, "find directory", path);
    return;
  }
  copy.buffer = malloc(BUFFER);
  copy.target = open(target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (copy.buffer == NULL || copy.target < 0 || fstat(from, &info) < 0) {
    fault_set(&job->fault, "open directory", target);
  } else if (copy_directory(&copy, from, copy.target, 0, 0) == 0 &&
             copy_attributes(&copy, from, copy.target, ".", &info) == 0) {
    job->results[0] = 1;
  }
  tdestroy(copy.links, free_link);
  free(copy.buffer);
  if (copy.target >= 0) close(copy.target);
  close(from);
}

/*
 * Checks the type before it opens the file, because opening a device can have an effect and opening a FIFO
 * can wait. Then opens the file that was checked, even if the path leads to another one by then. -1
 * with the reason of the refusal in `why`, or with errno and no reason.
 */
static int open_file_in_root(const char *root, const char *path, int64_t most, char **why) {
  struct stat info;
  char self[32];
  int found = open_in_root(root, path, O_PATH), fd = -1;
  if (found < 0) return -1;
  if (fstat(found, &info) == 0) {
    if (!S_ISREG(info.st_mode)) {
      *why = strdup("it is not a file");
    } else if (info.st_size > most) {
      if (asprintf(why, "it has %lld bytes, the limit is %lld", (long long)info.st_size,
                   (long long)most) < 0) {
        *why = NULL;
      }
    } else {
      snprintf(self, sizeof self, "/proc/self/fd/%d", found);
      fd = open(self, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    }
  }
  int err = errno;
  close(found);
  errno = err;
  return fd;
}

/* The content of a file, which the caller frees; NULL with errno. */
static char *read_all(int fd, int64_t most, size_t *length) {
  size_t size = 4096;
  char *text = malloc(size);
  *length = 0;
  while (text != NULL) {
    ssize_t count = read(fd, text + *length, size - *length);
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) return text;
    if (count > 0) *length += (size_t)count;
    if (count < 0 || *length > (size_t)most) {
      if (count > 0) errno = EFBIG; /* it has grown since the check */
      break;
    }
    if (*length < size) continue;
    char *bigger = realloc(text, size *= 4);
    if (bigger == NULL) break;
    text = bigger;
  }
  free(text);
  return NULL;
}

/*
 * strings: root, then paths in it; numbers: the maximum size of a file. Texts, two for each
 * path: the content of the file, and why an existing file is refused. Both are NULL when nothing
 * is there, and for paths after the first refused one.
 */
static void read_in_root(struct job *job) {
  const char *root = job->strings[0];
  size_t count = job->string_count - 1;
  int64_t most = job->numbers[0];
  job->texts = calloc(2 * count + 1, sizeof *job->texts);
  job->text_sizes = calloc(2 * count + 1, sizeof *job->text_sizes);
  if (job->texts == NULL || job->text_sizes == NULL || root == NULL) {
    fault_set_errno(&job->fault, root == NULL ? EINVAL : ENOMEM, "read files in", root);
    return;
  }
  job->text_count = 2 * count;
  for (size_t i = 0; i < count; i++) {
    const char *path = job->strings[i + 1];
    char **text = &job->texts[2 * i], **why = text + 1;
    if (path == NULL) continue;
    int fd = open_file_in_root(root, path, most, why);
    if (fd >= 0) {
      *text = read_all(fd, most, &job->text_sizes[2 * i]);
      if (*text == NULL) fault_set(&job->fault, "read", path);
      close(fd);
    } else if (*why != NULL) {
      job->text_sizes[2 * i + 1] = strlen(*why);
      return;
    } else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) {
      fault_set(&job->fault, "open", path);
    }
    if (job->fault.err != 0) return;
  }
}

const struct job_kind in_root_jobs[] = {
    {"bindInRoot", 3, 0, bind_in_root, false},
    {"copyInRoot", 3, 0, copy_in_root, false},
    {"readInRoot", 1, 1, read_in_root, false},
    {NULL, 0, 0, NULL, false},
};
