/*
 * Exchanges messages with the kernel's routing tables (rtnetlink(7)) in a network namespace, or with the packet filter of
 * this process's. The messages are built and read in src/linux/netlink: this file only frames them. A job sends one message
 * after the other and stops at the first one that the kernel refuses, so that what follows can rely on what came before.
 * Messages that follow each other with one sequence number are sent at once: a batch of nftables.
 */
#include "davit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/*
 * A dump comes in parts of 32 KiB (netlink(7)). A message about one link has more when a pod gives it many other names
 * (IFLA_PROP_LIST), whose list has 64 KiB at most.
 */
enum { RECEIVE_MAX = 128 * 1024, REQUEST_MAX = 64 * 1024, REPLY_MAX = 4 * 1024 * 1024, ANSWER_SECONDS = 10 };

#ifndef NETLINK_GET_STRICT_CHK
#define NETLINK_GET_STRICT_CHK 12
#endif

static int open_socket(struct fault *fault, int protocol) {
  const int on = 1;
  const struct timeval patience = {.tv_sec = ANSWER_SECONDS};
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) return fault_set(fault, "socket", "netlink");
  /* Reasons in words, errors without a copy of the request, and dumps of one interface instead of all. */
  if (setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on) < 0 ||
      setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on) < 0 ||
      setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on) < 0 ||
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0) {
    fault_set(fault, "setsockopt", "netlink");
    close(fd);
    return -1;
  }
  return fd;
}

static int append(struct job *job, const uint8_t *bytes, size_t size) {
  if (size > REPLY_MAX - job->output_size) return fault_set_errno(&job->fault, EMSGSIZE, "receive", "netlink");
  uint8_t *output = realloc(job->output, job->output_size + size);
  if (output == NULL) return fault_set_errno(&job->fault, ENOMEM, "receive", "netlink");
  memcpy(output + job->output_size, bytes, size);
  job->output = output;
  job->output_size += size;
  return 0;
}

enum answer { FAULT = -1, MORE, DONE, REFUSED };

/* Whether these bytes end the answer to the messages with this number: errors come before an acknowledgement. */
static enum answer find_end(const uint8_t *bytes, size_t size, uint32_t number) {
  struct nlmsghdr header;
  int32_t error;
  for (size_t at = 0; size - at >= sizeof header; at += NLMSG_ALIGN(header.nlmsg_len)) {
    memcpy(&header, bytes + at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > size - at) return MORE;
    if (header.nlmsg_seq == number && header.nlmsg_type == NLMSG_DONE) return DONE;
    if (header.nlmsg_seq == number && header.nlmsg_type == NLMSG_ERROR &&
        header.nlmsg_len >= NLMSG_HDRLEN + sizeof error) {
      memcpy(&error, bytes + at + NLMSG_HDRLEN, sizeof error);
      return error == 0 ? DONE : REFUSED;
    }
    if (NLMSG_ALIGN(header.nlmsg_len) > size - at) return MORE;
  }
  return MORE;
}

static enum answer receive(struct job *job, int fd, uint8_t *buffer, uint32_t number) {
  struct sockaddr_nl from;
  struct iovec part = {.iov_base = buffer, .iov_len = RECEIVE_MAX};
  struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
  ssize_t count;
  do {
    count = recvmsg(fd, &message, 0);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return fault_set_errno(&job->fault, errno == EAGAIN ? ETIMEDOUT : errno, "receive", "netlink");
  if (message.msg_flags & MSG_TRUNC) return fault_set_errno(&job->fault, EMSGSIZE, "receive", "netlink");
  if (from.nl_pid != 0) return MORE; /* not from the kernel */
  if (append(job, buffer, (size_t)count) < 0) return FAULT;
  return find_end(buffer, (size_t)count, number);
}

/*
 * The size of the messages from `at` on that have the number of the first one. 0 if one is malformed, or if none has a flag
 * without which the kernel would not say when it is done.
 */
static size_t sent_at_once(const struct job *job, size_t at, uint32_t *number) {
  size_t size = 0;
  bool is_answered = false;
  while (at + size < job->input_size) {
    struct nlmsghdr header;
    size_t left = job->input_size - at - size;
    if (left < sizeof header) return 0;
    memcpy(&header, job->input + at + size, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > left || NLMSG_ALIGN(header.nlmsg_len) > left) return 0;
    if (size > 0 && header.nlmsg_seq != *number) break;
    *number = header.nlmsg_seq;
    is_answered |= (header.nlmsg_flags & (NLM_F_ACK | NLM_F_DUMP)) != 0;
    size += NLMSG_ALIGN(header.nlmsg_len);
  }
  return is_answered ? size : 0;
}

/* Sends all messages. How the answer to the last one that was sent ended. */
static enum answer exchange(struct job *job, int fd, uint8_t *buffer) {
  const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  uint32_t number = 0;
  for (size_t at = 0, size; at < job->input_size; at += size) {
    if ((size = sent_at_once(job, at, &number)) == 0) {
      return fault_set_errno(&job->fault, EINVAL, "read netlink messages", "");
    }
    if (sendto(fd, job->input + at, size, 0, (const struct sockaddr *)&kernel, sizeof kernel) < 0) {
      return fault_set(&job->fault, "send", "netlink");
    }
    enum answer answer = MORE;
    while (answer == MORE) answer = receive(job, fd, buffer, number);
    if (answer != DONE) return answer;
  }
  return DONE;
}

/* Leaves a sysctl that has the value: /proc/sys may be read-only. */
static int set_sysctl(struct fault *fault, const char *path, const char *value) {
  char now[64];
  int fd = open(path, O_RDONLY | O_CLOEXEC); /* -1 for one that can only be written */
  ssize_t count = fd < 0 ? -1 : read(fd, now, sizeof now);
  if (fd >= 0) close(fd);
  while (count > 0 && (now[count - 1] == '\n' || now[count - 1] == ' ')) count--;
  if (count >= 0 && (size_t)count == strlen(value) && memcmp(now, value, (size_t)count) == 0) return 0;
  return write_file(fault, path, value);
}

/* NULL with the fault set for messages that are too large, or without memory. */
static uint8_t *receive_buffer(struct job *job) {
  uint8_t *buffer = job->input_size > REQUEST_MAX ? NULL : malloc(RECEIVE_MAX);
  if (buffer == NULL) {
    fault_set_errno(&job->fault, job->input_size > REQUEST_MAX ? EMSGSIZE : ENOMEM, "send", "netlink");
  }
  return buffer;
}

/*
 * strings: net path or null, then pairs of sysctl file and value. numbers: for each pair, 1 if a failure is a fault.
 * bytes: messages. Result: all that the kernel answered. The sysctls come first.
 */
static void run_netlink(struct job *job) {
  for (size_t i = 0; 2 * i + 2 < job->string_count && i < job->number_count; i++) {
    const char *path = job->strings[2 * i + 1], *value = job->strings[2 * i + 2];
    struct fault fault = {0};
    if (path == NULL || value == NULL || set_sysctl(&fault, path, value) == 0 || job->numbers[i] == 0) continue;
    job->fault = fault;
    return;
  }
  if (job->input_size == 0) return;
  uint8_t *buffer = receive_buffer(job);
  int fd = buffer == NULL ? -1 : open_socket(&job->fault, NETLINK_ROUTE);
  if (fd >= 0) {
    exchange(job, fd, buffer);
    close(fd);
  }
  free(buffer);
}

/* On a thread of its own, which ends in the namespace that it entered. */
static void run_netlink_in_namespace(struct job *job) {
  if (enter_namespace(&job->fault, job->strings[0], CLONE_NEWNET) == 0) run_netlink(job);
}

/*
 * The socket of the packet filter stays open: the kernel lets whoever closes one wait until it has freed what was deleted,
 * which takes a grace period of RCU (nft_rcv_nl_event(), net/netfilter/nf_tables_api.c).
 */
static struct {
  pthread_mutex_t lock;
  int fd;
} packet_filter = {PTHREAD_MUTEX_INITIALIZER, -1};

/* bytes: messages for the packet filter (nfnetlink). Result: all that the kernel answered. */
static void run_packet_filter(struct job *job) {
  uint8_t *buffer = receive_buffer(job);
  if (buffer == NULL) return;
  pthread_mutex_lock(&packet_filter.lock);
  if (packet_filter.fd < 0) packet_filter.fd = open_socket(&job->fault, NETLINK_NETFILTER);
  /* After an error there may be more answers, which the next job would read. */
  if (packet_filter.fd >= 0 && exchange(job, packet_filter.fd, buffer) != DONE) {
    close(packet_filter.fd);
    packet_filter.fd = -1;
  }
  pthread_mutex_unlock(&packet_filter.lock);
  free(buffer);
}

const struct job_kind netlink_jobs[] = {
    {"netlink", 1, 0, run_netlink, false},
    {"netlinkInNamespace", 1, 0, run_netlink_in_namespace, true},
    {"packetFilter", 0, 0, run_packet_filter, false},
    {NULL, 0, 0, NULL, false},
};
