/*
 * Runs a command in a container that crun has created, and exits like it: what "crun exec" does, for commands without a
 * terminal, with what davit knows already in place of files that crun reads. docs/decisions/0032-exec.md has the
 * threat model. The steps and their order are those of crun's libcrun_container_exec_with_options(),
 * libcrun_join_process() and exec_process_entrypoint(); a comment says where one differs.
 *
 * It runs from a sealed copy (sealedProgram() of src/linux/process), so that a container that opens /proc/PID/exe cannot
 * overwrite it, and as three processes, like crun:
 *
 * - The first one stays in the node's namespaces and cgroups, where no container sees it, and waits for the command.
 * - The second one joins the container's namespaces, still unseen, starts the command and ends. So a process that a
 *   container sees is never in the node's mount namespace.
 * - The third one, a child of the first, becomes the command (exec-command.h).
 *
 * It writes nothing to stdout and stderr. Where it cannot do a step, the command has not run, the file for the pid
 * is empty, and it exits with DECLINED: davit then lets crun do everything, which also finds the words for an error.
 *
 * Arguments: see execArguments() in src/linux/process/exec-program.ts. Environment: that of the command.
 */
#include "exec-command.h"

/*
 * A pidfd of the container's first process, or -1. The pidfd is opened first: if its process started when
 * the container's did, it is that one (proc_pid_stat(5), field 22).
 */
static long open_init(void) {
  static char stat[1024];
  long at = append(path, 0, "/proc/", 6);
  at = append_number(path, at, numbers[INIT_PID]);
  append(path, at, "/stat", 5);
  long pidfd = call4(__NR_pidfd_open, (long)numbers[INIT_PID], 0, 0, 0);
  long length = read_file(path, 0, stat, sizeof stat);
  if (pidfd < 0 || length <= 0) return -1;
  while (length > 0 && stat[length - 1] != ')') length--; /* the name of the process may have any bytes */
  const char *field = stat + length;
  for (int number = 2; number < 22; number++) {
    while (*field != 0 && *field != ' ') field++;
    if (*field == ' ') field++;
  }
  return next_number(&field) == numbers[INIT_START_TIME] ? pidfd : -1;
}

/* crun: libcrun_cgroup_is_container_paused(). A command in a frozen cgroup would wait in the middle of this. */
static int is_paused(const char *state_file) {
  char state[32];
  long length = read_file(state_file, 0, state, sizeof state);
  return length < 1 || (state[0] != '0' && !begins_with(state, "THAWED"));
}

/* crun wrote it when it created the container: libcrun_open_seccomp_bpf(). An empty path: there is no filter. */
static int read_filter(const char *name) {
  if (*name == 0) return 0;
  long length = read_file(name, 0, filter, sizeof filter);
  if (length <= 0 || length % (long)sizeof *filter != 0) return -1;
  program.len = (unsigned short)(length / (long)sizeof *filter);
  return 0;
}

static int open_cgroups(char **files) {
  long flags = numbers[IS_UNIFIED] ? O_PATH | O_DIRECTORY | O_NOFOLLOW : O_WRONLY;
  for (unsigned long i = 0; i < numbers[CGROUPS]; i++) {
    cgroups[i] = (int)open_file(files[i], flags);
    if (cgroups[i] < 0) return -1;
  }
  return 0;
}

/* The command inherits it. NOTE(crun): "crun exec" leaves the daemon's, by which the kernel spares the command. */
static int set_oom_score(void) {
  char text[8];
  long score = (long)numbers[OOM_SCORE_ADJ] - 1000, length = 0;
  long fd = open_file("/proc/self/oom_score_adj", O_WRONLY);
  if (score < 0) length = append(text, 0, "-", 1);
  length = append_number(text, length, (unsigned long)(score < 0 ? -score : score));
  return fd >= 0 && call4(__NR_write, fd, (long)text, length, 0) == length ? 0 : -1;
}

/* The paths of the node: everyone who sees a process can read its arguments. */
static void forget(char **texts, long count) {
  for (long i = 0; i < count; i++) {
    for (char *text = texts[i]; *text != 0; text++) *text = ' ';
  }
}

enum argument { NAME, VERB, OPTION, PID_FILE, STATE_FILE, FILTER_FILE, PLAN, DIRECTORY, CGROUP_FILES };

/* A page that the three processes share until the command is executed. */
struct shared {
  int pid; /* the kernel writes it before the command's process runs (CLONE_PARENT_SETTID) */
  int has_failed;
};

/*
 * The second process. It is not a member of the PID namespace that it joins, only its children are (setns(2)). The
 * command becomes the first one's child (CLONE_PARENT). CLONE_VFORK: this continues when the command is
 * executed, or has failed.
 */
static void join(const struct command *command, char **arguments, volatile struct shared *shared) {
  long namespaces = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID;
  struct clone_args how = {.flags = CLONE_VFORK | CLONE_PARENT | CLONE_PARENT_SETTID};
  how.parent_tid = (unsigned long)&shared->pid;
  shared->pid = 0; /* the page is there from now on: a write to it cannot fail later */
  long init = open_init();
  if (init < 0 || is_paused(arguments[STATE_FILE]) || read_filter(arguments[FILTER_FILE]) < 0) return;
  if (open_cgroups(arguments + CGROUP_FILES) < 0 || set_oom_score() < 0) return;
  forget(arguments + PID_FILE, PLAN - PID_FILE);
  forget(arguments + CGROUP_FILES, (long)numbers[CGROUPS]);
  if (call4(__NR_setns, init, namespaces, 0, 0) < 0) return;
  /*
   * A process that has dropped its privileges can make itself a user namespace, with mounts of its own at the paths of
   * programs. Those would run with all privileges of a command; crun joins the user namespace. EINVAL: it is that of
   * this process. This is asked after the mounts are joined, as no process without privileges gets back.
   */
  if (call4(__NR_setns, init, CLONE_NEWUSER, 0, 0) != -EINVAL) return;
  if (numbers[IS_UNIFIED]) {
    how.flags |= CLONE_INTO_CGROUP;
    how.cgroup = (unsigned long)cgroups[0];
  }
  if (call4(__NR_clone3, (long)&how, sizeof how, 0, 0) == 0) {
    run_command(command, init);
    shared->has_failed = 1;
    end(DECLINED);
  }
}

/* The exit code of a shell. */
static int wait_for(long pid) {
  int status = 0;
  long ended;
  while ((ended = call4(__NR_wait4, pid, (long)&status, 0, 0)) == -EINTR) {
  }
  if (ended != pid) return DECLINED;
  int signal = status & 0x7f;
  return signal == 0 ? (status >> 8) & 0xff : 128 + signal;
}

/* For a command that may have been executed, where davit cannot be told: it is killed, and this process ends like it. */
static void kill_command(long pid) {
  call4(__NR_kill, pid, SIGKILL, 0, 0);
  call4(__NR_wait4, pid, 0, 0, 0);
  call4(__NR_kill, call4(__NR_getpid, 0, 0, 0, 0), SIGKILL, 0, 0);
}

/* davit takes the file as the sign that the command was executed, and runs it again by crun without it. */
static void report_pid(const char *file, long pid) {
  char text[24];
  long length = append_number(text, 0, (unsigned long)pid);
  long fd = open_file(file, O_WRONLY | O_CREAT | O_EXCL);
  if (fd >= 0 && call4(__NR_write, fd, (long)text, length, 0) == length) {
    call4(__NR_close, fd, 0, 0, 0);
    return;
  }
  kill_command(pid);
}

static const char *read_numbers(const char *text) {
  for (int i = 0; i < NUMBERS; i++) numbers[i] = next_number(&text);
  if (numbers[GROUPS] > MAX_GROUPS || numbers[CGROUPS] > MAX_CGROUPS || numbers[CGROUPS] == 0) end(DECLINED);
  for (unsigned long i = 0; i < numbers[GROUPS]; i++) groups[i] = (unsigned int)next_number(&text);
  return text;
}

static void program_main(const long *stack) {
  static const char name[] = "davit-exec"; /* the name of the executed file is a number */
  long count = stack[0];
  char **arguments = (char **)(stack + 1);
  call5(__NR_prctl, PR_SET_NAME, (long)name, 0, 0, 0);
  /* No process of the container may trace the command before it is executed, unless it has CAP_SYS_PTRACE here. */
  if (call5(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || count <= CGROUP_FILES) end(DECLINED);
  struct command command = {.directory = arguments[DIRECTORY]};
  command.limits = read_numbers(arguments[PLAN]);
  long first = CGROUP_FILES + (long)numbers[CGROUPS];
  if (count <= first) end(DECLINED);
  command.arguments = arguments + first;
  command.environment = arguments + count + 1;

  long page = call6(__NR_mmap, 0, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page < 0 && page > -4096) end(DECLINED);
  volatile struct shared *shared = (volatile struct shared *)page;
  struct clone_args how = {.flags = CLONE_VFORK, .exit_signal = SIGCHLD};
  long joiner = call4(__NR_clone3, (long)&how, sizeof how, 0, 0);
  if (joiner == 0) {
    join(&command, arguments, shared);
    end(0);
  }
  int joined = joiner < 0 ? DECLINED : wait_for(joiner);
  long pid = shared->pid;
  if (pid <= 0) end(DECLINED);
  /* Who killed the second process, such as the kernel without memory, did not end the command, which may be executed yet. */
  if (joined != 0) kill_command(pid);
  if (shared->has_failed) {
    wait_for(pid);
    end(DECLINED);
  }
  report_pid(arguments[PID_FILE], pid);
  end(wait_for(pid));
}
