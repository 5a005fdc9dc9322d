/*
 * A lock on a file, which says that one daemon uses a directory.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

/*
 * JS: lockFile(path): number. The fd that holds the lock, -1 when another open file does. flock(2)
 * belongs to the open file description, so the lock goes with the last copy of this fd: no child
 * has one (spawn closes it).
 */
static napi_value lock_file(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1], result = NULL;
  struct fault fault = {0};
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 1) return NULL;
  char *path = take_string(env, argv[0]);
  if (path == NULL) return NULL;
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    fault_set(&fault, "open", path);
  } else if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
    if (errno != EWOULDBLOCK) fault_set(&fault, "flock", path);
    close(fd);
    fd = -1;
  }
  free(path);
  if (fault.err != 0) {
    fault_throw(env, &fault);
    return NULL;
  }
  napi_create_int32(env, fd, &result);
  return result;
}

napi_status lock_init(napi_env env, napi_value exports) {
  return add_function(env, exports, "lockFile", lock_file);
}
