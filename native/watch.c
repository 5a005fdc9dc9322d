/*
 * Fds that the event loop watches: pidfds (the end of a process), /proc/self/mountinfo (changes of the mount
 * table), and sockets and terminals (sockets.c reads and writes them). All of
 * this file runs on the main thread.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Freed when the JS external is collected and libuv has closed the handle. */
struct watch {
  uv_poll_t poll; /* first, so that libuv's handle pointer is also a pointer to the watch */
  enum watch_kind kind;
  int fd; /* -1 once closed */
  int owners;
  napi_env env;
  napi_ref callback;
};

static void watch_drop(struct watch *watch) {
  if (--watch->owners == 0) free(watch);
}

static void watch_collected(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  watch_drop(data);
}

static void watch_closed(uv_handle_t *handle) { watch_drop((struct watch *)handle); }

/* uv_close() removes the fd from epoll before it returns, so the fd may be closed afterwards. */
static void watch_stop(struct watch *watch) {
  if (watch->fd < 0) return;
  uv_close((uv_handle_t *)&watch->poll, watch_closed);
  close(watch->fd);
  watch->fd = -1;
  if (watch->callback != NULL) napi_delete_reference(watch->env, watch->callback);
  watch->callback = NULL;
}

/*
 * Reaps the child of the pidfd, and no other: waitid(P_PIDFD) cannot collect the exit of
 * another child. false when the child has not ended yet.
 */
static bool reap(int pidfd, int32_t *code, int32_t *signal) {
  siginfo_t info = {0};
  int rc;
  do {
    rc = waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG);
  } while (rc < 0 && errno == EINTR);
  if (rc < 0) return true; /* ECHILD: reaped by other code, so neither code nor signal is known */
  if (info.si_pid == 0) return false;
  if (info.si_code == CLD_EXITED) {
    *code = info.si_status;
  } else {
    *signal = info.si_status;
  }
  return true;
}

static void watch_fired(uv_poll_t *poll, int status, int events) {
  struct watch *watch = (struct watch *)poll;
  napi_env env = watch->env;
  int32_t code = -1, signal = -1;
  napi_handle_scope scope;
  napi_value callback, global, argv[2];

  /* POLLERR stops the poll: the next read or write returns the error. */
  if (watch->kind == WATCH_DESCRIPTOR) code = status < 0 ? UV_READABLE | UV_WRITABLE : events;
  if (watch->kind == WATCH_CHILD && !reap(watch->fd, &code, &signal)) return;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_get_reference_value(env, watch->callback, &callback);
  napi_get_global(env, &global);
  napi_create_int32(env, code, &argv[0]);
  napi_create_int32(env, signal, &argv[1]);
  /* a process ends only once */
  if (watch->kind == WATCH_CHILD || watch->kind == WATCH_PROCESS) watch_stop(watch);
  if (napi_make_callback(env, NULL, global, callback, 2, argv, NULL) == napi_pending_exception) {
    napi_value exception;
    napi_get_and_clear_last_exception(env, &exception);
    napi_fatal_exception(env, exception);
  }
  napi_close_handle_scope(env, scope);
}

bool on_main_thread(napi_env env) {
  uv_loop_t *loop = NULL;
  return napi_get_uv_event_loop(env, &loop) == napi_ok && loop == uv_default_loop();
}

napi_value watch_start(napi_env env, enum watch_kind kind, int fd, napi_value callback) {
  struct fault fault = {0};
  napi_value external = NULL;
  struct watch *watch = calloc(1, sizeof *watch);

  if (!on_main_thread(env)) {
    fault_set_errno(&fault, EOPNOTSUPP, "watch from a worker thread", "");
    goto failed;
  }
  if (watch == NULL) {
    fault_set_errno(&fault, ENOMEM, "watch", "");
    goto failed;
  }
  watch->kind = kind;
  watch->fd = fd;
  watch->env = env;
  int err = uv_poll_init(uv_default_loop(), &watch->poll, fd);
  if (err != 0) {
    fault_set_errno(&fault, -err, "uv_poll_init", "");
    goto failed;
  }
  watch->owners = 1;
  if (napi_create_reference(env, callback, 1, &watch->callback) != napi_ok ||
      napi_create_external(env, watch, watch_collected, NULL, &external) != napi_ok) {
    fault_set_errno(&fault, ENOMEM, "watch", "");
    watch_stop(watch);
    fault_throw(env, &fault);
    return NULL;
  }
  watch->owners = 2;
  if (kind == WATCH_DESCRIPTOR) return external; /* watchEvents starts it */
  /*
   * A pidfd is readable when the process is a zombie (pidfd_open(2)); mountinfo reports POLLPRI and
   * POLLERR once after each change (proc_pid_mountinfo(5)), and is always readable.
   */
  err = uv_poll_start(&watch->poll, kind == WATCH_MOUNTS ? UV_PRIORITIZED : UV_READABLE, watch_fired);
  if (err != 0) {
    fault_set_errno(&fault, -err, "uv_poll_start", "");
    watch_stop(watch);
    fault_throw(env, &fault);
    return NULL;
  }
  return external;

failed:
  free(watch);
  close(fd);
  fault_throw(env, &fault);
  return NULL;
}

static struct watch *watch_of(napi_env env, napi_callback_info info, napi_value *second) {
  size_t argc = 2;
  napi_value argv[2];
  void *data = NULL;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_external(env, argv[0], &data) != napi_ok) {
    napi_throw_type_error(env, NULL, "want a watch");
    return NULL;
  }
  if (second != NULL) *second = argv[1]; /* N-API sets missing arguments to undefined */
  return data;
}

/*
 * JS: watchSignal(watch, signal): boolean. false when the process has ended. The pidfd always refers to
 * its own process, so a process with a reused pid never gets the signal.
 */
static napi_value watch_signal(napi_env env, napi_callback_info info) {
  napi_value second, result = NULL;
  int32_t signal = 0;
  bool sent = false;
  struct watch *watch = watch_of(env, info, &second);
  if (watch == NULL) return NULL;
  if (napi_get_value_int32(env, second, &signal) != napi_ok) {
    napi_throw_type_error(env, NULL, "want a signal number");
    return NULL;
  }
  if (watch->fd >= 0) {
    sent = syscall(SYS_pidfd_send_signal, watch->fd, signal, NULL, 0) == 0;
    if (!sent && errno != ESRCH) {
      struct fault fault = {0};
      fault_set(&fault, "pidfd_send_signal", "");
      fault_throw(env, &fault);
      return NULL;
    }
  }
  napi_get_boolean(env, sent, &result);
  return result;
}

/* JS: watchClose(watch): void. Idempotent. Not for a running child, which would stay a zombie. */
static napi_value watch_close(napi_env env, napi_callback_info info) {
  struct watch *watch = watch_of(env, info, NULL);
  if (watch != NULL) watch_stop(watch);
  return NULL;
}

/* JS: watchUnref(watch): void. The watch no longer keeps the event loop running. */
static napi_value watch_unref(napi_env env, napi_callback_info info) {
  struct watch *watch = watch_of(env, info, NULL);
  if (watch != NULL && watch->fd >= 0) uv_unref((uv_handle_t *)&watch->poll);
  return NULL;
}

/* JS: watchProcess(pid, onExit): watch. Throws ESRCH when there is no such process. */
static napi_value watch_process(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2];
  int32_t pid = 0;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_get_value_int32(env, argv[0], &pid) != napi_ok) {
    napi_throw_type_error(env, NULL, "want a pid and a callback");
    return NULL;
  }
  int fd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec is always set */
  if (fd < 0) {
    struct fault fault = {0};
    fault_set(&fault, "pidfd_open", "");
    fault_throw(env, &fault);
    return NULL;
  }
  return watch_start(env, WATCH_PROCESS, fd, argv[1]);
}

/* JS: watchMounts(onChange): watch */
static napi_value watch_mounts(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1) return NULL;
  int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    struct fault fault = {0};
    fault_set(&fault, "open", "/proc/self/mountinfo");
    fault_throw(env, &fault);
    return NULL;
  }
  return watch_start(env, WATCH_MOUNTS, fd, argv[0]);
}

int watched_fd(napi_env env, napi_callback_info info, napi_value *second) {
  struct watch *watch = watch_of(env, info, second);
  if (watch == NULL) return -1;
  if (watch->fd < 0 || watch->kind != WATCH_DESCRIPTOR) {
    struct fault fault = {0};
    fault_set_errno(&fault, EBADF, "use descriptor", "");
    fault_throw(env, &fault);
    return -1;
  }
  return watch->fd;
}

/*
 * JS: watchDescriptor(fd, onEvent): watch. Takes ownership of the fd, also when it throws. It waits for no
 * event until watchEvents.
 */
static napi_value watch_descriptor(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2];
  int32_t fd = -1;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok || fd < 0) {
    napi_throw_type_error(env, NULL, "want a descriptor and a callback");
    return NULL;
  }
  return watch_start(env, WATCH_DESCRIPTOR, fd, argv[1]);
}

/*
 * JS: watchEvents(watch, events): void. 1: can be read or is at its end, 2: can be written; 0: none.
 * A watch without events does not keep the event loop running.
 */
static napi_value watch_events(napi_env env, napi_callback_info info) {
  napi_value second;
  int32_t events = 0;
  struct watch *watch = watch_of(env, info, &second);
  if (watch == NULL || watch->fd < 0) return NULL;
  if (watch->kind != WATCH_DESCRIPTOR || napi_get_value_int32(env, second, &events) != napi_ok) {
    napi_throw_type_error(env, NULL, "want a watch of a descriptor and events");
    return NULL;
  }
  events &= UV_READABLE | UV_WRITABLE;
  int err = events == 0 ? uv_poll_stop(&watch->poll) : uv_poll_start(&watch->poll, events, watch_fired);
  if (err != 0) {
    struct fault fault = {0};
    fault_set_errno(&fault, -err, "uv_poll_start", "");
    fault_throw(env, &fault);
  }
  return NULL;
}

/* JS: watchRelease(watch): number. Ends the watch and returns the descriptor, open; once. */
static napi_value watch_release(napi_env env, napi_callback_info info) {
  napi_value result = NULL;
  struct watch *watch = watch_of(env, info, NULL);
  if (watch == NULL) return NULL;
  int fd = watch->fd < 0 ? -1 : fcntl(watch->fd, F_DUPFD_CLOEXEC, 3);
  if (fd < 0) {
    struct fault fault = {0};
    fault_set(&fault, "release descriptor", "");
    fault_throw(env, &fault);
    return NULL;
  }
  watch_stop(watch);
  napi_create_int32(env, fd, &result);
  return result;
}

napi_status watch_init(napi_env env, napi_value exports) {
  napi_status status = add_function(env, exports, "watchSignal", watch_signal);
  if (status == napi_ok) status = add_function(env, exports, "watchClose", watch_close);
  if (status == napi_ok) status = add_function(env, exports, "watchUnref", watch_unref);
  if (status == napi_ok) status = add_function(env, exports, "watchProcess", watch_process);
  if (status == napi_ok) status = add_function(env, exports, "watchMounts", watch_mounts);
  if (status == napi_ok) status = add_function(env, exports, "watchDescriptor", watch_descriptor);
  if (status == napi_ok) status = add_function(env, exports, "watchEvents", watch_events);
  if (status == napi_ok) status = add_function(env, exports, "watchRelease", watch_release);
  return status;
}
