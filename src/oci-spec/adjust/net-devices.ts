import type { OciLinux } from "../../core/oci/index.ts";
import type { LinuxContainerAdjustment } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { type AdjustFacts, changedTable, needsRuntime, refuseAdjustment } from "./facts.ts";

/** Interfaces of the host that the OCI runtime moves into the container's network namespace. */
export function adjustedNetDevices(
  linux: OciLinux,
  { netDevices: changes }: LinuxContainerAdjustment,
  facts: AdjustFacts,
): OciLinux {
  if (Object.keys(changes).length === 0) return linux;
  const inSpec = Object.entries(changes).map(
    ([name, device]) => [name, device.name === "" ? {} : { name: device.name }] as const,
  );
  const netDevices = changedTable(linux.netDevices, Object.fromEntries(inSpec));
  const { netDevices: _before, ...rest } = linux;
  if (Object.keys(netDevices).length === 0) return rest;
  needsRuntime(facts, "linux.netDevices");
  if (!linux.namespaces.some(({ type }) => type === "network")) {
    refuseAdjustment("linux.net_devices: the container has no network namespace but the node's");
  }
  return { ...rest, netDevices };
}
