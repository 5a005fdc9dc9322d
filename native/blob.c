/*
 * Decompression and digests of blobs, each on a thread of libuv's pool, so that the unpacker's thread only makes
 * files. The bytes are hostile.
 *
 * A call gets Uint8Arrays, whose memory stays where it is until the promise is settled: the caller neither changes
 * nor transfers it. ISA-L and OpenSSL are looked up when they are needed, so that the addon loads without them:
 * the library of ISA-L may be missing, and a Node.js may come without the symbols of its OpenSSL.
 */
#include "davit.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef DAVIT_ISAL
#include <isa-l/igzip_lib.h>
#endif

/* What a job uses: an inflater or a hash. */
struct handle {
  bool busy;
  bool over; /* a digest was taken, or decompression has failed or ended */
  bool after_member;
  struct gzip_header header;
  struct inflate_state *gzip; /* one of the two is not NULL */
  void *hash;
};

enum { MORE, MEMBER_END, PADDING, FAILED };

struct blob_job {
  napi_async_work work;
  napi_deferred deferred;
  napi_ref keep; /* of an array of the handle and the bytes */
  struct handle *handle;
  uint8_t *in, *out;
  size_t in_size, out_size;
  size_t consumed, produced;
  int state; /* MORE...; FAILED: fault is an error of ISA-L, or one of a header */
  int fault;
};

static const napi_type_tag handle_tag = {0x0a5fe6c2d7714b8e, 0x8d5d4c0d3a1b7f61};

/* OpenSSL's functions, with the types of evp.h. */
static struct {
  void *(*new)(void);
  void (*free)(void *context);
  const void *(*sha256)(void);
  int (*init)(void *context, const void *type, void *engine);
  int (*update)(void *context, const void *bytes, size_t size);
  int (*final)(void *context, unsigned char *digest, unsigned int *size);
} evp;

static bool find_evp(void) {
  if (evp.final != NULL) return true;
  evp.new = dlsym(RTLD_DEFAULT, "EVP_MD_CTX_new");
  evp.free = dlsym(RTLD_DEFAULT, "EVP_MD_CTX_free");
  evp.sha256 = dlsym(RTLD_DEFAULT, "EVP_sha256");
  evp.init = dlsym(RTLD_DEFAULT, "EVP_DigestInit_ex");
  evp.update = dlsym(RTLD_DEFAULT, "EVP_DigestUpdate");
  if (!evp.new || !evp.free || !evp.sha256 || !evp.init || !evp.update) return false;
  evp.final = dlsym(RTLD_DEFAULT, "EVP_DigestFinal_ex");
  return evp.final != NULL;
}

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

static void run_inflate(napi_env env, void *data) {
  struct blob_job *job = data;
  struct handle *handle = job->handle;
  struct inflate_state *state = handle->gzip;
  (void)env;
  state->next_in = job->in;
  state->avail_in = (uint32_t)job->in_size;
  state->next_out = job->out;
  state->avail_out = (uint32_t)job->out_size;
  job->state = MORE;
  while (read_header(job)) {
    job->fault = isal.inflate(state);
    if (job->fault != ISAL_DECOMP_OK) {
      job->state = FAILED;
      break;
    }
    if (state->block_state != ISAL_BLOCK_FINISH) break; /* needs input, or room for output */
    begin_member(handle); /* leaves input and output as they are */
    handle->after_member = true;
  }
  if (job->state == MORE && handle->after_member) job->state = MEMBER_END;
  job->consumed = job->in_size - state->avail_in;
  job->produced = job->out_size - state->avail_out;
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

static void run_hash(napi_env env, void *data) {
  struct blob_job *job = data;
  (void)env;
  job->state = evp.update(job->handle->hash, job->in, job->in_size) == 1 ? MORE : FAILED;
  if (job->state == FAILED) job->handle->over = true;
}

static void free_handle(napi_env env, void *data, void *hint) {
  struct handle *handle = data;
  (void)env;
  (void)hint;
  if (handle->hash != NULL) evp.free(handle->hash);
  free(handle->gzip);
  free(handle);
}

/* An external that owns the state, or null when that is NULL: the library is missing. */
static napi_value new_handle(napi_env env, struct inflate_state *gzip, void *hash) {
  napi_value external = NULL;
  struct handle *handle = gzip == NULL && hash == NULL ? NULL : calloc(1, sizeof *handle);
  if (handle != NULL) {
    handle->gzip = gzip;
    handle->hash = hash;
    if (gzip != NULL) begin_member(handle);
    if (napi_create_external(env, handle, free_handle, NULL, &external) == napi_ok) {
      napi_type_tag_object(env, external, &handle_tag);
      return external;
    }
  }
  if (hash != NULL) evp.free(hash);
  free(gzip);
  free(handle);
  napi_get_null(env, &external);
  return external;
}

/* JS: inflateOpen(): handle | null. A gzip stream (RFC 1952). */
static napi_value inflate_open(napi_env env, napi_callback_info info) {
  (void)info;
  return new_handle(env, new_inflater(), NULL);
}

/* JS: sha256Open(): handle | null. */
static napi_value sha256_open(napi_env env, napi_callback_info info) {
  (void)info;
  void *context = find_evp() ? evp.new() : NULL;
  if (context != NULL && evp.init(context, evp.sha256(), NULL) != 1) {
    evp.free(context);
    context = NULL;
  }
  return new_handle(env, NULL, context);
}

static napi_value refuse(napi_env env, const char *text) {
  napi_throw_type_error(env, NULL, text);
  return NULL;
}

static struct handle *handle_of(napi_env env, napi_value value) {
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

/* The job of a call whose arguments are a handle and arrays of bytes; NULL with an exception pending. */
static struct blob_job *job_of(napi_env env, const napi_value *argv, size_t argc, size_t want) {
  struct blob_job job = {0}, *made;
  job.handle = argc == want ? handle_of(env, argv[0]) : NULL;
  if (job.handle == NULL || !take_array(env, argv[1], &job.in, &job.in_size) ||
      (want > 2 && (!take_array(env, argv[2], &job.out, &job.out_size) || job.out_size == 0))) {
    refuse(env, "want a handle and bytes");
    return NULL;
  }
  if ((want > 2 ? (void *)job.handle->gzip : job.handle->hash) == NULL || job.handle->busy || job.handle->over) {
    refuse(env, "want a handle that is free");
    return NULL;
  }
  made = malloc(sizeof *made);
  if (made == NULL) refuse(env, "out of memory");
  else *made = job;
  return made;
}

/*
 * JS: inflate(handle, input, output): Promise<[state, consumed, produced, fault]>. State 0: call again, with the rest
 * of the input or with more room; 1: as 0, and the input so far is complete; 2: only padding follows, which
 * is not read; 3: the input is corrupt, fault is the error of ISA-L.
 */
static napi_value inflate_call(napi_env env, napi_callback_info info) {
  size_t argc = 3;
  napi_value argv[3];
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok) return NULL;
  struct blob_job *job = job_of(env, argv, argc, 3);
  return job == NULL ? NULL : start(env, job, run_inflate, argv, 3);
}

/* JS: sha256Update(handle, bytes): Promise<[state, ...]>. State 3: it failed. */
static napi_value sha256_update(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2];
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok) return NULL;
  struct blob_job *job = job_of(env, argv, argc, 2);
  return job == NULL ? NULL : start(env, job, run_hash, argv, 2);
}

/* JS: sha256Final(handle): string. The digest in hex; the handle is of no use afterwards. */
static napi_value sha256_final(napi_env env, napi_callback_info info) {
  static const char digits[] = "0123456789abcdef";
  size_t argc = 1;
  napi_value argv[1], result = NULL;
  unsigned char digest[64];
  char text[2 * sizeof digest];
  unsigned int size = 0;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok) return NULL;
  struct handle *handle = argc == 1 ? handle_of(env, argv[0]) : NULL;
  if (handle == NULL || handle->hash == NULL || handle->busy || handle->over) {
    return refuse(env, "want a hash that is free");
  }
  handle->over = true;
  if (evp.final(handle->hash, digest, &size) != 1 || size > sizeof digest) return refuse(env, "cannot take a digest");
  for (unsigned int i = 0; i < size; i++) {
    text[2 * i] = digits[digest[i] >> 4];
    text[2 * i + 1] = digits[digest[i] & 15];
  }
  napi_create_string_latin1(env, text, 2 * size, &result);
  return result;
}

napi_status blob_init(napi_env env, napi_value exports) {
  napi_status status = add_function(env, exports, "inflateOpen", inflate_open);
  if (status == napi_ok) status = add_function(env, exports, "inflate", inflate_call);
  if (status == napi_ok) status = add_function(env, exports, "sha256Open", sha256_open);
  if (status == napi_ok) status = add_function(env, exports, "sha256Update", sha256_update);
  if (status == napi_ok) status = add_function(env, exports, "sha256Final", sha256_final);
  return status;
}
