/*
 * PID 1 of a pod-wide PID namespace: it reaps orphans and ends on SIGTERM or SIGINT,
 * and the kernel then kills all other processes of the namespace (pid_namespaces(7)). One copy runs for each
 * pod, so it has no C library: its private memory is one or two pages.
 *
 * With paths as arguments, one for each namespace file that is open from descriptor 3 on, the user
 * namespace first, it joins those, becomes root there, starts PID 1 as a child, writes
 * the child's pid to stdout and ends. The program was executed as the node's root before: its memory
 * belongs to the node's user namespace, and is not "dumpable" after the change of the user, so that no
 * process of the pod, including root, can trace PID 1 (ptrace(2)); and it has left the node's files.
 *
 * With the argument "-" it is in the pod's namespaces already, and in the node's user namespace. There a
 * container with CAP_SYS_PTRACE may trace it and see its files (/proc/1/root). So it changes its root to an empty
 * file system, and drops root and all capabilities: a container that controls it
 * gains nothing. It reports this by a number on stdout; before that no container may start.
 */
#include "bare.h"

#include <linux/sched.h>
#include <linux/signal.h>

#define WNOHANG 1
#define NOBODY 65535 /* like the pause containers of other runtimes */

/* mount(2), umount(2): the kernel's headers have only some of these. */
#define MS_RDONLY 1
#define MS_NOSUID 2
#define MS_NODEV 4
#define MS_NOEXEC 8
#define MS_MOVE 8192
#define MS_REC 16384
#define MS_PRIVATE (1 << 18)
#define MNT_DETACH 2
#define PR_SET_NAME 15
#define PR_SET_NO_NEW_PRIVS 38

static unsigned long bit(int signal) { return 1UL << (signal - 1); }

static void write_number(long number) {
  char text[24];
  int at = sizeof text;
  text[--at] = '\n';
  do {
    text[--at] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  call4(__NR_write, 1, (long)(text + at), (long)sizeof text - at, 0);
}

/*
 * Makes a mount namespace that has only an empty read-only root. It is prepared on
 * /proc, because every node has that directory; the copies of the node's mounts are removed with the old root.
 */
static void leave_files(void) {
  static const char none[] = "none", tmpfs[] = "tmpfs", here[] = ".", slash[] = "/";
  static const char place[] = "/proc", limits[] = "size=4k,nr_inodes=1,mode=0555";
  long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (call4(__NR_unshare, CLONE_NEWNS, 0, 0, 0) < 0) end(6);
  if (call5(__NR_mount, 0, (long)slash, 0, MS_REC | MS_PRIVATE, 0) < 0) end(7);
  if (call5(__NR_mount, (long)none, (long)place, (long)tmpfs, flags, (long)limits) < 0) end(8);
  if (call4(__NR_chdir, (long)place, 0, 0, 0) < 0) end(9);
  if (call4(__NR_pivot_root, (long)here, (long)here, 0, 0) == 0) {
    /* The old root is mounted on the new one now, and "." is the old one (pivot_root(2)). */
    if (call4(__NR_umount2, (long)here, MNT_DETACH, 0, 0) < 0) end(10);
  } else {
    /* The first root of a system, an initramfs, cannot be moved, so mount over it. */
    if (call5(__NR_mount, (long)here, (long)slash, 0, MS_MOVE, 0) < 0) end(11);
    if (call4(__NR_chroot, (long)here, 0, 0, 0) < 0) end(12);
  }
  if (call4(__NR_chdir, (long)slash, 0, 0, 0) < 0) end(13);
}

/* Returns only in PID 1. After a failure it exits with the number of the step. */
static void start_in(int namespaces) {
  leave_files(); /* the namespace files are open already */
  for (int i = 0; i < namespaces; i++) {
    if (call4(__NR_setns, 3 + i, 0, 0, 0) < 0) end(2);
  }
  if (call4(__NR_setgroups, 0, 0, 0, 0) < 0 || call4(__NR_setresgid, 0, 0, 0, 0) < 0 ||
      call4(__NR_setresuid, 0, 0, 0, 0) < 0) {
    end(3);
  }
  if (call4(__NR_unshare, CLONE_NEWPID, 0, 0, 0) < 0) end(4);
  long pid = call4(__NR_clone, SIGCHLD, 0, 0, 0);
  if (pid < 0) end(5);
  if (pid > 0) {
    write_number(pid);
    end(0);
  }
  call4(__NR_dup3, 0, 1, 0, 0); /* the reader waits for the end of stdout */
  call4(__NR_close_range, 3, -1, 0, 0);
}

static void give_up_root(void) {
  if (call5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) end(14);
  if (call4(__NR_setgroups, 0, 0, 0, 0) < 0 ||
      call4(__NR_setresgid, NOBODY, NOBODY, NOBODY, 0) < 0 ||
      call4(__NR_setresuid, NOBODY, NOBODY, NOBODY, 0) < 0) {
    end(15);
  }
}

static void program_main(const long *stack) {
  /*
   * All signals stay blocked, which PID 1 also needs because the kernel drops a signal for which init
   * has no handler, but never a blocked one (sig_ignored() in kernel/signal.c).
   */
  static const char name[] = "davit-holder"; /* the name of the executed file is a number */
  unsigned long all = ~0UL;
  unsigned long awaited = bit(SIGCHLD) | bit(SIGTERM) | bit(SIGINT);
  call4(__NR_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof all);
  call5(__NR_prctl, PR_SET_NAME, (long)name, 0, 0, 0);
  const char *first = (const char *)stack[2];
  if (stack[0] > 1 && first[0] != '-') {
    start_in((int)stack[0] - 1);
  } else if (stack[0] > 1) {
    leave_files();
    give_up_root();
    write_number(1);
    call4(__NR_dup3, 0, 1, 0, 0); /* the reader waits for the end of stdout */
  }
  call4(__NR_setsid, 0, 0, 0, 0); /* fails only for a session leader */

  for (;;) {
    long signal = call4(__NR_rt_sigtimedwait, (long)&awaited, 0, 0, sizeof awaited);
    if (signal == SIGTERM || signal == SIGINT) break;
    /* One SIGCHLD can stand for several children, so reap all that have ended. */
    while (call4(__NR_wait4, -1, 0, WNOHANG, 0) > 0) {
    }
  }
  end(0);
}
