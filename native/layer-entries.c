/*
 * Functions for one entry of a layer, for its attributes that node:fs cannot set. They run on the calling
 * thread, because the unpacker has no other work.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

/* File names are bytes: JS passes one character for each byte. NULL with an exception pending. */
static char *take_bytes(napi_env env, napi_value value) {
  size_t length = 0, copied = 0;
  char *bytes = NULL;
  if (napi_get_value_string_latin1(env, value, NULL, 0, &length) == napi_ok &&
      (bytes = malloc(length + 1)) != NULL) {
    napi_get_value_string_latin1(env, value, bytes, length + 1, &copied);
    if (strlen(bytes) == length) return bytes;
    free(bytes);
  }
  struct fault fault = {0};
  fault_set_errno(&fault, EINVAL, "read file name", "");
  fault_throw(env, &fault);
  return NULL;
}

/* The arguments of the functions below: a path, then numbers. NULL with an exception pending. */
static char *take_path(napi_env env, napi_callback_info info, size_t count, int64_t *numbers) {
  size_t argc = 8;
  napi_value argv[8];
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok) return NULL;
  for (size_t i = 0; i < count; i++) {
    if (argc < count + 1 || napi_get_value_int64(env, argv[i + 1], &numbers[i]) != napi_ok) {
      napi_throw_type_error(env, NULL, "want a path and numbers");
      return NULL;
    }
  }
  return take_bytes(env, argv[0]);
}

static napi_value finish(napi_env env, char *path, const struct fault *fault) {
  if (fault->err != 0) fault_throw(env, fault);
  free(path);
  return NULL;
}

/* JS: changeDirectory(path): void, see chdir(2). process.chdir() takes only UTF-8. */
static napi_value change_directory(napi_env env, napi_callback_info info) {
  struct fault fault = {0};
  char *path = take_path(env, info, 0, NULL);
  if (path == NULL) return NULL;
  if (chdir(path) < 0) fault_set(&fault, "chdir", path);
  return finish(env, path, &fault);
}

/*
 * JS: setAttributes(path, uid, gid, mode, seconds, nanoseconds): void. mode < 0: not changed, because a
 * symbolic link has none; nanoseconds < 0: times not changed. In this order: chown(2) clears setuid.
 */
static napi_value set_attributes(napi_env env, napi_callback_info info) {
  struct fault fault = {0};
  int64_t n[5];
  char *path = take_path(env, info, 5, n);
  if (path == NULL) return NULL;
  struct timespec times[2] = {{.tv_sec = n[3], .tv_nsec = n[4]}, {.tv_sec = n[3], .tv_nsec = n[4]}};
  if (lchown(path, (uid_t)n[0], (gid_t)n[1]) < 0) {
    fault_set(&fault, "chown", path);
  } else if (n[2] >= 0 && chmod(path, (mode_t)n[2]) < 0) {
    fault_set(&fault, "chmod", path);
  } else if (n[4] >= 0 && utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) < 0) {
    fault_set(&fault, "utimensat", path);
  }
  return finish(env, path, &fault);
}

/*
 * Gives a new file its owner, permissions and times. What it has already is not set again: ext4 writes the inode for each
 * call. In this order: fchown(2) clears setuid.
 */
static void describe_new_file(struct fault *fault, int fd, const char *path, const int64_t *n) {
  const struct timespec time = {.tv_sec = n[3], .tv_nsec = n[4]}, times[2] = {time, time};
  const uid_t uid = (uid_t)n[0];
  const gid_t gid = (gid_t)n[1];
  const mode_t mode = (mode_t)n[2];
  struct stat now;
  if (fstat(fd, &now) < 0) {
    fault_set(fault, "stat", path);
  } else if ((now.st_uid != uid || now.st_gid != gid) && fchown(fd, uid, gid) < 0) {
    fault_set(fault, "chown", path);
  } else if ((now.st_mode & 07777) != mode && fchmod(fd, mode) < 0) {
    fault_set(fault, "chmod", path);
  } else if (n[4] >= 0 && futimens(fd, times) < 0) {
    fault_set(fault, "set times of", path);
  }
}

/*
 * JS: makeFile(path, bytes, uid, gid, mode, seconds, nanoseconds): void. A new file with its content, owner, permissions
 * and times; EEXIST and nothing is changed if something is at the path. The umask of the process must be 0. setuid and
 * setgid are set after the content and the owner, which clear them.
 */
static napi_value make_file(napi_env env, napi_callback_info info) {
  struct fault fault = {0};
  size_t argc = 7, size = 0, at = 0;
  napi_value argv[7];
  void *bytes = NULL;
  int64_t n[5];
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok) return NULL;
  bool valid = argc == 7 && napi_get_buffer_info(env, argv[1], &bytes, &size) == napi_ok;
  for (size_t i = 0; i < 5 && valid; i++) valid = napi_get_value_int64(env, argv[i + 2], &n[i]) == napi_ok;
  if (!valid) {
    napi_throw_type_error(env, NULL, "want a path, bytes and numbers");
    return NULL;
  }
  char *path = take_bytes(env, argv[0]);
  if (path == NULL) return NULL;
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)n[2] & 0777);
  if (fd < 0) {
    fault_set(&fault, "open", path);
    return finish(env, path, &fault);
  }
  while (at < size && fault.err == 0) {
    ssize_t count = write(fd, (const char *)bytes + at, size - at);
    if (count < 0) fault_set(&fault, "write", path);
    else at += (size_t)count;
  }
  if (fault.err == 0) describe_new_file(&fault, fd, path, n);
  /* A network file system may report a failed write only here. */
  if (close(fd) < 0 && fault.err == 0) fault_set(&fault, "close", path);
  return finish(env, path, &fault);
}

/* JS: makeNode(path, mode, major, minor): void. mode includes the type, see mknod(2). */
static napi_value make_node(napi_env env, napi_callback_info info) {
  struct fault fault = {0};
  int64_t n[3];
  char *path = take_path(env, info, 3, n);
  if (path == NULL) return NULL;
  if (mknod(path, (mode_t)n[0], makedev((unsigned)n[1], (unsigned)n[2])) < 0) {
    fault_set(&fault, "mknod", path);
  }
  return finish(env, path, &fault);
}

/* JS: setXattr(path, name, value): void; one character for each byte in all three. */
static napi_value set_xattr(napi_env env, napi_callback_info info) {
  struct fault fault = {0};
  size_t argc = 3, length = 0;
  napi_value argv[3];
  char *value = NULL, *name = NULL, *path = NULL;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 3) return NULL;
  if ((path = take_bytes(env, argv[0])) == NULL || (name = take_bytes(env, argv[1])) == NULL) {
    free(path);
    return NULL;
  }
  /* The value may have any byte. */
  if (napi_get_value_string_latin1(env, argv[2], NULL, 0, &length) == napi_ok &&
      (value = malloc(length + 1)) != NULL) {
    napi_get_value_string_latin1(env, argv[2], value, length + 1, &length);
    if (lsetxattr(path, name, value, length, 0) < 0) fault_set(&fault, "set xattr of", path);
  } else {
    fault_set_errno(&fault, EINVAL, "read xattr of", path);
  }
  free(value);
  free(name);
  return finish(env, path, &fault);
}

/* Appends one text of bytes to a JS array. */
static bool push_bytes(napi_env env, napi_value list, uint32_t at, const char *bytes, size_t length) {
  napi_value text;
  return napi_create_string_latin1(env, bytes, length, &text) == napi_ok &&
         napi_set_element(env, list, at, text) == napi_ok;
}

/*
 * JS: getXattrs(path): string[], a name and its value in turn, of a file that nobody changes meanwhile. Empty on a
 * file system without attributes. ERANGE: there are more than the kernel reads at once (XATTR_LIST_MAX).
 */
static napi_value get_xattrs(napi_env env, napi_callback_info info) {
  enum { LARGEST = 64 * 1024 }; /* XATTR_LIST_MAX and XATTR_SIZE_MAX */
  struct fault fault = {0};
  napi_value list = NULL;
  char *path = take_path(env, info, 0, NULL);
  if (path == NULL) return NULL;
  char *names = malloc(2 * LARGEST), *value = names == NULL ? NULL : names + LARGEST;
  ssize_t length = names == NULL ? -1 : llistxattr(path, names, LARGEST);
  if (length < 0 && (names == NULL || errno != EOPNOTSUPP)) fault_set(&fault, "list xattrs of", path);
  uint32_t count = 0;
  if (fault.err == 0 && napi_create_array(env, &list) == napi_ok) {
    for (char *name = names; length > 0 && name < names + length; name += strlen(name) + 1) {
      ssize_t size = lgetxattr(path, name, value, LARGEST);
      if (size < 0) {
        fault_set(&fault, "read xattr of", path);
        break;
      }
      if (!push_bytes(env, list, count++, name, strlen(name))) break;
      if (!push_bytes(env, list, count++, value, (size_t)size)) break;
    }
  }
  free(names);
  finish(env, path, &fault);
  return fault.err != 0 ? NULL : list;
}

/*
 * JS: preparePipe(fd, bytes): void. Clears O_NONBLOCK, and sets the capacity of a pipe.
 * Another kind of file, or a pipe that may not grow, is not changed: it is only slower.
 */
static napi_value prepare_pipe(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2];
  int32_t fd = -1, bytes = 0;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2) return NULL;
  if (napi_get_value_int32(env, argv[0], &fd) == napi_ok &&
      napi_get_value_int32(env, argv[1], &bytes) == napi_ok) {
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK) != 0) (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    (void)fcntl(fd, F_SETPIPE_SZ, bytes);
  }
  return NULL;
}

/*
 * JS: beginWriteOut(fd, at, bytes): boolean. Lets the kernel begin to write a part of a file to the disk, so that a later
 * sync waits for less (sync_file_range(2)). It makes nothing durable, so a failure is that of the later sync.
 */
static napi_value begin_write_out(napi_env env, napi_callback_info info) {
  size_t argc = 3;
  napi_value argv[3];
  int32_t fd = -1;
  int64_t at = 0, bytes = 0;
  napi_value result = NULL;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 3) return NULL;
  bool begun = napi_get_value_int32(env, argv[0], &fd) == napi_ok && napi_get_value_int64(env, argv[1], &at) == napi_ok &&
               napi_get_value_int64(env, argv[2], &bytes) == napi_ok &&
               sync_file_range(fd, at, bytes, SYNC_FILE_RANGE_WRITE) == 0;
  napi_get_boolean(env, begun, &result);
  return result;
}

napi_status layer_entries_init(napi_env env, napi_value exports) {
  napi_status status = add_function(env, exports, "changeDirectory", change_directory);
  if (status == napi_ok) status = add_function(env, exports, "setAttributes", set_attributes);
  if (status == napi_ok) status = add_function(env, exports, "makeFile", make_file);
  if (status == napi_ok) status = add_function(env, exports, "preparePipe", prepare_pipe);
  if (status == napi_ok) status = add_function(env, exports, "beginWriteOut", begin_write_out);
  if (status == napi_ok) status = add_function(env, exports, "makeNode", make_node);
  if (status == napi_ok) status = add_function(env, exports, "setXattr", set_xattr);
  if (status == napi_ok) status = add_function(env, exports, "getXattrs", get_xattrs);
  return status;
}
