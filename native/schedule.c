/*
 * The scheduling of the event loop's thread.
 */
#include "davit.h"

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * JS: preferThread(nice, slice). glibc has a wrapper only since 2.41. RESET_ON_FORK: neither a child
 * nor a later thread inherits it. sched_runtime is the slice (Linux 6.12, older ones ignore it).
 */
static napi_value prefer_thread(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2], result = NULL;
  int32_t nice = 0;
  int64_t slice = 0;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2) return NULL;
  if (napi_get_value_int32(env, argv[0], &nice) != napi_ok) return NULL;
  if (napi_get_value_int64(env, argv[1], &slice) != napi_ok) return NULL;

  struct sched_attr is = {.size = sizeof is};
  struct sched_attr wanted = {
      .size = sizeof wanted,
      .sched_policy = SCHED_NORMAL,
      .sched_flags = SCHED_FLAG_RESET_ON_FORK,
      .sched_nice = nice,
      .sched_runtime = (uint64_t)slice,
  };
  bool done = false;
  if (syscall(SYS_sched_getattr, 0, &is, sizeof is, 0) == 0 && is.sched_policy == SCHED_NORMAL &&
      is.sched_nice == 0) {
    done = syscall(SYS_sched_setattr, 0, &wanted, 0) == 0;
  }
  napi_get_boolean(env, done, &result);
  return result;
}

napi_status schedule_init(napi_env env, napi_value exports) {
  return add_function(env, exports, "preferThread", prefer_thread);
}
