/*
 * What the processes of davit's own programs may do, which read what strangers wrote: few capabilities, few system
 * calls, no new privileges, and Landlock where the kernel has it. docs/security.md has the result as a table.
 *
 * confine_child() runs between clone and execve, so that no thread of the program is without. execve itself, and what
 * a program needs until it has left the node's root, is taken away later by sealProcess, from all of its threads.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "confine.h"

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#define X32_CALLS 0x40000000u
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#else
#error "davit's own programs support x86_64 and aarch64"
#endif

/* New in Linux 5.13, later than the headers of some distributions. */
#ifndef __NR_landlock_create_ruleset
#define __NR_landlock_create_ruleset 444
#define __NR_landlock_add_rule 445
#define __NR_landlock_restrict_self 446
#endif

/* New calls have the same number on all architectures. */
#define NEWEST_CALL __NR_landlock_restrict_self

/* The kernel accepts CLONE_NEWNS and others also for a thread, if it does not share its working directory. */
#define CLONE_NAMESPACES                                                                        \
  (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
   CLONE_NEWNET)

#define CAP(name) (UINT64_C(1) << CAP_##name)
/* Linux has 41 capabilities; PR_CAPBSET_DROP fails with EINVAL after the last one. */
enum { CAPABILITIES = 64 };

/*
 * The access rights of landlock(7). They have no names here, because the headers of a distribution may be older than
 * the kernel: EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, ... in the order of linux/landlock.h.
 */
enum {
  FILE_EXECUTE = 1 << 0,
  FILE_READ = 1 << 2,
  FILE_READ_DIRECTORY = 1 << 3,
  FILE_REMOVE = 1 << 4 | 1 << 5,
  FILE_MAKE_CHAR = 1 << 6,
  FILE_MAKE_DIRECTORY = 1 << 7,
  FILE_MAKE_SOCKET = 1 << 9,
  FILE_MAKE_FIFO = 1 << 10,
  FILE_MAKE_BLOCK = 1 << 11,
  FILE_MAKE_LINK = 1 << 12 | 1 << 13,
  FILE_IOCTL_DEVICE = 1 << 15,
  FILE_ALL = (1 << 16) - 1,
};

/*
 * A directory that a program enters is a mount of its own without a parent (roots.c). Landlock looks for rules up to
 * the top of that mount, so what is handled here is refused below it; at the start, `/` has the rights to read.
 */
struct profile {
  uint64_t capabilities;
  uint64_t files; /* rights that Landlock refuses */
  bool writes;    /* changes names, owners and attributes */
  bool becomes_nobody;
  bool changes_roots;
  rlim_t address_space;
};

static const struct profile profiles[] = {
    /* SYS_ADMIN: only with it may trusted.overlay.opaque be set, and security.* other than security.capability. */
    [CONFINE_UNPACKER] =
        {
            .capabilities = CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) | CAP(MKNOD) |
                            CAP(SETFCAP) | CAP(SYS_CHROOT) | CAP(SYS_ADMIN),
            /* None: with any, Landlock refuses hard links between directories (LANDLOCK_ACCESS_FS_REFER). */
            .files = 0,
            .writes = true,
            .changes_roots = true,
            .address_space = RLIM_INFINITY,
        },
    /* SYS_ADMIN: only with it may trusted.overlay.opaque be read. */
    [CONFINE_PACKER] =
        {
            .capabilities = CAP(DAC_READ_SEARCH) | CAP(SYS_CHROOT) | CAP(SYS_ADMIN),
            .files = FILE_ALL & ~(FILE_READ | FILE_READ_DIRECTORY),
            .address_space = RLIM_INFINITY,
        },
    /* Those of the next two are gone once the program has become nobody. */
    [CONFINE_ARCHIVE_READER] =
        {
            .capabilities = CAP(DAC_READ_SEARCH) | CAP(SYS_CHROOT) | CAP(SETUID) | CAP(SETGID),
            .files = FILE_EXECUTE | FILE_REMOVE | FILE_MAKE_CHAR | FILE_MAKE_BLOCK |
                     FILE_MAKE_DIRECTORY | FILE_MAKE_SOCKET | FILE_MAKE_FIFO | FILE_MAKE_LINK |
                     FILE_IOCTL_DEVICE,
            .becomes_nobody = true,
            .address_space = RLIM_INFINITY,
        },
    [CONFINE_NOBODY] =
        {
            .capabilities = CAP(DAC_READ_SEARCH) | CAP(SYS_CHROOT) | CAP(SETUID) | CAP(SETGID),
            .files = FILE_ALL,
            .becomes_nobody = true,
            /* Node.js reserves 1.4 GiB. */
            .address_space = (rlim_t)4 << 30,
        },
};

static const struct profile *profile_of(int kind) {
  bool known = kind > 0 && kind < (int)(sizeof profiles / sizeof *profiles);
  return known ? &profiles[kind] : NULL;
}

/* The calls of Node.js and of the C library. arm64 has none of those that take a path without a directory. */
static const int base_calls[] = {
    __NR_read, __NR_readv, __NR_pread64, __NR_preadv, __NR_preadv2, __NR_write, __NR_writev,
    __NR_pwrite64, __NR_pwritev, __NR_pwritev2, __NR_lseek, __NR_close, __NR_close_range,
    __NR_openat, __NR_openat2, __NR_fstat, __NR_newfstatat, __NR_statx, __NR_statfs, __NR_fstatfs,
    __NR_faccessat, __NR_faccessat2, __NR_readlinkat, __NR_getdents64, __NR_getcwd, __NR_chdir,
    __NR_getxattr, __NR_lgetxattr, __NR_fgetxattr, __NR_listxattr, __NR_llistxattr,
    __NR_flistxattr, __NR_dup, __NR_dup3, __NR_pipe2, __NR_eventfd2, __NR_splice,
    __NR_tee, __NR_vmsplice, __NR_sendfile, __NR_copy_file_range, __NR_fadvise64,
    __NR_epoll_create1, __NR_epoll_ctl, __NR_epoll_pwait, __NR_epoll_pwait2, __NR_ppoll,
    __NR_pselect6, __NR_mmap, __NR_mprotect, __NR_munmap, __NR_mremap, __NR_madvise,
    __NR_mincore, __NR_mlock, __NR_munlock, __NR_brk, __NR_membarrier, __NR_pkey_alloc,
    __NR_pkey_free, __NR_pkey_mprotect, __NR_futex, __NR_set_robust_list,
    __NR_get_robust_list, __NR_rseq, __NR_set_tid_address, __NR_rt_sigaction,
    __NR_rt_sigprocmask, __NR_rt_sigreturn, __NR_rt_sigtimedwait, __NR_sigaltstack,
    __NR_restart_syscall, __NR_sched_yield, __NR_sched_getaffinity, __NR_sched_getparam,
    __NR_sched_getscheduler, __NR_sched_get_priority_max, __NR_sched_get_priority_min,
    __NR_getcpu, __NR_clock_gettime, __NR_clock_getres, __NR_clock_nanosleep, __NR_nanosleep,
    __NR_gettimeofday, __NR_getpid, __NR_getppid, __NR_gettid, __NR_getuid, __NR_geteuid,
    __NR_getgid, __NR_getegid, __NR_getresuid, __NR_getresgid, __NR_getgroups, __NR_getpgid,
    __NR_getsid, __NR_getrandom, __NR_getrusage, __NR_times, __NR_sysinfo, __NR_uname,
    __NR_umask, __NR_capget, __NR_capset, __NR_prctl, __NR_seccomp, __NR_exit, __NR_exit_group,
#if defined(__x86_64__)
    __NR_open, __NR_stat, __NR_lstat, __NR_access, __NR_readlink, __NR_dup2, __NR_pipe,
    __NR_epoll_wait, __NR_poll, __NR_select, __NR_arch_prctl, __NR_time, __NR_getpgrp,
    __NR_getrlimit,
#endif
    /* Until sealProcess: */
    __NR_execve, __NR_fchdir, __NR_chroot,
};

static const int write_calls[] = {
    __NR_mkdirat, __NR_mknodat, __NR_symlinkat, __NR_linkat, __NR_unlinkat, __NR_renameat, __NR_renameat2,
    __NR_fchownat, __NR_fchown, __NR_fchmodat, __NR_fchmod, __NR_utimensat, __NR_truncate,
    __NR_ftruncate, __NR_fallocate, __NR_setxattr, __NR_lsetxattr, __NR_fsetxattr,
    __NR_removexattr, __NR_lremovexattr, __NR_fremovexattr, __NR_fsync, __NR_fdatasync,
    __NR_syncfs, __NR_sync_file_range,
#if defined(__x86_64__)
    __NR_mkdir, __NR_mknod, __NR_symlink, __NR_link, __NR_unlink, __NR_rmdir, __NR_rename,
    __NR_chown, __NR_lchown, __NR_chmod,
#endif
};

static const int nobody_calls[] = {__NR_setgroups, __NR_setgid, __NR_setuid, __NR_setresgid,
                                   __NR_setresuid};
/* A descriptor of the next root, over a socket that the process inherits; it can make none. */
static const int root_calls[] = {__NR_recvmsg};
/* What is of no use any more once the program has begun its work. */
static const int sealed_calls[] = {__NR_execve, __NR_setgroups, __NR_setgid, __NR_setuid,
                                   __NR_setresgid, __NR_setresuid, __NR_seccomp};
static const int sealed_root_calls[] = {__NR_fchdir, __NR_chroot, __NR_recvmsg};

/* Of terminals, which a program may ask whether there is one, and of pipes. */
static const uint32_t ioctls[] = {FIONBIO, FIOCLEX, FIONCLEX, FIONREAD, TCGETS, TIOCGWINSZ};
/* Not those that choose who gets a signal (F_SETOWN, F_SETSIG): it could be any process of the user (fcntl(2)). */
static const uint32_t fcntls[] = {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD,      F_SETFD,
                                  F_GETFL, F_SETFL,         F_GETPIPE_SZ, F_SETPIPE_SZ};

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define EQUAL(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise)
#define HAS(bits, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, then, otherwise)
#define END(what) BPF_STMT(BPF_RET | BPF_K, what)
#define REFUSE(err) END(SECCOMP_RET_ERRNO | (err))

static void add(struct confinement *filter, struct sock_filter step) {
  if (filter->length < CONFINE_STEPS) filter->steps[filter->length++] = step;
}

/* The number of the call is loaded, before and after. */
static void add_calls(struct confinement *filter, const int *calls, size_t count, uint32_t end) {
  for (size_t i = 0; i < count; i++) {
    add(filter, (struct sock_filter)EQUAL((uint32_t)calls[i], 0, 1));
    add(filter, (struct sock_filter)END(end));
  }
}

/* A call of another architecture has other numbers and arguments (seccomp(2)). */
static void add_start(struct confinement *filter) {
  add(filter, (struct sock_filter)LOAD(arch));
  add(filter, (struct sock_filter)EQUAL(OWN_ARCH, 1, 0));
  add(filter, (struct sock_filter)END(SECCOMP_RET_KILL_PROCESS));
  add(filter, (struct sock_filter)LOAD(nr));
#ifdef X32_CALLS
  add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_CALLS, 0, 1));
  add(filter, (struct sock_filter)END(SECCOMP_RET_KILL_PROCESS));
#endif
}

/* `call` only where the lower half of an argument is `value`; the upper half is not used by these calls. */
static void add_call_with(struct confinement *filter, int call, int argument, uint32_t value) {
  add(filter, (struct sock_filter)EQUAL((uint32_t)call, 0, 4));
  add(filter, (struct sock_filter)LOAD(args[argument]));
  add(filter, (struct sock_filter)EQUAL(value, 0, 1));
  add(filter, (struct sock_filter)END(SECCOMP_RET_ALLOW));
  add(filter, (struct sock_filter)REFUSE(EPERM));
}

/* `call` only where the lower half of its second argument is one of the values: the kernel ignores the rest. */
static void add_requests(struct confinement *filter, int call, const uint32_t *values, size_t count, int err) {
  add(filter, (struct sock_filter)EQUAL((uint32_t)call, 0, (uint8_t)(2 + 2 * count)));
  add(filter, (struct sock_filter)LOAD(args[1]));
  for (size_t i = 0; i < count; i++) {
    add(filter, (struct sock_filter)EQUAL(values[i], 0, 1));
    add(filter, (struct sock_filter)END(SECCOMP_RET_ALLOW));
  }
  add(filter, (struct sock_filter)REFUSE((uint32_t)err));
}

/*
 * An allow-list. For calls that are newer than it, a later C library does without them when there are none. glibc uses
 * clone(2), whose flags can be seen, when there is no clone3(2): it may make threads, but no processes.
 */
void confine_prepare(struct confinement *filter, int kind) {
  const struct profile *profile = profile_of(kind);
  filter->kind = kind;
  filter->length = 0;
  if (profile == NULL) return;
  add_start(filter);
  add_calls(filter, (const int[]){__NR_clone3}, 1, SECCOMP_RET_ERRNO | ENOSYS);
  add(filter, (struct sock_filter)EQUAL(__NR_clone, 0, 5));
  add(filter, (struct sock_filter)LOAD(args[0]));
  add(filter, (struct sock_filter)HAS(CLONE_NAMESPACES, 2, 0));
  add(filter, (struct sock_filter)HAS(CLONE_THREAD, 0, 1));
  add(filter, (struct sock_filter)END(SECCOMP_RET_ALLOW));
  add(filter, (struct sock_filter)REFUSE(EPERM));
  add_requests(filter, __NR_ioctl, ioctls, COUNT(ioctls), ENOTTY);
  add_requests(filter, __NR_fcntl, fcntls, COUNT(fcntls), EPERM);
  /* Of this process only: other processes of the same user would do as well. */
  add_call_with(filter, __NR_prlimit64, 0, 0);
  filter->own_pid = filter->length + 2;
  add_call_with(filter, __NR_tgkill, 0, 0);
  add_calls(filter, base_calls, COUNT(base_calls), SECCOMP_RET_ALLOW);
  if (profile->writes) add_calls(filter, write_calls, COUNT(write_calls), SECCOMP_RET_ALLOW);
  if (profile->becomes_nobody) add_calls(filter, nobody_calls, COUNT(nobody_calls), SECCOMP_RET_ALLOW);
  if (profile->changes_roots) add_calls(filter, root_calls, COUNT(root_calls), SECCOMP_RET_ALLOW);
  add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, NEWEST_CALL, 0, 1));
  add(filter, (struct sock_filter)REFUSE(ENOSYS));
  add(filter, (struct sock_filter)REFUSE(EPERM));
}

/* The version of Landlock's interface, 0 where the kernel has none or does not use it. */
static int landlock_version(void) {
  long version = syscall(__NR_landlock_create_ruleset, NULL, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */);
  return version < 0 ? 0 : (int)version;
}

/* Rights that a kernel does not know are EINVAL; a longer structure is E2BIG. */
static const char *restrict_files(uint64_t files) {
  static const uint64_t known[] = {0, 0x1fff, 0x3fff, 0x7fff, 0x7fff};
  int version = landlock_version();
  if (version == 0 || (version < 4 && files == 0)) return NULL;
  struct {
    uint64_t files, net, scoped;
  } rules = {.files = files & (version < 5 ? known[version] : FILE_ALL)};
  struct __attribute__((packed)) {
    uint64_t rights;
    int32_t parent;
  } rule = {.rights = rules.files & (FILE_EXECUTE | FILE_READ | FILE_READ_DIRECTORY)};
  size_t size = version < 4 ? 8 : version < 6 ? 16 : 24;
  if (version >= 4) rules.net = 3;    /* to bind and to connect TCP */
  if (version >= 6) rules.scoped = 3; /* abstract sockets and signals of others */
  int ruleset = (int)syscall(__NR_landlock_create_ruleset, &rules, size, 0);
  if (ruleset < 0) return "landlock_create_ruleset";
  rule.parent = open("/", O_PATH | O_CLOEXEC);
  if (rule.parent < 0) return "open /";
  if (rule.rights != 0 &&
      syscall(__NR_landlock_add_rule, ruleset, 1 /* LANDLOCK_RULE_PATH_BENEATH */, &rule, 0) < 0) {
    return "landlock_add_rule";
  }
  if (syscall(__NR_landlock_restrict_self, ruleset, 0) < 0) return "landlock_restrict_self";
  close(rule.parent);
  close(ruleset);
  return NULL;
}

/* A program of root gets all capabilities of its bounding set that it has at execve (capabilities(7)). */
static const char *limit_capabilities(uint64_t kept) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct sets[2];
  for (int capability = 0; capability < CAPABILITIES; capability++) {
    if ((kept & UINT64_C(1) << capability) != 0) continue;
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL) return "PR_CAPBSET_DROP";
  }
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return "PR_CAP_AMBIENT";
  if (syscall(SYS_capget, &header, sets) < 0) return "capget";
  for (int half = 0; half < 2; half++) {
    sets[half].permitted &= (uint32_t)(kept >> 32 * half);
    sets[half].effective = sets[half].permitted;
    sets[half].inheritable = 0;
  }
  return syscall(SYS_capset, &header, sets) < 0 ? "capset" : NULL;
}

/*
 * When memory is short, the kernel ends this process before pods, whatever the daemon's own value is
 * (proc_pid_oom_score_adj(5)): what it does can be repeated. Without /proc, nothing changes.
 */
static void become_first_to_kill(void) {
  int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  if (write(file, "900", 3) < 0) errno = 0;
  close(file);
}

const char *confine_child(struct confinement *filter) {
  const struct profile *profile = profile_of(filter->kind);
  struct sock_fprog program = {.len = (unsigned short)filter->length, .filter = filter->steps};
  const struct rlimit none = {0, 0}, files = {256, 256};
  const char *failed;
  become_first_to_kill();
  if (setrlimit(RLIMIT_CORE, &none) < 0 || setrlimit(RLIMIT_NOFILE, &files) < 0) return "setrlimit";
  if (profile->address_space != RLIM_INFINITY) {
    struct rlimit space = {profile->address_space, profile->address_space};
    if (setrlimit(RLIMIT_AS, &space) < 0) return "setrlimit";
  }
  if ((failed = limit_capabilities(profile->capabilities)) != NULL) return failed;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return "PR_SET_NO_NEW_PRIVS";
  if ((failed = restrict_files(profile->files)) != NULL) return failed;
  filter->steps[filter->own_pid].k = (uint32_t)getpid();
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? "seccomp" : NULL;
}

/* JS: landlockVersion(): number. */
static napi_value js_landlock_version(napi_env env, napi_callback_info info) {
  napi_value result = NULL;
  (void)info;
  napi_create_int32(env, landlock_version(), &result);
  return result;
}

/*
 * JS: sealProcess(kind): void. All threads of this process lose the calls that it no longer needs. It must have
 * been started with that kind.
 */
static napi_value seal_process(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  int32_t kind = 0;
  struct confinement filter = {0};
  struct fault fault = {0};
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1) return NULL;
  if (napi_get_value_int32(env, argv[0], &kind) != napi_ok || profile_of(kind) == NULL) {
    napi_throw_type_error(env, NULL, "sealProcess: want a kind of process");
    return NULL;
  }
  add_start(&filter);
  add_calls(&filter, sealed_calls, COUNT(sealed_calls), SECCOMP_RET_ERRNO | EPERM);
  if (!profile_of(kind)->changes_roots) {
    add_calls(&filter, sealed_root_calls, COUNT(sealed_root_calls), SECCOMP_RET_ERRNO | EPERM);
  }
  add(&filter, (struct sock_filter)END(SECCOMP_RET_ALLOW));
  struct sock_fprog program = {.len = (unsigned short)filter.length, .filter = filter.steps};
  /* A thread that cannot be changed is the result. */
  long rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
  if (rc != 0) {
    fault_set_errno(&fault, rc < 0 ? errno : EBUSY, "seccomp", "");
    fault_throw(env, &fault);
  }
  return NULL;
}

napi_status confine_init(napi_env env, napi_value exports) {
  napi_status status = add_function(env, exports, "landlockVersion", js_landlock_version);
  return status != napi_ok ? status : add_function(env, exports, "sealProcess", seal_process);
}
