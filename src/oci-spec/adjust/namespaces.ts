import type { OciLinux, OciNamespace } from "../../core/oci/index.ts";
import type { LinuxContainerAdjustment } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { refuseAdjustment, splitRemoval } from "./facts.ts";

/**
 * Namespaces added, replaced and removed by their types. Without one of a type a container is in the node's. The ids of a
 * container are those of its pod's user namespace, which therefore stays.
 */
export function adjustedNamespaces(
  linux: OciLinux,
  { namespaces: changes }: LinuxContainerAdjustment,
): OciLinux {
  if (changes.length === 0) return linux;
  const namespaces = new Map(linux.namespaces.map((one) => [one.type, one]));
  for (const { type: name, path } of changes) {
    const { key, removed } = splitRemoval(name);
    const type = key as OciNamespace["type"];
    if (type === "user") checkUser(linux, { path, removed });
    if (removed) namespaces.delete(type);
    else namespaces.set(type, { type, ...(path === "" ? {} : { path }) });
  }
  return { ...linux, namespaces: [...namespaces.values()] };
}

function checkUser(
  { uidMappings }: OciLinux,
  { path, removed }: { readonly path: string; readonly removed: boolean },
): void {
  if (uidMappings !== undefined) {
    refuseAdjustment(
      "linux.namespaces: the pod has a user namespace, and its container's files have the ids of that; leave it as it is",
    );
  }
  if (removed || path !== "") return;
  refuseAdjustment(
    "linux.namespaces: a new user namespace has no ids; give its path, or ask for one in the pod (hostUsers: false)",
  );
}
