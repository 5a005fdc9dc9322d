/*
 * The addon as Node.js sees it: the list of everything that it exports. Nothing else in native/ calls
 * this file.
 */
#include "davit.h"

static const struct job_kind *const jobs[] = {
  attribute_jobs, cgroup_jobs, conntrack_jobs, directory_jobs, file_step_jobs, in_root_jobs, layer_mount_jobs,
  mount_jobs, namespace_jobs, netlink_jobs, open_file_jobs, project_jobs, read_jobs, root_jobs, tree_jobs, user_jobs,
  verity_jobs,
};

static napi_status (*const inits[])(napi_env env, napi_value exports) = {
  blob_init, confine_init, digests_init, layer_entries_init, lock_init, loopback_init, memory_init, move_bytes_init,
  notify_init, programs_init, roots_init, schedule_init, seccomp_init, sockets_init, spawn_init, watch_init,
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

NAPI_MODULE_INIT() {
  napi_status status = napi_ok;
  for (size_t i = 0; i < COUNT(jobs) && status == napi_ok; i++) status = add_jobs(env, exports, jobs[i]);
  for (size_t i = 0; i < COUNT(inits) && status == napi_ok; i++) status = inits[i](env, exports);
  if (status != napi_ok) napi_throw_error(env, NULL, "davit.node: cannot register its functions");
  return exports;
}
