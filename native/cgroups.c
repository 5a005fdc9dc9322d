/*
 * Cgroups, v1 and v2, in one job, while node:fs needs one for each call: a pod has a dozen directories on
 * v1. A cgroup is named by its directory. Its files cannot be removed and need not be: rmdir(2) removes
 * them, so nothing here unlinks anything. A missing cgroup is not a fault, because another process may have removed
 * it: ENOENT, or ENODEV for a file that was open.
 */
#include "davit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Paths, each before those below it. No recursion: a container may nest as deep as PATH_MAX goes. */
struct list {
  char **paths;
  size_t count, size;
};

static void list_free(struct list *list) {
  free_strings(list->paths, list->count);
  memset(list, 0, sizeof *list);
}

static char *path_in(const char *directory, const char *name) {
  char *path = NULL;
  return asprintf(&path, "%s/%s", directory, name) < 0 ? NULL : path;
}

/* Takes ownership of the path; NULL means that there was no memory for it. */
static int list_add(struct list *list, struct fault *fault, char *path) {
  if (path != NULL && list->count == list->size) {
    size_t size = list->size == 0 ? 16 : list->size * 2;
    char **bigger = realloc(list->paths, size * sizeof *bigger);
    if (bigger == NULL) {
      free(path);
      path = NULL;
    } else {
      list->paths = bigger;
      list->size = size;
    }
  }
  if (path == NULL) return fault_set_errno(fault, ENOMEM, "list cgroup", "");
  list->paths[list->count++] = path;
  return 0;
}

static bool is_directory(DIR *dir, const struct dirent *entry) {
  struct stat info;
  if (entry->d_type != DT_UNKNOWN) return entry->d_type == DT_DIR;
  return fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISDIR(info.st_mode);
}

/* Adds the cgroups directly in the one at an index. */
static int list_children(struct list *list, struct fault *fault, size_t at) {
  DIR *dir = opendir(list->paths[at]);
  struct dirent *entry;
  int result = 0;
  if (dir == NULL) {
    return errno == ENOENT ? 0 : fault_set(fault, "list cgroup", list->paths[at]);
  }
  while (result == 0 && (entry = readdir(dir)) != NULL) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || !is_directory(dir, entry)) continue;
    result = list_add(list, fault, path_in(list->paths[at], name));
  }
  closedir(dir);
  return result;
}

/* Adds a cgroup and, with `all`, those in it. */
static int list_cgroups(struct list *list, struct fault *fault, const char *top, bool all) {
  size_t at = list->count;
  if (list_add(list, fault, strdup(top)) < 0) return -1;
  for (; all && at < list->count; at++) {
    if (list_children(list, fault, at) < 0) return -1;
  }
  return 0;
}

/* Keeps the first fault of a job, which continues nevertheless. */
static void keep_first(struct fault *first, const struct fault *fault) {
  if (first->err == 0) *first = *fault;
}

/*
 * The busy cgroup, which the caller frees; NULL when all are removed, or with a fault. A fake tree on another
 * file system gives ENOTEMPTY where cgroupfs gives EBUSY.
 */
static char *remove_cgroup(struct fault *fault, const char *top, bool all) {
  struct list list = {0};
  char *busy = NULL;
  if (rmdir(top) == 0 || errno == ENOENT) return NULL;
  if (errno != EBUSY && errno != ENOTEMPTY) {
    fault_set(fault, "remove cgroup", top);
    return NULL;
  }
  if (list_cgroups(&list, fault, top, all) == 0 && (all || list_children(&list, fault, 0) == 0)) {
    bool stays = !all && list.count > 1; /* it has children */
    for (size_t i = stays ? 0 : list.count; i-- > 0;) {
      if (rmdir(list.paths[i]) == 0 || errno == ENOENT) continue;
      /* The parents of a cgroup that stays are busy, too. */
      if (busy != NULL || fault->err != 0) continue;
      if (errno != EBUSY) {
        fault_set(fault, "remove cgroup", list.paths[i]);
      } else if ((busy = strdup(list.paths[i])) == NULL) {
        fault_set_errno(fault, ENOMEM, "remove cgroup", list.paths[i]);
      }
    }
  }
  list_free(&list);
  return busy;
}

/*
 * strings: cgroups. numbers: 1 to remove those in them, too, 0 to keep one that has any. Texts: for
 * each the cgroup that was busy, it or one in it, or NULL. One that stays does not stop the others.
 */
static void remove_cgroups(struct job *job) {
  job->texts = calloc(job->string_count + 1, sizeof *job->texts);
  if (job->texts == NULL) {
    fault_set_errno(&job->fault, ENOMEM, "remove cgroups", "");
    return;
  }
  job->text_count = job->string_count;
  for (size_t i = 0; i < job->string_count; i++) {
    struct fault fault = {0};
    if (job->strings[i] == NULL) continue;
    job->texts[i] = remove_cgroup(&fault, job->strings[i], job->numbers[0] != 0);
    if (fault.err != 0) keep_first(&job->fault, &fault);
  }
}

struct text {
  char *bytes;
  size_t length, size;
};

/* Makes space for one read(2) of such a file and for a NUL. */
static int text_grow(struct text *text) {
  enum { ONE_READ = 4096 };
  if (text->size - text->length > ONE_READ) return 0;
  size_t size = text->size * 2 + 2 * ONE_READ;
  char *bigger = realloc(text->bytes, size);
  if (bigger == NULL) return -1;
  text->bytes = bigger;
  text->size = size;
  return 0;
}

/*
 * Adds the pids in cgroup.procs of one cgroup. EOPNOTSUPP: it is threaded, and its parent lists its
 * processes. The pids of one that is removed meanwhile are dropped, because they may be reused by now.
 */
static int read_processes(struct text *text, struct fault *fault, const char *cgroup) {
  size_t start = text->length;
  ssize_t count = -1;
  char *path = path_in(cgroup, "cgroup.procs");
  int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  while (fd >= 0) {
    if (text_grow(text) < 0) {
      errno = ENOMEM;
      count = -1;
      break;
    }
    count = read(fd, text->bytes + text->length, text->size - text->length - 1);
    if (count == 0 || (count < 0 && errno != EINTR)) break;
    if (count > 0) text->length += (size_t)count;
  }
  int err = path == NULL ? ENOMEM : errno;
  free(path);
  if (fd >= 0) close(fd);
  if (count == 0) {
    text->bytes[text->length++] = '\n';
    return 0;
  }
  text->length = start;
  if (err == ENOENT || err == ENODEV || err == EOPNOTSUPP) return 0;
  return fault_set_errno(fault, err, "list processes of cgroup", cgroup);
}

static int text_add(struct text *text, const char *line) {
  for (; *line != '\0'; line++) {
    if (text_grow(text) < 0) return -1;
    text->bytes[text->length++] = *line;
  }
  return 0;
}

/* One text is the result of the job, which owns it from here on. */
static void answer(struct job *job, struct text *text) {
  if (job->fault.err == 0 && text_grow(text) == 0) {
    job->texts = calloc(2, sizeof *job->texts);
  }
  if (job->texts == NULL) {
    free(text->bytes);
    if (job->fault.err == 0) fault_set_errno(&job->fault, ENOMEM, job->kind->name, "");
    return;
  }
  text->bytes[text->length] = '\0';
  job->texts[0] = text->bytes;
  job->text_count = 1;
}

/* strings: cgroups. One text: the names of those directly in them, one a line; none has a newline. */
static void list_names(struct job *job) {
  struct text text = {0};
  for (size_t i = 0; i < job->string_count && job->fault.err == 0; i++) {
    struct list list = {0};
    if (job->strings[i] == NULL) continue;
    if (list_cgroups(&list, &job->fault, job->strings[i], false) == 0) {
      list_children(&list, &job->fault, 0);
    }
    for (size_t k = 1; k < list.count && job->fault.err == 0; k++) {
      if (text_add(&text, strrchr(list.paths[k], '/') + 1) < 0 || text_add(&text, "\n") < 0) {
        fault_set_errno(&job->fault, ENOMEM, "list cgroup", job->strings[i]);
      }
    }
    list_free(&list);
  }
  answer(job, &text);
}

/* strings: cgroups. One text: the pids of the processes in them and in those below, one a line. */
static void list_processes(struct job *job) {
  struct fault *fault = &job->fault;
  struct list list = {0};
  struct text text = {0};
  for (size_t i = 0; i < job->string_count; i++) {
    if (job->strings[i] != NULL && list_cgroups(&list, fault, job->strings[i], true) < 0) break;
  }
  for (size_t i = 0; i < list.count && fault->err == 0; i++) {
    if (read_processes(&text, fault, list.paths[i]) < 0) break;
  }
  list_free(&list);
  answer(job, &text);
}

static bool is_gone(int err) { return err == ENOENT || err == ENODEV; }

/*
 * strings: a file, a value. Results: 1 when it is written, and the errno when the file does not exist. Never
 * creates a file. The kernel accepts a value in one write(2).
 */
static void write_cgroup_file(struct job *job) {
  const char *path = job->strings[0], *value = job->strings[1];
  job->result_count = 2;
  if (path == NULL || value == NULL) {
    fault_set_errno(&job->fault, EINVAL, "write", path);
    return;
  }
  struct fault fault = {0};
  if (write_file(&fault, path, value) == 0) job->results[0] = 1;
  else if (is_gone(fault.err)) job->results[1] = fault.err;
  else job->fault = fault;
}

/* false when it does not exist, or with a fault. `call` names the value, for the fault. */
static bool set_freezer(struct fault *first, const char *cgroup, const char *value, const char *call) {
  struct fault fault = {0};
  char *path = path_in(cgroup, "freezer.state");
  bool written = path != NULL && write_file(&fault, path, value) == 0;
  if (path == NULL) fault_set_errno(&fault, ENOMEM, call, cgroup);
  if (fault.err != 0 && !is_gone(fault.err)) {
    fault_set_errno(&fault, fault.err, call, path == NULL ? cgroup : path);
    keep_first(first, &fault);
  }
  free(path);
  return written;
}

static void kill_listed(struct fault *fault, const char *pids) {
  char *end = NULL;
  for (; *pids != '\0'; pids = *end == '\0' ? end : end + 1) {
    long pid = strtol(pids, &end, 10);
    /* 0 is a process of another PID namespace; kill(2) would signal this process. */
    if (pid <= 0 || kill((pid_t)pid, SIGKILL) == 0 || errno == ESRCH || fault->err != 0) continue;
    char name[32];
    int err = errno;
    snprintf(name, sizeof name, "%ld", pid);
    fault_set_errno(fault, err, "send signal 9 to process", name);
  }
}

/*
 * strings: a cgroup of v1's freezer. Result: 1, or 0 when it does not exist. Freezes it, sends SIGKILL to
 * the processes in it and below, and thaws it. A frozen process neither forks nor ends, so its pid cannot be
 * reused before it is signalled. In one job: a daemon that ends in between leaves it frozen,
 * until the next daemon kills it.
 */
static void kill_frozen(struct job *job) {
  const char *top = job->strings[0];
  struct list list = {0};
  struct text text = {0};
  job->result_count = 1;
  if (top == NULL || !set_freezer(&job->fault, top, "FROZEN", "write \"FROZEN\" to")) return;
  job->results[0] = 1;
  list_cgroups(&list, &job->fault, top, true);
  for (size_t i = 0; i < list.count && read_processes(&text, &job->fault, list.paths[i]) == 0; i++) {
  }
  if (text_grow(&text) == 0) {
    text.bytes[text.length] = '\0';
    kill_listed(&job->fault, text.bytes);
  } else {
    fault_set_errno(&job->fault, ENOMEM, "list processes of cgroup", top);
  }
  /* Also those below: a container may have frozen a cgroup of its own, whose processes could not end. */
  if (list.count == 0) set_freezer(&job->fault, top, "THAWED", "write \"THAWED\" to");
  for (size_t i = 0; i < list.count; i++) {
    set_freezer(&job->fault, list.paths[i], "THAWED", "write \"THAWED\" to");
  }
  free(text.bytes);
  list_free(&list);
}

/*
 * strings: a cgroup of v1's memory controller. Result: an eventfd that the kernel signals at its OOM events
 * (linux/Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control"), or -1 when the cgroup does not exist. The
 * kernel keeps the eventfd, and needs neither of the two files afterwards.
 */
static void open_oom_events(struct job *job) {
  const char *top = job->strings[0];
  struct fault *fault = &job->fault;
  char *control = NULL, *events = NULL, value[32];
  int oom = -1, event = -1;
  job->result_count = 1;
  job->results[0] = -1;
  if (top == NULL) {
    fault_set_errno(fault, EINVAL, "watch OOM events", top);
    return;
  }
  control = path_in(top, "memory.oom_control");
  events = path_in(top, "cgroup.event_control");
  if (control == NULL || events == NULL) {
    fault_set_errno(fault, ENOMEM, "watch OOM events", top);
  } else if ((oom = open(control, O_RDONLY | O_CLOEXEC)) < 0) {
    if (!is_gone(errno)) fault_set(fault, "open", control);
  } else if ((event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
    fault_set(fault, "eventfd", "");
  } else {
    snprintf(value, sizeof value, "%d %d", event, oom);
    if (write_file(fault, events, value) == 0) {
      job->results[0] = event;
      event = -1;
    } else if (is_gone(fault->err)) {
      memset(fault, 0, sizeof *fault);
    }
  }
  if (event >= 0) close(event);
  if (oom >= 0) close(oom);
  free(control);
  free(events);
}

/* Gives the tree of v2 these options, and no others. It is mounted nowhere. */
static int set_unified_options(struct fault *fault, char **options, size_t count, const char *more) {
  int fs = (int)syscall(SYS_fsopen, "cgroup2", FSOPEN_CLOEXEC);
  if (fs < 0) return fault_set(fault, "fsopen", "cgroup2");
  for (size_t i = 0; i <= count && fault->err == 0; i++) {
    const char *option = i < count ? options[i] : more;
    if (option != NULL && syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, option, NULL, 0) < 0) {
      fault_set(fault, "fsconfig", option);
    }
  }
  if (fault->err == 0 && syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
    fault_set(fault, "fsconfig", "cgroup2");
  }
  close(fs);
  return fault->err == 0 ? 0 : -1;
}

/* strings: the options of the tree of v2. It has favordynmods in addition, and then no more. */
static void favor_migrations(struct job *job) {
  if (set_unified_options(&job->fault, job->strings, job->string_count, "favordynmods") < 0) return;
  set_unified_options(&job->fault, job->strings, job->string_count, NULL);
}

const struct job_kind cgroup_jobs[] = {
    {"removeCgroups", 0, 1, remove_cgroups, false},
    {"listCgroups", 0, 0, list_names, false},
    {"listProcesses", 0, 0, list_processes, false},
    {"writeCgroupFile", 2, 0, write_cgroup_file, false},
    {"killFrozen", 1, 0, kill_frozen, false},
    {"openOomEvents", 1, 0, open_oom_events, false},
    {"favorMigrations", 0, 0, favor_migrations, false},
    {NULL, 0, 0, NULL, false},
};
