/*
 * For user-mode Linux on processors with AMX, as LD_PRELOAD. It keeps 2,696 bytes of the state of a process's vector
 * registers, which is all but AMX; PTRACE_SETREGSET takes the whole state alone (xstateregs_set() of the host's kernel),
 * and user-mode Linux ends with "ptrace set fp regs failed". Here the rest is added, with AMX in its initial state.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* linux/elf.h */
#define XSTATE 0x202
/* Intel's manual, volume 1, section 13: the header's offset, and the bits of XTILECFG and XTILEDATA in XSTATE_BV. */
#define HEADER 512
#define TILES ((uint64_t)3 << 17)

/* Of the only thread that traces. */
static char whole[64 << 10] __attribute__((aligned(64)));

static long set_state(pid_t pid, const struct iovec *part) {
  struct iovec all = {whole, sizeof whole};
  if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, XSTATE, &all) < 0) return -1;
  if (part->iov_len < HEADER + sizeof(uint64_t) || part->iov_len >= all.iov_len) {
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, XSTATE, part);
  }
  memcpy(whole, part->iov_base, part->iov_len);
  uint64_t present;
  memcpy(&present, whole + HEADER, sizeof present);
  present &= ~TILES;
  memcpy(whole + HEADER, &present, sizeof present);
  return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, XSTATE, &all);
}

/* As that of the C library. */
long ptrace(enum __ptrace_request request, ...) {
  va_list list;
  va_start(list, request);
  const pid_t pid = va_arg(list, pid_t);
  void *address = va_arg(list, void *);
  void *data = va_arg(list, void *);
  va_end(list);
  if (request == PTRACE_SETREGSET && (uintptr_t)address == XSTATE) return set_state(pid, data);
  if (request != PTRACE_PEEKTEXT && request != PTRACE_PEEKDATA && request != PTRACE_PEEKUSER) {
    return syscall(SYS_ptrace, request, pid, address, data);
  }
  /* The system call writes the word that the function returns. */
  long word = 0;
  if (syscall(SYS_ptrace, request, pid, address, &word) < 0) return -1;
  errno = 0;
  return word;
}
