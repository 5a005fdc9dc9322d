import { posix } from "node:path";
import type { OciLinux, OciMount, OciSpec } from "../../core/oci/index.ts";
import type { Mount } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { MountPropagation } from "../../gen/runtime/v1/api_pb.ts";
import { type AdjustFacts, refuseAdjustment, splitRemoval } from "./facts.ts";

// Asks the runtime to give the source an SELinux label, as of containerd and CRI-O. It is not an option of mount(2).
const relabel = "relabel";

/**
 * Mounts of plugins replace those at the same destination; all are sorted then, those with fewer path parts first, so
 * that none hides another. The root passes on at least what one of them does.
 */
export function adjustedMounts(
  spec: OciSpec,
  changes: readonly Mount[],
  facts: Pick<AdjustFacts, "runtime">,
): OciSpec {
  if (changes.length === 0) return spec;
  const changed = new Set(changes.map(({ destination }) => splitRemoval(destination).key));
  const added = changes.filter(({ destination }) => !splitRemoval(destination).removed);
  for (const mount of added) checkOptions(mount, facts);
  const mounts = [
    ...spec.mounts.filter(({ destination }) => !changed.has(destination)),
    ...added.map(mountOf),
  ];
  const sorted = mounts.toSorted((a, b) => depth(a.destination) - depth(b.destination));
  const propagation = rootPropagation(spec.linux.rootfsPropagation, added);
  return {
    ...spec,
    mounts: sorted,
    linux: {
      ...spec.linux,
      ...(propagation === undefined ? {} : { rootfsPropagation: propagation }),
    },
  };
}

function depth(path: string): number {
  return path.split("/").length;
}

function isBind({ type, options }: Pick<Mount, "type" | "options">): boolean {
  return ["", "bind"].includes(type) || options.some((one) => one === "bind" || one === "rbind");
}

function mountOf(mount: Mount): OciMount {
  const { destination, type, source } = mount;
  const options = mount.options.filter((option) => option !== relabel);
  const isBound = isBind(mount);
  const saysBind = options.includes("bind") || options.includes("rbind");
  return {
    destination,
    type: isBound ? "bind" : type,
    source,
    options: isBound && !saysBind ? ["rbind", ...options] : options,
  };
}

/** Options that a runtime without them would hand to the file system, or ignore. */
const newOptions = /^(rro|idmap|ridmap)$/;

function checkOptions(
  { destination, options }: Mount,
  { runtime }: Pick<AdjustFacts, "runtime">,
): void {
  const missing = options.find(
    (one) => newOptions.test(one) && !runtime.mountOptions.includes(one),
  );
  if (missing !== undefined) {
    refuseAdjustment(
      `mounts[${JSON.stringify(destination)}].options: the OCI runtime of the container's handler does not support ${missing}`,
    );
  }
}

/** The propagation that a mount of a plugin asks for, as the CRI names it (mount_namespaces(7)). */
function propagationOf({ options }: Pick<Mount, "options">): MountPropagation {
  const last = options.findLast((option) => /^r?(shared|slave|private|unbindable)$/.test(option));
  if (last?.endsWith("shared") === true) return MountPropagation.PROPAGATION_BIDIRECTIONAL;
  if (last?.endsWith("slave") === true) return MountPropagation.PROPAGATION_HOST_TO_CONTAINER;
  return MountPropagation.PROPAGATION_PRIVATE;
}

function rootPropagation(
  before: OciLinux["rootfsPropagation"],
  added: readonly Mount[],
): OciLinux["rootfsPropagation"] {
  const all = added.filter(isBind).map(propagationOf);
  if (all.includes(MountPropagation.PROPAGATION_BIDIRECTIONAL)) return "rshared";
  const isSlave = all.includes(MountPropagation.PROPAGATION_HOST_TO_CONTAINER);
  return before ?? (isSlave ? "rslave" : undefined);
}

/** The bind mounts of plugins with their propagation, for checkPropagation(). */
export function boundSources(
  mounts: readonly Mount[],
): readonly { readonly hostPath: string; readonly propagation: MountPropagation }[] {
  return mounts
    .filter((mount) => !splitRemoval(mount.destination).removed && isBind(mount))
    .map((mount) => ({ hostPath: mount.source, propagation: propagationOf(mount) }));
}

/** The sources that plugins ask to be labelled for the container, in their shortest form. */
export function relabelledSources(mounts: readonly Mount[]): readonly string[] {
  return mounts
    .filter(({ destination, options }) => {
      return !splitRemoval(destination).removed && options.includes(relabel);
    })
    .map(({ source }) => posix.resolve("/", source));
}
