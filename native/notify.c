/*
 * Messages to a service manager (sd_notify(3)): one datagram on a unix socket, which node:net and
 * node:dgram cannot send.
 */
#include "davit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * Fills the address for a path, or for "@name" in the abstract namespace, whose length has the
 * name's bytes without a final NUL (unix(7)). Returns its length, 0 when the path does not fit.
 */
static socklen_t notify_address(struct sockaddr_un *address, const char *path) {
  size_t length = strlen(path);
  if (length == 0 || length >= sizeof address->sun_path) return 0;
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path, length);
  if (path[0] == '@') address->sun_path[0] = '\0';
  size_t closing = path[0] == '@' ? 0 : 1;
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + closing);
}

/*
 * A new socket for each datagram, because the manager has another socket after a
 * restart. MSG_DONTWAIT, because the caller is the event loop: a full queue is EAGAIN. The kernel
 * adds pid, uid and gid of this process for a receiver with SO_PASSCRED (unix(7)).
 */
static void notify(const char *path, const char *text, struct fault *fault) {
  struct sockaddr_un address;
  socklen_t length = notify_address(&address, path);
  if (length == 0) {
    fault_set_errno(fault, ENAMETOOLONG, "sendto", path);
    return;
  }
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    fault_set(fault, "socket", path);
    return;
  }
  if (sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
             (const struct sockaddr *)&address, length) < 0) {
    fault_set(fault, "sendto", path);
  }
  close(fd);
}

/* JS: notifyService(socket, text). */
static napi_value notify_service(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2];
  struct fault fault = {0};
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2) return NULL;
  char *path = take_string(env, argv[0]);
  if (path == NULL) return NULL;
  char *text = take_string(env, argv[1]);
  if (text != NULL) notify(path, text, &fault);
  free(text);
  free(path);
  if (fault.err != 0) fault_throw(env, &fault);
  return NULL;
}

napi_status notify_init(napi_env env, napi_value exports) {
  return add_function(env, exports, "notifyService", notify_service);
}
