/*
 * Forgets UDP flows by the port that they were sent to. A dump of all flows of a node can have a hundred MiB, so that
 * it is read here and does not become an object of JavaScript. On a thread of libuv's pool.
 */
#include "davit.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* The kernel fills a buffer of 32 KiB with the messages of a dump (netlink(7)), and sends nothing larger. */
enum { RECEIVE_MAX = 32 * 1024, ANSWER_SECONDS = 10 };

enum { NEW_FLOW = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW };

/* Bytes of attributes that were not looked at yet. */
struct span {
  const uint8_t *bytes;
  size_t size;
};

static int open_socket(struct fault *fault) {
  const struct timeval patience = {.tv_sec = ANSWER_SECONDS};
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  if (fd < 0) return fault_set(fault, "socket", "NETLINK_NETFILTER");
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0) {
    fault_set(fault, "setsockopt", "NETLINK_NETFILTER");
    close(fd);
    return -1;
  }
  return fd;
}

static int send_message(struct fault *fault, int fd, const void *message, size_t size) {
  const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (sendto(fd, message, size, 0, (const struct sockaddr *)&kernel, sizeof kernel) >= 0) return 0;
  return fault_set(fault, "send", "conntrack");
}

static int request_dump(struct fault *fault, int fd, uint8_t family) {
  struct {
    struct nlmsghdr header;
    struct nfgenmsg body;
  } request = {
      .header = {.nlmsg_len = sizeof request,
                 .nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
      .body = {.nfgen_family = family, .version = NFNETLINK_V0},
  };
  return send_message(fault, fd, &request, sizeof request);
}

/* The content of the attribute of this type; without bytes if there is none, or if a length leads out of the span. */
static struct span find_attribute(struct span in, uint16_t type) {
  struct nlattr head;
  while (in.size >= sizeof head) {
    memcpy(&head, in.bytes, sizeof head);
    if (head.nla_len < sizeof head || head.nla_len > in.size) break;
    if ((head.nla_type & NLA_TYPE_MASK) == type) {
      return (struct span){in.bytes + sizeof head, head.nla_len - sizeof head};
    }
    size_t next = ((size_t)head.nla_len + NLA_ALIGNTO - 1) & ~(size_t)(NLA_ALIGNTO - 1);
    if (next >= in.size) break;
    in = (struct span){in.bytes + next, in.size - next};
  }
  return (struct span){NULL, 0};
}

/* A bit for each port: a pod may have all of them, and a node has many flows. */
struct ports {
  uint8_t bits[65536 / 8];
};

static bool is_sought(const struct ports *ports, struct span attributes) {
  struct span proto = find_attribute(find_attribute(attributes, CTA_TUPLE_ORIG), CTA_TUPLE_PROTO);
  struct span number = find_attribute(proto, CTA_PROTO_NUM), port = find_attribute(proto, CTA_PROTO_DST_PORT);
  if (number.size < 1 || number.bytes[0] != IPPROTO_UDP || port.size < 2) return false;
  unsigned value = (unsigned)port.bytes[0] << 8 | port.bytes[1];
  return (ports->bits[value / 8] >> (value % 8) & 1) != 0;
}

/* What the kernel said of a flow names the flow, too. One that has gone meanwhile is as good as deleted. */
static int delete_flow(struct fault *fault, int fd, uint8_t *message, struct nlmsghdr header) {
  header.nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
  header.nlmsg_flags = NLM_F_REQUEST;
  header.nlmsg_seq = 0;
  header.nlmsg_pid = 0;
  memcpy(message, &header, sizeof header);
  return send_message(fault, fd, message, header.nlmsg_len);
}

enum progress { FAULT = -1, MORE, DONE };

/* Deletes what is sought among the messages of one buffer. */
static enum progress take(struct job *job, const struct ports *ports, int deleting, uint8_t *bytes, size_t size) {
  struct nlmsghdr header;
  for (size_t at = 0; size - at >= sizeof header; at += NLMSG_ALIGN(header.nlmsg_len)) {
    memcpy(&header, bytes + at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > size - at) break;
    size_t body = header.nlmsg_len - sizeof header;
    if (header.nlmsg_type == NLMSG_DONE) return DONE;
    if (header.nlmsg_type == NLMSG_ERROR) {
      int32_t error = 0;
      if (body >= sizeof error) memcpy(&error, bytes + at + sizeof header, sizeof error);
      fault_set_errno(&job->fault, error < 0 ? -error : EIO, "list flows", "conntrack");
      return FAULT;
    }
    if (header.nlmsg_type == NEW_FLOW && body > sizeof(struct nfgenmsg)) {
      const size_t skip = sizeof header + sizeof(struct nfgenmsg);
      struct span attributes = {bytes + at + skip, header.nlmsg_len - skip};
      if (is_sought(ports, attributes)) {
        if (delete_flow(&job->fault, deleting, bytes + at, header) < 0) return FAULT;
        job->results[0]++;
      }
    }
    if (NLMSG_ALIGN(header.nlmsg_len) > size - at) break;
  }
  return MORE;
}

static void read_dump(struct job *job, const struct ports *ports, int listing, int deleting, uint8_t *buffer) {
  enum progress progress = MORE;
  while (progress == MORE) {
    struct sockaddr_nl from = {0};
    socklen_t from_size = sizeof from;
    ssize_t count =
        recvfrom(listing, buffer, RECEIVE_MAX, MSG_TRUNC, (struct sockaddr *)&from, &from_size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      fault_set_errno(&job->fault, errno == EAGAIN ? ETIMEDOUT : errno, "list flows", "conntrack");
      return;
    }
    if (from.nl_pid != 0) continue; /* not from the kernel */
    if (count > RECEIVE_MAX) {
      fault_set_errno(&job->fault, EMSGSIZE, "list flows", "conntrack");
      return;
    }
    progress = take(job, ports, deleting, buffer, (size_t)count);
  }
}

/* numbers: AF_INET or AF_INET6, then ports. Result: how many flows were deleted. */
static void forget_udp_flows(struct job *job) {
  struct ports ports = {{0}};
  for (size_t i = 1; i < job->number_count; i++) {
    uint16_t port = (uint16_t)job->numbers[i];
    ports.bits[port / 8] |= (uint8_t)(1 << port % 8);
  }
  uint8_t *buffer = malloc(RECEIVE_MAX);
  if (buffer == NULL) {
    fault_set_errno(&job->fault, ENOMEM, "list flows", "conntrack");
    return;
  }
  int listing = open_socket(&job->fault);
  /* Of its own: an error about a flow that has gone must not be read as the end of the dump. */
  int deleting = listing < 0 ? -1 : open_socket(&job->fault);
  job->result_count = 1;
  if (deleting >= 0 && request_dump(&job->fault, listing, (uint8_t)job->numbers[0]) == 0) {
    read_dump(job, &ports, listing, deleting, buffer);
  }
  if (deleting >= 0) close(deleting);
  if (listing >= 0) close(listing);
  free(buffer);
}

const struct job_kind conntrack_jobs[] = {
    {"forgetUdpFlows", 0, 1, forget_udp_flows, false},
    {NULL, 0, 0, NULL, false},
};
