/*
 * Reads the output of the container, and gives it to the log and to clients.
 */
#ifndef DAVIT_MONITOR_OUTPUT_H
#define DAVIT_MONITOR_OUTPUT_H

#include "clients.h"

/* Output that is in the stream's buffer already, behind the incomplete line. */
static void pass_output(struct stream *stream, int size) {
  send_output(stream->type, stream->buffer + stream->length, size);
  log_output(stream, size);
}

/* Output that was read elsewhere, at most READ_MAX bytes. */
static void add_output(struct stream *stream, const char *bytes, int size) {
  memcpy(stream->buffer + stream->length, bytes, (unsigned long)size);
  pass_output(stream, size);
}

static void end_stream(struct stream *stream) {
  close_fd(stream->fd);
  stream->fd = -1;
  log_rest(stream);
}

/* Reads at most `most` bytes. The number of bytes, 0 at the end, or an error; EIO: no process has the terminal open. */
static long read_stream(struct stream *stream, int most) {
  if (most > READ_MAX) most = READ_MAX;
  long size = call4(__NR_read, stream->fd, (long)(stream->buffer + stream->length), most, 0);
  if (size > 0) pass_output(stream, (int)size);
  if (size == 0) end_stream(stream);
  return size;
}

/*
 * Exactly what is in the pipe now: other processes may still have it open, and write forever. Clients have until `end` to
 * take it.
 */
static void drain_pipe(struct stream *stream, __s64 end) {
  int left = 0;
  if (stream->fd < 0 || call4(__NR_ioctl, stream->fd, FIONREAD, (long)&left, 0) < 0) return;
  while (left > 0) {
    long size = read_stream(stream, left);
    wait_for_clients(end);
    if (size <= 0) return;
    left -= (int)size;
  }
}

/* A terminal does not say how much there is. */
static void drain_terminal(struct stream *stream, __s64 end) {
  long size;
  for (int left = 1 << 20; left > 0; left -= (int)size) {
    size = read_stream(stream, left);
    wait_for_clients(end);
    if (size <= 0) return;
  }
}

#endif
