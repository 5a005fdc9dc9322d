/*
 * Bytes that go from a socket into a pipe without a copy in this process (splice(2)). Everything here is on the main
 * thread and never waits: both descriptors are non-blocking.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* A number, or -1 for a call that would have to wait. Throws for other failures. */
static napi_value number_result(napi_env env, int64_t number, const char *call) {
  napi_value result = NULL;
  if (number < 0 && errno != EAGAIN) {
    struct fault fault = {0};
    fault_set(&fault, call, "");
    fault_throw(env, &fault);
    return NULL;
  }
  napi_create_int64(env, number, &result);
  return result;
}

static bool take_ints(napi_env env, napi_callback_info info, int32_t *ints, size_t want) {
  size_t argc = want;
  napi_value argv[3];
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) == napi_ok && argc == want) {
    size_t at = 0;
    while (at < want && napi_get_value_int32(env, argv[at], &ints[at]) == napi_ok) at++;
    if (at == want) return true;
  }
  napi_throw_type_error(env, NULL, "want numbers");
  return false;
}

/* JS: descriptorCopy(fd): number. Another descriptor of the same file, non-blocking and closed on exec. */
static napi_value descriptor_copy(napi_env env, napi_callback_info info) {
  int32_t fd;
  if (!take_ints(env, info, &fd, 1)) return NULL;
  return number_result(env, fcntl(fd, F_DUPFD_CLOEXEC, 3), "copy descriptor");
}

/* JS: socketUnread(fd): number. Bytes that can be read now; 0: the peer has ended; -1: none yet. Throws its error. */
static napi_value socket_unread(napi_env env, napi_callback_info info) {
  int32_t fd;
  int unread = 0;
  char byte;
  if (!take_ints(env, info, &fd, 1)) return NULL;
  if (ioctl(fd, FIONREAD, &unread) < 0) return number_result(env, -1, "FIONREAD");
  /* Of an end and an error there is nothing to read. */
  if (unread <= 0) unread = (int)recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return number_result(env, unread, "recv");
}

/* JS: moveBytes(socket, pipe, most): number. -1: the pipe is full, or the socket empty. EPIPE: nobody reads the pipe. */
static napi_value move_bytes(napi_env env, napi_callback_info info) {
  int32_t ints[3];
  if (!take_ints(env, info, ints, 3)) return NULL;
  ssize_t moved = splice(ints[0], NULL, ints[1], NULL, (size_t)ints[2], SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  return number_result(env, moved, "splice");
}

napi_status move_bytes_init(napi_env env, napi_value exports) {
  napi_status status = add_function(env, exports, "descriptorCopy", descriptor_copy);
  if (status == napi_ok) status = add_function(env, exports, "socketUnread", socket_unread);
  if (status == napi_ok) status = add_function(env, exports, "moveBytes", move_bytes);
  return status;
}
