import type { OciSpec } from "../core/oci/index.ts";

/** The spec with the version of the runtime-spec that has all of its fields. */
export function withVersion(spec: OciSpec): OciSpec {
  const { netDevices, memoryPolicy, intelRdt } = spec.linux;
  const isOf13 =
    netDevices !== undefined ||
    memoryPolicy !== undefined ||
    intelRdt?.["schemata"] !== undefined ||
    intelRdt?.["enableMonitoring"] !== undefined;
  return isOf13 ? { ...spec, ociVersion: "1.3.0" } : spec;
}
