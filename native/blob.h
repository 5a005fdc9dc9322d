/*
 * Jobs on bytes of blobs, on threads of libuv's pool. A call gets a handle, which a job uses, and Uint8Arrays, whose
 * memory stays where it is until the promise is settled: the caller neither changes nor transfers it.
 */
#ifndef DAVIT_BLOB_H
#define DAVIT_BLOB_H

#include "davit.h"

/* What a job uses: an inflater, a hash of OpenSSL, or two hashes. An inflater may have two hashes, too. */
struct handle {
  bool busy;
  bool over; /* the digest of a hash was taken, or decompression has failed or ended */
  bool after_member;
  struct gzip_header header;
  struct inflate_state *gzip;
  void *hash;
  struct sha256 *pair; /* with gzip: of what it has consumed and of what it has produced */
};

enum { MORE, MEMBER_END, PADDING, FAILED };

struct blob_job {
  napi_async_work work;
  napi_deferred deferred;
  napi_ref keep; /* of an array of the handle and the bytes */
  struct handle *handle;
  uint8_t *in, *out; /* of two hashes, both are input */
  size_t in_size, out_size;
  size_t consumed, produced;
  int state; /* MORE...; FAILED: fault is an error of ISA-L, or one of a header */
  int fault;
};

/* An external that owns what is in the handle, or null when that is nothing: a library is missing. */
napi_value blob_new_handle(napi_env env, struct handle with);
/* NULL for another value. */
struct handle *blob_handle_of(napi_env env, napi_value value);
/* Runs a job of the handle and the one or two arrays that a call has got. */
napi_value blob_run(napi_env env, napi_callback_info info, size_t arrays, bool (*fits)(const struct blob_job *),
                    napi_async_execute_callback run);
/* Frees a hash of OpenSSL. */
void blob_free_hash(void *hash);
/* Two hashes of nothing, or NULL. */
struct sha256 *blob_new_pair(void);
napi_value blob_refuse(napi_env env, const char *text);

#endif
