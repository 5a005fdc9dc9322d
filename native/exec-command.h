/*
 * What a command of native/exec.c does in the container before it is executed, and what both of its parts need: numbers,
 * files, text. Everything here runs with the container's files; nothing of them is trusted.
 */
#ifndef DAVIT_EXEC_COMMAND_H
#define DAVIT_EXEC_COMMAND_H

#include "bare.h"

#include <linux/capability.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/signal.h>
#include <linux/stat.h>

#define X_OK 1 /* the kernel's headers for programs do not have it */

enum { DECLINED = 125, MAX_GROUPS = 1024, MAX_CGROUPS = 32, MAX_PATH = 4096, MAX_PASSWD = 64 * 1024 };

/* The numbers of the plan, in this order; then the groups, then the limits: resource, soft, hard. */
enum number {
  INIT_PID,
  INIT_START_TIME,
  USER,
  GROUP,
  UMASK,
  NO_NEW_PRIVILEGES,
  OOM_SCORE_ADJ, /* plus 1000 */
  BOUNDING,
  EFFECTIVE,
  PERMITTED,
  INHERITABLE,
  AMBIENT,
  IS_UNIFIED,
  GROUPS,
  LIMITS,
  CGROUPS,
  NUMBERS
};

static unsigned long numbers[NUMBERS];
static unsigned int groups[MAX_GROUPS];
static int cgroups[MAX_CGROUPS];
static struct sock_filter filter[BPF_MAXINSNS];
static struct sock_fprog program = {0, filter}; /* without a filter, its length is 0 */
static char passwd[MAX_PASSWD];
static char path[MAX_PATH], home[MAX_PATH];

static long length_of(const char *text) {
  long length = 0;
  while (text[length] != 0) length++;
  return length;
}

static int begins_with(const char *text, const char *start) {
  while (*start != 0) {
    if (*text++ != *start++) return 0;
  }
  return 1;
}

/* Reads decimal digits and moves behind them and one more character. */
static unsigned long next_number(const char **text) {
  unsigned long number = 0;
  while (**text >= '0' && **text <= '9') number = number * 10 + (unsigned long)(*(*text)++ - '0');
  if (**text != 0) (*text)++;
  return number;
}

static long open_file(const char *name, long flags) {
  return call4(__NR_openat, AT_FDCWD, (long)name, flags | O_CLOEXEC, 0600);
}

/* The number of bytes, or -1 where the file is longer than the buffer or cannot be read. */
static long read_file(const char *name, long flags, void *buffer, long size) {
  long fd = open_file(name, O_RDONLY | flags), length = 0, got;
  if (fd < 0) return -1;
  while ((got = call4(__NR_read, fd, (long)buffer + length, size - length, 0)) > 0) length += got;
  call4(__NR_close, fd, 0, 0, 0);
  return got < 0 || length == size ? -1 : length;
}

/* Appends at `at` and returns the new end, or -1 where there is no room. */
static long append(char *to, long at, const char *text, long length) {
  if (at < 0 || at + length >= MAX_PATH) return -1;
  for (long i = 0; i < length; i++) to[at + i] = text[i];
  to[at + length] = 0;
  return at + length;
}

static long append_number(char *to, long at, unsigned long number) {
  char digits[24];
  long first = sizeof digits;
  do {
    digits[--first] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  return append(to, at, digits + first, (long)sizeof digits - first);
}

static const char *variable(const char *const *environment, const char *name) {
  for (; *environment != 0; environment++) {
    if (begins_with(*environment, name)) return *environment + length_of(name);
  }
  return 0;
}

/* Nothing must be left of the node: see CVE-2024-21626. getcwd(2) says "(unreachable)" for what is outside the root. */
static int enter_directory(const char *name) {
  if (call4(__NR_chdir, (long)name, 0, 0, 0) < 0) return -1;
  long length = call4(__NR_getcwd, (long)path, sizeof path, 0, 0);
  return length > 0 && path[0] == '/' ? 0 : -1;
}

/*
 * HOME as crun's set_home_env() finds it: that of the user in the container's /etc/passwd, and "/" where there is none.
 * The file is the container's: it may be anything, but only a regular file is read, without waiting, and to its end only.
 */
static int find_home(void) {
  struct statx info;
  static const char name[] = "/etc/passwd";
  append(home, 0, "HOME=/", 6);
  if (call5(__NR_statx, AT_FDCWD, (long)name, 0, STATX_TYPE, (long)&info) < 0) return 0;
  if ((info.stx_mode & S_IFMT) != S_IFREG) return -1;
  long length = read_file(name, O_NONBLOCK | O_NOCTTY, passwd, sizeof passwd - 1);
  if (length < 0) return -1;
  passwd[length] = 0;
  for (const char *line = passwd; *line != 0;) {
    const char *fields[7] = {line};
    int count = 1;
    for (; *line != 0 && *line != '\n'; line++) {
      if (*line == ':' && count < 7) fields[count++] = line + 1;
    }
    const char *next = *line == 0 ? line : line + 1;
    /* What only some C libraries take for an entry is left to crun. */
    if (count != 7 || *fields[0] == '#' || *fields[0] == '+' || *fields[0] == '-' || *fields[0] <= ' ') {
      if (line != fields[0]) return -1;
    } else {
      const char *id = fields[2], *group = fields[3];
      unsigned long user = next_number(&id);
      next_number(&group);
      if (id != fields[3] || id == fields[2] + 1 || group != fields[4] || group == fields[3] + 1) return -1;
      if (user == numbers[USER]) {
        return append(home, 5, fields[5], fields[6] - 1 - fields[5]) < 0 ? -1 : 0;
      }
    }
    line = next;
  }
  return 0;
}

static int is_program(const char *name) {
  struct statx info;
  if (call4(__NR_faccessat, AT_FDCWD, (long)name, X_OK, 0) < 0) return 0;
  if (call5(__NR_statx, AT_FDCWD, (long)name, 0, STATX_TYPE, (long)&info) < 0) return 0;
  return (info.stx_mode & S_IFMT) == S_IFREG;
}

/* The program, in `path`: crun's find_executable(). What is not found at once is left to crun. */
static int find_program(const char *name, const char *search) {
  long length = length_of(name);
  for (long i = 0; i < length; i++) {
    if (name[i] != '/') continue;
    /* A relative path with a slash: crun takes it from the working directory as it was given. */
    if (name[0] != '/') return -1;
    return append(path, 0, name, length) > 0 && is_program(path) ? 0 : -1;
  }
  if (length == 0 || search == 0) return -1;
  while (*search == '/') {
    long directory = 0;
    while (search[directory] != 0 && search[directory] != ':') directory++;
    long at = append(path, append(path, append(path, 0, search, directory), "/", 1), name, length);
    if (at > 0 && is_program(path)) return 0;
    if (search[directory] == 0) return -1;
    search += directory + 1;
  }
  return -1;
}

/* crun: set_required_caps(). */
static int set_capabilities(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  for (int i = 0; i < 2; i++) {
    data[i].effective = (unsigned int)(numbers[EFFECTIVE] >> (32 * i));
    data[i].permitted = (unsigned int)(numbers[PERMITTED] >> (32 * i));
    data[i].inheritable = (unsigned int)(numbers[INHERITABLE] >> (32 * i));
  }
  /* The kernel refuses numbers above its last capability with EINVAL. */
  for (unsigned long cap = 0; cap < 64; cap++) {
    if (numbers[BOUNDING] >> cap & 1) continue;
    long result = call5(__NR_prctl, PR_CAPBSET_DROP, (long)cap, 0, 0, 0);
    if (result == -EINVAL) break;
    if (result < 0) return -1;
  }
  if (call5(__NR_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return -1;
  long group = (long)numbers[GROUP], user = (long)numbers[USER];
  if (call4(__NR_setresgid, group, group, group, 0) < 0) return -1;
  if (call4(__NR_setresuid, user, user, user, 0) < 0) return -1;
  if (call4(__NR_capset, (long)&header, (long)data, 0, 0) < 0) return -1;
  if (call5(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return -1;
  for (unsigned long cap = 0; cap < 64; cap++) {
    if (!(numbers[AMBIENT] >> cap & 1)) continue;
    long result = call5(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, (long)cap, 0, 0);
    if (result < 0 && result != -EINVAL && result != -EPERM) return -1;
  }
  if (!numbers[NO_NEW_PRIVILEGES]) return 0;
  return (int)call5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int set_filter(void) {
  if (program.len == 0) return 0;
  return (int)call4(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, (long)&program, 0);
}

/* On cgroup v2 the command was created in its cgroup. */
static int enter_cgroups(long init) {
  /* As crun does: an affinity from before belongs to the node. The call fails, and has that effect. */
  call4(__NR_sched_setaffinity, 0, 0, 0, 0);
  for (unsigned long i = 0; i < numbers[CGROUPS] && !numbers[IS_UNIFIED]; i++) {
    if (call4(__NR_write, cgroups[i], (long)"0", 1, 0) != 1) return -1;
  }
  if (call4(__NR_setns, init, CLONE_NEWCGROUP, 0, 0) < 0) return -1;
  /* Only the streams stay open, before anything of the container's files is touched. */
  return (int)call4(__NR_close_range, 3, -1, 0, 0);
}

static int set_limits(const char *text) {
  for (unsigned long i = 0; i < numbers[LIMITS]; i++) {
    unsigned long resource = next_number(&text);
    unsigned long limit[2] = {next_number(&text), 0};
    limit[1] = next_number(&text);
    if (call4(__NR_prlimit64, 0, (long)resource, (long)limit, 0) < 0) return -1;
  }
  return 0;
}

static int is_null_device(const struct statx *info) {
  return (info->stx_mode & S_IFMT) == S_IFCHR && info->stx_rdev_major == 1 && info->stx_rdev_minor == 3;
}

/* The container's own /dev/null, or a pipe that has ended where the container has none. */
static long open_null(void) {
  struct statx info;
  int ends[2];
  long own = open_file("/dev/null", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (own >= 0 && call5(__NR_statx, own, (long)"", AT_EMPTY_PATH, STATX_TYPE, (long)&info) == 0) {
    if (is_null_device(&info)) return own;
  }
  if (own >= 0) call4(__NR_close, own, 0, 0, 0);
  if (call4(__NR_pipe2, (long)ends, O_CLOEXEC, 0, 0) < 0) return -1;
  call4(__NR_close, ends[1], 0, 0, 0);
  return ends[0];
}

/*
 * Pipes become the user's, as by crun's maybe_chown_std_streams(). The node's /dev/null does not, and is never passed on:
 * its owner, or root in the container, could change its mode for the whole node.
 */
static int own_streams(void) {
  struct statx info;
  for (int fd = 0; fd < 3; fd++) {
    if (call5(__NR_statx, fd, (long)"", AT_EMPTY_PATH, STATX_TYPE, (long)&info) < 0) return -1;
    if (!is_null_device(&info)) {
      call4(__NR_fchown, fd, (long)numbers[USER], (long)numbers[GROUP], 0);
      continue;
    }
    long own = open_null();
    if (own < 0 || call4(__NR_dup3, own, fd, 0, 0) < 0) return -1;
    call4(__NR_close, own, 0, 0, 0);
  }
  return 0;
}

struct command {
  const char *limits;
  const char *directory;
  char **arguments;
  char **environment;
};

/* Returns only when the command cannot be run. */
static void run_command(const struct command *command, long init) {
  const char *const *environment = (const char *const *)command->environment;
  /* The streams come before limits of descriptors, and before a filter: crun calls less there, and a call may kill. */
  if (enter_cgroups(init) < 0 || own_streams() < 0 || set_limits(command->limits) < 0) return;
  call4(__NR_setsid, 0, 0, 0, 0);
  if (enter_directory(command->directory) < 0) return;
  if (variable(environment, "HOME=") == 0) {
    if (find_home() < 0) return;
    char **end_of = command->environment;
    while (*end_of != 0) end_of++;
    /* The vector of the kernel that follows is not used by this program (getauxval(3)). */
    end_of[0] = home;
    end_of[1] = 0;
  }
  if (find_program(command->arguments[0], variable(environment, "PATH=")) < 0) return;
  if (!numbers[NO_NEW_PRIVILEGES] && set_filter() < 0) return;
  if (call4(__NR_setgroups, (long)numbers[GROUPS], (long)groups, 0, 0) < 0) return;
  if (set_capabilities() < 0) return;
  if (numbers[NO_NEW_PRIVILEGES] && set_filter() < 0) return;
  call4(__NR_umask, (long)numbers[UMASK], 0, 0, 0);
  call4(__NR_execve, (long)path, (long)command->arguments, (long)command->environment, 0);
}

#endif
