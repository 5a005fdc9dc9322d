import type { ContainerConfig } from "../gen/runtime/v1/api_pb.ts";
import { quoted, refuse } from "./refuse.ts";
import type { OciDevice, OciDeviceRule } from "../core/oci/index.ts";

/** A device node of the host, for the container. */
export type HostDevice = OciDevice;

/** A device that the request asks for, at its path in the container. */
export interface GrantedDevice {
  readonly device: HostDevice;
  /** `r`, `w` and `m` (mknod), as in the request. */
  readonly access: string;
}

/** Device nodes and the rules of the device cgroup. */
interface ContainerDevices {
  readonly devices: readonly OciDevice[];
  readonly rules: readonly OciDeviceRule[];
}

// These directories of /dev hold no devices of their own, or those of another container manager.
const foreignDirectories = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

/**
 * The devices of a container: those of its request, or all of the host's with all rights.
 *
 * Everything else is denied. The default devices (null, zero, full, random, urandom, tty, ptmx,
 * pts) are not included: the OCI runtime makes and allows them itself (runtime-spec,
 * config-linux.md, "Default Devices").
 */
export function containerDevices(
  granted: readonly GrantedDevice[],
  hostDevices: readonly HostDevice[] | undefined,
): ContainerDevices {
  const requested = granted.map(({ device }) => device);
  if (hostDevices !== undefined) {
    const paths = new Set(requested.map((device) => device.path));
    const others = hostDevices.filter(
      (device) => isContainerDevice(device) && !paths.has(device.path),
    );
    return { devices: [...requested, ...others], rules: [{ allow: true, access: "rwm" }] };
  }
  const rules = granted.flatMap(({ device, access }) =>
    device.type === "p" ? [] : [allowRule(device, access)],
  );
  return { devices: requested, rules: [{ allow: false, access: "rwm" }, ...rules] };
}

/** The request's devices with the request's user and group as their owner, where it names them. */
export function ownedDevices(
  config: Pick<ContainerConfig, "linux">,
  devices: readonly GrantedDevice[],
): readonly GrantedDevice[] {
  const context = config.linux?.securityContext;
  const uid = context?.runAsUser?.value;
  const gid = context?.runAsGroup?.value;
  const owner = {
    ...(uid === undefined ? {} : { uid: Number(uid) }),
    ...(gid === undefined ? {} : { gid: Number(gid) }),
  };
  return devices.map(({ device, access }) => ({ device: { ...device, ...owner }, access }));
}

function allowRule(device: OciDevice, access: string): OciDeviceRule {
  return {
    allow: true,
    // "u" is an unbuffered character device; the cgroup knows only c and b.
    type: device.type === "b" ? "b" : "c",
    major: device.major,
    minor: device.minor,
    access,
  };
}

/** True for what a privileged container gets of the host's /dev: no pipes, no console, nothing of others. */
function isContainerDevice(device: HostDevice): boolean {
  const directories = device.path.split("/").slice(2, -1);
  return (
    device.type !== "p" &&
    device.path !== "/dev/console" &&
    !directories.some((directory) => foreignDirectories.includes(directory))
  );
}

/** Refuses invalid devices (api.proto, Device). `invalid-argument`. */
export function checkDevices(config: ContainerConfig): void {
  for (const { hostPath, containerPath, permissions } of config.devices) {
    if (!hostPath.startsWith("/") || hostPath.includes("\0")) {
      refuse(`devices: host_path must be absolute, got ${quoted(hostPath)}`);
    }
    if (containerPath !== "" && (!containerPath.startsWith("/") || containerPath.includes("\0"))) {
      refuse(`devices: container_path must be absolute or empty, got ${quoted(containerPath)}`);
    }
    if (!/^[rwm]{1,3}$/.test(permissions) || new Set(permissions).size !== permissions.length) {
      refuse(
        `devices: permissions of ${quoted(hostPath)} must be some of r, w and m, got ${quoted(permissions)}`,
      );
    }
  }
}
