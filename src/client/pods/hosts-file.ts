// The hosts file of a pod with hostAliases. As in Kubernetes it belongs to who runs the pod, and the server only mounts it.
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import type { PodManifest } from "../../manifest/index.ts";

/** The name of the file in the directory of a pod. */
export const hostsFileName = "etc-hosts";

/**
 * Writes the hosts file of a pod into its directory. Resolves with its path; undefined for a pod without hostAliases,
 * whose file the server makes. A pod in the network of the node has the names of the node, too.
 */
export async function writeHostsFile(
  pod: PodManifest,
  ips: readonly string[],
): Promise<string | undefined> {
  if (pod.hostAliases.length === 0) return undefined;
  const path = join(pod.directory, hostsFileName);
  const { network } = pod.sandbox.linux?.securityContext?.namespaceOptions ?? {};
  try {
    const first =
      network === NamespaceMode.NODE
        ? await readFile("/etc/hosts", "utf8")
        : hostsOfPod(pod.sandbox.hostname, ips);
    // Without following a link that somebody else has put there.
    await rm(path, { force: true });
    await writeFile(path, `${first.trimEnd()}\n${aliasLines(pod)}`, { mode: 0o644, flag: "wx" });
  } catch (cause) {
    const what = `write the hosts file of pod "${pod.namespace}/${pod.name}"`;
    throw new RuntimeError("failed-precondition", `${what}: ${messageOf(cause)}`, { cause });
  }
  return path;
}

/**
 * The hosts file of a pod that has other addresses now, because it runs again: the lines of its own host name are
 * replaced, and all others stay.
 */
export function withAddresses(text: string, hostname: string, ips: readonly string[]): string {
  const kept = text.split("\n").filter((line) => line.split(/\s+/).slice(1).join() !== hostname);
  const own = ips.map((ip) => `${ip}\t${hostname}\n`).join("");
  return `${kept.join("\n").trimEnd()}\n${own}`;
}

function hostsOfPod(hostname: string, ips: readonly string[]): string {
  const fixed = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"];
  return [...fixed, ...ips.map((ip) => `${ip}\t${hostname}`)].join("\n");
}

function aliasLines({ hostAliases }: PodManifest): string {
  return hostAliases.map(({ ip, hostnames }) => `${[ip, ...hostnames].join("\t")}\n`).join("");
}
