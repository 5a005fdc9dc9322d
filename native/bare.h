/*
 * For small programs without a C library: system calls, and the start of a program. Each includes
 * this once and has a function program_main, which gets the stack of the kernel (number of arguments,
 * arguments, NULL, environment, NULL) and does not return.
 */
#ifndef DAVIT_BARE_H
#define DAVIT_BARE_H

#include <asm/unistd.h>

static long call6(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory");
  return x0;
#else
#error "davit's own programs support x86_64 and aarch64"
#endif
}

static long call5(long number, long a, long b, long c, long d, long e) {
  return call6(number, a, b, c, d, e, 0);
}

static long call4(long number, long a, long b, long c, long d) {
  return call5(number, a, b, c, d, 0);
}

/* A filter of seccomp may refuse to end. */
__attribute__((noreturn)) static void end(int code) {
  call4(__NR_exit_group, code, 0, 0, 0);
  __builtin_trap();
}

__attribute__((noreturn, used)) static void program_main(const long *stack);

#if defined(DAVIT_HOSTED)
/* With a C library, for AddressSanitizer, which passes on the arguments in their place on the stack of the kernel. */
int main(int count, char **arguments) {
  (void)count;
  program_main((const long *)arguments - 1);
}
#elif defined(__x86_64__)
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call program_main\n");
#else
__asm__(".globl _start\n_start: mov x0, sp\n bl program_main\n");
#endif

#endif
