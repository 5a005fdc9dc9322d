/*
 * Opens directories of a path whose components a container may be able to replace. A descriptor
 * refers to the directory that was found, even if another one replaces it afterwards. On a thread of
 * libuv's pool.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* openat2(2): ELOOP for a symbolic link in any component, the last one included. */
static int open_without_links(int parent, const char *path) {
  struct open_how how = {
      .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
      .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
  };
  return (int)syscall(SYS_openat2, parent, path, &how, sizeof how);
}

/*
 * Opens one component after the other, and makes missing ones unless mode is negative. The
 * fault names the path up to the component that failed. Truncates `path` meanwhile, and restores it.
 */
static int walk(struct fault *fault, int base, char *path, int64_t mode) {
  int parent = base;
  for (char *part = path, *slash = path; slash != NULL; part = slash + 1) {
    slash = strchr(part, '/');
    if (slash != NULL) *slash = '\0';
    int next = open_without_links(parent, part);
    if (next < 0 && errno == ENOENT && mode >= 0) {
      if (mkdirat(parent, part, (mode_t)mode) == 0 || errno == EEXIST) {
        next = open_without_links(parent, part);
      }
    }
    if (next < 0) fault_set(fault, "open directory", path);
    if (slash != NULL) *slash = '/';
    if (parent != base) close(parent);
    if (next < 0) return -1;
    parent = next;
  }
  return parent;
}

/*
 * strings: a directory whose own path may lead through links, and a path below it without
 * "." and "..", "" for the directory itself; numbers: the mode of missing directories, or -1. List: a descriptor,
 * owned by the caller.
 */
static void open_directory(struct job *job) {
  const char *base_path = job->strings[0];
  char *path = job->strings[1];
  if (base_path == NULL || path == NULL) {
    fault_set_errno(&job->fault, EINVAL, "open directory", base_path);
    return;
  }
  job->list = calloc(1, sizeof *job->list);
  if (job->list == NULL) {
    fault_set_errno(&job->fault, ENOMEM, "open directory", path);
    return;
  }
  int base = open(base_path, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = base;
  if (base < 0) {
    fault_set(&job->fault, "open directory", base_path);
    return;
  }
  if (path[0] != '\0') {
    fd = open_without_links(base, path);
    if (fd < 0) fd = walk(&job->fault, base, path, job->numbers[0]);
    close(base);
  }
  job->list[0] = fd;
  job->list_count = 1;
}

const struct job_kind directory_jobs[] = {
    {"openDirectory", 2, 1, open_directory, false},
    {NULL, 0, 0, NULL, false},
};
