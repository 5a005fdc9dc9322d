/*
 * PID 1 of a pod-wide PID namespace: it reaps what is orphaned there and ends on SIGTERM or SIGINT,
 * and the kernel then kills everything else in the namespace (pid_namespaces(7)). One copy runs per
 * pod, so it has no C library: its private memory is a page or two.
 */
#include <asm/unistd.h>
#include <linux/signal.h>

#define WNOHANG 1

static long call4(long number, long a, long b, long c, long d) {
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
  return x0;
#else
#error "davit-holder knows x86_64 and aarch64"
#endif
}

static unsigned long bit(int signal) { return 1UL << (signal - 1); }

#if defined(__x86_64__)
__attribute__((force_align_arg_pointer))
#endif
__attribute__((noreturn, used)) void
_start(void) {
  /*
   * All signals stay blocked, which for PID 1 has a second use: the kernel drops a signal that init
   * has no handler for, but never a blocked one (sig_ignored() in kernel/signal.c).
   */
  unsigned long all = ~0UL;
  unsigned long awaited = bit(SIGCHLD) | bit(SIGTERM) | bit(SIGINT);
  call4(__NR_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof all);
  call4(__NR_setsid, 0, 0, 0, 0); /* fails only when we lead a session already */

  for (;;) {
    long signal = call4(__NR_rt_sigtimedwait, (long)&awaited, 0, 0, sizeof awaited);
    if (signal == SIGTERM || signal == SIGINT) break;
    /* SIGCHLD stands for any number of children, so all that have ended are taken. */
    while (call4(__NR_wait4, -1, 0, WNOHANG, 0) > 0) {
    }
  }
  for (;;) call4(__NR_exit_group, 0, 0, 0, 0);
}
