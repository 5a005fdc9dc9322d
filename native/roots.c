/*
 * Roots of davit's own programs: mounts without a name and without a parent, which no path leads out of, not even
 * `..` of an open directory (open_tree(2), chroot(2)). Devices in them cannot be opened, and programs not be run.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ROOT_READ_ONLY = 1 };

static int root_of_directory(struct fault *fault, const char *path, int64_t flags) {
  struct mount_attr attr = {
      .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
      .propagation = MS_PRIVATE,
  };
  /* With what is mounted below it, if it is only read: layers can be mounts. */
  unsigned recursive = (flags & ROOT_READ_ONLY) != 0 ? AT_RECURSIVE : 0;
  if (recursive != 0) attr.attr_set |= MOUNT_ATTR_RDONLY;
  int root = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
  if (root < 0) return fault_set(fault, "open_tree", path);
  if (syscall(SYS_mount_setattr, root, "", AT_EMPTY_PATH | recursive, &attr, sizeof attr) == 0) return root;
  fault_set(fault, "mount_setattr", path);
  close(root);
  return -1;
}

/* A file system in memory with nothing in it. */
static int empty_root(struct fault *fault) {
  const unsigned attr = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  int context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC), root = -1;
  if (context < 0) return fault_set(fault, "fsopen", "tmpfs");
  if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
    fault_set(fault, "fsconfig", "tmpfs");
  } else if ((root = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attr)) < 0) {
    fault_set(fault, "fsmount", "tmpfs");
  }
  close(context);
  return root;
}

/* strings: a directory, or null for an empty root; numbers: flags. Result: a descriptor. */
static void open_root(struct job *job) {
  const char *path = job->strings[0];
  int root = path == NULL ? empty_root(&job->fault)
                          : root_of_directory(&job->fault, path, job->numbers[0]);
  job->results[0] = root;
  job->result_count = 1;
}

/*
 * strings: a device that harms nobody, such as /dev/null. Result: a descriptor for reading and writing. It is opened on a
 * mount of its own that is read-only, so that who gets it cannot change owner, mode and times of the node's file.
 */
static void open_safe_device(struct job *job) {
  struct mount_attr attr = {
      .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
      .propagation = MS_PRIVATE,
  };
  const char *path = job->strings[0];
  char name[32];
  int mount = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  job->results[0] = -1;
  job->result_count = 1;
  if (mount < 0) {
    fault_set(&job->fault, "open_tree", path);
    return;
  }
  snprintf(name, sizeof name, "/proc/self/fd/%d", mount);
  if (syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0) {
    fault_set(&job->fault, "mount_setattr", path);
  } else if ((job->results[0] = open(name, O_RDWR | O_CLOEXEC)) < 0) {
    fault_set(&job->fault, "open", path);
  }
  close(mount);
}

/* A byte with room for a descriptor. It points into itself. */
struct root_message {
  union {
    struct cmsghdr header; /* for its alignment */
    char room[CMSG_SPACE(sizeof(int))];
  } control;
  char byte;
  struct iovec piece;
  struct msghdr message;
};

static void prepare_message(struct root_message *root) {
  *root = (struct root_message){.piece = {&root->byte, 1}};
  root->message = (struct msghdr){
      .msg_iov = &root->piece,
      .msg_iovlen = 1,
      .msg_control = root->control.room,
      .msg_controllen = sizeof root->control.room,
  };
}

/* strings: a directory; numbers: flags, and a socket to send its root to. EPIPE: nobody will read it. */
static void send_root(struct job *job) {
  struct root_message sent;
  int root = root_of_directory(&job->fault, job->strings[0], job->numbers[0]);
  if (root < 0) return;
  prepare_message(&sent);
  sent.control.header = (struct cmsghdr){
      .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
  memcpy(CMSG_DATA(&sent.control.header), &root, sizeof root);
  if (sendmsg((int)job->numbers[1], &sent.message, MSG_NOSIGNAL) < 0) {
    fault_set(&job->fault, "send root", job->strings[0]);
  }
  close(root);
}

static napi_value descriptors(napi_env env, const int *fds, uint32_t count) {
  napi_value result = NULL, value;
  napi_create_array_with_length(env, count, &result);
  for (uint32_t i = 0; i < count; i++) {
    napi_create_int32(env, fds[i], &value);
    napi_set_element(env, result, i, value);
  }
  return result;
}

/* JS: rootSockets(): number[]. Two that are connected: for sendRoot, and for the process that receives. */
static napi_value root_sockets(napi_env env, napi_callback_info info) {
  int fds[2];
  struct fault fault = {0};
  (void)info;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0) return descriptors(env, fds, 2);
  fault_set(&fault, "socketpair", "");
  fault_throw(env, &fault);
  return NULL;
}

/* Waits for a message. */
static int receive_root(struct fault *fault, int fd) {
  struct root_message received;
  prepare_message(&received);
  ssize_t length;
  int root;
  do length = recvmsg(fd, &received.message, MSG_CMSG_CLOEXEC);
  while (length < 0 && errno == EINTR);
  if (length < 0) return fault_set(fault, "recvmsg", "");
  struct cmsghdr *item = CMSG_FIRSTHDR(&received.message);
  if (item == NULL || item->cmsg_type != SCM_RIGHTS || item->cmsg_len != CMSG_LEN(sizeof root)) {
    return fault_set_errno(fault, length == 0 ? ECONNRESET : EPROTO, "receive root", "");
  }
  memcpy(&root, CMSG_DATA(item), sizeof root);
  return root;
}

/*
 * JS: enterOpenRoot(fd, isSocket): void. Makes an open root, or the one that the next message of the socket has, the
 * root and working directory of this process.
 */
static napi_value enter_open_root(napi_env env, napi_callback_info info) {
  size_t argc = 2;
  napi_value argv[2];
  int32_t fd = -1;
  bool is_socket = false;
  struct fault fault = {0};
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2) return NULL;
  if (napi_get_value_int32(env, argv[0], &fd) != napi_ok ||
      napi_get_value_bool(env, argv[1], &is_socket) != napi_ok) {
    napi_throw_type_error(env, NULL, "enterOpenRoot: want a descriptor and a boolean");
    return NULL;
  }
  int root = is_socket ? receive_root(&fault, fd) : fd;
  if (root >= 0) {
    if (fchdir(root) < 0 || chroot(".") < 0) fault_set(&fault, "chroot", "");
    close(root);
  }
  if (fault.err != 0) fault_throw(env, &fault);
  return NULL;
}

const struct job_kind root_jobs[] = {
    {"openRoot", 1, 1, open_root, false},
    {"openSafeDevice", 1, 0, open_safe_device, false},
    {"sendRoot", 1, 2, send_root, false},
    {NULL, 0, 0, NULL, false},
};

napi_status roots_init(napi_env env, napi_value exports) {
  napi_status status = add_function(env, exports, "rootSockets", root_sockets);
  return status != napi_ok ? status : add_function(env, exports, "enterOpenRoot", enter_open_root);
}
