/*
 * The attach socket (SOCK_SEQPACKET): who reads the output of the container, writes its input, or asks for something.
 * The first packet of a client is one byte that says what it is: "o" gets output, "i" gives input as well, "c" asks.
 * Only root may connect; no packet may stop or end the monitor.
 */
#ifndef DAVIT_MONITOR_CLIENTS_H
#define DAVIT_MONITOR_CLIENTS_H

#include "log.h"

enum {
  CLIENTS_MAX = 32,
  STREAMING_MAX = 28, /* clients that have output: however many a user attaches, davit can rotate the log */
  INPUT_MAX = 8192,   /* bytes of a packet of input */
  OUTPUT_MAX = 7168,  /* bytes of a packet of output: with the kernel's own they fit into 8 KiB of its memory */
  SEND_BUFFER = 1 << 20, /* what a client may leave unread; the kernel takes at most net.core.wmem_max */
  FIRST_PACKET_MS = 5000,
  LAG_MS = 2000,         /* without a packet taken, while output waits for a client */
};

enum client_kind { NO_CLIENT, UNKNOWN, READER, WRITER, CONTROLLER };

struct client {
  int fd;
  enum client_kind kind;
  int is_done;    /* it sends nothing more */
  int is_deaf;    /* it takes nothing more */
  int is_behind;  /* it has not got all of the chunk */
  int at;         /* bytes of the chunk that it has got */
  __s64 deadline; /* for its first packet, or for the next one that it takes */
};

static struct client clients[CLIENTS_MAX];

/* Output that a client has no room for. No other output is read meanwhile. */
static struct {
  int size; /* 0: there is none */
  char type;
} chunk;

static char chunk_bytes[READ_MAX] __attribute__((aligned(4096)));

/* The standard input of the container. */
static struct {
  int fd;          /* a pipe or the terminal; -1: there is none (any more), and what clients send is dropped */
  int is_terminal;
  int is_once;     /* it ends with the first client that ends */
  int is_ending;   /* it ends when what is kept is written */
  int begin, end;  /* what is kept because it did not fit */
} input = {.fd = -1};

static char kept_input[INPUT_MAX] __attribute__((aligned(4096)));

static int handle_request(struct client *client);

/*
 * Ends the input for good. A terminal stays open, because it is also the output; nothing is typed on it any more, as
 * with conmon (terminate_remote_sock() in conn_sock.c).
 */
static void close_input(void) {
  if (input.fd >= 0 && !input.is_terminal) close_fd(input.fd);
  input.fd = -1;
  input.begin = input.end = 0;
}

/* Writes what is kept, as far as it fits. */
static void write_input(void) {
  while (input.begin < input.end && input.fd >= 0) {
    long written = call4(__NR_write, input.fd, (long)(kept_input + input.begin), input.end - input.begin, 0);
    if (written == -EAGAIN) return;
    if (written > 0) {
      input.begin += (int)written;
    } else if (input.is_terminal) {
      break;
    } else {
      close_input(); /* EPIPE: nobody can read it any more */
    }
  }
  input.begin = input.end = 0;
  if (input.is_ending) close_input();
}

static void end_input(void) {
  if (!input.is_once) return;
  input.is_ending = 1;
  write_input();
}

static void disconnect(struct client *client) {
  int was_writing = client->kind == WRITER && !client->is_done;
  client->is_behind = 0;
  close_fd(client->fd);
  client->kind = NO_CLIENT;
  if (was_writing) end_input();
}

/* Sends what the client has not got of `length` bytes, as far as it has room. */
static void send_rest(struct client *client, char type, const char *text, int length) {
  client->is_behind = 0;
  while (client->at < length) {
    int size = length - client->at < OUTPUT_MAX ? length - client->at : OUTPUT_MAX;
    struct iovec pieces[2] = {{&type, 1}, {(void *)(text + client->at), (__kernel_size_t)size}};
    long sent = send_packet(client->fd, pieces, 2);
    if (sent >= 0) {
      client->at += size;
    } else if (sent == -EAGAIN) {
      client->is_behind = 1;
      return;
    } else if (sent == -EPIPE || sent == -ECONNRESET) {
      client->is_deaf = 1; /* what it has sent before is still read */
      return;
    } else {
      disconnect(client);
      return;
    }
  }
}

/*
 * Sends at most READ_MAX bytes of output to all that read it. What one of them has no room for becomes the chunk; there must be
 * none before.
 */
static void send_output(char type, const char *text, int length) {
  for (struct client *client = clients; client < clients + CLIENTS_MAX; client++) {
    if ((client->kind != READER && client->kind != WRITER) || client->is_deaf) continue;
    client->at = 0;
    send_rest(client, type, text, length);
    if (client->kind == NO_CLIENT || !client->is_behind) continue;
    client->deadline = now_ms() + LAG_MS;
    if (chunk.size == 0) memcpy(chunk_bytes, text, (unsigned long)length);
    chunk.size = length;
    chunk.type = type;
  }
}

/* Sends a client what it has not got of the chunk. The container waits meanwhile, so a client has to take something in time. */
static void catch_up(struct client *client, __s64 now) {
  int before = client->at;
  send_rest(client, chunk.type, chunk_bytes, chunk.size);
  if (client->kind == NO_CLIENT || !client->is_behind) return;
  if (client->at > before) {
    client->deadline = now + LAG_MS;
  } else if (client->deadline <= now) {
    disconnect(client);
  }
}

/* Whether output waits for a client. */
static int is_output_waiting(void) {
  if (chunk.size == 0) return 0;
  for (const struct client *client = clients; client < clients + CLIENTS_MAX; client++) {
    if (client->kind != NO_CLIENT && client->is_behind) return 1;
  }
  chunk.size = 0;
  return 0;
}

/* Whether a client may be read. Input waits while earlier input does not fit. */
static int is_readable(const struct client *client) {
  return client->kind != NO_CLIENT && !client->is_done && !(client->kind == WRITER && input.begin < input.end);
}

static int accept_client(int listener) {
  long fd = call4(__NR_accept4, listener, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return (int)fd;
  for (struct client *client = clients; client < clients + CLIENTS_MAX; client++) {
    if (client->kind != NO_CLIENT) continue;
    int size = SEND_BUFFER;
    call5(__NR_setsockopt, fd, SOL_SOCKET, SO_SNDBUF, (long)&size, sizeof size);
    *client = (struct client){.fd = (int)fd, .kind = UNKNOWN, .deadline = now_ms() + FIRST_PACKET_MS};
    return 0;
  }
  close_fd((int)fd);
  return 0;
}

/* The length of the next packet, which may be more than `size`; its descriptors are dropped. */
static long receive(int fd, char *bytes, unsigned long size) {
  struct iovec piece = {bytes, size};
  struct message message = {.pieces = &piece, .piece_count = 1};
  return call4(__NR_recvmsg, fd, (long)&message, MSG_DONTWAIT | MSG_TRUNC, 0);
}

static int count_streaming(void) {
  int count = 0;
  for (const struct client *client = clients; client < clients + CLIENTS_MAX; client++) {
    count += client->kind == READER || client->kind == WRITER;
  }
  return count;
}

/* What is not in the log yet: with the log, a client has all output. A socket that is new has room for it. */
static void send_incomplete_line(struct client *client, const struct stream *stream) {
  if (client->kind == NO_CLIENT || client->is_deaf) return;
  client->at = 0;
  send_rest(client, stream->type, stream->buffer, stream->length);
  client->is_behind = 0; /* without room it misses the rest: only a chunk is sent later */
}

static void meet(struct client *client, char first, long length) {
  int may_stream = count_streaming() < STREAMING_MAX;
  client->kind = length != 1                  ? NO_CLIENT
                 : first == 'c'               ? CONTROLLER
                 : may_stream && first == 'o' ? READER
                 : may_stream && first == 'i' ? WRITER
                                              : NO_CLIENT;
  if (client->kind == NO_CLIENT) close_fd(client->fd);
  if (client->kind != READER && client->kind != WRITER) return;
  for (int i = 0; i < 2; i++) send_incomplete_line(client, &streams[i]);
}

/* Takes one packet of a client that has sent one, or has ended. */
static void serve_client(struct client *client) {
  char first = 0;
  if (client->is_done) { /* poll(2) reports that only when it has closed the socket */
    disconnect(client);
    return;
  }
  int is_writer = client->kind == WRITER;
  long length = client->kind == CONTROLLER ? handle_request(client)
                : is_writer                ? receive(client->fd, kept_input, INPUT_MAX)
                                           : receive(client->fd, &first, 1);
  /* ECONNRESET comes once, before what the client had sent. */
  if (length == -EAGAIN || length == -ECONNRESET) return;
  if (length < 0 || (is_writer && length > INPUT_MAX)) {
    disconnect(client);
  } else if (client->kind == UNKNOWN) {
    meet(client, first, length);
  } else if (length == 0) {
    client->is_done = 1;
    if (client->kind == CONTROLLER) disconnect(client);
    if (is_writer) end_input();
  } else if (is_writer) {
    input.begin = 0;
    input.end = (int)length;
    write_input();
  }
}

/* Clients that do not say what they are, or take nothing, lose their place. Returns the next deadline, or `latest`. */
static __s64 expire_clients(__s64 now, __s64 latest) {
  for (struct client *client = clients; client < clients + CLIENTS_MAX; client++) {
    if (client->kind == NO_CLIENT || !(client->kind == UNKNOWN || client->is_behind)) continue;
    if (client->deadline <= now && client->kind == UNKNOWN) disconnect(client);
    /* poll(2) reports room only when most of the queue is read: look for less. */
    if (client->deadline <= now && client->is_behind) catch_up(client, now);
    if (client->kind != NO_CLIENT && client->deadline > now && client->deadline < latest) latest = client->deadline;
  }
  return latest;
}

/* At the end of the container: waits until clients have taken the chunk, or until `end`. */
static void wait_for_clients(__s64 end) {
  while (is_output_waiting()) {
    struct pollfd fds[CLIENTS_MAX];
    __s64 now = now_ms(), next = expire_clients(now, end);
    struct __kernel_timespec timeout = {(next - now) / 1000, (next - now) % 1000 * 1000000};
    for (int i = 0; i < CLIENTS_MAX; i++) {
      int is_behind = clients[i].kind != NO_CLIENT && clients[i].is_behind;
      if (is_behind && now >= end) disconnect(clients + i);
      fds[i] = (struct pollfd){is_behind && now < end ? clients[i].fd : -1, POLLOUT, 0};
    }
    if (now >= end || call5(__NR_ppoll, (long)fds, CLIENTS_MAX, (long)&timeout, 0, 0) <= 0) continue;
    for (int i = 0; i < CLIENTS_MAX; i++) {
      if (fds[i].revents != 0) catch_up(clients + i, now);
    }
  }
}

/*
 * At the end of the container. What a client has sent is read first: the kernel tells a client whose peer closes a socket with
 * unread packets that it was reset, instead of the rest of the output (unix_release_sock() in net/unix/af_unix.c).
 */
static void end_clients(void) {
  char byte;
  for (struct client *client = clients; client < clients + CLIENTS_MAX; client++) {
    if (client->kind == NO_CLIENT) continue;
    call4(__NR_shutdown, client->fd, SHUT_RD, 0, 0);
    for (int i = 0; i < 64 && receive(client->fd, &byte, 1) >= 0; i++) {
    }
    close_fd(client->fd);
    client->kind = NO_CLIENT;
  }
}

#endif
