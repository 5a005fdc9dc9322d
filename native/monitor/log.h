/*
 * The log: the output of a container as records of the CRI's format, "TIME STREAM TAG TEXT\n" with the tag F for the
 * end of a line and P for a part of one. src/stdio/cri-log-lines.ts has the same rules, except for lines that wait
 * (PART_MS).
 */
#ifndef DAVIT_MONITOR_LOG_H
#define DAVIT_MONITOR_LOG_H

#include "system.h"

enum {
  PART_MAX = 16384, /* bytes of the text of one record */
  READ_MAX = 32768, /* bytes of the output that are read at once */
  BUFFER_SIZE = PART_MAX + READ_MAX,
  HEAD_SIZE = 40, /* 2026-12-01T12:00:00.000000000Z stdout F and a space */
  BATCH_MAX = 64, /* records of one write */
};

/* One stream of the output. */
struct stream {
  int fd;           /* -1: there is none, or it has ended */
  char type;        /* the first byte of a packet for clients */
  const char *name; /* of 6 letters */
  char *buffer;     /* of BUFFER_SIZE; begins with the incomplete line */
  int length;       /* of that line */
  int touched;      /* bytes of the buffer that have memory */
};

static char buffers[2][BUFFER_SIZE] __attribute__((aligned(4096)));
static struct stream streams[2] = {
    {-1, 2, "stdout", buffers[0], 0, 0},
    {-1, 3, "stderr", buffers[1], 0, 0},
};

static struct {
  int fd;            /* -1: nothing is logged */
  __u64 limit;       /* bytes, 0: none */
  __u64 size;        /* of the file; only known with a limit and while a batch is not empty */
  __u64 records;     /* that were written */
  __u64 dropped;     /* that could not be written */
} log_file = {.fd = -1};

/* Records that are written next: a head, a text and a newline each. */
static struct {
  int count;
  __u64 bytes;
  struct iovec pieces[3 * BATCH_MAX];
} batch;

static __u64 log_size(void) {
  struct stat info;
  return call4(__NR_fstat, log_file.fd, (long)&info, 0, 0) < 0 ? 0 : (__u64)info.st_size;
}

static __u64 bytes_of_record(int index) {
  const struct iovec *pieces = batch.pieces + 3 * index;
  return pieces[0].iov_len + pieces[1].iov_len + pieces[2].iov_len;
}

/*
 * After a write that took only `written` bytes, because the disk is full or the file must not grow: cuts off the part of
 * a record, so that the next one begins on a line of its own. Nobody else writes to the file. Returns how
 * many records are complete. The others are dropped: the container never waits for its log.
 */
static int cut_batch(__u64 written) {
  int whole = 0;
  __u64 kept = 0;
  while (whole < batch.count && kept + bytes_of_record(whole) <= written) kept += bytes_of_record(whole++);
  if (written > kept) {
    __u64 size = log_size();
    if (size >= written - kept) call4(__NR_ftruncate, log_file.fd, (long)(size - (written - kept)), 0, 0);
  }
  return whole;
}

static void write_batch(void) {
  if (batch.count == 0) return;
  long written = call4(__NR_writev, log_file.fd, (long)batch.pieces, 3L * batch.count, 0);
  int whole = batch.count;
  if (written < 0 || (__u64)written != batch.bytes) whole = cut_batch(written < 0 ? 0 : (__u64)written);
  log_file.records += (__u64)whole;
  log_file.dropped += (__u64)(batch.count - whole);
  batch.count = 0;
  batch.bytes = 0;
}

static void add_record(const char *head, const char *text, int length) {
  static const char newline = '\n';
  __u64 bytes = HEAD_SIZE + (__u64)length + 1;
  if (batch.count == BATCH_MAX) write_batch();
  if (log_file.limit > 0) {
    if (batch.count == 0) log_file.size = log_size();
    if (log_file.size > 0 && log_file.size + bytes > log_file.limit) {
      write_batch();
      call4(__NR_ftruncate, log_file.fd, 0, 0, 0);
      log_file.size = log_size();
    }
    log_file.size += bytes;
  }
  struct iovec *pieces = batch.pieces + 3 * batch.count;
  pieces[0] = (struct iovec){(void *)head, HEAD_SIZE};
  pieces[1] = (struct iovec){(void *)text, (__kernel_size_t)length};
  pieces[2] = (struct iovec){(void *)&newline, 1};
  batch.count++;
  batch.bytes += bytes;
}

/* Days since 1970-01-01 as a date of the Gregorian calendar. The years of the count begin with March. */
static char *put_date(char *at, __s64 days) {
  __s64 shifted = days + 719468; /* days since 0000-03-01 */
  __s64 era = shifted / 146097;  /* 400 years */
  __s64 day = shifted % 146097;
  __s64 year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
  day -= 365 * year + year / 4 - year / 100;
  __s64 month = (5 * day + 2) / 153; /* 0 is March */
  day -= (153 * month + 2) / 5;
  int is_next_year = month >= 10;
  at = put_digits(at, (__u64)(era * 400 + year + is_next_year), 4);
  *at++ = '-';
  at = put_digits(at, (__u64)(is_next_year ? month - 9 : month + 3), 2);
  *at++ = '-';
  return put_digits(at, (__u64)(day + 1), 2);
}

/* The heads of records of now: with the tag F, and with P. */
static void format_heads(const struct stream *stream, char full[HEAD_SIZE], char part[HEAD_SIZE]) {
  struct __kernel_timespec now = clock_now(CLOCK_OF_DAY);
  __s64 second = now.tv_sec % 86400;
  char *at = put_date(full, now.tv_sec / 86400);
  *at++ = 'T';
  at = put_digits(at, (__u64)(second / 3600), 2);
  *at++ = ':';
  at = put_digits(at, (__u64)(second / 60 % 60), 2);
  *at++ = ':';
  at = put_digits(at, (__u64)(second % 60), 2);
  *at++ = '.';
  at = put_digits(at, (__u64)now.tv_nsec, 9);
  at = put_text(at, "Z ");
  at = put_text(at, stream->name);
  at = put_text(at, " F ");
  memcpy(part, full, HEAD_SIZE);
  part[HEAD_SIZE - 2] = 'P';
}

/* Adds all parts but the last one of the text up to `end`. Returns where the last one begins. */
static int cut_parts(const char *head, const char *text, int begin, int end) {
  for (; end - begin > PART_MAX; begin += PART_MAX) add_record(head, text + begin, PART_MAX);
  return begin;
}

static int find_newline(const char *text, int from, int end) {
  while (from < end && text[from] != '\n') from++;
  return from;
}

/*
 * Writes the records that `added` bytes behind the incomplete line complete. What remains is at most PART_MAX bytes at
 * the beginning of the buffer.
 */
static void log_output(struct stream *stream, int added) {
  int end = stream->length + added;
  if (end > stream->touched) stream->touched = end;
  if (log_file.fd < 0) {
    stream->length = 0;
    return;
  }
  char full[HEAD_SIZE], part[HEAD_SIZE];
  int begin = 0;
  int at = find_newline(stream->buffer, stream->length, end);
  format_heads(stream, full, part);
  for (; at < end; at = find_newline(stream->buffer, begin, end)) {
    begin = cut_parts(part, stream->buffer, begin, at);
    add_record(full, stream->buffer + begin, at - begin);
    begin = at + 1;
  }
  begin = cut_parts(part, stream->buffer, begin, end);
  write_batch();
  stream->length = end - begin;
  if (begin > 0) memmove(stream->buffer, stream->buffer + begin, (unsigned long)stream->length);
}

/* The incomplete line, at the end of the stream. */
static void log_rest(struct stream *stream) {
  char full[HEAD_SIZE], part[HEAD_SIZE];
  if (stream->length == 0) return;
  format_heads(stream, full, part);
  add_record(part, stream->buffer, stream->length);
  write_batch();
  stream->length = 0;
}

/* Gives memory back that output has used: all pages but those of the incomplete line, and the first one. */
static void trim_stream(struct stream *stream) {
  int kept = stream->length > 4096 ? stream->length : 4096;
  if (stream->touched > kept) give_back(stream->buffer + kept, stream->buffer + BUFFER_SIZE);
  stream->touched = kept;
}

#endif
