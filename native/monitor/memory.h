/*
 * Notices that the kernel killed a process of the container for its memory. systemd removes the scope of a container
 * with its last process, and with it the count of kills, before davit can read it, and davit may not run. So a mark stays in
 * the bundle: the file "oom".
 */
#ifndef DAVIT_MONITOR_MEMORY_H
#define DAVIT_MONITOR_MEMORY_H

#include "system.h"

/* memory.events of the container's cgroup; -1: it is not watched (any more). */
static int memory_events = -1;

static void watch_memory(const char *path) {
  if (path == 0) return;
  long fd = call4(__NR_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
  if (fd >= 0) memory_events = (int)fd;
}

/* Whether a line is "oom_kill N" with another number than 0 (cgroup-v2.rst in the documentation of Linux). */
static int has_kills(const char *text, long length) {
  static const char name[] = "oom_kill ";
  unsigned long size = sizeof name - 1;
  for (const char *at = text, *end = text + length; at < end; at++) {
    unsigned long i = 0;
    if (at > text && at[-1] != '\n') continue;
    while (i < size && at + i < end && at[i] == name[i]) i++;
    if (i == size && at + i < end) return at[i] >= '1' && at[i] <= '9';
  }
  return 0;
}

/* After an event, and at the end of the container. An event may also be one at the limit without a kill. */
static void check_memory(void) {
  static const char mark[] = "oom";
  char text[512];
  if (memory_events < 0) return;
  long length = call4(__NR_pread64, memory_events, (long)text, sizeof text, 0);
  int was_killed = length > 0 && has_kills(text, length);
  if (length > 0 && !was_killed) return;
  if (was_killed) {
    long fd = call4(__NR_openat, AT_FDCWD, (long)mark, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0) close_fd((int)fd);
  }
  close_fd(memory_events); /* or the cgroup is gone */
  memory_events = -1;
}

#endif
