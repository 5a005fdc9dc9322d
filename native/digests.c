/*
 * Digests of blobs, and of the archives in them, on a thread of libuv's pool: by OpenSSL, and by instructions of the
 * processor for two streams at once (sha256.c).
 *
 * OpenSSL is looked up when it is needed, because a Node.js may come without the symbols of its OpenSSL.
 */
#include "blob.h"

#include <dlfcn.h>
#include <stdlib.h>

enum { MAX_DIGEST = 64 };

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

void blob_free_hash(void *hash) { evp.free(hash); }

static void run_hash(napi_env env, void *data) {
  struct blob_job *job = data;
  (void)env;
  job->state = evp.update(job->handle->hash, job->in, job->in_size) == 1 ? MORE : FAILED;
  if (job->state == FAILED) job->handle->over = true;
}

static void run_pair(napi_env env, void *data) {
  struct blob_job *job = data;
  const struct input inputs[] = {{job->in, job->in_size}, {job->out, job->out_size}};
  (void)env;
  sha256_update_pair(job->handle->pair, inputs);
  job->state = MORE;
}

/* JS: sha256Open(): handle | null. */
static napi_value sha256_open(napi_env env, napi_callback_info info) {
  (void)info;
  void *context = find_evp() ? evp.new() : NULL;
  if (context != NULL && evp.init(context, evp.sha256(), NULL) != 1) {
    evp.free(context);
    context = NULL;
  }
  return blob_new_handle(env, (struct handle){.hash = context});
}

struct sha256 *blob_new_pair(void) {
  struct sha256 *pair = sha256_available() ? malloc(2 * sizeof *pair) : NULL;
  for (int i = 0; pair != NULL && i < 2; i++) sha256_begin(&pair[i]);
  return pair;
}

/* JS: sha256OpenPair(): handle | null. Null: the processor has no instructions for it. */
static napi_value sha256_open_pair(napi_env env, napi_callback_info info) {
  (void)info;
  return blob_new_handle(env, (struct handle){.pair = blob_new_pair()});
}

static bool fits_hash(const struct blob_job *job) { return job->handle->hash != NULL && !job->handle->over; }
static bool fits_pair(const struct blob_job *job) { return job->handle->pair != NULL; }

/* JS: sha256Update(handle, bytes): Promise<[state, ...]>. State 3: it failed. */
static napi_value sha256_update(napi_env env, napi_callback_info info) {
  return blob_run(env, info, 1, fits_hash, run_hash);
}

/* JS: sha256UpdatePair(handle, bytes, bytes): Promise<[state, ...]>. For one hash, and for the other. */
static napi_value sha256_update_both(napi_env env, napi_callback_info info) {
  return blob_run(env, info, 2, fits_pair, run_pair);
}

static napi_value hex_of(napi_env env, const unsigned char *digest, size_t size) {
  static const char digits[] = "0123456789abcdef";
  napi_value result = NULL;
  char text[2 * MAX_DIGEST];
  for (size_t i = 0; i < size; i++) {
    text[2 * i] = digits[digest[i] >> 4];
    text[2 * i + 1] = digits[digest[i] & 15];
  }
  napi_create_string_latin1(env, text, 2 * size, &result);
  return result;
}

/* JS: sha256Final(handle): string. The digest in hex; the handle is of no use afterwards. */
static napi_value sha256_final(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  unsigned char digest[MAX_DIGEST];
  unsigned int size = 0;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok) return NULL;
  struct handle *handle = argc == 1 ? blob_handle_of(env, argv[0]) : NULL;
  if (handle == NULL || handle->hash == NULL || handle->busy || handle->over) {
    return blob_refuse(env, "want a hash that is free");
  }
  handle->over = true;
  if (evp.final(handle->hash, digest, &size) != 1 || size > sizeof digest) return blob_refuse(env, "cannot take a digest");
  return hex_of(env, digest, size);
}

/* JS: sha256FinalOf(handle, which): string. The digest of one of two hashes, 0 or 1, of what it has got so far. */
static napi_value sha256_final_of(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2];
  unsigned char digest[SHA256_SIZE];
  uint32_t which = 2;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok) return NULL;
  struct handle *handle = argc == 2 ? blob_handle_of(env, argv[0]) : NULL;
  if (handle == NULL || handle->pair == NULL || handle->busy) return blob_refuse(env, "want two hashes that are free");
  if (napi_get_value_uint32(env, argv[1], &which) != napi_ok || which > 1) return blob_refuse(env, "want 0 or 1");
  sha256_end(&handle->pair[which], digest);
  return hex_of(env, digest, sizeof digest);
}

napi_status digests_init(napi_env env, napi_value exports) {
  napi_status status = add_function(env, exports, "sha256Open", sha256_open);
  if (status == napi_ok) status = add_function(env, exports, "sha256Update", sha256_update);
  if (status == napi_ok) status = add_function(env, exports, "sha256Final", sha256_final);
  if (status == napi_ok) status = add_function(env, exports, "sha256OpenPair", sha256_open_pair);
  if (status == napi_ok) status = add_function(env, exports, "sha256UpdatePair", sha256_update_both);
  if (status == napi_ok) status = add_function(env, exports, "sha256FinalOf", sha256_final_of);
  return status;
}
