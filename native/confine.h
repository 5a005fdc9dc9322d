/* The limits of davit's own programs, shared by confine.c, which has them, and spawn.c, which starts the programs. */
#ifndef DAVIT_CONFINE_H
#define DAVIT_CONFINE_H

#include <linux/filter.h>
#include <stddef.h>

/* As in src/linux/process/native.ts. */
enum { CONFINE_UNPACKER = 1, CONFINE_PACKER, CONFINE_ARCHIVE_READER, CONFINE_NOBODY };
enum { CONFINE_STEPS = 512 };

/* A filter of system calls, ready for one process. */
struct confinement {
  int kind; /* 0: none */
  size_t length;
  size_t own_pid; /* the step that compares with the process's id */
  struct sock_filter steps[CONFINE_STEPS];
};

/* In the parent, before clone. An unknown kind has no steps. */
void confine_prepare(struct confinement *filter, int kind);

/* In the child, before execve. NULL, or the call that failed, with errno. Makes system calls only. */
const char *confine_child(struct confinement *filter);

#endif
