/*
 * Runs a program that starts a process and leaves it, and exits like that process: for
 * "exec --detach" of an OCI runtime. As a subreaper it becomes the parent of the processes that its child leaves
 * behind, and only a parent gets an exit code (prctl(2), wait(2)). It reads and writes nothing, so that other
 * processes can use its stdin, stdout and stderr.
 *
 * Arguments: the path of the file to which the program writes the process's pid, or "-" for a program that
 * leaves no process to wait for; the program's path; its arguments. For exit codes see waiterPath() in
 * src/linux/process/programs.ts.
 */
#include "bare.h"

#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/signal.h>

#define PR_SET_NAME 15
#define PR_SET_CHILD_SUBREAPER 36
enum { NO_PROCESS = 126, NO_PROGRAM = 127 };

/* The exit code of a shell. */
static int wait_for(long pid) {
  int status = 0;
  for (;;) {
    long ended = call4(__NR_wait4, pid, (long)&status, 0, 0);
    if (ended == pid) break;
    if (ended != -EINTR) end(NO_PROCESS);
  }
  int signal = status & 0x7f;
  return signal == 0 ? (status >> 8) & 0xff : 128 + signal;
}

/* 0 when there is none. The program renames the complete file to its path. */
static long read_pid(const char *path) {
  char text[12]; /* more digits than a pid has, fewer than a long overflows at */
  long pid = 0;
  long fd = call4(__NR_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  long length = call4(__NR_read, fd, (long)text, sizeof text, 0);
  call4(__NR_close, fd, 0, 0, 0);
  for (long i = 0; i < length && text[i] >= '0' && text[i] <= '9'; i++) {
    pid = pid * 10 + (text[i] - '0');
  }
  return pid;
}

static void program_main(const long *stack) {
  long count = stack[0];
  const long *arguments = stack + 1;
  static const char name[] = "davit-waiter"; /* the name of the executed file is a number */
  call5(__NR_prctl, PR_SET_NAME, (long)name, 0, 0, 0);
  if (count < 3) end(NO_PROCESS);
  const char *pid_file = (const char *)arguments[1];
  int is_alone = pid_file[0] == '-' && pid_file[1] == 0;
  if (!is_alone && call4(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0) < 0) end(NO_PROCESS);
  long program = call4(__NR_clone, SIGCHLD, 0, 0, 0);
  if (program < 0) end(NO_PROCESS);
  if (program == 0) {
    call4(__NR_execve, arguments[2], (long)(arguments + 2), (long)(arguments + count + 1), 0);
    end(NO_PROGRAM);
  }
  /* Wait only for the program until it has written the pid: its process may have ended already. */
  int code = wait_for(program);
  if (code != 0 || is_alone) end(code);
  long pid = read_pid(pid_file);
  end(pid > 0 ? wait_for(pid) : NO_PROCESS);
}
