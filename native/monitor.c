/*
 * The monitor of one container, for as long as that runs: it starts the OCI runtime that creates the container, keeps
 * the ends of its stdin, stdout and stderr, writes the log, serves clients that attach, and writes the exit code to a file.
 * It survives the daemon. Arguments:
 *
 *   --cid ID --exit-dir DIR [--terminal] [--stdin | --stdin-once] [--log-max BYTES] [--memory-events FILE]
 *   -- RUNTIME ARG...
 *
 * Its working directory is the bundle. Descriptor 0 is the log, or a device for none, and descriptor 1 gets the
 * answer (monitor/create.h). A container controls what it writes, and root what comes by the socket: nothing of it may make the
 * monitor wait, end, or lose a line. Decision 31 compares it with conmon.
 */
#include "monitor/confine.h"
#include "monitor/create.h"
#include "monitor/memory.h"
#include "monitor/output.h"
#include "monitor/requests.h"

enum {
  PAUSE_MS = 100,       /* until a terminal that nobody has open, or a failed accept, is tried again */
  TRIM_MS = 1000,       /* until memory that output has used is given back */
  PART_MS = 250,        /* without output until an incomplete line, such as a prompt, is written as a part */
  DRAIN_MS = 5000,      /* for clients to take the last output */
  EXIT_ATTEMPTS = 100,  /* to write the exit code, one every PAUSE_MS */
  PATH_SIZE = 4096,
};

enum slot { SIGNALS, STDOUT, STDERR, STDIN, LISTENER, MEMORY, FIRST_CLIENT, SLOTS = FIRST_CLIENT + CLIENTS_MAX };

/* Times of the monotonic clock in milliseconds; 0: not set. */
static struct {
  __s64 terminal, listener, trim, parts[2];
} until;

/* DIR/ID and DIR/ID.tmp; there is no second container, so the buffers are used once. */
static char *put_path(char *path, const char *suffix) {
  put_text(put_text(put_text(put_text(path, start.options.exit_directory), "/"), start.options.id), suffix)[0] = 0;
  return path;
}

/* By rename, so that a reader finds the whole code. A failure leaves no file. */
static long write_exit(int code) {
  static char path[PATH_SIZE], temporary[PATH_SIZE];
  char text[8];
  long length = put_number(text, (__u64)code) - text;
  put_path(path, "");
  put_path(temporary, ".tmp");
  long fd = call4(__NR_openat, AT_FDCWD, (long)temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) return fd;
  long result = call4(__NR_write, fd, (long)text, length, 0);
  close_fd((int)fd);
  if (result == length) {
    result = call5(__NR_renameat2, AT_FDCWD, (long)temporary, AT_FDCWD, (long)path, 0);
    if (result >= 0) return 0;
  }
  call4(__NR_unlinkat, AT_FDCWD, (long)temporary, 0, 0);
  return result < 0 ? result : -ENOSPC;
}

__attribute__((noreturn)) static void finish(int code) {
  __s64 end_of_drain = now_ms() + DRAIN_MS;
  check_memory(); /* first: systemd removes the cgroup now, and the kernel may hold an event back for 10 ms */
  wait_for_clients(end_of_drain);
  if (input.is_terminal) {
    drain_terminal(&streams[0], end_of_drain);
  } else {
    drain_pipe(&streams[0], end_of_drain);
  }
  drain_pipe(&streams[1], end_of_drain);
  log_rest(&streams[0]);
  log_rest(&streams[1]);
  end_clients();
  for (int i = 0; i < EXIT_ATTEMPTS && write_exit(code) < 0; i++) sleep_ms(PAUSE_MS);
  end(0);
}

/* Reaps all that have ended, also orphans of the container. */
static void reap(long pid) {
  for (;;) {
    int status = 0;
    long ended = call4(__NR_wait4, -1, (long)&status, WNOHANG, 0);
    if (ended <= 0) return;
    if (ended == pid) finish(code_of(status));
  }
}

static __s64 earliest(__s64 one, __s64 other) { return other != 0 && other < one ? other : one; }

/* What the loop waits for. Returns how many slots there are. */
static int list_slots(struct pollfd fds[SLOTS]) {
  int count = FIRST_CLIENT;
  int is_input_kept = input.fd >= 0 && input.begin < input.end;
  int is_waiting = is_output_waiting();
  fds[SIGNALS] = (struct pollfd){start.signals, POLLIN, 0};
  fds[STDOUT] = (struct pollfd){until.terminal == 0 && !is_waiting ? streams[0].fd : -1, POLLIN, 0};
  fds[STDERR] = (struct pollfd){is_waiting ? -1 : streams[1].fd, POLLIN, 0};
  fds[STDIN] = (struct pollfd){is_input_kept ? input.fd : -1, POLLOUT, 0};
  fds[LISTENER] = (struct pollfd){until.listener == 0 ? start.listener : -1, POLLIN, 0};
  fds[MEMORY] = (struct pollfd){memory_events, POLLPRI, 0};
  for (int i = 0; i < CLIENTS_MAX; i++) {
    const struct client *client = clients + i;
    int is_behind = client->kind != NO_CLIENT && client->is_behind;
    /* One that has ended is watched for its close, which poll(2) always reports. */
    int is_watched = is_readable(client) || is_behind || (client->kind != NO_CLIENT && client->is_done);
    short events = (short)((is_readable(client) ? POLLIN : 0) | (is_behind ? POLLOUT : 0));
    fds[FIRST_CLIENT + i] = (struct pollfd){is_watched ? client->fd : -1, events, 0};
    if (is_watched) count = FIRST_CLIENT + i + 1;
  }
  return count;
}

static void wait_for_events(struct pollfd fds[SLOTS]) {
  __s64 now = now_ms(), latest = now + 3600 * 1000, next;
  if (until.terminal != 0 && until.terminal <= now) until.terminal = 0;
  if (until.listener != 0 && until.listener <= now) until.listener = 0;
  if (until.trim != 0 && until.trim <= now) {
    until.trim = 0;
    trim_stream(&streams[0]);
    trim_stream(&streams[1]);
    if (input.begin == input.end) give_back(kept_input, kept_input + INPUT_MAX);
    if (chunk.size == 0) give_back(chunk_bytes, chunk_bytes + READ_MAX);
  }
  for (int i = 0; i < 2; i++) {
    if (until.parts[i] == 0 || until.parts[i] > now) continue;
    until.parts[i] = 0;
    log_rest(&streams[i]);
  }
  next = earliest(earliest(earliest(expire_clients(now, latest), until.terminal), until.listener), until.trim);
  next = earliest(earliest(next, until.parts[0]), until.parts[1]);
  __s64 wait = next - now;
  struct __kernel_timespec timeout = {wait / 1000, wait % 1000 * 1000000};
  int count = list_slots(fds);
  if (call5(__NR_ppoll, (long)fds, count, next == latest ? 0 : (long)&timeout, 0, 0) <= 0) count = 0;
  for (int i = count; i < SLOTS; i++) fds[i].revents = 0;
}

static void note_memory(void) {
  if (until.trim == 0) until.trim = now_ms() + TRIM_MS;
}

static void serve_stream(struct stream *stream) {
  long size = read_stream(stream, READ_MAX);
  if (stream->touched > 4096) note_memory();
  if (stream->length > 0 && input.is_terminal) log_rest(stream); /* somebody types, and follows the log */
  until.parts[stream - streams] = stream->length > 0 ? now_ms() + PART_MS : 0;
  /* A process may open the terminal again (conmon's tty_hup_timeout_cb() in ctr_stdio.c does the same). */
  if (size < 0 && size != -EAGAIN && input.is_terminal) until.terminal = now_ms() + PAUSE_MS;
}

static void serve_event(struct client *client, const struct pollfd *event) {
  if (client->kind == NO_CLIENT || client->fd != event->fd) return; /* it was disconnected meanwhile */
  if (client->is_behind) catch_up(client, now_ms());
  if (client->kind == NO_CLIENT || (event->revents & ~POLLOUT) == 0) return;
  if (!client->is_done && !is_readable(client)) return; /* the input of another one is kept now */
  if (client->kind == WRITER) note_memory();
  serve_client(client);
}

__attribute__((noreturn)) static void run(long pid) {
  static struct pollfd fds[SLOTS];
  reap(pid); /* it may have ended already, and its signal was read */
  for (;;) {
    wait_for_events(fds);
    if (fds[STDOUT].revents != 0) serve_stream(&streams[0]);
    if (fds[STDERR].revents != 0 && chunk.size == 0) serve_stream(&streams[1]);
    if (fds[STDIN].revents != 0) write_input();
    for (int i = 0; i < CLIENTS_MAX; i++) {
      if (fds[FIRST_CLIENT + i].revents != 0) serve_event(clients + i, fds + FIRST_CLIENT + i);
    }
    if (fds[LISTENER].revents != 0 && accept_client(start.listener) < 0) until.listener = now_ms() + PAUSE_MS;
    if (fds[MEMORY].revents != 0) check_memory();
    if (fds[SIGNALS].revents != 0) {
      clear_signals();
      reap(pid);
    }
  }
}

/* False for arguments that davit does not give. */
static int parse_arguments(long count, const char *const *arguments) {
  struct options *options = &start.options;
  long i = 1;
  for (; i < count && !is_text(arguments[i], "--"); i++) {
    const char *word = arguments[i], *value = i + 1 < count ? arguments[i + 1] : 0;
    if (is_text(word, "--terminal")) {
      options->has_terminal = 1;
    } else if (is_text(word, "--stdin") || is_text(word, "--stdin-once")) {
      options->has_input = 1;
      input.is_once = word[7] != 0;
    } else if (value == 0) {
      return 0;
    } else {
      i++;
      if (is_text(word, "--cid")) {
        options->id = value;
      } else if (is_text(word, "--exit-dir")) {
        options->exit_directory = value;
      } else if (is_text(word, "--memory-events")) {
        options->memory_events = value;
      } else if (is_text(word, "--log-max")) {
        const char *at = value, *end = value + length_of(value);
        __s64 limit = take_number(&at, end, 0x7fffffffffffffff);
        if (limit < 0 || at != end) return 0;
        log_file.limit = (__u64)limit;
      } else {
        return 0;
      }
    }
  }
  options->runtime = arguments + i + 1;
  if (i + 1 >= count || options->id == 0 || options->exit_directory == 0) return 0;
  return length_of(options->id) + length_of(options->exit_directory) + sizeof "/.tmp" <= PATH_SIZE;
}

static void open_descriptors(void) {
  static const char null[] = "/dev/null";
  if (!is_log(0)) fail("log", EINVAL);
  log_file.fd = log_of(0);
  long fd = checked("pipe", call4(__NR_openat, AT_FDCWD, (long)null, O_RDWR | O_CLOEXEC, 0));
  if (fd != NULL_FD) checked("pipe", call4(__NR_dup3, fd, NULL_FD, O_CLOEXEC, 0));
  call4(__NR_close_range, 3, -1, 0, 0); /* new in Linux 5.9; davit gives no others */
  for (int i = 0; i < NULL_FD; i++) call4(__NR_fcntl, i, F_SETFD, FD_CLOEXEC, 0);
}

static void program_main(const long *stack) {
  static const char name[] = "davit-monitor"; /* the name of the executed file is a number */
  long count = stack[0];
  const char *const *arguments = (const char *const *)(stack + 1);
  call5(__NR_prctl, PR_SET_NAME, (long)name, 0, 0, 0);
  if (!parse_arguments(count, arguments)) fail("arguments", EINVAL);
  start.options.environment = arguments + count + 1;
  open_descriptors();
  checked("signals", call5(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
  long pid = create_container();
  if (start.options.has_terminal && streams[1].fd >= 0) { /* it was the runtime's */
    drain_pipe(&streams[1], 0);
    end_stream(&streams[1]);
  }
  watch_memory(start.options.memory_events);
  confine();
  run(pid);
}
