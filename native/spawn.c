/*
 * Starts a process without copying this one: clone(CLONE_VM | CLONE_VFORK), like posix_spawn(3),
 * so that the cost does not grow with the daemon's memory, and CLONE_PIDFD, so that the reference to the child
 * is never reused.
 *
 * Until execve the child shares the memory of this process and runs on a stack of its own while the thread
 * that cloned it is suspended; other threads continue. So child_main() may only make system calls
 * and write to its own stack, the report and the plan's numbers. It has its own fd table, signal handlers, cwd and
 * namespaces (no CLONE_FILES, CLONE_SIGHAND, CLONE_FS), which it may change.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "confine.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

enum { STACK_SIZE = 64 * 1024, STDIO_NULL = -1, STDIO_PIPE = -2, STDIO_AS_STDOUT = -3 };
enum { FLAG_NEW_SESSION = 1, FLAG_NEW_PID_NAMESPACE = 2, CONFINEMENT_SHIFT = 8 };

/* The call at which the child failed, at the low end of the child's stack mapping. */
struct report {
  int err;
  const char *call;
  const char *path;
};

struct fd_list {
  size_t count;
  char **paths;
  int *fds;
};

struct plan {
  char *file;
  char *cwd;
  char **argv;
  char **envp;
  size_t argc, envc;
  int64_t *numbers; /* stdin, stdout, stderr, flags with the kind of confinement, then the extra fds, which may be the child's stdout */
  size_t number_count;
  struct fd_list namespaces; /* nsfs files to enter */
  struct fd_list cgroups;    /* cgroup.procs files to write "0" to */
  int child_end[3];          /* pipe ends, -1 when there is no pipe */
  int our_end[3];
  struct confinement confinement;
  struct report *report;
  int pid;
  int pidfd;
  struct fault fault;
  napi_async_work work;
  napi_deferred deferred;
  napi_ref callback;
};

static void close_all(int *fds, size_t count) {
  for (size_t i = 0; fds != NULL && i < count; i++) {
    if (fds[i] >= 0) close(fds[i]);
    fds[i] = -1;
  }
}

static void plan_free(napi_env env, struct plan *plan) {
  free(plan->file);
  free(plan->cwd);
  free_strings(plan->argv, plan->argc);
  free_strings(plan->envp, plan->envc);
  free(plan->numbers);
  close_all(plan->namespaces.fds, plan->namespaces.count);
  close_all(plan->cgroups.fds, plan->cgroups.count);
  free(plan->namespaces.fds);
  free(plan->cgroups.fds);
  free_strings(plan->namespaces.paths, plan->namespaces.count);
  free_strings(plan->cgroups.paths, plan->cgroups.count);
  close_all(plan->child_end, 3);
  close_all(plan->our_end, 3);
  if (plan->callback != NULL) napi_delete_reference(env, plan->callback);
  free(plan);
}

/*
 * child_main() ends by returning, which ends the process (clone(2)): _exit() would make AddressSanitizer
 * look for the end of a stack that it does not know.
 */
static int child_fail(struct plan *plan, const char *call, const char *path) {
  plan->report->err = errno;
  plan->report->call = call;
  plan->report->path = path;
  return 127;
}

/*
 * Every handler is reset to the default first: with CLONE_VM a handler of the parent would run in the parent's
 * memory. All signals are blocked until then. execve keeps the mask and ignored signals
 * (Node.js ignores SIGPIPE), so both must be reset here.
 */
static void child_reset_signals(void) {
  struct sigaction action;
  sigset_t none;
  memset(&action, 0, sizeof action);
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; signal++) sigaction(signal, &action, NULL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * Moves the descriptors to 0, 1, 2, 3... and closes all others. They are first copied
 * above the whole target range, so that no target overwrites a source that is still needed; dup2
 * clears close-on-exec because source and target then always differ.
 */
static int child_place_fds(struct plan *plan) {
  int count = (int)(3 + plan->number_count - 4);
  int copies_from = count;
  for (int i = 0; i < count; i++) {
    int64_t wanted = i < 3 ? plan->numbers[i] : plan->numbers[4 + i - 3];
    int fd = (int)wanted;
    if (wanted == STDIO_NULL) {
      fd = open("/dev/null", O_RDWR | O_CLOEXEC);
      if (fd < 0) return child_fail(plan, "open", "/dev/null");
    } else if (wanted == STDIO_PIPE) {
      fd = plan->child_end[i];
    } else if (wanted == STDIO_AS_STDOUT) {
      fd = (int)plan->numbers[1]; /* already the copy */
    }
    fd = fcntl(fd, F_DUPFD_CLOEXEC, copies_from);
    if (fd < 0) return child_fail(plan, "pass a descriptor to", plan->file);
    plan->numbers[i < 3 ? i : 4 + i - 3] = fd;
  }
  for (int i = 0; i < count; i++) {
    int fd = (int)plan->numbers[i < 3 ? i : 4 + i - 3];
    if (dup2(fd, i) < 0) return child_fail(plan, "dup2", plan->file);
  }
  if (syscall(SYS_close_range, (unsigned)count, ~0U, 0) < 0) {
    return child_fail(plan, "close_range", plan->file);
  }
  return 0;
}

static int child_main(void *data) {
  struct plan *plan = data;
  int64_t flags = plan->numbers[3];

  child_reset_signals();
  if ((flags & FLAG_NEW_SESSION) && setsid() < 0) return child_fail(plan, "setsid", plan->file);
  /* "0" is the writer itself (cgroups(7)): the program never runs outside its cgroup. */
  for (size_t i = 0; i < plan->cgroups.count; i++) {
    if (write(plan->cgroups.fds[i], "0", 1) < 0) {
      return child_fail(plan, "enter cgroup", plan->cgroups.paths[i]);
    }
  }
  for (size_t i = 0; i < plan->namespaces.count; i++) {
    if (setns(plan->namespaces.fds[i], 0) < 0) {
      return child_fail(plan, "setns", plan->namespaces.paths[i]);
    }
  }
  if (plan->cwd != NULL && chdir(plan->cwd) < 0) return child_fail(plan, "chdir", plan->cwd);
  if (child_place_fds(plan) != 0) return 127;
  if (plan->confinement.kind != 0) {
    const char *failed = confine_child(&plan->confinement);
    if (failed != NULL) return child_fail(plan, failed, plan->file);
  }
  execve(plan->file, plan->argv, plan->envp);
  return child_fail(plan, "execve", plan->file);
}

static int open_list(struct plan *plan, struct fd_list *list, int mode, const char *call) {
  for (size_t i = 0; i < list->count; i++) {
    list->fds[i] = open(list->paths[i], mode | O_CLOEXEC);
    if (list->fds[i] < 0) return fault_set(&plan->fault, call, list->paths[i]);
  }
  return 0;
}

static int make_pipes(struct plan *plan) {
  for (int i = 0; i < 3; i++) {
    int ends[2];
    if (plan->numbers[i] != STDIO_PIPE) continue;
    if (pipe2(ends, O_CLOEXEC) < 0) return fault_set(&plan->fault, "pipe2", plan->file);
    plan->child_end[i] = i == 0 ? ends[0] : ends[1];
    plan->our_end[i] = i == 0 ? ends[1] : ends[0];
  }
  return 0;
}

/* The one clone of the addon. CLONE_VFORK makes `report` final when it returns. */
static int clone_child(struct plan *plan) {
  sigset_t all, before;
  int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
  if (plan->numbers[3] & FLAG_NEW_PID_NAMESPACE) flags |= CLONE_NEWPID;

  char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return fault_set(&plan->fault, "mmap a stack for", plan->file);
  plan->report = (struct report *)stack; /* zeroed by the kernel */

  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  plan->pid = clone(child_main, stack + STACK_SIZE, flags, plan, &plan->pidfd);
  int clone_errno = errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);

  if (plan->pid < 0) {
    fault_set_errno(&plan->fault, clone_errno, "clone", plan->file);
  } else if (plan->report->err != 0) {
    fault_set_errno(&plan->fault, plan->report->err, plan->report->call, plan->report->path);
    while (waitid(P_PIDFD, (id_t)plan->pidfd, NULL, WEXITED) < 0 && errno == EINTR) {
    }
    close(plan->pidfd);
  }
  munmap(stack, STACK_SIZE);
  return plan->fault.err == 0 ? 0 : -1;
}

static void plan_run(napi_env env, void *data) {
  (void)env;
  struct plan *plan = data;
  if (open_list(plan, &plan->namespaces, O_RDONLY, "open namespace") == 0 &&
      open_list(plan, &plan->cgroups, O_WRONLY, "open cgroup") == 0 && make_pipes(plan) == 0) {
    clone_child(plan);
  }
  /* The ends of this process would keep the pipes open after the child's end. */
  close_all(plan->child_end, 3);
}

/* The result object, or NULL with an exception pending. Frees the plan. */
static napi_value plan_finish(napi_env env, struct plan *plan) {
  static const char *const names[] = {"stdin", "stdout", "stderr"};
  napi_value result = NULL, callback, watch, value;

  if (plan->fault.err != 0) {
    fault_throw(env, &plan->fault);
    plan_free(env, plan);
    return NULL;
  }
  napi_get_reference_value(env, plan->callback, &callback);
  watch = watch_start(env, WATCH_CHILD, plan->pidfd, callback);
  if (watch == NULL) {
    /* Only without memory. Kill the child, because it would never be reaped. */
    kill(plan->pid, SIGKILL);
    waitpid(plan->pid, NULL, 0);
    plan_free(env, plan);
    return NULL;
  }
  napi_create_object(env, &result);
  napi_create_int32(env, plan->pid, &value);
  napi_set_named_property(env, result, "pid", value);
  napi_set_named_property(env, result, "watch", watch);
  for (int i = 0; i < 3; i++) {
    napi_create_int32(env, plan->our_end[i], &value);
    napi_set_named_property(env, result, names[i], value);
    plan->our_end[i] = -1; /* JS owns it now */
  }
  plan_free(env, plan);
  return result;
}

static bool take_list(napi_env env, napi_value array, struct fd_list *list) {
  size_t count = 0;
  list->paths = take_strings(env, array, &count);
  if (list->paths == NULL) return false;
  list->fds = malloc((count + 1) * sizeof *list->fds);
  for (size_t i = 0; list->fds != NULL && i < count; i++) list->fds[i] = -1;
  list->count = count;
  return list->fds != NULL;
}

/* (file, argv, env, cwd | null, numbers, namespaces, cgroups, onExit) */
static struct plan *take_plan(napi_env env, napi_callback_info info) {
  size_t argc = 8;
  napi_value argv[8];
  napi_valuetype cwd_type;
  if (!on_main_thread(env)) {
    struct fault fault = {0};
    fault_set_errno(&fault, EOPNOTSUPP, "spawn from a worker thread", "");
    fault_throw(env, &fault);
    return NULL;
  }
  struct plan *plan = calloc(1, sizeof *plan);
  if (plan == NULL || napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 8) {
    napi_throw_type_error(env, NULL, "spawn: want eight arguments");
    free(plan);
    return NULL;
  }
  for (int i = 0; i < 3; i++) plan->child_end[i] = plan->our_end[i] = -1;
  napi_typeof(env, argv[3], &cwd_type);
  if ((plan->file = take_string(env, argv[0])) == NULL ||
      (plan->argv = take_strings(env, argv[1], &plan->argc)) == NULL ||
      (plan->envp = take_strings(env, argv[2], &plan->envc)) == NULL ||
      (cwd_type == napi_string && (plan->cwd = take_string(env, argv[3])) == NULL) ||
      (plan->numbers = take_numbers(env, argv[4], &plan->number_count)) == NULL ||
      !take_list(env, argv[5], &plan->namespaces) || !take_list(env, argv[6], &plan->cgroups)) {
    plan_free(env, plan);
    return NULL;
  }
  if (plan->number_count < 4 || napi_create_reference(env, argv[7], 1, &plan->callback) != napi_ok) {
    napi_throw_type_error(env, NULL, "spawn: want four numbers and a callback");
    plan_free(env, plan);
    return NULL;
  }
  if (plan->numbers[3] >> CONFINEMENT_SHIFT != 0) {
    confine_prepare(&plan->confinement, (int)(plan->numbers[3] >> CONFINEMENT_SHIFT));
    if (plan->confinement.length == 0) {
      napi_throw_type_error(env, NULL, "spawn: unknown kind of confinement");
      plan_free(env, plan);
      return NULL;
    }
  }
  return plan;
}

/* JS: spawn(...plan): {pid, watch, stdin, stdout, stderr}. Blocks until the child's execve. */
static napi_value spawn_now(napi_env env, napi_callback_info info) {
  struct plan *plan = take_plan(env, info);
  if (plan == NULL) return NULL;
  plan_run(env, plan);
  return plan_finish(env, plan);
}

static void spawn_done(napi_env env, napi_status status, void *data) {
  struct plan *plan = data;
  napi_deferred deferred = plan->deferred;
  napi_async_work work = plan->work;
  if (status == napi_cancelled) fault_set_errno(&plan->fault, ECANCELED, "spawn", plan->file);
  napi_value result = plan_finish(env, plan);
  if (result != NULL) {
    napi_resolve_deferred(env, deferred, result);
  } else {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_reject_deferred(env, deferred, error);
  }
  napi_delete_async_work(env, work);
}

/* JS: spawnInPool(...plan): Promise. The same, with the wait on a thread of libuv's pool. */
static napi_value spawn_in_pool(napi_env env, napi_callback_info info) {
  napi_value promise = NULL, name;
  struct plan *plan = take_plan(env, info);
  if (plan == NULL) return NULL;
  napi_create_string_utf8(env, "spawn", NAPI_AUTO_LENGTH, &name);
  if (napi_create_async_work(env, NULL, name, plan_run, spawn_done, plan, &plan->work) != napi_ok ||
      napi_create_promise(env, &plan->deferred, &promise) != napi_ok ||
      napi_queue_async_work(env, plan->work) != napi_ok) {
    napi_throw_error(env, NULL, "spawn: cannot queue");
    plan_free(env, plan);
    return NULL;
  }
  return promise;
}

napi_status spawn_init(napi_env env, napi_value exports) {
  napi_status status = add_function(env, exports, "spawn", spawn_now);
  if (status == napi_ok) status = add_function(env, exports, "spawnInPool", spawn_in_pool);
  return status;
}
