/*
 * Counts the processes of cgroups and what they have open, for many cgroups in one job. It reads only names in /proc:
 * the files behind the descriptors are not touched, so a dead file server does not stop it.
 */
#include "davit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 16, COUNTERS = 3 };

struct counts {
  int64_t processes, descriptors, sockets;
  int64_t left;         /* descriptors that may still be read: a container may have millions of them */
  int64_t members_left; /* the same for processes and nested cgroups */
};

static bool is_socket(int directory, const char *name) {
  static const char prefix[] = "socket:";
  char target[sizeof prefix - 1];
  return readlinkat(directory, name, target, sizeof target) == (ssize_t)sizeof target &&
         memcmp(target, prefix, sizeof target) == 0;
}

/* A process that has ended meanwhile has no descriptors. */
static void count_descriptors(struct counts *counts, int proc, int pid) {
  char path[32];
  struct dirent *entry;
  snprintf(path, sizeof path, "%d/fd", pid);
  int fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (dir == NULL) {
    if (fd >= 0) close(fd);
    return;
  }
  while (counts->left > 0 && (entry = readdir(dir)) != NULL) {
    if (entry->d_name[0] == '.') continue;
    counts->left--;
    counts->descriptors++;
    if (is_socket(dirfd(dir), entry->d_name)) counts->sockets++;
  }
  closedir(dir);
}

/*
 * A threaded cgroup cannot be read (EOPNOTSUPP): its parent lists its processes. The kernel lists a process of another
 * PID namespace as 0.
 */
static void count_processes(struct counts *counts, int proc, int cgroup) {
  int pid = 0;
  int fd = openat(cgroup, "cgroup.procs", O_RDONLY | O_CLOEXEC);
  FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
  if (file == NULL) {
    if (fd >= 0) close(fd);
    return;
  }
  while (counts->members_left > 0 && fscanf(file, "%d", &pid) == 1) {
    counts->members_left--;
    counts->processes++;
    if (pid > 0) count_descriptors(counts, proc, pid);
  }
  fclose(file);
}

/* Takes ownership of the descriptor. */
static void count_cgroup(struct counts *counts, int proc, int cgroup, int depth) {
  struct dirent *entry;
  struct stat info;
  count_processes(counts, proc, cgroup);
  /* A directory of cgroupfs has a link for each cgroup in it, besides its own two. */
  bool has_inner = depth < MAX_DEPTH && fstat(cgroup, &info) == 0 && info.st_nlink != 2;
  DIR *dir = has_inner ? fdopendir(cgroup) : NULL;
  if (dir == NULL) {
    close(cgroup);
    return;
  }
  while (counts->members_left > 0 && (entry = readdir(dir)) != NULL) {
    if (entry->d_name[0] == '.' || entry->d_type != DT_DIR) continue;
    counts->members_left--;
    int inner = openat(cgroup, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner >= 0) count_cgroup(counts, proc, inner, depth + 1);
  }
  closedir(dir);
}

/*
 * strings: cgroups. numbers: how many processes and descriptors are counted for each at most. List: for each its
 * processes, their descriptors, and how many of these are sockets; -1 for one that does not exist.
 */
static void count_open_files(struct job *job) {
  int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
  job->list = proc < 0 ? NULL : calloc(job->string_count * COUNTERS + 1, sizeof *job->list);
  if (job->list == NULL) {
    if (proc < 0) fault_set(&job->fault, "open directory", "/proc");
    else fault_set_errno(&job->fault, ENOMEM, "count open files", "");
    if (proc >= 0) close(proc);
    return;
  }
  job->list_count = job->string_count * COUNTERS;
  for (size_t i = 0; i < job->string_count; i++) {
    struct counts counts = {.left = job->numbers[0], .members_left = job->numbers[0]};
    const char *path = job->strings[i];
    int cgroup = path == NULL ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cgroup < 0) counts.processes = counts.descriptors = counts.sockets = -1;
    else count_cgroup(&counts, proc, cgroup, 0);
    job->list[i * COUNTERS] = counts.processes;
    job->list[i * COUNTERS + 1] = counts.descriptors;
    job->list[i * COUNTERS + 2] = counts.sockets;
  }
  close(proc);
}

const struct job_kind open_file_jobs[] = {
    {"countOpenFiles", 0, 1, count_open_files, false},
    {NULL, 0, 0, NULL, false},
};
