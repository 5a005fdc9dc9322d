import { runBytesJob } from "../addon.ts";

/** A sysctl that is written unless it has the value. */
export interface NetworkSysctl {
  /** Below /proc/sys. */
  readonly path: string;
  readonly value: string;
  /** A failure does not matter: the kernel may not have it. */
  readonly mayFail?: boolean;
}

/**
 * pool; own with `net`. Writes sysctls, then sends messages one after the other until the kernel refuses one, in the
 * namespace at `net` or in that of this process. Returns all answers. Each message must ask for an acknowledgement or be
 * a dump, else EINVAL. ENOENT: nothing is at `net`; EINVAL: it is not a network namespace. ETIMEDOUT: no answer for 10 s.
 */
export async function exchangeMessages(
  net: string | undefined,
  sysctls: readonly NetworkSysctl[],
  messages: Uint8Array,
): Promise<Buffer> {
  const files = sysctls.flatMap(({ path, value }) => [path, value]);
  const job = net === undefined ? "netlink" : "netlinkInNamespace";
  const faults = sysctls.map(({ mayFail = false }) => (mayFail ? 0 : 1));
  return (await runBytesJob(job, [net ?? null, ...files], faults, messages)) ?? Buffer.alloc(0);
}

/**
 * pool. Like `exchangeMessages()`, for the packet filter (nfnetlink) of this process's network namespace, by one socket that
 * stays open. Messages that follow each other with one sequence number are a batch: of these, only the last one that changes
 * something asks for an acknowledgement.
 */
export async function exchangeWithPacketFilter(messages: Uint8Array): Promise<Buffer> {
  return (await runBytesJob("packetFilter", [], [], messages)) ?? Buffer.alloc(0);
}
