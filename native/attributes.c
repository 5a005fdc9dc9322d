/*
 * Attributes of open directories, by descriptor only, independent of their paths. On a
 * thread of libuv's pool.
 */
#include "davit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h, the limits of the kernel. */
enum { MOST = 65536 };

/* The names of a descriptor's attributes, each followed by a NUL; -1 with errno. A file system may have none. */
static ssize_t list_names(int fd, char *names) {
  ssize_t length = flistxattr(fd, names, MOST);
  return length < 0 && errno == EOPNOTSUPP ? 0 : length;
}

/* numbers: a descriptor. Texts: the names of its extended attributes. */
static void xattr_names(struct job *job) {
  char *names = malloc(MOST);
  ssize_t length = names == NULL ? -1 : list_names((int)job->numbers[0], names);
  size_t count = 0;
  for (ssize_t at = 0; at < length; at += (ssize_t)strlen(names + at) + 1) count++;
  if (length < 0 || (job->texts = calloc(count + 1, sizeof *job->texts)) == NULL) {
    fault_set(&job->fault, "list xattrs of", "a directory");
  }
  for (ssize_t at = 0; job->fault.err == 0 && at < length; at += (ssize_t)strlen(names + at) + 1) {
    char *name = strdup(names + at);
    if (name == NULL) fault_set(&job->fault, "list xattrs of", names + at);
    else job->texts[job->text_count++] = name;
  }
  free(names);
}

static void copy_xattrs(struct fault *fault, int from, int to, char *names, char *value) {
  ssize_t length = list_names(from, names);
  if (length < 0) fault_set(fault, "list xattrs of", "a directory");
  for (char *each = names; fault->err == 0 && each < names + length; each += strlen(each) + 1) {
    if (is_private_xattr(each)) continue;
    ssize_t size = fgetxattr(from, each, value, MOST);
    if (size < 0) {
      fault_set(fault, "read xattr", each);
    } else if (fsetxattr(to, each, value, (size_t)size, 0) < 0 && errno != EOPNOTSUPP) {
      fault_set(fault, "set xattr", each);
    }
  }
}

/*
 * numbers: descriptors of two directories. Gives the second one the owner, extended attributes, permissions and
 * times of the first, in this order, because later ones do not change earlier ones.
 */
static void copy_attributes(struct job *job) {
  int from = (int)job->numbers[0], to = (int)job->numbers[1];
  struct stat info;
  char *buffer = malloc(2 * MOST);
  if (buffer == NULL || fstat(from, &info) < 0) {
    fault_set(&job->fault, "stat", "a directory");
  } else if (fchown(to, info.st_uid, info.st_gid) < 0) {
    fault_set(&job->fault, "chown", "a directory");
  } else {
    struct timespec times[2] = {info.st_atim, info.st_mtim};
    copy_xattrs(&job->fault, from, to, buffer, buffer + MOST);
    if (job->fault.err != 0) {
      /* the fault is set already */
    } else if (fchmod(to, info.st_mode & 07777) < 0) {
      fault_set(&job->fault, "chmod", "a directory");
    } else if (futimens(to, times) < 0) {
      fault_set(&job->fault, "set times of", "a directory");
    }
  }
  free(buffer);
}

const struct job_kind attribute_jobs[] = {
    {"xattrNames", 0, 1, xattr_names, false},
    {"copyAttributes", 0, 2, copy_attributes, false},
    {NULL, 0, 0, NULL, false},
};
