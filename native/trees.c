/*
 * Walks through trees of files, and the sync of a file system, on a thread of the pool. A walk never follows
 * a symbolic link and never enters another mount, bind mounts included.
 */
#include "davit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Each level needs an fd and a stack frame; a process may make directories deeper than PATH_MAX. */
enum { MAX_DEPTH = 64 };

static bool is_dots(const char *name) {
  return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static int open_directory(int parent, const char *name) {
  struct open_how how = {
      .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME,
      .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH,
  };
  return (int)syscall(SYS_openat2, parent, name, &how, sizeof how);
}

struct removal {
  int top;
  int64_t left; /* how many more entries this call may remove */
  unsigned moved, suffix;
  bool stuck; /* something could not be removed: the fault has the first failure */
  struct fault *fault;
};

static void removal_stuck(struct removal *removal, const char *call, const char *name) {
  if (!removal->stuck) fault_set(removal->fault, call, name);
  removal->stuck = true;
}

/* Moves a directory that is too deep to the top. The rename needs no space, because names were removed before. */
static void move_to_top(struct removal *removal, int parent, const char *name) {
  char target[32];
  for (int attempt = 0; attempt < 1000; attempt++) {
    snprintf(target, sizeof target, ".deep-%u", removal->suffix++);
    if (syscall(SYS_renameat2, parent, name, removal->top, target, 1 /* RENAME_NOREPLACE */) == 0) {
      removal->moved++;
      return;
    }
    if (errno != EEXIST) break;
  }
  removal_stuck(removal, "rename", name);
}

static void empty_directory(struct removal *removal, DIR *dir, int depth);

static void remove_directory(struct removal *removal, int parent, const char *name, int depth) {
  int fd = open_directory(parent, name);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (dir == NULL) {
    removal_stuck(removal, "open directory", name);
    if (fd >= 0) close(fd);
    return;
  }
  empty_directory(removal, dir, depth);
  closedir(dir);
  if (removal->left <= 0) return;
  if (unlinkat(parent, name, AT_REMOVEDIR) == 0) {
    removal->left--;
  } else if (!removal->stuck) {
    removal_stuck(removal, "rmdir", name);
  }
}

/* An entry that cannot be removed does not stop the others. */
static void empty_directory(struct removal *removal, DIR *dir, int depth) {
  struct dirent *entry;
  int fd = dirfd(dir);
  while (removal->left > 0 && (entry = readdir(dir)) != NULL) {
    const char *name = entry->d_name;
    if (is_dots(name)) continue;
    if (unlinkat(fd, name, 0) == 0) {
      removal->left--;
    } else if (errno == EISDIR) { /* Linux's errno for a directory, see unlink(2) */
      if (depth < MAX_DEPTH) {
        remove_directory(removal, fd, name, depth + 1);
      } else {
        move_to_top(removal, fd, name);
      }
    } else if (errno != ENOENT) {
      removal_stuck(removal, "unlink", name);
    }
  }
}

/* Removes at most `*left` entries, and subtracts them. After a fault only entries that cannot be removed are left. */
static void remove_path(struct job *job, const char *path, int64_t *left) {
  struct removal removal = {.left = *left, .fault = &job->fault};
  if (path == NULL) {
    fault_set_errno(&job->fault, EINVAL, "remove", "");
    return;
  }
  if (unlink(path) == 0 || errno == ENOENT) return;
  if (errno != EISDIR) {
    fault_set(&job->fault, "unlink", path);
    return;
  }
  removal.top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (removal.top < 0) {
    fault_set(&job->fault, "open directory", path);
    return;
  }
  unsigned moved;
  do {
    moved = removal.moved;
    int fd = fcntl(removal.top, F_DUPFD_CLOEXEC, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
      removal_stuck(&removal, "open directory", path);
      if (fd >= 0) close(fd);
      break;
    }
    rewinddir(dir);
    empty_directory(&removal, dir, 0);
    closedir(dir);
  } while (removal.left > 0 && removal.moved != moved);
  close(removal.top);
  *left = removal.left;
  if (removal.left <= 0) {
    memset(&job->fault, 0, sizeof job->fault); /* the call that finds no more entries reports it again */
  } else if (!removal.stuck && rmdir(path) < 0 && errno != ENOENT) {
    fault_set(&job->fault, "rmdir", path);
  }
}

/*
 * strings: paths, removed in this order; a path that cannot be removed stops it. numbers: the maximum
 * of entries to remove. Result: 1 when more are left.
 */
static void remove_tree(struct job *job) {
  int64_t left = job->numbers[0];
  job->result_count = 1;
  for (size_t i = 0; i < job->string_count && job->fault.err == 0; i++) {
    remove_path(job, job->strings[i], &left);
    if (left <= 0) {
      job->results[0] = 1;
      return;
    }
  }
}

struct inode_set {
  uint64_t *slots; /* 0 is free: no file has inode 0 */
  size_t size, used;
};

/* 1 when the inode is new, 0 when it is in the set, -1 without memory. */
static int inode_add(struct inode_set *set, uint64_t inode) {
  if (set->used * 2 >= set->size) {
    struct inode_set bigger = {.size = set->size == 0 ? 1024 : set->size * 2};
    bigger.slots = calloc(bigger.size, sizeof *bigger.slots);
    if (bigger.slots == NULL) return -1;
    for (size_t i = 0; i < set->size; i++) {
      if (set->slots[i] != 0) inode_add(&bigger, set->slots[i]);
    }
    free(set->slots);
    *set = bigger;
  }
  size_t at = (inode * 0x9e3779b97f4a7c15u) & (set->size - 1);
  while (set->slots[at] != 0) {
    if (set->slots[at] == inode) return 0;
    at = (at + 1) & (set->size - 1);
  }
  set->slots[at] = inode;
  set->used++;
  return 1;
}

struct usage {
  int64_t bytes, inodes;
  struct inode_set linked;
};

/* A file that disappears belongs to a running container, and is not an error. */
static bool add_usage(struct usage *usage, DIR *dir, int depth) {
  struct dirent *entry;
  struct stat info;
  bool complete = true;
  while (complete && (entry = readdir(dir)) != NULL) {
    if (is_dots(entry->d_name)) continue;
    if (fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0) continue;
    if (!S_ISDIR(info.st_mode) && info.st_nlink > 1) {
      int added = inode_add(&usage->linked, info.st_ino);
      if (added < 0) return false;
      if (added == 0) continue;
    }
    usage->bytes += (int64_t)info.st_blocks * 512;
    usage->inodes++;
    if (!S_ISDIR(info.st_mode) || depth >= MAX_DEPTH * 4) continue;
    int fd = open_directory(dirfd(dir), entry->d_name);
    DIR *below = fd < 0 ? NULL : fdopendir(fd);
    if (below != NULL) {
      complete = add_usage(usage, below, depth + 1);
      closedir(below);
    } else if (fd >= 0) {
      close(fd);
    }
  }
  return complete;
}

static int add_directory(struct usage *usage, struct fault *fault, const char *path) {
  struct stat info;
  int fd = path == NULL ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (dir == NULL || fstat(fd, &info) < 0) {
    fault_set(fault, "open directory", path);
    if (dir != NULL) closedir(dir);
    else if (fd >= 0) close(fd);
    return -1;
  }
  usage->bytes += (int64_t)info.st_blocks * 512;
  usage->inodes++;
  if (!add_usage(usage, dir, 0)) fault_set_errno(fault, ENOMEM, "count", path);
  closedir(dir);
  return fault->err == 0 ? 0 : -1;
}

/*
 * strings: directories, all but the first of which may be missing. Results: bytes on disk and inodes of them
 * and of their content; a file with several names counts once.
 */
static void disk_usage(struct job *job) {
  struct usage usage = {0};
  for (size_t i = 0; i < job->string_count; i++) {
    if (add_directory(&usage, &job->fault, job->strings[i]) == 0) continue;
    if (i == 0 || job->fault.err != ENOENT) break;
    memset(&job->fault, 0, sizeof job->fault);
  }
  free(usage.linked.slots);
  job->results[0] = usage.bytes;
  job->results[1] = usage.inodes;
  job->result_count = 2;
}

/* Uses the descriptor of the directory, because l*xattr(2) has only paths. An empty name is the descriptor itself. */
static int label_entry(struct fault *fault, int directory, const char *name, const char *label) {
  char path[64 + NAME_MAX], is[256];
  size_t length = strlen(label);
  bool is_self = name[0] == '\0'; /* follows the link in /proc, but not an entry that is a link */
  snprintf(path, sizeof path, is_self ? "/proc/self/fd/%d" : "/proc/self/fd/%d/%s", directory, name);
  ssize_t got = is_self ? getxattr(path, "security.selinux", is, sizeof is)
                        : lgetxattr(path, "security.selinux", is, sizeof is);
  if (got > 0 && is[got - 1] == '\0') got--;
  if (got == (ssize_t)length && memcmp(is, label, length) == 0) return 0;
  int result = is_self ? setxattr(path, "security.selinux", label, length, 0)
                       : lsetxattr(path, "security.selinux", label, length, 0);
  return result < 0 && errno != ENOENT ? fault_set(fault, "label", name) : 0;
}

/* A file that disappears is not an error, and another mount is skipped. */
static int label_directory(struct fault *fault, DIR *dir, const char *label, int depth) {
  struct dirent *entry;
  struct stat info;
  while ((entry = readdir(dir)) != NULL) {
    const char *name = entry->d_name;
    if (is_dots(name) || fstatat(dirfd(dir), name, &info, AT_SYMLINK_NOFOLLOW) < 0) continue;
    if (!S_ISDIR(info.st_mode)) {
      if (label_entry(fault, dirfd(dir), name, label) < 0) return -1;
      continue;
    }
    if (depth >= MAX_DEPTH * 4) return fault_set_errno(fault, ENAMETOOLONG, "label", name);
    int fd = open_directory(dirfd(dir), name);
    DIR *below = fd < 0 ? NULL : fdopendir(fd);
    if (below == NULL) {
      int err = errno;
      if (fd >= 0) close(fd);
      if (err == ENOENT || err == EXDEV || err == ENOTDIR || err == ELOOP) continue;
      return fault_set_errno(fault, err, "open directory", name);
    }
    int result = label_directory(fault, below, label, depth + 1);
    if (result == 0 && label_entry(fault, fd, "", label) < 0) {
      result = fault_set_errno(fault, fault->err, "label", name);
    }
    closedir(below);
    if (result < 0) return -1;
  }
  return 0;
}

/* strings: a path that is not a symbolic link, a label. The path itself comes last. */
static void relabel(struct job *job) {
  const char *path = job->strings[0], *label = job->strings[1];
  struct fault *fault = &job->fault;
  struct stat info;
  char self[32];
  int fd = path == NULL || label == NULL ? -1 : open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &info) < 0) {
    fault_set(fault, "open", path);
  } else if (S_ISLNK(info.st_mode)) {
    fault_set_errno(fault, ELOOP, "label", path);
  } else {
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (getxattr(self, "security.selinux", NULL, 0) < 0 && errno == EOPNOTSUPP) {
      close(fd);
      return;
    }
    DIR *dir = S_ISDIR(info.st_mode) ? opendir(self) : NULL;
    if (S_ISDIR(info.st_mode) && dir == NULL) fault_set(fault, "open directory", path);
    if (dir != NULL) {
      label_directory(fault, dir, label, 0);
      closedir(dir);
    }
    if (fault->err == 0 && label_entry(fault, fd, "", label) < 0) {
      fault_set_errno(fault, fault->err, "label", path);
    }
    if (fault->err == EOPNOTSUPP) memset(fault, 0, sizeof *fault); /* the file system has no labels */
  }
  if (fd >= 0) close(fd);
}

/* strings: a path; numbers: a descriptor of it. Syncs its whole file system (syncfs(2)). */
static void sync_file_system(struct job *job) {
  if (syncfs((int)job->numbers[0]) < 0) fault_set(&job->fault, "syncfs", job->strings[0]);
}

const struct job_kind tree_jobs[] = {
    {"removeTree", 1, 1, remove_tree, false},
    {"diskUsage", 1, 0, disk_usage, false},
    {"relabel", 2, 0, relabel, false},
    {"syncFileSystem", 1, 1, sync_file_system, false},
    {NULL, 0, 0, NULL, false},
};
