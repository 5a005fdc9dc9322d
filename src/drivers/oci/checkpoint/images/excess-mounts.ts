import type { OciMount, OciSpec } from "../../../../core/oci/index.ts";
import type { ClaimedMount } from "./claims.ts";

/** What else the check of images must know. */
export interface ExcessContext {
  /** The masked and read-only paths of the spec that exist on this node: a runtime leaves out the others. */
  readonly existing: ReadonlySet<string>;
  /** The destinations of bind mounts as the container sees them, where they lead through links of the image. */
  readonly links: ReadonlyMap<string, string>;
}

// mount(2).
const mountFlags = { ro: 1, nosuid: 2, nodev: 4, noexec: 8 } as const;
/** CRIU's numbers of file systems that it makes itself (criu, images/mnt.proto), by their type in a spec. */
const kernelFileSystems: ReadonlyMap<number, string> = new Map([
  [1, "proc"],
  [2, "sysfs"],
  [5, "tmpfs"],
  [6, "devpts"],
  [12, "cgroup"],
  [14, "mqueue"],
  [23, "cgroup"],
]);

/** How mounts of images exceed those of the spec; undefined if they do not. */
export function excessOfMounts(
  mounts: readonly ClaimedMount[],
  spec: OciSpec,
  { existing, links }: ExcessContext,
): string | undefined {
  const { maskedPaths = [], readonlyPaths = [] } = spec.linux;
  const hidden = [...maskedPaths, ...readonlyPaths].find(
    (path) => existing.has(path) && !mounts.some(({ mountpoint }) => mountpoint === path),
  );
  if (hidden !== undefined) return `nothing that protects "${hidden}"`;
  const given = spec.mounts.map((mount) => ({
    ...mount,
    at: links.get(mount.destination) ?? mount.destination,
  }));
  return mounts
    .map((mount) => excessOfMount(mount, given, spec))
    .find((found) => found !== undefined);
}

type GivenMount = OciMount & { readonly at: string };

function excessOfMount(
  mount: ClaimedMount,
  given: readonly GivenMount[],
  spec: OciSpec,
): string | undefined {
  const { mountpoint, external, flags } = mount;
  const name = `a mount on "${mountpoint.replace(/[^\x20-\x7e]/g, "?")}"`;
  const isWritable = (flags & mountFlags.ro) === 0;
  if (mountpoint === "/") {
    return spec.root.readonly === true && isWritable ? "a root that is not read-only" : undefined;
  }
  if (spec.linux.readonlyPaths?.includes(mountpoint) === true && isWritable) {
    return `${name} that is not read-only`;
  }
  if (external === undefined) return excessOfKernelMount(name, mount, given, spec);
  // A masked file: crun names the path, runc the device.
  const isMasked = spec.linux.maskedPaths?.includes(mountpoint) === true;
  if (isMasked && (external === mountpoint || external === "/dev/null")) return undefined;
  const source = given.find((each) =>
    typeOf(each) === "cgroup"
      ? mountpoint.startsWith(`${each.at}/`) // A hierarchy of cgroup v1.
      : isBind(each.options) && (each.at === mountpoint || each.destination === external),
  );
  return source === undefined
    ? `${name}, which the request does not have`
    : looser(name, flags, source);
}

/** Of a mount that CRIU makes itself. */
function excessOfKernelMount(
  name: string,
  { mountpoint, flags, fileSystem }: ClaimedMount,
  given: readonly GivenMount[],
  { linux, process }: OciSpec,
): string | undefined {
  // The container could mount them itself.
  if (mayMount(process)) return undefined;
  const type = kernelFileSystems.get(fileSystem);
  if (type === undefined) return `${name} of a file system that the request does not have there`;
  if (type === "tmpfs" && linux.maskedPaths?.includes(mountpoint) === true) return undefined;
  if (type === "devpts" && mountpoint === "/dev/console") return undefined;
  const at = given.filter((each) => each.at === mountpoint);
  // The hierarchies of cgroup v1 are mounted on directories of a tmpfs, whatever the options are.
  if (type === "tmpfs" && at.some((each) => typeOf(each) === "cgroup")) return undefined;
  const here = at.find((each) => typeOf(each) === type);
  if (here !== undefined) return looser(name, flags, here);
  if (linux.readonlyPaths?.includes(mountpoint) === true) return undefined;
  // The hierarchies of cgroup v1, and parts of a file system that a runtime mounts again.
  const above = given.find((each) => typeOf(each) === type && mountpoint.startsWith(`${each.at}/`));
  return above === undefined
    ? `${name} of type ${type}, which the request does not have there`
    : looser(name, flags, above);
}

function mayMount({ capabilities }: OciSpec["process"]): boolean {
  const { bounding = [] } = (capabilities as typeof capabilities | undefined) ?? {};
  return bounding.includes("CAP_SYS_ADMIN");
}

function isBind(options: readonly string[]): boolean {
  return options.some((option) => option === "bind" || option === "rbind");
}

function typeOf({ type }: OciMount): string {
  return type === "cgroup2" ? "cgroup" : type;
}

/** A mount must have what restricts that of the request. */
function looser(name: string, flags: number, { options }: OciMount): string | undefined {
  const missing = Object.entries(mountFlags).find(
    ([option, flag]) => options.includes(option) && (flags & flag) === 0,
  );
  return missing === undefined ? undefined : `${name} without the option "${missing[0]}"`;
}
