/*
 * Makes directories, files and mounts in one job: a
 * call of node:fs for each of them takes three jobs of the pool. It stops at the first failure, and the caller
 * removes what was made before.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* As in src/linux/file/native.ts. */
enum { MAKE_DIRECTORY, WRITE_FILE, APPEND_TO_FILE, COPY_FILE, MOUNT_TMPFS, MAKE_LINK };
enum { STEP_STRINGS = 2, STEP_NUMBERS = 5 };

struct step {
  int64_t what, mode, uid, gid; /* owner: -1 does not change it */
  bool may_exist;               /* for a directory: make its parents, too */
  const char *path;
  const char *other; /* of a directory: what it is to be like, to which uid and gid are added; of a tmpfs: its
                        options; else text, source or target */
};

/* Owner first: chown(2) clears setuid. Correct values are not written again. */
static int set_attributes(struct fault *fault, int fd, const struct step *step) {
  struct stat info;
  if (fstat(fd, &info) < 0) return fault_set(fault, "stat", step->path);
  bool chowned = (step->uid >= 0 && info.st_uid != (uid_t)step->uid) ||
                 (step->gid >= 0 && info.st_gid != (gid_t)step->gid);
  if (chowned && fchown(fd, (uid_t)step->uid, (gid_t)step->gid) < 0) {
    return fault_set(fault, "chown", step->path);
  }
  if ((chowned || (info.st_mode & 07777) != (mode_t)step->mode) &&
      fchmod(fd, (mode_t)step->mode) < 0) {
    return fault_set(fault, "chmod", step->path);
  }
  return 0;
}

static int make_parents(struct fault *fault, const struct step *step) {
  char *path = strdup(step->path);
  if (path == NULL) return fault_set(fault, "mkdir", step->path);
  for (char *at = path; fault->err == 0 && *at != '\0' && (at = strchr(at + 1, '/')) != NULL;) {
    *at = '\0';
    if (mkdir(path, (mode_t)step->mode) < 0 && errno != EEXIST) fault_set(fault, "mkdir", path);
    *at = '/';
  }
  free(path);
  return fault->err == 0 ? 0 : -1;
}

static int make_directory(struct fault *fault, struct step step) {
  struct stat like;
  if (step.other != NULL) {
    if (stat(step.other, &like) < 0) return fault_set(fault, "stat", step.other);
    step.uid += like.st_uid;
    step.gid += like.st_gid;
    step.mode = like.st_mode & 07777;
  }
  bool made = mkdir(step.path, (mode_t)step.mode) == 0;
  if (!made && errno == ENOENT && step.may_exist) {
    if (make_parents(fault, &step) < 0) return -1;
    made = mkdir(step.path, (mode_t)step.mode) == 0;
  }
  if (!made && (errno != EEXIST || !step.may_exist)) return fault_set(fault, "mkdir", step.path);
  int fd = open(step.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    /* Something else exists: the errno of mkdir(2). */
    if (errno == ENOTDIR) errno = EEXIST;
    fault_set(fault, errno == EEXIST ? "mkdir" : "open directory", step.path);
  } else {
    set_attributes(fault, fd, &step);
    close(fd);
  }
  if (fault->err == 0) return 0;
  if (made) rmdir(step.path);
  return -1;
}

static int write_all(struct fault *fault, int fd, const struct step *step, const char *bytes,
                     size_t length) {
  while (length > 0) {
    ssize_t count = write(fd, bytes, length);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fault_set(fault, "write", step->path);
    if (count == 0) return fault_set_errno(fault, EIO, "write", step->path);
    bytes += count;
    length -= (size_t)count;
  }
  return 0;
}

/* A missing file is an empty one. */
static int copy_from(struct fault *fault, int fd, const struct step *step) {
  char bytes[16 * 1024];
  ssize_t count = 0;
  int from = open(step->other, O_RDONLY | O_CLOEXEC);
  if (from < 0) return errno == ENOENT ? 0 : fault_set(fault, "open", step->other);
  do {
    count = read(from, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fault_set(fault, "read", step->other);
    if (count > 0) write_all(fault, fd, step, bytes, (size_t)count);
  } while (count != 0 && fault->err == 0);
  close(from);
  return fault->err == 0 ? 0 : -1;
}

/* Removes a partly written line: otherwise the next line would become a part of it. */
static int append_text(struct fault *fault, int fd, const struct step *step) {
  struct stat info;
  if (fstat(fd, &info) < 0) return fault_set(fault, "stat", step->path);
  if (write_all(fault, fd, step, step->other, strlen(step->other)) == 0) return 0;
  /* The error of write(2) counts, not one of these calls. */
  if (info.st_size == 0) (void)unlink(step->path);
  else if (ftruncate(fd, info.st_size) < 0) return -1;
  return -1;
}

static int make_file(struct fault *fault, const struct step *step) {
  int how = step->what == APPEND_TO_FILE ? O_APPEND : O_TRUNC;
  int fd = open(step->path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | how, (mode_t)step->mode);
  if (fd < 0) return fault_set(fault, "open", step->path);
  if (set_attributes(fault, fd, step) == 0) {
    if (step->what == COPY_FILE) copy_from(fault, fd, step);
    else if (step->what == APPEND_TO_FILE) append_text(fault, fd, step);
    else write_all(fault, fd, step, step->other, strlen(step->other));
  }
  /* Some file systems report a full disk only here. */
  if (close(fd) < 0 && errno != EINTR && fault->err == 0) fault_set(fault, "close", step->path);
  return fault->err == 0 ? 0 : -1;
}

static void mount_tmpfs(struct fault *fault, const struct step *step) {
  unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount("tmpfs", step->path, "tmpfs", flags, step->other) < 0) {
    fault_set(fault, "mount tmpfs on", step->path);
  }
}

/*
 * For each step strings: path and other; numbers: what it does, mode, uid, gid, may_exist.
 * The fault has the index of the step.
 */
static void run_file_steps(struct job *job) {
  struct fault *fault = &job->fault;
  size_t count = job->number_count / STEP_NUMBERS;
  for (size_t i = 0; i < count && fault->err == 0; i++) {
    const int64_t *numbers = job->numbers + i * STEP_NUMBERS;
    char **strings = job->strings + i * STEP_STRINGS;
    fault->step = (int)i;
    if (i * STEP_STRINGS + 1 >= job->string_count || strings[0] == NULL) {
      fault_set_errno(fault, EINVAL, "read file steps", "");
      return;
    }
    struct step step = {numbers[0], numbers[1], numbers[2],
                        numbers[3], numbers[4] != 0, strings[0],
                        strings[1]};
    if (step.what == MAKE_DIRECTORY) make_directory(fault, step);
    else if (step.other == NULL) fault_set_errno(fault, EINVAL, "read file steps", step.path);
    else if (step.what == MOUNT_TMPFS) mount_tmpfs(fault, &step);
    else if (step.what != MAKE_LINK) make_file(fault, &step);
    else if (symlink(step.other, step.path) < 0) fault_set(fault, "symlink", step.path);
  }
}

const struct job_kind file_step_jobs[] = {
    {"runFileSteps", 0, 0, run_file_steps, false},
    {NULL, 0, 0, NULL, false},
};
