/*
 * The start of a container: pipes, sockets, the OCI runtime with its `create` or `restore`, and the answer to davit. Each
 * function that can fail ends the monitor with an answer that names the step.
 */
#ifndef DAVIT_MONITOR_CREATE_H
#define DAVIT_MONITOR_CREATE_H

#include "output.h"
#include "requests.h"

#include <asm/termbits.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <linux/un.h>

enum { ANSWER_FD = 1, NULL_FD = 2, REASON_MAX = 4096, WNOHANG = 1, QUEUE_MAX = 128 };

struct options {
  const char *id;
  const char *exit_directory;
  const char *memory_events; /* of the cgroup that the runtime makes; NULL: is not watched */
  int has_terminal, has_input;
  const char *const *runtime; /* its path and arguments, then NULL */
  const char *const *environment;
};

static struct {
  struct options options;
  int signals;   /* signalfd(2) for SIGCHLD */
  int listener;  /* the attach socket */
  int console;   /* the socket for the terminal, or its connection; -1 when it is not needed (any more) */
  int is_console_accepted;
  long console_error; /* why there is no terminal */
  int ends[3];   /* what becomes stdin, stdout and stderr of the runtime */
  int reason_length;
} start = {.signals = -1, .listener = -1, .console = -1, .console_error = ENOTCONN};

/* The beginning of what the runtime has written to stderr. */
static char reason[REASON_MAX] __attribute__((aligned(4096)));

static const char console_name[] = "console", attach_name[] = "attach", pid_name[] = "pid";

static void remove_file(const char *name) { call4(__NR_unlinkat, AT_FDCWD, (long)name, 0, 0); }

/* Those of this monitor. */
static void remove_sockets(void) {
  if (start.console >= 0 && !start.is_console_accepted) remove_file(console_name);
  if (start.listener >= 0) remove_file(attach_name);
}

/* One write, so that a reader gets the answer whole: a pipe takes PIPE_BUF bytes at once, and this pipe is empty. */
static void send_answer(const char *head, const char *head_end, const char *text, int length) {
  struct iovec pieces[2] = {{(void *)head, (__kernel_size_t)(head_end - head)}, {(void *)text, (__kernel_size_t)length}};
  call4(__NR_writev, ANSWER_FD, (long)pieces, 2, 0);
  close_fd(ANSWER_FD);
}

/* "failed STEP ERRNO", or without a step the runtime's "failed STATUS" and what it wrote. */
__attribute__((noreturn)) static void fail(const char *step, long number) {
  char head[64], *at = put_text(head, "failed ");
  if (step != 0) at = put_text(put_text(at, step), " ");
  at = put_number(at, (__u64)(number < 0 ? -number : number));
  *at++ = '\n';
  remove_sockets();
  send_answer(head, at, reason, start.reason_length);
  end(1);
}

static long checked(const char *step, long result) {
  if (result < 0) fail(step, result);
  return result;
}

/* A pipe, of which the monitor's end does not block, and the other one does. */
static void make_pipe(int pipe[2], int own) {
  checked("pipe", call4(__NR_pipe2, (long)pipe, O_CLOEXEC, 0, 0));
  checked("pipe", call4(__NR_fcntl, pipe[own], F_SETFL, O_NONBLOCK, 0));
}

static int listen_at(const char *step, const char *name, int type) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  put_text(address.sun_path, name);
  remove_file(name);
  int fd = (int)checked(step, call4(__NR_socket, AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, 0));
  long mask = call4(__NR_umask, 0177, 0, 0, 0);
  long result = call4(__NR_bind, fd, (long)&address, sizeof address, 0);
  call4(__NR_umask, mask, 0, 0, 0);
  checked(step, result);
  checked(step, call4(__NR_listen, fd, QUEUE_MAX, 0, 0));
  return fd;
}

/* All signals are blocked, so none but SIGKILL ends the monitor, and none interrupts a call. */
static void block_signals(void) {
  unsigned long all = ~0UL, child = 1UL << (SIGCHLD - 1);
  /* A parent may have ignored it, and then there would be no exit codes (wait(2)). SIGPIPE is for the runtime. */
  struct {
    void *handler;
    unsigned long flags;
    void *restorer;
    unsigned long mask;
  } standard = {0, 0, 0, 0};
  call4(__NR_rt_sigaction, SIGCHLD, (long)&standard, 0, sizeof all);
  call4(__NR_rt_sigaction, SIGPIPE, (long)&standard, 0, sizeof all);
  checked("signals", call4(__NR_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof all));
  start.signals = (int)checked("signals", call4(__NR_signalfd4, -1, (long)&child, sizeof child, O_CLOEXEC | O_NONBLOCK));
}

static void open_streams(void) {
  int pipe[2];
  start.ends[0] = start.ends[1] = NULL_FD;
  if (start.options.has_input && !start.options.has_terminal) {
    make_pipe(pipe, 1);
    start.ends[0] = pipe[0];
    input.fd = pipe[1];
  }
  if (!start.options.has_terminal) {
    make_pipe(pipe, 0);
    start.ends[1] = pipe[1];
    streams[0].fd = pipe[0];
  }
  make_pipe(pipe, 0);
  start.ends[2] = pipe[1];
  streams[1].fd = pipe[0];
  if (start.options.has_terminal) start.console = listen_at("console", console_name, SOCK_STREAM);
  start.listener = listen_at("attach", attach_name, SOCK_SEQPACKET);
}

/* Becomes the OCI runtime; reports the error if it cannot. */
__attribute__((noreturn)) static void become_runtime(int report) {
  unsigned long none = 0;
  for (int i = 0; i < 3; i++) {
    /* A program of another user may open its stdout by name, /dev/stdout. */
    if (start.ends[i] != NULL_FD) call4(__NR_fchmod, start.ends[i], 0777, 0, 0);
    call4(__NR_dup3, start.ends[i], i, 0, 0); /* fails only for NULL_FD itself, which is never the third one */
  }
  call4(__NR_rt_sigprocmask, SIG_SETMASK, (long)&none, 0, sizeof none);
  /* Without its monitor it would create a container that nobody waits for, after davit has undone the start. */
  call5(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  int error = (int)call4(__NR_execve, (long)start.options.runtime[0], (long)start.options.runtime,
                         (long)start.options.environment, 0);
  call4(__NR_write, report, (long)&error, sizeof error, 0);
  end(127);
}

/* Returns the pid of the runtime, which runs. */
static long start_runtime(void) {
  int report[2], error = 0;
  checked("fork", call4(__NR_pipe2, (long)report, O_CLOEXEC, 0, 0));
  long pid = checked("fork", call4(__NR_clone, SIGCHLD, 0, 0, 0));
  if (pid == 0) become_runtime(report[1]);
  close_fd(report[1]);
  for (int i = 0; i < 3; i++) {
    if (start.ends[i] != NULL_FD) close_fd(start.ends[i]);
  }
  if (call4(__NR_read, report[0], (long)&error, sizeof error, 0) == sizeof error) fail("exec", error);
  close_fd(report[0]);
  return pid;
}

/*
 * What the runtime writes to stderr: the reason if it fails, else output of the container. More than a reason is
 * output at once, because a process that criu restores runs before the runtime has ended.
 */
static void read_reason(void) {
  char *to = reason + start.reason_length;
  if (start.reason_length == REASON_MAX) {
    read_stream(&streams[1], READ_MAX);
    return;
  }
  long size = call4(__NR_read, streams[1].fd, (long)to, REASON_MAX - start.reason_length, 0);
  if (size == 0) end_stream(&streams[1]);
  if (size > 0) start.reason_length += (int)size;
  if (start.reason_length == REASON_MAX) add_output(&streams[1], reason, REASON_MAX);
}

/* The runtime connects once and sends the master of the terminal (runc, docs/terminals.md). */
static void accept_console(void) {
  long fd = call4(__NR_accept4, start.console, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  close_fd(start.console);
  remove_file(console_name);
  start.console = (int)fd;
  start.is_console_accepted = 1;
}

static void take_terminal(void) {
  struct request request;
  struct termios settings;
  long length = receive_request(start.console, &request);
  if (length == -EAGAIN) return;
  close_fd(start.console);
  start.console = -1;
  long result = length < 0 ? length : request.count != 1 ? -EPROTO : 0;
  if (result == 0) result = call4(__NR_ioctl, request.fds[0], TCGETS, (long)&settings, 0);
  if (result == 0) result = call4(__NR_fcntl, request.fds[0], F_SETFL, O_RDWR | O_NONBLOCK, 0);
  start.console_error = -result;
  if (result < 0) {
    for (int i = 0; i < request.count; i++) close_fd(request.fds[i]);
    return;
  }
  /* As conmon does (terminal_accept_cb() in ctrl.c), so that lines look the same. */
  settings.c_oflag |= ONLCR;
  call4(__NR_ioctl, request.fds[0], TCSETS, (long)&settings, 0);
  streams[0].fd = request.fds[0];
  input.is_terminal = 1;
  if (start.options.has_input) input.fd = streams[0].fd;
}

static void serve_console(void) {
  if (start.console >= 0 && !start.is_console_accepted) accept_console();
  if (start.console >= 0 && start.is_console_accepted) take_terminal();
}

/* The exit code of a shell for the status of wait4(2). */
static int code_of(int status) {
  int signal = status & 0x7f;
  return signal == 0 ? (status >> 8) & 0xff : 128 + signal;
}

static void clear_signals(void) {
  char information[128 * 4];
  while (call4(__NR_read, start.signals, (long)information, sizeof information, 0) > 0) {
  }
}

/* Waits only for the runtime: the container's process may end before the runtime has written its pid. */
static void wait_for_runtime(long pid) {
  for (;;) {
    int status = 0;
    struct pollfd fds[3] = {
        {start.signals, POLLIN, 0}, {streams[1].fd, POLLIN, 0}, {start.console, POLLIN, 0}};
    call5(__NR_ppoll, (long)fds, 3, 0, 0, 0);
    if (fds[1].revents != 0) read_reason();
    if (fds[2].revents != 0) serve_console();
    if (fds[0].revents == 0) continue;
    clear_signals();
    if (call4(__NR_wait4, pid, (long)&status, WNOHANG, 0) != pid) continue;
    serve_console();
    if (code_of(status) == 0) return;
    while (start.reason_length < REASON_MAX && streams[1].fd >= 0) {
      int before = start.reason_length;
      read_reason();
      if (start.reason_length == before) break;
    }
    fail(0, code_of(status));
  }
}

/* The pid of the container's process, which is a child of the monitor now. */
static long container_pid(void) {
  char text[24];
  long fd = call4(__NR_openat, AT_FDCWD, (long)pid_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
  long length = fd < 0 ? 0 : call4(__NR_read, fd, (long)text, sizeof text, 0);
  const char *at = text;
  long pid = length > 0 ? take_number(&at, text + length, 0x7fffffff) : -1;
  enum { P_PID = 1, WEXITED = 4, NOWAIT = 0x01000000 };
  if (fd >= 0) close_fd((int)fd);
  /* Of a process that is not a child there will be no exit code. */
  if (pid > 0 && call5(__NR_waitid, P_PID, pid, 0, WEXITED | WNOHANG | NOWAIT, 0) == 0) return pid;
  static const char none[] = "failed pid\n";
  remove_sockets();
  send_answer(none, none + sizeof none - 1, reason, start.reason_length);
  end(1);
}

/* Creates the container and tells davit. Returns the pid of its process. */
static long create_container(void) {
  block_signals();
  open_streams();
  wait_for_runtime(start_runtime());
  if (start.options.has_terminal && streams[0].fd < 0) fail("console", start.console_error);
  long pid = container_pid();
  char text[32], *at = put_number(put_text(text, "created "), (__u64)pid);
  *at++ = '\n';
  send_answer(text, at, 0, 0);
  if (start.reason_length < REASON_MAX) add_output(&streams[1], reason, start.reason_length);
  give_back(reason, reason + REASON_MAX);
  return pid;
}

#endif
