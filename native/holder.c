/*
 * PID 1 of a pod-wide PID namespace: it reaps what is orphaned there and ends on SIGTERM or SIGINT,
 * and the kernel then kills everything else in the namespace (pid_namespaces(7)). One copy runs per
 * pod, so it has no C library: its private memory is a page or two.
 *
 * With paths for arguments, one for each namespace file open from descriptor 3 on, the user
 * namespace's first, it joins those, becomes root there, starts PID 1 as a child of its own, writes
 * the child's pid to stdout and ends. The program was executed as the node's root before: its memory
 * belongs to the node's user namespace, and is not "dumpable" once it is another user, so that no
 * process of the pod, root included, can trace PID 1 (ptrace(2)); and it has left the node's files.
 *
 * With the argument "-" it is in the pod's namespaces already, in the node's user namespace. There a
 * container with CAP_SYS_PTRACE may trace it and see its files (/proc/1/root). So it takes an empty
 * file system of its own for root, and gives up root and with it every capability: who takes it
 * over has gained nothing. It says so by a number on stdout: before, nobody may be let in.
 */
#include "bare.h"

#include <linux/sched.h>
#include <linux/signal.h>

#define WNOHANG 1
#define NOBODY 65535 /* as the pause containers that one knows from elsewhere */

/* mount(2), umount(2): the C library's headers have them, the kernel's in part. */
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
 * A mount namespace of its own, with nothing in it but an empty read-only root. /proc is where it is
 * put together, as every node has that directory; the copies of the node's mounts go with the old root.
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
    /* The old root lies on the new one now, and "." is the old one (pivot_root(2)). */
    if (call4(__NR_umount2, (long)here, MNT_DETACH, 0, 0) < 0) end(10);
  } else {
    /* The first root of a system, an initramfs, cannot be left: it is covered. */
    if (call5(__NR_mount, (long)here, (long)slash, 0, MS_MOVE, 0) < 0) end(11);
    if (call4(__NR_chroot, (long)here, 0, 0, 0) < 0) end(12);
  }
  if (call4(__NR_chdir, (long)slash, 0, 0, 0) < 0) end(13);
}

/* Returns in PID 1 alone. A step that fails ends it with the number of the step. */
static void start_in(int namespaces) {
  leave_files(); /* the namespaces' files are open already */
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
   * All signals stay blocked, which for PID 1 has a second use: the kernel drops a signal that init
   * has no handler for, but never a blocked one (sig_ignored() in kernel/signal.c).
   */
  static const char name[] = "davit-holder"; /* it runs from a file that is named by a number */
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
  call4(__NR_setsid, 0, 0, 0, 0); /* fails only when we lead a session already */

  for (;;) {
    long signal = call4(__NR_rt_sigtimedwait, (long)&awaited, 0, 0, sizeof awaited);
    if (signal == SIGTERM || signal == SIGINT) break;
    /* SIGCHLD stands for any number of children, so all that have ended are taken. */
    while (call4(__NR_wait4, -1, 0, WNOHANG, 0) > 0) {
    }
  }
  end(0);
}
