import type { OciSpec } from "../../../../core/oci/index.ts";
import { linuxCapabilities } from "../../../../oci-spec/index.ts";
import type { ClaimedIds, ClaimedThread, ImageClaims } from "./claims.ts";
import { type ExcessContext, excessOfMounts } from "./excess-mounts.ts";

/**
 * How images exceed what their container may do by its spec; undefined if they do not. A restore does what the
 * images say, so that they could make a process of any user, with any capability, in any namespace.
 *
 * It does not show that images are harmless: the program of a seccomp filter and the files of a tmpfs are not compared.
 */
export function findExcess(
  claims: ImageClaims,
  spec: OciSpec,
  context: ExcessContext,
): string | undefined {
  return (
    excessOfNamespaces(claims, spec) ??
    claims.threads
      .map((thread) => excessOfThread(thread, spec))
      .find((found) => found !== undefined) ??
    excessOfMounts(claims.mounts, spec, context)
  );
}

function excessOfNamespaces(
  { nodeNamespaces, ids }: ImageClaims,
  spec: OciSpec,
): string | undefined {
  const { namespaces, uidMappings = [], gidMappings = [] } = spec.linux;
  // Every container has a mount namespace. Without one, a process would have the files of the node.
  const own = new Set<string>(["mount", ...namespaces.map(({ type }) => type)]);
  const shared = [...nodeNamespaces].find((type) => own.has(type));
  if (shared !== undefined) return `a process in the ${shared} namespace of the node`;
  const hasUsers = own.has("user");
  if (!hasUsers)
    return ids === undefined ? undefined : "a user namespace, which the container does not have";
  if (ids === undefined) return "processes outside of a user namespace";
  const same = sameRanges(ids.uids, uidMappings) && sameRanges(ids.gids, gidMappings);
  return same ? undefined : "a user namespace with other ids of the node";
}

function sameRanges(
  claimed: readonly ClaimedIds[],
  given: readonly {
    readonly containerID: number;
    readonly hostID: number;
    readonly size: number;
  }[],
): boolean {
  const text = ({ containerID, hostID, size }: ClaimedIds): string =>
    `${containerID} ${hostID} ${size}`;
  const all = new Set(given.map(text));
  return claimed.length === all.size && claimed.every((range) => all.has(text(range)));
}

function excessOfThread(thread: ClaimedThread, { process, linux }: OciSpec): string | undefined {
  const name = `process "${thread.comm.replace(/[^\x20-\x7e]/g, "?")}"`;
  const { noNewPrivileges = false, apparmorProfile, selinuxLabel } = process;
  if (noNewPrivileges && !thread.noNewPrivileges) return `${name} without no_new_privs`;
  if (linux.seccomp !== undefined && !thread.isFiltered) return `${name} without a seccomp filter`;
  const label = selinuxLabel ?? apparmorProfile;
  if (label !== undefined && label !== "unconfined" && thread.label !== label) {
    return `${name} with the label or profile "${thread.label}" instead of "${label}"`;
  }
  return excessOfCapabilities(name, thread, process) ?? excessOfIds(name, thread, process);
}

function excessOfCapabilities(
  name: string,
  { capabilities: claimed }: ClaimedThread,
  { capabilities }: OciSpec["process"],
): string | undefined {
  // Not in each spec that crun accepts, but in each of davit's.
  const bounding = bitsOf(
    (capabilities as typeof capabilities | undefined)?.bounding ?? linuxCapabilities,
  );
  const sets = Object.values(claimed);
  const more = sets.reduce((bits, set) => bits | set, 0n) & ~bounding;
  if (more === 0n) return undefined;
  const names = linuxCapabilities.filter((_, at) => ((more >> BigInt(at)) & 1n) === 1n);
  return `${name} with ${names.length === 0 ? "unknown capabilities" : names.slice(0, 3).join(", ")}`;
}

function bitsOf(names: readonly string[]): bigint {
  return names.reduce((bits, name) => {
    const at = linuxCapabilities.indexOf(name);
    return at < 0 ? bits : bits | (1n << BigInt(at));
  }, 0n);
}

/** A process that gains no privileges keeps its ids, unless it may change them. */
function excessOfIds(
  name: string,
  { uids, gids }: ClaimedThread,
  { user, capabilities, noNewPrivileges }: OciSpec["process"],
): string | undefined {
  if (noNewPrivileges !== true) return undefined;
  const { permitted = [] } = (capabilities as typeof capabilities | undefined) ?? {};
  const uid = uids.find((id) => id !== user.uid);
  if (uid !== undefined && !permitted.includes("CAP_SETUID")) return `${name} with uid ${uid}`;
  const allowed = new Set([user.gid, ...(user.additionalGids ?? [])]);
  const gid = gids.find((id) => !allowed.has(id));
  if (gid !== undefined && !permitted.includes("CAP_SETGID")) return `${name} with gid ${gid}`;
  return undefined;
}
