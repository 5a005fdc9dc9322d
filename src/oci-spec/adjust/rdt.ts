import type { IntelRdt, OciLinux } from "../../core/oci/index.ts";
import type { LinuxContainerAdjustment, LinuxRdt } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { type AdjustFacts, needsRuntime, refuseAdjustment } from "./facts.ts";

/**
 * Cache and memory bandwidth: of the class that a plugin names, then of its own settings. An empty class and `remove` take
 * away what the container has.
 */
export function adjustedRdt(
  linux: OciLinux,
  { resources, rdt }: LinuxContainerAdjustment,
  facts: AdjustFacts,
): OciLinux {
  const name = resources?.rdtClass?.value;
  if (name === undefined && rdt === undefined) return linux;
  const { intelRdt: before, ...rest } = linux;
  const ofClass = name === undefined ? before : name === "" ? undefined : facts.intelRdt;
  const base = rdt?.remove === true ? undefined : ofClass;
  const after: IntelRdt = { ...base, ...(rdt === undefined ? {} : settingsOf(rdt, facts)) };
  if (Object.keys(after).length === 0) return rest;
  needsRuntime(facts, "linux.intelRdt");
  if (after["enableMonitoring"] === true) needsRuntime(facts, "linux.intelRdt.enableMonitoring");
  return { ...rest, intelRdt: after };
}

function settingsOf(
  { closId, schemata, enableMonitoring }: LinuxRdt,
  facts: AdjustFacts,
): IntelRdt {
  return {
    ...(closId === undefined ? {} : { closID: closId.value }),
    ...(schemata === undefined ? {} : schemataOf(schemata.value, facts)),
    ...(enableMonitoring === undefined ? {} : { enableMonitoring: enableMonitoring.value }),
  };
}

/** Runtimes before runtime-spec 1.3 know the lines of L3 and MB by fields of their own. */
function schemataOf(lines: readonly string[], { runtime }: AdjustFacts): IntelRdt {
  if (runtime.optionalFields?.includes("linux.intelRdt.schemata") === true) {
    return { schemata: lines };
  }
  const ofL3 = lines.filter((line) => /^L3(CODE|DATA)?:/.test(line));
  const ofBandwidth = lines.filter((line) => line.startsWith("MB:"));
  const other = lines.find((line) => !ofL3.includes(line) && !ofBandwidth.includes(line));
  if (other !== undefined) {
    refuseAdjustment(
      `linux.rdt.schemata: the OCI runtime of the container's handler knows lines of L3 and MB, got ${JSON.stringify(other)}`,
    );
  }
  return {
    ...(ofL3.length === 0 ? {} : { l3CacheSchema: ofL3.join("\n") }),
    ...(ofBandwidth.length === 0 ? {} : { memBwSchema: ofBandwidth.join("\n") }),
  };
}
