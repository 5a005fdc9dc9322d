/*
 * Requests of clients of the kind "c": one packet each, which gets one packet as answer.
 *   log, with a descriptor (SCM_RIGHTS)  the next record goes to this file
 *   size ROWS COLUMNS                    the size of the terminal
 *   stat                                 numbers of records
 */
#ifndef DAVIT_MONITOR_REQUESTS_H
#define DAVIT_MONITOR_REQUESTS_H

#include "clients.h"

enum { REQUEST_MAX = 64, DESCRIPTORS_MAX = 4 };

struct request {
  long length; /* of the packet, which may be more than REQUEST_MAX */
  char text[REQUEST_MAX];
  int count; /* of descriptors */
  int is_cut; /* there were more descriptors than the monitor has room for */
  int fds[DESCRIPTORS_MAX];
};

/* The length of the packet, or an error. The descriptors belong to the caller. */
static long receive_request(int fd, struct request *request) {
  union {
    struct control_header header; /* for its alignment */
    char room[sizeof(struct control_header) + DESCRIPTORS_MAX * sizeof(int)];
  } control;
  struct iovec piece = {request->text, REQUEST_MAX};
  struct message message = {.pieces = &piece, .piece_count = 1, .control = &control, .control_length = sizeof control};
  request->count = 0;
  request->length = call4(__NR_recvmsg, fd, (long)&message, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC, 0);
  if (request->length < 0) return request->length;
  request->is_cut = (message.flags & MSG_CTRUNC) != 0;
  /* The socket has no other control messages, and the kernel puts all descriptors of a packet into one (unix(7)). */
  if (message.control_length >= sizeof(struct control_header) && control.header.level == SOL_SOCKET &&
      control.header.type == SCM_RIGHTS && control.header.length <= sizeof control) {
    request->count = (int)((control.header.length - sizeof(struct control_header)) / sizeof(int));
    memcpy(request->fds, control.room + sizeof(struct control_header), (unsigned long)request->count * sizeof(int));
  }
  return request->length;
}

/* A write to it must neither wait nor replace what is there. */
static int is_log(int fd) {
  struct stat info;
  long flags = call4(__NR_fcntl, fd, F_GETFL, 0, 0);
  if (flags < 0 || call4(__NR_fstat, fd, (long)&info, 0, 0) < 0) return 0;
  if (S_ISCHR(info.st_mode)) return 1;
  return S_ISREG(info.st_mode) && (flags & O_APPEND) != 0 && (flags & O_ACCMODE) != O_RDONLY;
}

/* Nothing is logged to a device, such as /dev/null. */
static int log_of(int fd) {
  struct stat info;
  if (call4(__NR_fstat, fd, (long)&info, 0, 0) < 0 || !S_ISREG(info.st_mode)) return -1;
  return fd;
}

static long answer_text(const struct client *client, const char *text, unsigned long length) {
  struct iovec piece = {(void *)text, length};
  return send_packet(client->fd, &piece, 1);
}

static long answer(const struct client *client, const char *text) {
  return answer_text(client, text, length_of(text));
}

static long answer_error(const struct client *client, long number) {
  char text[32], *end = put_number(put_text(text, "error "), (__u64)number);
  return answer_text(client, text, (unsigned long)(end - text));
}

static int held_log = 0; /* the descriptor of the log, also of a device */

/*
 * All records of earlier output are written: each read ends with that. The answer comes first, and the old log stays when it
 * cannot be sent: a client that has given up must know which log is in use.
 */
static long switch_log(const struct client *client, struct request *request) {
  if (request->count != 1 || request->is_cut) return answer(client, "error no descriptor");
  int fd = request->fds[0];
  if (!is_log(fd)) return answer(client, "error no log");
  long sent = answer(client, "ok");
  if (sent < 0) return sent;
  request->count = 0; /* it is kept */
  close_fd(held_log);
  held_log = fd;
  log_file.fd = log_of(fd);
  return sent;
}

static long resize_terminal(const struct client *client, const char *at, const char *end) {
  struct {
    __u16 rows, columns, width, height;
  } size = {0, 0, 0, 0};
  __s64 rows = take_number(&at, end, 65535);
  if (rows < 0 || at == end || *at++ != ' ') return answer_error(client, EINVAL);
  __s64 columns = take_number(&at, end, 65535);
  if (columns < 0 || at != end) return answer_error(client, EINVAL);
  if (!input.is_terminal) return answer_error(client, ENOTTY);
  size.rows = (__u16)rows;
  size.columns = (__u16)columns;
  long result = call4(__NR_ioctl, streams[0].fd, TIOCSWINSZ, (long)&size, 0);
  return result < 0 ? answer_error(client, -result) : answer(client, "ok");
}

static long answer_statistics(const struct client *client) {
  char text[64], *end = put_number(put_text(text, "ok "), log_file.records);
  *end++ = ' ';
  end = put_number(end, log_file.dropped);
  return answer_text(client, text, (unsigned long)(end - text));
}

static int begins_with(const struct request *request, const char *word) {
  unsigned long length = length_of(word);
  for (unsigned long i = 0; i < length; i++) {
    if (i >= (unsigned long)request->length || request->text[i] != word[i]) return 0;
  }
  return 1;
}

static int is_request(const struct request *request, const char *word) {
  return request->length == (long)length_of(word) && begins_with(request, word);
}

/* The length of the packet, 0 at the end, or an error, also of an answer that the client does not read. */
static int handle_request(struct client *client) {
  struct request request;
  long length = receive_request(client->fd, &request), sent;
  if (length < 0) return (int)length;
  if (length == 0) {
    sent = 0;
  } else if (length > REQUEST_MAX) {
    sent = answer(client, "error unknown request");
  } else if (is_request(&request, "log")) {
    sent = switch_log(client, &request);
  } else if (is_request(&request, "stat")) {
    sent = answer_statistics(client);
  } else if (begins_with(&request, "size ")) {
    sent = resize_terminal(client, request.text + 5, request.text + length);
  } else {
    sent = answer(client, "error unknown request");
  }
  for (int i = 0; i < request.count; i++) close_fd(request.fds[i]);
  if (sent < 0) return -EPIPE; /* whatever it is, the client is disconnected */
  return length > 0 ? 1 : 0;
}

#endif
