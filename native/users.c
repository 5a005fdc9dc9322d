/*
 * User namespaces. unshare(CLONE_NEWUSER) and setns(2) into one fail on a thread of a process with
 * several (user_namespaces(7)), so both are done by a child that is a copy of this process with one
 * thread. The copy deliberately does not use CLONE_VM: becoming another user clears the "dumpable" flag of
 * the memory, and a process that runs as a pod's root must not share memory with the daemon, because
 * another process of that user could trace it. The child only makes system calls and
 * writes to its own copy.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

enum { FROM_PARENT = 0, TO_PARENT = 1 };

/* A child and the pipes to it. Closing `go` ends it. */
struct copy {
  pid_t pid;
  int pidfd;
  int go;
  int done;
};

typedef int (*child_work)(struct fault *fault, const struct job *job);

/* glibc's wrappers would signal threads that the copy does not have (nptl(7)). */
static int become_root(struct fault *fault) {
  if (syscall(SYS_setgroups, 0, NULL) < 0) return fault_set(fault, "setgroups", "");
  if (syscall(SYS_setresgid, 0, 0, 0) < 0) return fault_set(fault, "setresgid", "0");
  if (syscall(SYS_setresuid, 0, 0, 0) < 0) return fault_set(fault, "setresuid", "0");
  return 0;
}

/* When the parent ends, the read returns 0 bytes: so a child never outlives the daemon. */
static bool parent_said(void) {
  char byte;
  ssize_t count;
  do count = read(FROM_PARENT, &byte, 1);
  while (count < 0 && errno == EINTR);
  return count == 1;
}

__attribute__((noreturn)) static void child_run(const struct job *job, child_work work, int from,
                                                int to) {
  struct fault fault = {0};
  if (dup2(from, FROM_PARENT) < 0 || dup2(to, TO_PARENT) < 0 ||
      syscall(SYS_close_range, 2U, ~0U, 0) < 0) {
    _exit(1);
  }
  if (parent_said()) {
    work(&fault, job);
    /* `call` points to a literal, which has the same address in the parent. */
    if (write(TO_PARENT, &fault, sizeof fault) == (ssize_t)sizeof fault) parent_said();
  }
  _exit(0);
}

static int copy_start(struct job *job, struct copy *copy, uint64_t flags, child_work work) {
  int go[2] = {-1, -1}, done[2] = {-1, -1};
  sigset_t all, before;
  *copy = (struct copy){.pid = -1, .pidfd = -1, .go = -1, .done = -1};
  if (pipe2(go, O_CLOEXEC) < 0) return fault_set(&job->fault, "pipe2", "");
  if (pipe2(done, O_CLOEXEC) < 0) {
    fault_set(&job->fault, "pipe2", "");
    close(go[0]);
    close(go[1]);
    return -1;
  }
  struct clone_args args = {
      .flags = flags | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&copy->pidfd, .exit_signal = SIGCHLD};
  /* No signal handler of the parent may run in the child. */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  copy->pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
  if (copy->pid == 0) child_run(job, work, go[0], done[1]);
  int clone_errno = errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  close(go[0]);
  close(done[1]);
  copy->go = go[1];
  copy->done = done[0];
  if (copy->pid > 0) return 0;
  fault_set_errno(&job->fault, clone_errno, "clone", "");
  close(copy->go);
  close(copy->done);
  return -1;
}

/* Starts the work of the child and receives its fault. */
static int copy_work(struct job *job, struct copy *copy) {
  struct fault fault = {0};
  ssize_t count;
  if (write(copy->go, "", 1) != 1) return fault_set(&job->fault, "write to", "the child in the user namespace");
  do count = read(copy->done, &fault, sizeof fault);
  while (count < 0 && errno == EINTR);
  if (count != (ssize_t)sizeof fault) {
    return fault_set_errno(&job->fault, ECHILD, "wait for", "the child in the user namespace");
  }
  if (fault.err == 0) return 0;
  job->fault = fault;
  return -1;
}

static void copy_end(struct copy *copy) {
  close(copy->go);
  close(copy->done);
  while (waitid(P_PIDFD, (id_t)copy->pidfd, NULL, WEXITED) < 0 && errno == EINTR) {
  }
  close(copy->pidfd);
}

static int write_map(struct fault *fault, pid_t pid, const char *name, const char *map) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  return write_file(fault, path, map);
}

/* strings as for pin_user_namespace */
static int make_namespaces(struct fault *fault, const struct job *job) {
  int flags = 0;
  const char *hostname = job->strings[1 + PIN_COUNT];
  for (int i = 0; i < PIN_COUNT; i++) {
    if (job->strings[1 + i] != NULL) flags |= pin_kinds[i].flag;
  }
  /* Before the others are made: a namespace belongs to the user namespace of its creator. */
  if (become_root(fault) < 0) return -1;
  if (flags != 0 && unshare(flags) < 0) return fault_set(fault, "unshare", "");
  if ((flags & CLONE_NEWNET) && lo_up(fault) < 0) return -1;
  if (hostname != NULL && sethostname(hostname, strlen(hostname)) < 0) {
    return fault_set(fault, "sethostname", hostname);
  }
  return 0;
}

/*
 * strings: user, net, ipc, uts paths (all but the first may be null), hostname or null, uid_map and
 * gid_map. The namespaces are found by the pid of the child, which is not reaped before they are pinned.
 */
static void pin_user_namespace(struct job *job) {
  enum { UID_MAP = PIN_COUNT + 2, GID_MAP };
  static const char *const names[PIN_COUNT + 1] = {"user", "net", "ipc", "uts"};
  struct copy copy;
  char source[64];
  int pinned = 0;
  char **strings = job->strings;
  if (strings[0] == NULL || strings[UID_MAP] == NULL || strings[GID_MAP] == NULL ||
      (strings[1 + PIN_COUNT] != NULL && strings[1 + PIN_UTS] == NULL)) {
    fault_set_errno(&job->fault, EINVAL, "pin a user namespace", strings[0]);
    return;
  }
  if (copy_start(job, &copy, CLONE_NEWUSER, make_namespaces) < 0) return;
  if (write_map(&job->fault, copy.pid, "uid_map", strings[UID_MAP]) == 0 &&
      write_map(&job->fault, copy.pid, "gid_map", strings[GID_MAP]) == 0 &&
      copy_work(job, &copy) == 0) {
    for (int i = 0; i <= PIN_COUNT; i++) {
      if (strings[i] == NULL) continue;
      snprintf(source, sizeof source, "/proc/%d/ns/%s", (int)copy.pid, names[i]);
      if (pin_one(&job->fault, source, strings[i]) < 0) break;
      pinned |= 1 << i;
    }
  }
  copy_end(&copy);
  for (int i = 0; job->fault.err != 0 && i <= PIN_COUNT; i++) {
    if (pinned & (1 << i)) unpin_one(strings[i]);
  }
}

/* strings as for write_user_sysctls */
static int write_as_root(struct fault *fault, const struct job *job) {
  if (enter_namespace(fault, job->strings[0], CLONE_NEWUSER) < 0 ||
      enter_namespace(fault, job->strings[1], CLONE_NEWNET) < 0 ||
      enter_namespace(fault, job->strings[2], CLONE_NEWIPC) < 0 || become_root(fault) < 0) {
    return -1;
  }
  for (size_t i = 3; i + 1 < job->string_count; i += 2) {
    if (write_file(fault, job->strings[i], job->strings[i + 1]) < 0) return -1;
  }
  return 0;
}

/*
 * strings: user path, net path or null, ipc path or null, then pairs of file and value. The sysctls
 * of an ipc namespace can be written only by the root of its user namespace; no capability replaces
 * that (ipc_permissions() in ipc/ipc_sysctl.c).
 */
static void write_user_sysctls(struct job *job) {
  struct copy copy;
  if (job->strings[0] == NULL) {
    fault_set_errno(&job->fault, EINVAL, "write sysctls in", job->strings[0]);
    return;
  }
  if (copy_start(job, &copy, 0, write_as_root) < 0) return;
  copy_work(job, &copy);
  copy_end(&copy);
}

const struct job_kind user_jobs[] = {
    {"pinUserNamespace", PIN_COUNT + 4, 0, pin_user_namespace, false},
    {"writeUserSysctls", 3, 0, write_user_sysctls, false},
    {NULL, 0, 0, NULL, false},
};
