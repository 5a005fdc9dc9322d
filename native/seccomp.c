/*
 * The supervisor's side of seccomp filters with SECCOMP_RET_USER_NOTIF (seccomp_unotify(2)): the descriptor that an OCI
 * runtime sends for a container, and the system calls that wait for an answer. All of this file runs on the main
 * thread and never waits.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  PIECE_MAX = 64 * 1024,
  FDS_MAX = 8,
};

static napi_value throw_errno(napi_env env, int err, const char *call) {
  struct fault fault = {0};
  fault_set_errno(&fault, err, call, "");
  fault_throw(env, &fault);
  return NULL;
}

/* The descriptors of the message into `fds`; how many there are. */
static size_t descriptors_of(struct msghdr *message, int fds[FDS_MAX]) {
  size_t count = 0;
  for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item != NULL; item = CMSG_NXTHDR(message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    size_t carried = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < carried && count < FDS_MAX; i++, count++) {
      memcpy(&fds[count], CMSG_DATA(item) + i * sizeof(int), sizeof(int));
    }
  }
  return count;
}

/*
 * JS: seccompReceive(watch): [fd, bytes] or null. The next piece of the message of an OCI runtime: the state of a
 * process (runtime-spec, "Container Process State"), and with the first piece one descriptor, which is close-on-exec; -1
 * without one. null: there is none yet. ECONNRESET: the peer closed the socket. More descriptors are rejected; EMFILE:
 * this process has no room for one.
 */
static napi_value seccomp_receive(napi_env env, napi_callback_info info) {
  static char text[PIECE_MAX];
  union {
    struct cmsghdr header; /* for its alignment */
    char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
  } control;
  struct iovec piece = {text, sizeof text};
  struct msghdr message = {0};
  napi_value result = NULL, value = NULL;
  int fds[FDS_MAX];
  int fd = watched_fd(env, info, NULL);
  if (fd < 0) return NULL;
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.room;
  message.msg_controllen = sizeof control.room;
  ssize_t length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (length < 0) {
    if (errno != EAGAIN && errno != EINTR) return throw_errno(env, errno, "recvmsg");
    napi_get_null(env, &result);
    return result;
  }
  size_t count = descriptors_of(&message, fds);
  bool is_cut = (message.msg_flags & MSG_CTRUNC) != 0;
  if (length == 0 || count > 1 || is_cut) {
    while (count > 0) close(fds[--count]);
    return throw_errno(env, length == 0 ? ECONNRESET : is_cut ? EMFILE : EPROTO, "receive descriptor");
  }
  if (napi_create_array_with_length(env, 2, &result) != napi_ok ||
      napi_create_int32(env, count == 0 ? -1 : fds[0], &value) != napi_ok ||
      napi_set_element(env, result, 0, value) != napi_ok ||
      napi_create_buffer_copy(env, (size_t)length, text, NULL, &value) != napi_ok ||
      napi_set_element(env, result, 1, value) != napi_ok) {
    if (count > 0) close(fds[0]);
    return throw_errno(env, ENOMEM, "receive descriptor");
  }
  return result;
}

/*
 * JS: seccompNext(watch): [id, arch, number], null or false. A system call that waits for its answer; null: there is none
 * now; false: there will be none, because no process uses the filter.
 *
 * NOTE(kernel): SECCOMP_IOCTL_NOTIF_RECV waits, whatever the flags of the descriptor are, while its count of new calls is
 * 0. The count is raised with each call and lowered only by RECV, so that it is at least the number of calls that poll(2)
 * reports: after POLLIN, RECV does not wait, as this process is the only one with the descriptor. A call that was
 * killed in between is ENOENT.
 */
static napi_value seccomp_next(napi_env env, napi_callback_info info) {
  struct seccomp_notif call;
  napi_value result = NULL, value = NULL;
  int fd = watched_fd(env, info, NULL);
  if (fd < 0) return NULL;
  struct pollfd polled = {.fd = fd, .events = POLLIN};
  if (poll(&polled, 1, 0) < 0 && errno != EINTR) return throw_errno(env, errno, "poll");
  if ((polled.revents & POLLIN) == 0) {
    if ((polled.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
      napi_get_boolean(env, false, &result);
    } else {
      napi_get_null(env, &result);
    }
    return result;
  }
  memset(&call, 0, sizeof call); /* RECV demands it */
  if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0) {
    if (errno != ENOENT && errno != EINTR) return throw_errno(env, errno, "SECCOMP_IOCTL_NOTIF_RECV");
    napi_get_null(env, &result);
    return result;
  }
  napi_create_array_with_length(env, 3, &result);
  napi_create_bigint_uint64(env, call.id, &value);
  napi_set_element(env, result, 0, value);
  napi_create_uint32(env, call.data.arch, &value);
  napi_set_element(env, result, 1, value);
  napi_create_int32(env, call.data.nr, &value);
  napi_set_element(env, result, 2, value);
  return result;
}

/*
 * JS: seccompDeny(watch, id, errno): void. The call fails with errno. Nothing else is ever answered: a call that
 * continues could have other arguments by then (seccomp_unotify(2)). A call whose thread has ended is not an error.
 */
static napi_value seccomp_deny(napi_env env, napi_callback_info info) {
  size_t argc = 3;
  napi_value argv[3];
  struct seccomp_notif_resp answer;
  uint64_t id = 0;
  int32_t err = 0;
  bool lossless = false;
  int fd = watched_fd(env, info, NULL);
  if (fd < 0) return NULL;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 3 ||
      napi_get_value_bigint_uint64(env, argv[1], &id, &lossless) != napi_ok ||
      napi_get_value_int32(env, argv[2], &err) != napi_ok || err < 1 || err > 4095) {
    napi_throw_type_error(env, NULL, "want an id and an errno");
    return NULL;
  }
  memset(&answer, 0, sizeof answer);
  answer.id = id;
  answer.error = -err;
  if (ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 && errno != ENOENT) {
    return throw_errno(env, errno, "SECCOMP_IOCTL_NOTIF_SEND");
  }
  return NULL;
}

napi_status seccomp_init(napi_env env, napi_value exports) {
  napi_status status = add_function(env, exports, "seccompReceive", seccomp_receive);
  if (status == napi_ok) status = add_function(env, exports, "seccompNext", seccomp_next);
  if (status == napi_ok) status = add_function(env, exports, "seccompDeny", seccomp_deny);
  return status;
}
