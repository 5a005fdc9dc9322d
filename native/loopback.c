/*
 * Connections to the loopback address of the host or of a pod: sockets in another network namespace. All descriptors
 * are close-on-exec and non-blocking. All of this file runs on the main thread and never waits.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/*
 * JS: socketConnectLoopback(watch, port): boolean. To the loopback address of the socket's own
 * family; false: in progress. At the end the socket becomes writable, and socketError gives the result.
 */
static napi_value socket_connect_loopback(napi_env env, napi_callback_info info) {
  napi_value second[1], result = NULL;
  int fd = watched_fd(env, info, second);
  if (fd < 0) return NULL;
  int64_t port = -1;
  int family = 0, rc = -1;
  socklen_t length = sizeof family;
  if (napi_get_value_int64(env, second[0], &port) != napi_ok || port < 1 || port > 65535) {
    errno = EINVAL;
  } else if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) == 0) {
    struct sockaddr_in v4 = {0};
    struct sockaddr_in6 v6 = {0};
    v4.sin_family = AF_INET;
    v4.sin_port = htons((uint16_t)port);
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons((uint16_t)port);
    v6.sin6_addr = in6addr_loopback;
    rc = family == AF_INET6 ? connect(fd, (const struct sockaddr *)&v6, sizeof v6)
                            : connect(fd, (const struct sockaddr *)&v4, sizeof v4);
  }
  if (rc < 0 && errno != EINPROGRESS) {
    struct fault fault = {0};
    fault_set(&fault, "connect", "");
    fault_throw(env, &fault);
    return NULL;
  }
  napi_get_boolean(env, rc == 0, &result);
  return result;
}

/* JS: socketError(watch): void. Throws the error of a connect that was in progress, once. */
static napi_value socket_error(napi_env env, napi_callback_info info) {
  int fd = watched_fd(env, info, NULL);
  if (fd < 0) return NULL;
  int err = 0;
  socklen_t length = sizeof err;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &length) < 0) err = errno;
  if (err == 0) return NULL;
  struct fault fault = {0};
  fault_set_errno(&fault, err, "connect", "");
  fault_throw(env, &fault);
  return NULL;
}

/*
 * Returning needs a few bytes of kernel memory, the only possible failure. Staying would direct all
 * later connections to a pod's network, so the process ends and is started again.
 */
static void return_home(int home) {
  static const struct timespec pause = {0, 1000000};
  int rc = -1;
  for (int attempt = 0; attempt < 100 && rc < 0; attempt++) {
    rc = setns(home, CLONE_NEWNET);
    if (rc < 0) nanosleep(&pause, NULL);
  }
  close(home);
  if (rc < 0) {
    napi_fatal_error("socketInNamespace", NAPI_AUTO_LENGTH,
                     "cannot leave the network namespace of a pod", NAPI_AUTO_LENGTH);
  }
}

/*
 * A socket stays in the namespace in which it was made (network_namespaces(7)).
 *
 * The main thread itself enters the namespace and returns within this call; no thread and
 * no process is started meanwhile. Another thread would need several wake-ups, and
 * on a busy machine each of them waits for a CPU: together longer than the rest of a
 * connection.
 */
static int socket_there(const char *path, int family, struct fault *fault) {
  int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (home < 0) return fault_set(fault, "open namespace", "/proc/thread-self/ns/net");
  int there = open(path, O_RDONLY | O_CLOEXEC);
  if (there < 0) {
    fault_set(fault, "open namespace", path);
    close(home);
    return -1;
  }
  int rc = setns(there, CLONE_NEWNET);
  if (rc < 0) fault_set(fault, "setns", path);
  close(there);
  if (rc < 0) {
    close(home);
    return -1;
  }
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) fault_set(fault, "socket", path);
  return_home(home);
  return fd;
}

/*
 * JS: socketInNamespace(net path or null for the host's, ipv6): number. A TCP socket; -1: this
 * kernel does not have the family.
 */
static napi_value socket_in_namespace(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2], result = NULL;
  napi_valuetype type;
  bool ipv6 = false;
  char *path = NULL;
  struct fault fault = {0};
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2 ||
      napi_typeof(env, argv[0], &type) != napi_ok ||
      napi_get_value_bool(env, argv[1], &ipv6) != napi_ok) {
    napi_throw_type_error(env, NULL, "want a path and a boolean");
    return NULL;
  }
  if (type != napi_null && (path = take_string(env, argv[0])) == NULL) return NULL;
  int family = ipv6 ? AF_INET6 : AF_INET, fd;
  if (path != NULL) {
    fd = socket_there(path, family, &fault);
  } else {
    fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) fault_set(&fault, "socket", "");
  }
  free(path);
  if (fd < 0 && fault.err != EAFNOSUPPORT) {
    fault_throw(env, &fault);
    return NULL;
  }
  napi_create_int32(env, fd, &result);
  return result;
}

napi_status loopback_init(napi_env env, napi_value exports) {
  napi_status status = add_function(env, exports, "socketConnectLoopback", socket_connect_loopback);
  if (status == napi_ok) status = add_function(env, exports, "socketError", socket_error);
  if (status == napi_ok) status = add_function(env, exports, "socketInNamespace", socket_in_namespace);
  return status;
}
