/*
 * What the addon's other files stand on: what turns JS values into C memory and faults into errors, and
 * the mechanism by which a call of several steps runs as one job away from the event loop. It calls none
 * of them: module.c does.
 */
#include "davit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int fault_set_errno(struct fault *fault, int err, const char *call, const char *path) {
  fault->err = err;
  fault->call = call;
  snprintf(fault->path, sizeof fault->path, "%s", path ? path : "");
  return -1;
}

int fault_set(struct fault *fault, const char *call, const char *path) {
  return fault_set_errno(fault, errno, call, path);
}

napi_value fault_error(napi_env env, const struct fault *fault) {
  napi_value error = NULL, message, value;
  napi_create_string_utf8(env, fault->call, NAPI_AUTO_LENGTH, &message);
  napi_create_error(env, NULL, message, &error);
  napi_set_named_property(env, error, "call", message);
  napi_create_int32(env, fault->err, &value);
  napi_set_named_property(env, error, "errno", value);
  napi_create_string_utf8(env, fault->path, NAPI_AUTO_LENGTH, &value);
  napi_set_named_property(env, error, "path", value);
  napi_create_int32(env, fault->step, &value);
  napi_set_named_property(env, error, "step", value);
  return error;
}

void fault_throw(napi_env env, const struct fault *fault) {
  napi_throw(env, fault_error(env, fault));
}

static void throw_errno(napi_env env, int err, const char *call, const char *path) {
  struct fault fault = {0};
  fault_set_errno(&fault, err, call, path);
  fault_throw(env, &fault);
}

char *take_string(napi_env env, napi_value value) {
  size_t length = 0, copied = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) {
    throw_errno(env, EINVAL, "read argument", "not a string");
    return NULL;
  }
  char *text = malloc(length + 1);
  if (text == NULL) {
    throw_errno(env, ENOMEM, "read argument", "");
    return NULL;
  }
  napi_get_value_string_utf8(env, value, text, length + 1, &copied);
  if (strlen(text) != length) {
    throw_errno(env, EINVAL, "read argument with a NUL byte", text);
    free(text);
    return NULL;
  }
  return text;
}

void free_strings(char **strings, size_t count) {
  if (strings == NULL) return;
  for (size_t i = 0; i < count; i++) free(strings[i]);
  free(strings);
}

char **take_strings(napi_env env, napi_value array, size_t *count) {
  uint32_t length = 0;
  *count = 0;
  if (napi_get_array_length(env, array, &length) != napi_ok) {
    throw_errno(env, EINVAL, "read argument", "not an array of strings");
    return NULL;
  }
  char **strings = calloc((size_t)length + 1, sizeof *strings);
  if (strings == NULL) {
    throw_errno(env, ENOMEM, "read argument", "");
    return NULL;
  }
  for (uint32_t i = 0; i < length; i++) {
    napi_handle_scope scope;
    napi_value item;
    napi_valuetype type = napi_undefined;
    bool failed = false;
    napi_open_handle_scope(env, &scope);
    if (napi_get_element(env, array, i, &item) == napi_ok) napi_typeof(env, item, &type);
    if (type != napi_null && type != napi_undefined) {
      strings[i] = take_string(env, item);
      failed = strings[i] == NULL;
    }
    napi_close_handle_scope(env, scope);
    if (failed) {
      free_strings(strings, length);
      return NULL;
    }
  }
  *count = length;
  return strings;
}

int64_t *take_numbers(napi_env env, napi_value array, size_t *count) {
  uint32_t length = 0;
  *count = 0;
  if (napi_get_array_length(env, array, &length) != napi_ok) {
    throw_errno(env, EINVAL, "read argument", "not an array of numbers");
    return NULL;
  }
  int64_t *numbers = calloc((size_t)length + 1, sizeof *numbers);
  if (numbers == NULL) {
    throw_errno(env, ENOMEM, "read argument", "");
    return NULL;
  }
  for (uint32_t i = 0; i < length; i++) {
    napi_value item;
    if (napi_get_element(env, array, i, &item) != napi_ok ||
        napi_get_value_int64(env, item, &numbers[i]) != napi_ok) {
      throw_errno(env, EINVAL, "read argument", "not a number");
      free(numbers);
      return NULL;
    }
  }
  *count = length;
  return numbers;
}

napi_status add_function(napi_env env, napi_value exports, const char *name, napi_callback fn) {
  napi_value value;
  napi_status status = napi_create_function(env, name, NAPI_AUTO_LENGTH, fn, NULL, &value);
  return status == napi_ok ? napi_set_named_property(env, exports, name, value) : status;
}

static void *run_on_own_thread(void *data) {
  struct job *job = data;
  job->kind->run(job);
  return NULL;
}

/*
 * A job that changes what its thread sees (unshare, setns) gets a thread that ends with it: there is
 * nothing to put back, so nothing can fail to be put back. The pool thread only waits for it.
 */
static void execute_job(napi_env env, void *data) {
  (void)env;
  struct job *job = data;
  if (!job->kind->own_thread) {
    job->kind->run(job);
    return;
  }
  pthread_t thread;
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 256 * 1024);
  int err = pthread_create(&thread, &attr, run_on_own_thread, job);
  pthread_attr_destroy(&attr);
  if (err != 0) {
    fault_set_errno(&job->fault, err, "create thread for", job->kind->name);
    return;
  }
  pthread_join(thread, NULL);
}

static void free_job(struct job *job) {
  free_strings(job->strings, job->string_count);
  free_strings(job->texts, job->text_count);
  free(job->text_sizes);
  free(job->list);
  free(job->numbers);
  free(job->input);
  free(job->output);
  free(job);
}

/*
 * One byte a character, as what the kernel writes is ASCII except names that programs chose. With sizes:
 * UTF-8, and U+FFFD for what is none.
 */
static napi_value job_texts(napi_env env, const struct job *job) {
  napi_value result, value;
  napi_create_array_with_length(env, job->text_count, &result);
  for (size_t i = 0; i < job->text_count; i++) {
    if (job->texts[i] == NULL) {
      napi_get_null(env, &value);
    } else if (job->text_sizes != NULL) {
      napi_create_string_utf8(env, job->texts[i], job->text_sizes[i], &value);
    } else {
      napi_create_string_latin1(env, job->texts[i], NAPI_AUTO_LENGTH, &value);
    }
    napi_set_element(env, result, (uint32_t)i, value);
  }
  return result;
}

static napi_value job_numbers(napi_env env, const int64_t *numbers, size_t count) {
  napi_value result, value;
  napi_create_array_with_length(env, count, &result);
  for (size_t i = 0; i < count; i++) {
    napi_create_int64(env, numbers[i], &value);
    napi_set_element(env, result, (uint32_t)i, value);
  }
  return result;
}

static napi_value job_result(napi_env env, const struct job *job) {
  napi_value result;
  if (job->output != NULL) {
    return napi_create_buffer_copy(env, job->output_size, job->output, NULL, &result) == napi_ok ? result : NULL;
  }
  if (job->texts != NULL) return job_texts(env, job);
  if (job->list != NULL) return job_numbers(env, job->list, job->list_count);
  if (job->result_count > 0) return job_numbers(env, job->results, job->result_count);
  napi_get_undefined(env, &result);
  return result;
}

/* status is napi_cancelled only when the environment goes down: the promise is then of no use. */
static void complete_job(napi_env env, napi_status status, void *data) {
  struct job *job = data;
  if (status == napi_cancelled) fault_set_errno(&job->fault, ECANCELED, job->kind->name, "");
  if (job->fault.err != 0) {
    napi_reject_deferred(env, job->deferred, fault_error(env, &job->fault));
  } else {
    napi_resolve_deferred(env, job->deferred, job_result(env, job));
  }
  napi_delete_async_work(env, job->work);
  free_job(job);
}

/* Copies a Uint8Array into the job; without an argument it copies nothing. False with an exception pending. */
static bool take_bytes(napi_env env, napi_value value, struct job *job) {
  napi_typedarray_type type;
  napi_valuetype kind = napi_undefined;
  size_t size = 0;
  void *bytes = NULL;
  if (napi_typeof(env, value, &kind) == napi_ok && kind == napi_undefined) return true;
  if (napi_get_typedarray_info(env, value, &type, &size, &bytes, NULL, NULL) != napi_ok || type != napi_uint8_array) {
    throw_errno(env, EINVAL, "read argument", "not bytes");
    return false;
  }
  job->input = malloc(size + 1);
  if (job->input == NULL) {
    throw_errno(env, ENOMEM, "read argument", "");
    return false;
  }
  if (size > 0) memcpy(job->input, bytes, size);
  job->input_size = size;
  return true;
}

/*
 * JS: name(strings: (string | null)[], numbers: number[], bytes?: Uint8Array):
 *   Promise<undefined | number[] | (string | null)[] | Buffer>
 */
static napi_value start_job(napi_env env, napi_callback_info info) {
  size_t argc = 3;
  napi_value argv[3], promise = NULL, name;
  void *kind;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, &kind) != napi_ok || argc < 2) {
    throw_errno(env, EINVAL, "read arguments", "want strings and numbers");
    return NULL;
  }
  struct job *job = calloc(1, sizeof *job);
  if (job == NULL) {
    throw_errno(env, ENOMEM, "start job", "");
    return NULL;
  }
  job->kind = kind;
  job->strings = take_strings(env, argv[0], &job->string_count);
  if (job->strings != NULL) job->numbers = take_numbers(env, argv[1], &job->number_count);
  if (job->numbers == NULL || !take_bytes(env, argv[2], job)) {
    free_job(job);
    return NULL;
  }
  if (job->string_count < job->kind->min_strings || job->number_count < job->kind->min_numbers) {
    throw_errno(env, EINVAL, "read arguments of", job->kind->name);
    free_job(job);
    return NULL;
  }
  napi_create_string_utf8(env, job->kind->name, NAPI_AUTO_LENGTH, &name);
  if (napi_create_promise(env, &job->deferred, &promise) != napi_ok ||
      napi_create_async_work(env, NULL, name, execute_job, complete_job, job, &job->work) !=
          napi_ok) {
    throw_errno(env, ENOMEM, "start job", job->kind->name);
    free_job(job);
    return NULL;
  }
  if (napi_queue_async_work(env, job->work) != napi_ok) {
    throw_errno(env, ENOMEM, "queue job", job->kind->name);
    napi_delete_async_work(env, job->work);
    free_job(job);
    return NULL;
  }
  return promise;
}

napi_status add_jobs(napi_env env, napi_value exports, const struct job_kind *kinds) {
  napi_status status = napi_ok;
  for (; kinds->name != NULL && status == napi_ok; kinds++) {
    napi_value fn;
    status = napi_create_function(env, kinds->name, NAPI_AUTO_LENGTH, start_job, (void *)kinds, &fn);
    if (status == napi_ok) status = napi_set_named_property(env, exports, kinds->name, fn);
  }
  return status;
}
