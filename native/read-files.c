/*
 * Reads files of the kernel and lists devices, many in one job, because switching to another thread costs more than
 * several reads, and a read that waits in the kernel must not stop the event loop.
 */
#include "davit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { MAX_TEXT = 64 * 1024, MAX_DEPTH = 64 };

/*
 * Opens files one after the other. A directory is looked up once for consecutive files in it, because most
 * of the time to open a file is spent on its path.
 */
struct opener {
  char **paths;
  size_t count;
  int directory;    /* of the current files; AT_FDCWD: use their whole path */
  size_t length; /* of its path; 0 for none */
  bool missing;  /* and so are the files in it */
};

/* Length of the path of the directory that a file is in; 0 for one that must be opened by its whole path. */
static size_t directory_length(const char *path) {
  const char *slash = path == NULL ? NULL : strrchr(path, '/');
  return slash == NULL ? 0 : (size_t)(slash - path);
}

static bool in_same_directory(const char *one, const char *other, size_t length) {
  return length > 0 && one != NULL && directory_length(other) == length && memcmp(one, other, length) == 0;
}

static void opener_close(struct opener *opener) {
  if (opener->directory >= 0) close(opener->directory);
  opener->directory = AT_FDCWD;
  opener->length = 0;
  opener->missing = false;
}

static int open_next(struct opener *opener, size_t i) {
  const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  char *path = opener->paths[i];
  if (path == NULL) return -1;
  if (opener->length == 0 || !in_same_directory(opener->paths[i - 1], path, opener->length)) {
    opener_close(opener);
    size_t length = directory_length(path);
    if (i + 1 < opener->count && in_same_directory(path, opener->paths[i + 1], length)) {
      path[length] = '\0';
      opener->directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
      path[length] = '/';
      opener->missing = opener->directory < 0;
      opener->length = length;
    }
  }
  if (opener->missing) return -1;
  return opener->length == 0 ? open(path, flags)
                             : openat(opener->directory, path + opener->length + 1, flags);
}

/* A copy of the content; NULL when the read failed or filled the buffer. */
static char *text_of(const char *buffer, ssize_t count, size_t length) {
  char *text = count < 0 || length >= MAX_TEXT ? NULL : malloc(length + 1);
  if (text == NULL) return NULL;
  memcpy(text, buffer, length);
  text[length] = '\0';
  return text;
}

static char *read_text(int fd, char *buffer, size_t *size) {
  size_t length = 0;
  ssize_t count = 1;
  while (count != 0 && length < MAX_TEXT) {
    count = read(fd, buffer + length, MAX_TEXT - length);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    length += (size_t)count;
  }
  if (size != NULL) *size = length;
  return text_of(buffer, count, length);
}

static bool make_texts(struct job *job, size_t count) {
  job->texts = calloc(count + 1, sizeof *job->texts);
  if (job->texts == NULL) fault_set_errno(&job->fault, ENOMEM, "read files", "");
  else job->text_count = count;
  return job->texts != NULL;
}

static void read_texts(struct job *job) {
  char buffer[MAX_TEXT];
  struct opener opener = {.paths = job->strings + 1, .count = job->string_count - 1, .directory = AT_FDCWD};
  if (!make_texts(job, opener.count)) return;
  for (size_t i = 0; i < opener.count; i++) {
    int fd = open_next(&opener, i);
    if (fd < 0) continue;
    job->texts[i] = read_text(fd, buffer, job->text_sizes == NULL ? NULL : &job->text_sizes[i]);
    close(fd);
  }
  opener_close(&opener);
}

/*
 * strings: null, then files. Texts: the content of each, NULL for one that cannot be read. A cgroup that is removed
 * meanwhile is not a fault: its files give ENOENT, or ENODEV when they are open.
 */
static void read_files(struct job *job) {
  if (job->strings[0] == NULL) read_texts(job);
  else fault_set_errno(&job->fault, EINVAL, "read files in", job->strings[0]);
}

/* strings: null, then files. Texts: as above, but UTF-8, with the NUL bytes between the words of command lines. */
static void read_words(struct job *job) {
  job->text_sizes = calloc(job->string_count, sizeof *job->text_sizes);
  if (job->text_sizes == NULL) fault_set_errno(&job->fault, ENOMEM, "read files", "");
  else read_files(job);
}

/* strings: net path, then files as above. */
static void read_files_in_namespace(struct job *job) {
  if (enter_namespace(&job->fault, job->strings[0], CLONE_NEWNET) == 0) read_texts(job);
}

/*
 * strings: a file, then net paths. Texts: the content of the file in each of the namespaces, NULL for a namespace that
 * cannot be entered. The thread enters one after the other.
 */
static void read_file_in_namespaces(struct job *job) {
  char buffer[MAX_TEXT];
  const char *path = job->strings[0];
  if (!make_texts(job, job->string_count - 1)) return;
  for (size_t i = 0; path != NULL && i < job->text_count; i++) {
    struct fault fault = {0};
    if (job->strings[i + 1] == NULL) continue;
    if (enter_namespace(&fault, job->strings[i + 1], CLONE_NEWNET) < 0) continue;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) continue;
    job->texts[i] = read_text(fd, buffer, NULL);
    close(fd);
  }
}

/* strings: files. List: a descriptor of each, owned by the caller; -1 for one that cannot be opened. */
static void open_files(struct job *job) {
  struct opener opener = {.paths = job->strings, .count = job->string_count, .directory = AT_FDCWD};
  job->list = calloc(opener.count + 1, sizeof *job->list);
  if (job->list == NULL) {
    fault_set_errno(&job->fault, ENOMEM, "open files", "");
    return;
  }
  job->list_count = opener.count;
  for (size_t i = 0; i < opener.count; i++) job->list[i] = open_next(&opener, i);
  opener_close(&opener);
}

/*
 * numbers: descriptors of cgroupfs, or less than 0. Texts: the content of each from its beginning, NULL for one
 * that cannot be read. cgroupfs returns a file in one read if the buffer is large enough (a seq_file of one record).
 */
static void read_open_files(struct job *job) {
  char buffer[MAX_TEXT];
  if (!make_texts(job, job->number_count)) return;
  for (size_t i = 0; i < job->number_count; i++) {
    ssize_t count = -1;
    if (job->numbers[i] < 0 || job->numbers[i] > INT_MAX) continue;
    do {
      count = pread((int)job->numbers[i], buffer, MAX_TEXT, 0);
    } while (count < 0 && errno == EINTR);
    job->texts[i] = text_of(buffer, count, count < 0 ? 0 : (size_t)count);
  }
}

/* A device as a text: type, numbers, mode and ids, and its path relative to the start of the walk. */
static int add_device(struct job *job, const struct stat *info, const char *path) {
  size_t count = job->text_count;
  if ((count & (count - 1)) == 0) { /* a power of two: the array is full */
    size_t size = count == 0 ? 1 : 2 * count;
    char **texts = realloc(job->texts, size * sizeof *texts);
    if (texts != NULL) job->texts = texts;
    size_t *sizes = realloc(job->text_sizes, size * sizeof *sizes);
    if (sizes != NULL) job->text_sizes = sizes;
    if (texts == NULL || sizes == NULL) return fault_set_errno(&job->fault, ENOMEM, "list", path);
  }
  int length = asprintf(&job->texts[count], "%c %u %u %u %u %u %s", S_ISBLK(info->st_mode) ? 'b' : 'c',
                        major(info->st_rdev), minor(info->st_rdev), info->st_mode & 07777,
                        info->st_uid, info->st_gid, path);
  if (length < 0) return fault_set_errno(&job->fault, ENOMEM, "list", path);
  job->text_sizes[count] = (size_t)length;
  job->text_count++;
  return 0;
}

static bool is_device(const struct stat *info) {
  return S_ISCHR(info->st_mode) || S_ISBLK(info->st_mode);
}

/*
 * Takes ownership of the descriptor. A file that is removed meanwhile is not a fault, and files that are too deep are
 * left out, because any user may make directories in /dev/shm.
 */
static int list_directory(struct job *job, int fd, char *path, size_t length, int depth) {
  struct dirent *entry;
  struct stat info;
  DIR *dir = fdopendir(fd);
  int result = 0;
  if (dir == NULL) {
    close(fd);
    return fault_set_errno(&job->fault, ENOMEM, "open directory", path);
  }
  while (result == 0 && (entry = readdir(dir)) != NULL) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_DIR && entry->d_type != DT_CHR &&
        entry->d_type != DT_BLK) {
      continue;
    }
    if (fstatat(dirfd(dir), name, &info, AT_SYMLINK_NOFOLLOW) < 0) continue;
    int used = snprintf(path + length, PATH_MAX - length, "/%s", name);
    if ((size_t)used >= PATH_MAX - length) {
      path[length] = '\0';
      continue;
    }
    if (is_device(&info)) {
      result = add_device(job, &info, path);
    } else if (S_ISDIR(info.st_mode) && depth < MAX_DEPTH) {
      int below = openat(dirfd(dir), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (below >= 0) {
        result = list_directory(job, below, path, length + (size_t)used, depth + 1);
      } else if (errno != ENOENT && errno != ENOTDIR) {
        result = fault_set(&job->fault, "open directory", path);
      }
    }
    path[length] = '\0';
  }
  closedir(dir);
  return result;
}

/*
 * strings: a device, or a directory. Texts: see add_device(); none when nothing is there, or something else. No
 * device is opened.
 */
static void list_devices(struct job *job) {
  char path[PATH_MAX] = "";
  struct stat info;
  job->texts = calloc(1, sizeof *job->texts);
  job->text_sizes = calloc(1, sizeof *job->text_sizes);
  if (job->texts == NULL || job->text_sizes == NULL || job->strings[0] == NULL) {
    int err = job->strings[0] == NULL ? EINVAL : ENOMEM;
    fault_set_errno(&job->fault, err, "list devices in", job->strings[0]);
  } else if (stat(job->strings[0], &info) < 0) {
    return;
  } else if (is_device(&info)) {
    add_device(job, &info, path);
  } else if (S_ISDIR(info.st_mode)) {
    int fd = open(job->strings[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) list_directory(job, fd, path, 0, 0);
    else fault_set(&job->fault, "open directory", job->strings[0]);
  }
}

const struct job_kind read_jobs[] = {
    {"readFiles", 1, 0, read_files, false},
    {"readWords", 1, 0, read_words, false},
    {"readFilesInNamespace", 1, 0, read_files_in_namespace, true},
    {"readFileInNamespaces", 1, 0, read_file_in_namespaces, true},
    {"openFiles", 0, 0, open_files, false},
    {"readOpenFiles", 0, 0, read_open_files, false},
    {"listDevices", 1, 0, list_devices, false},
    {NULL, 0, 0, NULL, false},
};
