/*
 * Copies of programs that no process can change.
 */
#include "davit.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* A memfd that may be executed. MFD_EXEC is new in Linux 6.3; before that, every memfd may be executed. */
static int executable_memfd(void) {
  int fd = memfd_create("davit-program", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  if (fd < 0 && errno == EINVAL) fd = memfd_create("davit-program", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  return fd;
}

static bool copy_all(int to, int from, off_t size) {
  off_t at = 0;
  while (at < size) {
    ssize_t count = sendfile(to, from, &at, (size_t)(size - at));
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) errno = EIO; /* the file was truncated */
    if (count <= 0) return false;
  }
  return true;
}

/* Sets *copy to the fd of the copy, or leaves -1 if the file is not an ELF program or exceeds the limit. */
static void copy_program(const char *path, int64_t limit, int *copy, struct fault *fault) {
  struct stat info;
  unsigned char magic[SELFMAG];
  int from = open(path, O_RDONLY | O_CLOEXEC);
  if (from < 0) {
    fault_set(fault, "open", path);
    return;
  }
  if (fstat(from, &info) < 0) {
    fault_set(fault, "fstat", path);
  } else if (S_ISREG(info.st_mode) && info.st_size <= limit &&
             pread(from, magic, SELFMAG, 0) == SELFMAG && memcmp(magic, ELFMAG, SELFMAG) == 0) {
    int fd = executable_memfd();
    /* crun and runc check for exactly these four seals. */
    int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    if (fd < 0) {
      fault_set(fault, "memfd_create", path);
    } else if (!copy_all(fd, from, info.st_size)) {
      fault_set(fault, "sendfile", path);
    } else if (fcntl(fd, F_ADD_SEALS, seals) < 0) {
      fault_set(fault, "fcntl", path);
    } else {
      *copy = fd;
      fd = -1;
    }
    if (fd >= 0) close(fd);
  }
  close(from);
}

/* JS: sealedCopy(path, limit). */
static napi_value sealed_copy(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2], result = NULL;
  int64_t limit = 0;
  struct fault fault = {0};
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2) return NULL;
  if (napi_get_value_int64(env, argv[1], &limit) != napi_ok) return NULL;
  char *path = take_string(env, argv[0]);
  if (path == NULL) return NULL;
  int fd = -1;
  copy_program(path, limit, &fd, &fault);
  free(path);
  if (fault.err != 0) {
    fault_throw(env, &fault);
    return NULL;
  }
  napi_create_int32(env, fd, &result);
  return result;
}

/* JS: exitNow(code). exit(3) would join the threads of the pool, and one of them may hang in the kernel. */
static napi_value exit_now(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  int32_t code = 1;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) == napi_ok && argc >= 1) {
    napi_get_value_int32(env, argv[0], &code);
  }
  _exit(code);
}

napi_status programs_init(napi_env env, napi_value exports) {
  napi_status status = add_function(env, exports, "exitNow", exit_now);
  return status != napi_ok ? status : add_function(env, exports, "sealedCopy", sealed_copy);
}
