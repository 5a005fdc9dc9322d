/*
 * Operations on sockets and terminals that node:net does not have: SOCK_SEQPACKET (a monitor's attach socket),
 * passing a descriptor (SCM_RIGHTS: a console socket, a new log), and sizes of terminals. All descriptors are
 * close-on-exec and non-blocking, except that a child's end of connectedSockets() blocks. All of this file runs on the
 * main thread and never waits.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { RECEIVED_MAX = 8 };

/* -1 with the fault set when the path does not fit: callers use /proc/self/fd for long paths. */
static int unix_address(struct sockaddr_un *address, const char *path, struct fault *fault) {
  size_t length = strlen(path);
  if (length == 0 || length >= sizeof address->sun_path) {
    return fault_set_errno(fault, ENAMETOOLONG, "socket", path);
  }
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path, length);
  return 0;
}

/*
 * JS: connectedSockets(): [near, far]. A pair of unix stream sockets. The far one is for a child, which may expect that
 * its descriptors block.
 */
static napi_value connected_sockets(napi_env env, napi_callback_info info) {
  int fds[2];
  struct fault fault = {0};
  napi_value result = NULL, number = NULL;
  (void)info;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
    fault_set(&fault, "socketpair", "");
  } else if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0) {
    fault_set(&fault, "fcntl", "");
    close(fds[0]);
    close(fds[1]);
  } else {
    napi_create_array_with_length(env, 2, &result);
    for (uint32_t i = 0; i < 2; i++) {
      napi_create_int32(env, fds[i], &number);
      napi_set_element(env, result, i, number);
    }
    return result;
  }
  fault_throw(env, &fault);
  return NULL;
}

/* A console socket gets only one connection. */
static int listen_at(const char *path, struct fault *fault) {
  struct sockaddr_un address;
  if (unix_address(&address, path, fault) < 0) return -1;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fault_set(fault, "socket", path);
  if (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
    fault_set(fault, "bind", path);
  } else if (listen(fd, 1) < 0) {
    fault_set(fault, "listen", path);
  } else {
    return fd;
  }
  close(fd);
  return -1;
}

/* EAGAIN: the listener's queue is full (unix(7)); connecting to a unix socket never is "in progress". */
static int connect_packets(const char *path, struct fault *fault) {
  struct sockaddr_un address;
  if (unix_address(&address, path, fault) < 0) return -1;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fault_set(fault, "socket", path);
  if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
    fault_set(fault, "connect", path);
    close(fd);
    return -1;
  }
  return fd;
}

static napi_value open_at(napi_env env, napi_callback_info info,
                          int (*open_socket)(const char *, struct fault *)) {
  size_t argc = 1;
  napi_value argv[1], result = NULL;
  struct fault fault = {0};
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok) return NULL;
  char *path = take_string(env, argv[0]);
  if (path == NULL) return NULL;
  int fd = open_socket(path, &fault);
  free(path);
  if (fd < 0) {
    fault_throw(env, &fault);
    return NULL;
  }
  napi_create_int32(env, fd, &result);
  return result;
}

/* JS: socketListen(path): number */
static napi_value socket_listen(napi_env env, napi_callback_info info) {
  return open_at(env, info, listen_at);
}

/* JS: socketConnectPackets(path): number */
static napi_value socket_connect_packets(napi_env env, napi_callback_info info) {
  return open_at(env, info, connect_packets);
}

/* A count, -1 for "would block" and "interrupted", or an exception. */
static napi_value count_result(napi_env env, ssize_t count, const char *call) {
  napi_value result = NULL;
  if (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
    struct fault fault = {0};
    fault_set(&fault, call, "");
    fault_throw(env, &fault);
    return NULL;
  }
  napi_create_int64(env, count, &result);
  return result;
}

/* JS: socketAccept(watch): number. -1: there is no connection (any more). */
static napi_value socket_accept(napi_env env, napi_callback_info info) {
  int fd = watched_fd(env, info, NULL);
  if (fd < 0) return NULL;
  return count_result(env, accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), "accept");
}

/*
 * JS: socketReceive(watch): number. The descriptor in the next message, made non-blocking;
 * -1: there is no message yet. ECONNRESET: the peer closed the socket without one. More than one is rejected.
 */
static napi_value socket_receive(napi_env env, napi_callback_info info) {
  char byte[64];
  union {
    struct cmsghdr header; /* for its alignment */
    char room[CMSG_SPACE(RECEIVED_MAX * sizeof(int))];
  } control;
  struct iovec piece = {byte, sizeof byte};
  struct msghdr message = {0};
  int fds[RECEIVED_MAX];
  size_t count = 0;
  int fd = watched_fd(env, info, NULL);
  if (fd < 0) return NULL;
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.room;
  message.msg_controllen = sizeof control.room;
  ssize_t length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (length < 0) return count_result(env, length, "recvmsg");
  for (struct cmsghdr *item = CMSG_FIRSTHDR(&message); item != NULL; item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    size_t carried = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < carried && count < RECEIVED_MAX; i++, count++) {
      memcpy(&fds[count], CMSG_DATA(item) + i * sizeof(int), sizeof(int));
    }
  }
  if (count != 1) {
    while (count > 0) close(fds[--count]);
    errno = length == 0 ? ECONNRESET : EPROTO;
    return count_result(env, -1, "receive descriptor");
  }
  int flags = fcntl(fds[0], F_GETFL);
  if (flags < 0 || fcntl(fds[0], F_SETFL, flags | O_NONBLOCK) < 0) {
    int err = errno;
    close(fds[0]);
    errno = err;
    return count_result(env, -1, "fcntl");
  }
  return count_result(env, fds[0], "recvmsg");
}

/* The bytes of a Uint8Array from `offset` on; NULL with an exception pending. */
static char *bytes_of(napi_env env, napi_value array, int64_t offset, size_t *length) {
  napi_typedarray_type type;
  void *data = NULL;
  if (napi_get_typedarray_info(env, array, &type, length, &data, NULL, NULL) != napi_ok ||
      type != napi_uint8_array || offset < 0 || (uint64_t)offset > *length) {
    napi_throw_type_error(env, NULL, "want bytes and an offset in them");
    return NULL;
  }
  *length -= (size_t)offset;
  return (char *)data + offset;
}

/* JS: descriptorRead(watch, bytes): number. 0: the end. */
static napi_value descriptor_read(napi_env env, napi_callback_info info) {
  napi_value array[1];
  size_t length = 0;
  int fd = watched_fd(env, info, array);
  if (fd < 0) return NULL;
  char *bytes = bytes_of(env, array[0], 0, &length);
  if (bytes == NULL) return NULL;
  return count_result(env, read(fd, bytes, length), "read");
}

/* JS: descriptorWrite(watch, bytes): number. Node.js ignores SIGPIPE, so a closed reader is EPIPE. */
static napi_value descriptor_write(napi_env env, napi_callback_info info) {
  napi_value array[1];
  size_t length = 0;
  int fd = watched_fd(env, info, array);
  if (fd < 0) return NULL;
  char *bytes = bytes_of(env, array[0], 0, &length);
  if (bytes == NULL) return NULL;
  return count_result(env, write(fd, bytes, length), "write");
}

/*
 * JS: socketSend(watch, bytes, fd): void. One packet with a descriptor (unix(7), SCM_RIGHTS). EAGAIN: the peer's queue is
 * full. EPIPE: the peer has closed the socket.
 */
static napi_value socket_send(napi_env env, napi_callback_info info) {
  size_t argc = 3, length = 0;
  napi_value argv[3];
  int32_t sent = -1;
  union {
    struct cmsghdr header; /* for its alignment */
    char room[CMSG_SPACE(sizeof(int))];
  } control = {0};
  int fd = watched_fd(env, info, NULL);
  if (fd < 0 || napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok) return NULL;
  char *bytes = bytes_of(env, argv[1], 0, &length);
  if (bytes == NULL) return NULL;
  if (napi_get_value_int32(env, argv[2], &sent) != napi_ok) {
    napi_throw_type_error(env, NULL, "want a descriptor");
    return NULL;
  }
  struct iovec piece = {bytes, length};
  struct msghdr message = {
      .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
  control.header = (struct cmsghdr){
      .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
  memcpy(CMSG_DATA(&control.header), &sent, sizeof sent);
  if (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return NULL;
  struct fault fault = {0};
  fault_set(&fault, "send descriptor", "");
  fault_throw(env, &fault);
  return NULL;
}

/*
 * JS: socketRefuse(watch): void. The peer cannot send any more from now on (EPIPE); what it has sent can still be read.
 */
static napi_value socket_refuse(napi_env env, napi_callback_info info) {
  int fd = watched_fd(env, info, NULL);
  if (fd < 0) return NULL;
  if (shutdown(fd, SHUT_RD) < 0 && errno != ENOTCONN) return count_result(env, -1, "shutdown");
  return NULL;
}

/* JS: socketEnd(watch): void. Ends the sending direction; ENOTCONN: the peer has closed already. */
static napi_value socket_end(napi_env env, napi_callback_info info) {
  int fd = watched_fd(env, info, NULL);
  if (fd < 0) return NULL;
  if (shutdown(fd, SHUT_WR) < 0 && errno != ENOTCONN) return count_result(env, -1, "shutdown");
  return NULL;
}

static int64_t number_of(napi_env env, napi_value value) {
  int64_t number = -1;
  return napi_get_value_int64(env, value, &number) == napi_ok ? number : -1;
}

/*
 * JS: socketPeer(fd): [pid, uid]. The process that connected a unix stream socket, as it was then: unix(7), SO_PEERCRED.
 * The pid is 0 for a process outside the pid namespace of this one.
 */
static napi_value socket_peer(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1], result = NULL, number = NULL;
  int32_t fd = -1;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1 ||
      napi_get_value_int32(env, argv[0], &fd) != napi_ok) {
    napi_throw_type_error(env, NULL, "want a descriptor");
    return NULL;
  }
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
    return count_result(env, -1, "getsockopt");
  napi_create_array_with_length(env, 2, &result);
  napi_create_int64(env, peer.pid, &number);
  napi_set_element(env, result, 0, number);
  napi_create_int64(env, peer.uid, &number);
  napi_set_element(env, result, 1, number);
  return result;
}

/* JS: terminalResize(watch, rows * 65536 + columns): void. The processes of the terminal get SIGWINCH. */
static napi_value terminal_resize(napi_env env, napi_callback_info info) {
  napi_value second[1];
  int fd = watched_fd(env, info, second);
  if (fd < 0) return NULL;
  int64_t size = number_of(env, second[0]);
  struct winsize window = {0};
  window.ws_row = (unsigned short)(size >> 16);
  window.ws_col = (unsigned short)(size & 0xffff);
  if (size < 0 || ioctl(fd, TIOCSWINSZ, &window) < 0) return count_result(env, -1, "TIOCSWINSZ");
  return NULL;
}

napi_status sockets_init(napi_env env, napi_value exports) {
  static const struct {
    const char *name;
    napi_callback call;
  } calls[] = {
      {"connectedSockets", connected_sockets},
      {"socketListen", socket_listen},
      {"socketConnectPackets", socket_connect_packets},
      {"socketAccept", socket_accept},
      {"socketReceive", socket_receive},
      {"socketEnd", socket_end},
      {"socketSend", socket_send},
      {"socketRefuse", socket_refuse},
      {"socketPeer", socket_peer},
      {"descriptorRead", descriptor_read},
      {"descriptorWrite", descriptor_write},
      {"terminalResize", terminal_resize},
  };
  napi_status status = napi_ok;
  for (size_t i = 0; i < sizeof calls / sizeof *calls && status == napi_ok; i++) {
    status = add_function(env, exports, calls[i].name, calls[i].call);
  }
  return status;
}
