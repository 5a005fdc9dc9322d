/*
 * Decompression of blobs on a thread of libuv's pool, so that the unpacker's thread only makes files, and what it shares
 * with digests of blobs (digests.c). The bytes are hostile.
 *
 * ISA-L is looked up when it is needed, so that the addon loads without it.
 */
#include "blob.h"

#include <dlfcn.h>
#include <stdlib.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#ifdef DAVIT_ISAL
#include <isa-l/igzip_lib.h>
#endif

static const napi_type_tag handle_tag = {0x0a5fe6c2d7714b8e, 0x8d5d4c0d3a1b7f61};

#ifdef DAVIT_ISAL
static struct {
  void (*init)(struct inflate_state *state);
  void (*reset)(struct inflate_state *state);
  int (*inflate)(struct inflate_state *state);
} isal;

static bool find_isal(void) {
  static bool looked;
  if (looked) return isal.inflate != NULL;
  looked = true; /* never again: later the root may be that of a layer */
  /* Never closed. The soname stands for the layout of the state. */
  void *library = dlopen("libisal.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return false;
  isal.init = dlsym(library, "isal_inflate_init");
  isal.reset = dlsym(library, "isal_inflate_reset");
  if (isal.init == NULL || isal.reset == NULL) return false;
  isal.inflate = dlsym(library, "isal_inflate");
  return isal.inflate != NULL;
}

static struct inflate_state *new_inflater(void) {
  struct inflate_state *state = find_isal() ? calloc(1, sizeof *state) : NULL;
  if (state != NULL) isal.init(state);
  return state;
}

/* Prepares for the header of the next member. */
static void begin_member(struct handle *handle) {
  gzip_header_begin(&handle->header);
  isal.reset(handle->gzip);
  handle->gzip->crc_flag = ISAL_GZIP_NO_HDR_VER; /* no header; the trailer is checked */
}

/* Reads the header, or what is there of it. False when that is all, and when it ends the input otherwise. */
static bool read_header(struct blob_job *job) {
  struct handle *handle = job->handle;
  struct inflate_state *state = handle->gzip;
  if (handle->after_member && state->avail_in > 0) {
    handle->after_member = false;
    if (*state->next_in == 0) {
      job->state = PADDING; /* as for gzip(1) */
      return false;
    }
  }
  while (state->avail_in > 0 && handle->header.part != GZIP_BODY) {
    job->fault = gzip_header_byte(&handle->header, *state->next_in++);
    state->avail_in--;
    if (job->fault != 0) {
      job->state = FAILED;
      return false;
    }
  }
  return handle->header.part == GZIP_BODY;
}

/*
 * ISA-L leaves the upper halves of vector registers in use. All that a thread does with SSE is then slower, twice for
 * SHA-256, until they are zero.
 */
#if defined(__x86_64__)
__attribute__((target("avx"))) static void clear_upper_halves(void) { _mm256_zeroupper(); }

static void leave_vectors(void) {
  if (__builtin_cpu_supports("avx")) clear_upper_halves();
}
#else
static void leave_vectors(void) {}
#endif

/* So much is hashed while it is still in the processor's cache. */
enum { HASHED_AT_ONCE = 128 * 1024 };

/*
 * Decompresses a part. False when it needs input, or room for output, or has failed. The counts of ISA-L are wrong after a
 * failure: its loops in assembly (2.31) keep a margin from the ends of the buffers and do not give it back. So a part
 * that fails counts as not consumed and has produced nothing.
 */
static bool inflate_part(struct blob_job *job) {
  struct handle *handle = job->handle;
  struct inflate_state *state = handle->gzip;
  uint32_t in = state->avail_in, out = state->avail_out;
  uint32_t later = handle->pair != NULL && out > HASHED_AT_ONCE ? out - HASHED_AT_ONCE : 0;
  state->avail_out -= later;
  job->fault = isal.inflate(state);
  leave_vectors();
  bool is_full = state->avail_out == 0;
  state->avail_out += later;
  if (job->fault == ISAL_DECOMP_OK && (state->avail_in > in || state->avail_out > out)) job->fault = ISAL_INVALID_BLOCK;
  if (job->fault != ISAL_DECOMP_OK) {
    state->avail_in = in;
    state->avail_out = out;
    job->state = FAILED;
    return false;
  }
  if (state->block_state != ISAL_BLOCK_FINISH) return is_full && later > 0;
  begin_member(handle); /* leaves input and output as they are */
  handle->after_member = true;
  return true;
}

/* Adds what was consumed and produced since the last time to the hashes. */
static void hash_part(struct blob_job *job) {
  struct handle *handle = job->handle;
  size_t consumed = job->in_size - handle->gzip->avail_in, produced = job->out_size - handle->gzip->avail_out;
  const struct input inputs[] = {{job->in + job->consumed, consumed - job->consumed},
                                 {job->out + job->produced, produced - job->produced}};
  if (handle->pair != NULL) sha256_update_pair(handle->pair, inputs);
  job->consumed = consumed;
  job->produced = produced;
}

static void run_inflate(napi_env env, void *data) {
  struct blob_job *job = data;
  struct handle *handle = job->handle;
  struct inflate_state *state = handle->gzip;
  bool has_more = true;
  (void)env;
  state->next_in = job->in;
  state->avail_in = (uint32_t)job->in_size;
  state->next_out = job->out;
  state->avail_out = (uint32_t)job->out_size;
  job->state = MORE;
  while (has_more && read_header(job)) {
    has_more = inflate_part(job);
    hash_part(job);
  }
  hash_part(job);
  if (job->state == MORE && handle->after_member) job->state = MEMBER_END;
  if (job->state == FAILED || job->state == PADDING) handle->over = true;
}
#else
static struct inflate_state *new_inflater(void) { return NULL; }
static void begin_member(struct handle *handle) { (void)handle; }
static void run_inflate(napi_env env, void *data) {
  (void)env;
  ((struct blob_job *)data)->state = FAILED;
}
#endif

static void free_parts(struct handle *handle) {
  if (handle->hash != NULL) blob_free_hash(handle->hash);
  free(handle->gzip);
  free(handle->pair);
}

static void free_handle(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  free_parts(data);
  free(data);
}

napi_value blob_new_handle(napi_env env, struct handle with) {
  napi_value external = NULL;
  bool is_empty = with.gzip == NULL && with.hash == NULL && with.pair == NULL;
  struct handle *handle = is_empty ? NULL : malloc(sizeof *handle);
  if (handle != NULL) {
    *handle = with;
    if (napi_create_external(env, handle, free_handle, NULL, &external) == napi_ok) {
      napi_type_tag_object(env, external, &handle_tag);
      return external;
    }
  }
  free_parts(&with);
  free(handle);
  napi_get_null(env, &external);
  return external;
}

/*
 * JS: inflateOpen(hashed): handle | null. A gzip stream (RFC 1952). With `hashed`, what it consumes is added to the first
 * of two hashes, and what it produces to the second one; null also where the processor has no instructions for them.
 */
static napi_value inflate_open(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1], nothing = NULL;
  bool hashed = false;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != 1 ||
      napi_get_value_bool(env, argv[0], &hashed) != napi_ok) {
    return blob_refuse(env, "want a boolean");
  }
  struct handle handle = {.gzip = new_inflater()};
  if (handle.gzip != NULL && hashed && (handle.pair = blob_new_pair()) == NULL) {
    free(handle.gzip);
    napi_get_null(env, &nothing);
    return nothing;
  }
  if (handle.gzip != NULL) begin_member(&handle);
  return blob_new_handle(env, handle);
}

napi_value blob_refuse(napi_env env, const char *text) {
  napi_throw_type_error(env, NULL, text);
  return NULL;
}

struct handle *blob_handle_of(napi_env env, napi_value value) {
  bool is_handle = false;
  void *data = NULL;
  if (napi_check_object_type_tag(env, value, &handle_tag, &is_handle) != napi_ok || !is_handle) return NULL;
  return napi_get_value_external(env, value, &data) == napi_ok ? data : NULL;
}

/* The bytes of a Uint8Array of less than 1 GiB. */
static bool take_array(napi_env env, napi_value value, uint8_t **bytes, size_t *size) {
  napi_typedarray_type type;
  void *data = NULL;
  bool is_array = false;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array) return false;
  if (napi_get_typedarray_info(env, value, &type, size, &data, NULL, NULL) != napi_ok) return false;
  *bytes = data;
  return type == napi_uint8_array && *size < (1u << 30);
}

static void complete(napi_env env, napi_status status, void *data) {
  struct blob_job *job = data;
  napi_value result = NULL, item = NULL;
  if (status == napi_cancelled) job->state = FAILED;
  const int64_t numbers[] = {job->state, (int64_t)job->consumed, (int64_t)job->produced, job->fault};
  job->handle->busy = false;
  napi_create_array_with_length(env, 4, &result);
  for (uint32_t i = 0; i < 4; i++) {
    napi_create_int64(env, numbers[i], &item);
    napi_set_element(env, result, i, item);
  }
  napi_resolve_deferred(env, job->deferred, result);
  napi_delete_reference(env, job->keep);
  napi_delete_async_work(env, job->work);
  free(job);
}

/* Starts the job with argv, the handle first, kept from collection. Owns the job. */
static napi_value start(napi_env env, struct blob_job *job, napi_async_execute_callback run, const napi_value *argv,
                        uint32_t argc) {
  napi_value promise = NULL, name, kept;
  napi_create_string_utf8(env, "davit blob", NAPI_AUTO_LENGTH, &name);
  if (napi_create_array_with_length(env, argc, &kept) == napi_ok) {
    for (uint32_t i = 0; i < argc; i++) napi_set_element(env, kept, i, argv[i]);
    if (napi_create_reference(env, kept, 1, &job->keep) == napi_ok) {
      if (napi_create_promise(env, &job->deferred, &promise) == napi_ok &&
          napi_create_async_work(env, NULL, name, run, complete, job, &job->work) == napi_ok) {
        if (napi_queue_async_work(env, job->work) == napi_ok) {
          job->handle->busy = true;
          return promise;
        }
        napi_delete_async_work(env, job->work);
      }
      napi_delete_reference(env, job->keep);
    }
  }
  free(job);
  napi_throw_error(env, NULL, "cannot start a job for a blob");
  return NULL;
}

napi_value blob_run(napi_env env, napi_callback_info info, size_t arrays, bool (*fits)(const struct blob_job *),
                    napi_async_execute_callback run) {
  size_t argc = 3;
  napi_value argv[3];
  struct blob_job job = {0}, *made;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok) return NULL;
  job.handle = argc == arrays + 1 ? blob_handle_of(env, argv[0]) : NULL;
  if (job.handle == NULL || !take_array(env, argv[1], &job.in, &job.in_size) ||
      (arrays > 1 && !take_array(env, argv[2], &job.out, &job.out_size))) {
    return blob_refuse(env, "want a handle and bytes");
  }
  if (job.handle->busy || !fits(&job)) return blob_refuse(env, "want a handle that is free");
  made = malloc(sizeof *made);
  if (made == NULL) return blob_refuse(env, "out of memory");
  *made = job;
  return start(env, made, run, argv, (uint32_t)argc);
}

static bool fits_inflate(const struct blob_job *job) {
  return job->handle->gzip != NULL && job->out_size > 0 && !job->handle->over;
}

/*
 * JS: inflate(handle, input, output): Promise<[state, consumed, produced, fault]>. State 0: call again, with the rest
 * of the input or with more room; 1: as 0, and the input so far is complete; 2: only padding follows, which
 * is not read; 3: the input is corrupt, fault is the error of ISA-L.
 */
static napi_value inflate_call(napi_env env, napi_callback_info info) {
  return blob_run(env, info, 2, fits_inflate, run_inflate);
}

napi_status blob_init(napi_env env, napi_value exports) {
  napi_status status = add_function(env, exports, "inflateOpen", inflate_open);
  return status != napi_ok ? status : add_function(env, exports, "inflate", inflate_call);
}
