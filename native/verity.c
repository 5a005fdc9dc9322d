/*
 * fs-verity (Documentation/filesystems/fsverity.rst): a file that never changes again, whose pages the kernel compares
 * with a tree of hashes when they are read. On threads of libuv's pool: the file is read once to make the tree.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fsverity.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { SHA256_BYTES = 32, BLOCK = 4096 };

static int open_file(struct job *job) {
  const char *path = job->strings[0];
  int fd = path == NULL ? -1 : open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) fault_set(&job->fault, "open", path == NULL ? "" : path);
  return fd;
}

/* strings: a file that nobody has open for writing. Makes it one of fs-verity; one that is already stays. */
static void enable_verity(struct job *job) {
  struct fsverity_enable_arg arg = {
      .version = 1, .hash_algorithm = FS_VERITY_HASH_ALG_SHA256, .block_size = BLOCK};
  int fd = open_file(job);
  if (fd < 0) return;
  if (ioctl(fd, FS_IOC_ENABLE_VERITY, &arg) < 0 && errno != EEXIST) {
    fault_set(&job->fault, "enable fs-verity of", job->strings[0]);
  }
  close(fd);
}

/* strings: a file. Text: its digest in hexadecimal, as fsverity(1) prints it; NULL for a file without fs-verity. */
static void measure_verity(struct job *job) {
  union {
    struct fsverity_digest head;
    unsigned char bytes[sizeof(struct fsverity_digest) + SHA256_BYTES];
  } digest = {.head = {.digest_size = SHA256_BYTES}};
  int fd = open_file(job);
  if (fd < 0) return;
  job->texts = calloc(1, sizeof *job->texts);
  char *hex = malloc(2 * SHA256_BYTES + 1);
  if (job->texts == NULL || hex == NULL) {
    fault_set_errno(&job->fault, ENOMEM, "measure", job->strings[0]);
  } else if (ioctl(fd, FS_IOC_MEASURE_VERITY, &digest) < 0) {
    /* Without verity in the file, the file system, or the kernel. */
    if (errno != ENODATA && errno != ENOTTY && errno != EOPNOTSUPP) {
      fault_set(&job->fault, "measure fs-verity of", job->strings[0]);
    }
    job->text_count = 1;
  } else if (digest.head.digest_algorithm != FS_VERITY_HASH_ALG_SHA256 ||
             digest.head.digest_size != SHA256_BYTES) {
    fault_set_errno(&job->fault, EINVAL, "measure fs-verity of", job->strings[0]);
  } else {
    for (size_t i = 0; i < SHA256_BYTES; i++) {
      snprintf(hex + 2 * i, 3, "%02x", digest.bytes[sizeof(struct fsverity_digest) + i]);
    }
    job->texts[0] = hex;
    job->text_count = 1;
    hex = NULL;
  }
  free(hex);
  close(fd);
}

const struct job_kind verity_jobs[] = {
    {"enableVerity", 1, 0, enable_verity, false},
    {"measureVerity", 1, 0, measure_verity, false},
    {NULL, 0, 0, NULL, false},
};
