/*
 * Project quotas (quotactl(2), ext4(5), xfs(5)): a project is a number that files carry, and the file system limits
 * the space of all files with the same number. A directory hands its number on to what is made in it
 * (FS_XFLAG_PROJINHERIT). On threads of libuv's pool: each call may wait for the disk.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443 /* Linux 5.14; the same number on all architectures */
#endif

static int open_path(struct fault *fault, const char *path) {
  int fd = path == NULL ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) fault_set(fault, "open directory", path == NULL ? "" : path);
  return fd;
}

static int quota(int fd, int command, uint32_t project, void *data) {
  return (int)syscall(SYS_quotactl_fd, fd, QCMD((uint32_t)command, PRJQUOTA), project, data);
}

/* What a project uses; XFS does not know one that was never used. */
static int read_quota(struct fault *fault, int fd, uint32_t project, struct if_dqblk *found) {
  memset(found, 0, sizeof *found);
  if (quota(fd, (int)Q_GETQUOTA, project, found) == 0) return 0;
  if (errno != ENOENT && errno != ESRCH) return fault_set(fault, "quotactl Q_GETQUOTA", "");
  memset(found, 0, sizeof *found);
  return 0;
}

/* The limit counts in units of 1024 bytes (QIF_DQBLKSIZE); 0 removes it. */
static int set_limit(struct fault *fault, int fd, uint32_t project, int64_t kib) {
  struct if_dqblk limit = {.dqb_bhardlimit = (uint64_t)kib, .dqb_valid = QIF_BLIMITS};
  return quota(fd, (int)Q_SETQUOTA, project, &limit) < 0
             ? fault_set(fault, "quotactl Q_SETQUOTA", "")
             : 0;
}

/* strings: a directory. Result: 1 if its file system enforces the limits of projects, else 0. */
static void enforces_projects(struct job *job) {
  struct fs_quota_statv state = {.qs_version = FS_QSTATV_VERSION1};
  int fd = open_path(&job->fault, job->strings[0]);
  if (fd < 0) return;
  if (quota(fd, Q_XGETQSTATV, 0, &state) < 0) {
    fault_set(&job->fault, "quotactl Q_XGETQSTATV", job->strings[0]);
  }
  close(fd);
  job->results[0] = (state.qs_flags & FS_QUOTA_PDQ_ENFD) != 0;
  job->result_count = 1;
}

/* strings: directories. Results: the project of each; 0 for none, and for a directory that is missing. */
static void projects_of(struct job *job) {
  job->list = calloc(job->string_count + 1, sizeof *job->list);
  if (job->list == NULL) {
    fault_set(&job->fault, "list projects of", "directories");
    return;
  }
  job->list_count = job->string_count;
  for (size_t i = 0; i < job->string_count; i++) {
    struct fsxattr attributes = {0};
    int fd = open(job->strings[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) continue;
    if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0) job->list[i] = attributes.fsx_projid;
    close(fd);
  }
}

static int set_project(struct fault *fault, const char *path, uint32_t project) {
  struct fsxattr attributes = {0};
  int fd = open_path(fault, path);
  if (fd < 0) return -1;
  if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0) {
    fault_set(fault, "ioctl FS_IOC_FSGETXATTR", path);
  } else {
    attributes.fsx_projid = project;
    attributes.fsx_xflags |= FS_XFLAG_PROJINHERIT;
    if (ioctl(fd, FS_IOC_FSSETXATTR, &attributes) < 0) {
      fault_set(fault, "ioctl FS_IOC_FSSETXATTR", path);
    }
  }
  close(fd);
  return fault->err == 0 ? 0 : -1;
}

/*
 * strings: directories of one file system that exist; numbers: a project, a limit in KiB. Limits the project and puts
 * the directories into it. Result: 1, or 0 when the project has a limit or files already, and nothing was changed.
 */
static void begin_project(struct job *job) {
  struct fault *fault = &job->fault;
  uint32_t project = (uint32_t)job->numbers[0];
  struct if_dqblk found;
  int fd = open_path(fault, job->strings[0]);
  if (fd < 0) return;
  job->result_count = 1;
  if (read_quota(fault, fd, project, &found) == 0 && found.dqb_curspace == 0 &&
      found.dqb_curinodes == 0 && found.dqb_bhardlimit == 0 && found.dqb_bsoftlimit == 0 &&
      found.dqb_ihardlimit == 0 && found.dqb_isoftlimit == 0) {
    job->results[0] = 1;
    set_limit(fault, fd, project, job->numbers[1]);
    for (size_t i = 0; i < job->string_count && fault->err == 0; i++) {
      set_project(fault, job->strings[i], project);
    }
    if (fault->err != 0) {
      struct fault ignored = {0};
      set_limit(&ignored, fd, project, 0);
    }
  }
  close(fd);
}

/* strings: a directory on the file system; numbers: a project. Results: the bytes and inodes of its files. */
static void project_usage(struct job *job) {
  struct if_dqblk found;
  int fd = open_path(&job->fault, job->strings[0]);
  if (fd < 0) return;
  read_quota(&job->fault, fd, (uint32_t)job->numbers[0], &found);
  close(fd);
  job->results[0] = (int64_t)found.dqb_curspace;
  job->results[1] = (int64_t)found.dqb_curinodes;
  job->result_count = 2;
}

/* strings: a directory on the file system; numbers: a project, which is no longer limited. */
static void end_project(struct job *job) {
  int fd = open_path(&job->fault, job->strings[0]);
  if (fd < 0) return;
  set_limit(&job->fault, fd, (uint32_t)job->numbers[0], 0);
  close(fd);
}

const struct job_kind project_jobs[] = {
    {"enforcesProjects", 1, 0, enforces_projects, false},
    {"projectsOf", 0, 0, projects_of, false},
    {"beginProject", 1, 2, begin_project, false},
    {"projectUsage", 1, 1, project_usage, false},
    {"endProject", 1, 1, end_project, false},
    {NULL, 0, 0, NULL, false},
};
