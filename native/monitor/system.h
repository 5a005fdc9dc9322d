/*
 * What the files of the monitor share: structures of the kernel that its headers for programs lack, memory, texts and
 * numbers. Nothing here allocates, and no call waits.
 */
#ifndef DAVIT_MONITOR_SYSTEM_H
#define DAVIT_MONITOR_SYSTEM_H

#include "../bare.h"

#include <asm/ioctls.h>
#include <asm/poll.h>
#include <asm/stat.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <linux/time_types.h>
#include <linux/types.h>
#include <linux/uio.h>

/* socket(2), sendmsg(2), recvmsg(2) */
#define AF_UNIX 1
#define SOCK_STREAM 1
#define SOCK_SEQPACKET 5
#define SOCK_CLOEXEC O_CLOEXEC
#define SOCK_NONBLOCK O_NONBLOCK
#define SOL_SOCKET 1
#define SO_SNDBUF 7
#define SCM_RIGHTS 1
#define MSG_CTRUNC 0x8
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
#define MSG_CMSG_CLOEXEC 0x40000000
#define SHUT_RD 0

struct message {
  void *name;
  int name_length;
  struct iovec *pieces;
  unsigned long piece_count;
  void *control;
  unsigned long control_length;
  unsigned flags;
};

struct control_header {
  unsigned long length; /* with this header */
  int level;
  int type;
};

static long close_fd(int fd) { return call4(__NR_close, fd, 0, 0, 0); }

/* The compiler may call these four; -ffreestanding does not free it from them. */
#ifndef DAVIT_HOSTED
__attribute__((used)) void *memcpy(void *to, const void *from, unsigned long size) {
  char *target = to;
  const char *source = from;
#if defined(__x86_64__)
  __asm__ volatile("rep movsb" : "+D"(target), "+S"(source), "+c"(size) : : "memory");
#else
  while (size-- > 0) {
    *target++ = *source++;
    __asm__ volatile("" ::: "memory"); /* or this becomes a call of memcpy */
  }
#endif
  return to;
}

__attribute__((used)) void *memmove(void *to, const void *from, unsigned long size) {
  char *target = to;
  const char *source = from;
  if (target <= source) return memcpy(to, from, size);
  while (size-- > 0) {
    target[size] = source[size];
    __asm__ volatile("" ::: "memory");
  }
  return to;
}

__attribute__((used)) void *memset(void *to, int value, unsigned long size) {
  char *target = to;
  while (size-- > 0) {
    *target++ = (char)value;
    __asm__ volatile("" ::: "memory");
  }
  return to;
}

__attribute__((used)) int memcmp(const void *one, const void *other, unsigned long size) {
  const unsigned char *a = one, *b = other;
  for (; size > 0 && *a == *b; size--) a++, b++;
  return size == 0 ? 0 : *a - *b;
}
#else
void *memcpy(void *to, const void *from, unsigned long size);
void *memmove(void *to, const void *from, unsigned long size);
#endif

static unsigned long length_of(const char *text) {
  unsigned long length = 0;
  while (text[length] != 0) length++;
  return length;
}

static int is_text(const char *one, const char *other) {
  while (*one != 0 && *one == *other) one++, other++;
  return *one == *other;
}

/* Appends a text, and returns its end. The caller knows that there is room. */
static char *put_text(char *at, const char *text) {
  while (*text != 0) *at++ = *text++;
  return at;
}

/* Appends decimal digits, 20 at most. */
static char *put_number(char *at, __u64 number) {
  char digits[20];
  int count = 0;
  do {
    digits[count++] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  while (count > 0) *at++ = digits[--count];
  return at;
}

/* Appends exactly `width` digits. */
static char *put_digits(char *at, __u64 number, int width) {
  for (int i = width - 1; i >= 0; i--, number /= 10) at[i] = (char)('0' + number % 10);
  return at + width;
}

/* The decimal number at *at, which moves behind it; -1 without digits or above `most`. */
static __s64 take_number(const char **at, const char *end, __s64 most) {
  __s64 number = 0;
  const char *begin = *at;
  for (; *at < end && **at >= '0' && **at <= '9'; (*at)++) {
    if (number > (most - (**at - '0')) / 10) return -1;
    number = number * 10 + (**at - '0');
  }
  return *at == begin ? -1 : number;
}

enum { CLOCK_OF_DAY = 0, CLOCK_OF_BOOT = 1 };

static struct __kernel_timespec clock_now(int clock) {
  struct __kernel_timespec now = {0, 0};
  call4(__NR_clock_gettime, clock, (long)&now, 0, 0);
  return now;
}

/* Milliseconds of the monotonic clock, for deadlines. */
static __s64 now_ms(void) {
  struct __kernel_timespec now = clock_now(CLOCK_OF_BOOT);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void sleep_ms(int ms) {
  struct __kernel_timespec time = {ms / 1000, (ms % 1000) * 1000000L};
  call5(__NR_ppoll, 0, 0, (long)&time, 0, 0);
}

/* Sends one packet. Fails instead of waiting, and never with SIGPIPE. */
static long send_packet(int fd, struct iovec *pieces, unsigned long count) {
  struct message message = {.pieces = pieces, .piece_count = count};
  return call4(__NR_sendmsg, fd, (long)&message, MSG_DONTWAIT | MSG_NOSIGNAL, 0);
}

/* A page that was used once costs memory until it is given back (madvise(2)). Whole pages of `from` to `end` are. */
static void give_back(char *from, char *end) {
  enum { PAGE = 4096, DONTNEED = 4 };
  unsigned long first = ((unsigned long)from + PAGE - 1) / PAGE * PAGE;
  unsigned long last = (unsigned long)end / PAGE * PAGE;
  if (first < last) call4(__NR_madvise, (long)first, (long)(last - first), DONTNEED, 0);
}

#endif
