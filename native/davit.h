/*
 * Declarations that the files of the addon share. Everything in a struct job or struct plan is plain C memory, so
 * that code on another thread never uses N-API.
 */
#ifndef DAVIT_H
#define DAVIT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define NAPI_VERSION 8
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The call that failed, its object, and the errno. err == 0 means that nothing failed. */
struct fault {
  int err;
  const char *call; /* a string literal */
  char path[512];   /* truncated if longer: it is only for messages */
  int step;         /* in a job of several steps: the index of the step */
};

/* Records the current errno. Returns -1, for `return fault_set(...)`. */
int fault_set(struct fault *fault, const char *call, const char *path);
int fault_set_errno(struct fault *fault, int err, const char *call, const char *path);

/* An Error with errno, call, path and step as properties, which src/linux/addon.ts turns into a SystemError. */
napi_value fault_error(napi_env env, const struct fault *fault);
void fault_throw(napi_env env, const struct fault *fault);

/*
 * Copies a JS array of strings (null and undefined become NULL) into a NULL-terminated array, or
 * throws and returns NULL. A string that holds a NUL byte is rejected with EINVAL: the kernel would
 * see a shorter one than the caller checked.
 */
char **take_strings(napi_env env, napi_value array, size_t *count);
void free_strings(char **strings, size_t count);
char *take_string(napi_env env, napi_value value);
int64_t *take_numbers(napi_env env, napi_value array, size_t *count);

/* Work that runs outside the event loop: strings and numbers in, a fault or a result out. */
struct job {
  const struct job_kind *kind;
  napi_async_work work;
  napi_deferred deferred;
  char **strings;
  size_t string_count;
  int64_t *numbers;
  size_t number_count;
  uint8_t *input; /* a copy of the bytes of the third argument */
  size_t input_size;
  int64_t results[2];
  size_t result_count; /* 0: the promise resolves to undefined */
  int64_t *list;       /* more numbers as result instead, malloced */
  size_t list_count;
  char **texts;        /* an array of strings as result instead, each malloced; NULL becomes null */
  size_t text_count;
  size_t *text_sizes; /* for UTF-8 with NUL bytes; without it one character for each byte */
  uint8_t *output;    /* bytes as result instead, malloced */
  size_t output_size;
  struct fault fault;
};

struct job_kind {
  const char *name;
  size_t min_strings;
  size_t min_numbers;
  /* Runs on a thread of libuv's pool, or on a thread of its own that ends afterwards. */
  void (*run)(struct job *job);
  bool own_thread;
};

extern const struct job_kind namespace_jobs[];
extern const struct job_kind mount_jobs[];
extern const struct job_kind layer_mount_jobs[];
extern const struct job_kind netlink_jobs[];
extern const struct job_kind file_step_jobs[];
extern const struct job_kind attribute_jobs[];
extern const struct job_kind in_root_jobs[];
extern const struct job_kind user_jobs[];
extern const struct job_kind read_jobs[];
extern const struct job_kind cgroup_jobs[];
extern const struct job_kind conntrack_jobs[];
extern const struct job_kind directory_jobs[];
extern const struct job_kind tree_jobs[];
extern const struct job_kind open_file_jobs[];
extern const struct job_kind project_jobs[];
extern const struct job_kind root_jobs[];
extern const struct job_kind verity_jobs[];

/* The namespaces of a pod that are pinned, besides its user namespace: clone flag and file. */
enum { PIN_NET, PIN_IPC, PIN_UTS, PIN_COUNT };
struct pin_kind {
  int flag;
  const char *source;
};
extern const struct pin_kind pin_kinds[PIN_COUNT];

/* Steps of namespace jobs: 0, or -1 with the fault set. Also for a child that may not allocate. */
int lo_up(struct fault *fault);
int pin_one(struct fault *fault, const char *source, const char *path);
void unpin_one(const char *path);
int enter_namespace(struct fault *fault, const char *path, int kind);
int write_file(struct fault *fault, const char *path, const char *value);

/* True for extended attributes of overlayfs and of the node's policy, which do not belong to the image. */
bool is_private_xattr(const char *name);

/* The header of a gzip member (RFC 1952, 2.3) while it is read. */
struct gzip_header {
  enum { GZIP_FIXED, GZIP_EXTRA_SIZE, GZIP_EXTRA, GZIP_NAME, GZIP_COMMENT, GZIP_CHECKSUM, GZIP_BODY } part;
  uint32_t at;    /* bytes of the part that were read */
  uint32_t extra; /* size of the extra field */
  uint8_t flags;
  uint32_t crc;   /* of the header, for its checksum */
  uint32_t stored;
};

void gzip_header_begin(struct gzip_header *header);
/* Takes the next byte: 0, or what is wrong with it, as in src/linux/blob/native.ts. */
int gzip_header_byte(struct gzip_header *header, uint8_t byte);

/* SHA-256 while bytes are added to it (sha256.c). */
struct sha256 {
  uint32_t state[8];
  uint64_t size;    /* of what it has got */
  uint8_t rest[64]; /* the block that was begun */
};

enum { SHA256_SIZE = 32 };

/* Bytes that are read. */
struct input {
  const uint8_t *bytes;
  size_t size;
};

/* Whether the processor has the instructions for the rest. */
bool sha256_available(void);
void sha256_begin(struct sha256 *hash);
/* Adds the first input to the first hash, and the second one to the second hash. Either may be empty. */
void sha256_update_pair(struct sha256 hashes[2], const struct input inputs[2]);
/* The digest of what the hash has got. */
void sha256_end(const struct sha256 *hash, uint8_t digest[SHA256_SIZE]);

/* Add to the addon's exports: one function, and a function for each job up to the one without a name. */
napi_status add_function(napi_env env, napi_value exports, const char *name, napi_callback fn);
napi_status add_jobs(napi_env env, napi_value exports, const struct job_kind *kinds);

/* Each adds what is not a job in the file of that name. Only module.c calls them. */
napi_status blob_init(napi_env env, napi_value exports);
napi_status confine_init(napi_env env, napi_value exports);
napi_status digests_init(napi_env env, napi_value exports);
napi_status layer_entries_init(napi_env env, napi_value exports);
napi_status lock_init(napi_env env, napi_value exports);
napi_status loopback_init(napi_env env, napi_value exports);
napi_status memory_init(napi_env env, napi_value exports);
napi_status move_bytes_init(napi_env env, napi_value exports);
napi_status notify_init(napi_env env, napi_value exports);
napi_status programs_init(napi_env env, napi_value exports);
napi_status roots_init(napi_env env, napi_value exports);
napi_status schedule_init(napi_env env, napi_value exports);
napi_status seccomp_init(napi_env env, napi_value exports);
napi_status sockets_init(napi_env env, napi_value exports);
napi_status spawn_init(napi_env env, napi_value exports);
napi_status watch_init(napi_env env, napi_value exports);

/* What an fd reports to the event loop: the end of a process, a change of the mount table, a descriptor
   that can be read or written. */
enum watch_kind { WATCH_CHILD, WATCH_PROCESS, WATCH_MOUNTS, WATCH_DESCRIPTOR };

/* A worker's event loop ends before the process does, and libuv aborts when a watch is still open. */
bool on_main_thread(napi_env env);

/*
 * Takes ownership of `fd` (also on failure) and calls `callback` from the event loop. Returns a JS external
 * for watchSignal, watchClose and watchRef, or NULL with an exception pending.
 */
napi_value watch_start(napi_env env, enum watch_kind kind, int fd, napi_value callback);

/* The open descriptor of a WATCH_DESCRIPTOR that is the call's first argument, and its second argument
   if requested; -1 with an exception pending. */
int watched_fd(napi_env env, napi_callback_info info, napi_value *second);

#endif
