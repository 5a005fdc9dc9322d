import type { OciDevice, OciDeviceRule, OciLinux } from "../../core/oci/index.ts";
import type {
  LinuxContainerAdjustment,
  LinuxDevice,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { splitRemoval } from "./facts.ts";

// The mode that OCI runtimes give a device node without one.
const defaultMode = 0o666;
// Programs may send the type of the file with it, as Go's fs.FileMode has it.
const permissionBits = 0o777;

/**
 * Device nodes of plugins, each with a rule that lets the container use it. A removed node takes its rule along, unless the
 * container has another node with the same numbers.
 */
export function adjustedDevices(
  linux: OciLinux,
  { devices: changes }: LinuxContainerAdjustment,
): OciLinux {
  if (changes.length === 0) return linux;
  const devices = new Map((linux.devices ?? []).map((device) => [device.path, device]));
  const gone: OciDevice[] = [];
  for (const change of changes) {
    const { key } = splitRemoval(change.path);
    const before = devices.get(key);
    if (before !== undefined) gone.push(before);
    devices.delete(key);
  }
  const added = changes.filter(({ path }) => !splitRemoval(path).removed).map(deviceOf);
  for (const device of added) devices.set(device.path, device);
  const all = [...devices.values()];
  const rules = (linux.resources.devices ?? []).filter(
    (rule) =>
      !gone.some((device) => isRuleOf(rule, device)) || all.some((one) => isRuleOf(rule, one)),
  );
  const { devices: _devices, ...rest } = linux;
  return {
    ...rest,
    ...(all.length === 0 ? {} : { devices: all }),
    resources: { ...linux.resources, devices: [...rules, ...added.flatMap(ruleOf)] },
  };
}

function isRuleOf(rule: OciDeviceRule, device: OciDevice): boolean {
  const type = device.type === "b" ? "b" : "c";
  return (
    rule.allow && rule.type === type && rule.major === device.major && rule.minor === device.minor
  );
}

function deviceOf({ path, type, major, minor, fileMode, uid, gid }: LinuxDevice): OciDevice {
  return {
    path,
    type: type as OciDevice["type"],
    major: Number(major),
    minor: Number(minor),
    fileMode: fileMode === undefined ? defaultMode : fileMode.value & permissionBits,
    uid: uid?.value ?? 0,
    gid: gid?.value ?? 0,
  };
}

/** Read and write, and mknod for block devices, as NRI has it. A pipe needs no rule. */
function ruleOf({ type, major, minor }: OciDevice): readonly OciDeviceRule[] {
  if (type === "p") return [];
  const isBlock = type === "b";
  return [{ allow: true, type: isBlock ? "b" : "c", major, minor, access: isBlock ? "rwm" : "rw" }];
}
