import { realpath } from "node:fs/promises";
import type { Stats } from "node:fs";
import { join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import type { ContainerConfig } from "../../gen/runtime/v1/api_pb.ts";
import { deviceNumbers } from "../../linux/file/index.ts";
import { listDevices } from "../../linux/host/index.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import type { GrantedDevice, HostDevice } from "../../oci-spec/index.ts";
import type { ClientPaths } from "./client-paths.ts";

/**
 * The devices that a request names: links followed, a directory standing for all devices in it. `invalid-argument` for a
 * path that the node does not have, and for one without a device.
 */
export async function requestedDevices(
  config: ContainerConfig,
  paths: ClientPaths,
): Promise<readonly GrantedDevice[]> {
  const granted: GrantedDevice[] = [];
  for (const { hostPath, containerPath, permissions } of config.devices) {
    const doing = `pass device "${hostPath}" to the container`;
    const target = containerPath === "" ? hostPath : containerPath;
    const devices = await paths.withStallGuard(hostPath, doing, async () => {
      try {
        return await devicesAt(await realpath(hostPath), target);
      } catch (cause) {
        throw unfound(cause);
      }
    });
    if (devices.length === 0) {
      throw new RuntimeError("invalid-argument", `${doing}: it is not a device`);
    }
    for (const device of devices) granted.push({ device, access: permissions });
  }
  return granted;
}

/** Not `not-found`, by which clients understand that the sandbox or the image is missing. */
function unfound(cause: unknown): RuntimeError {
  if (!["ENOENT", "ENOTDIR"].includes(errnoCode(cause) ?? "")) return systemError("find it", cause);
  const text = "this node does not have it; correct the path, or load the driver of the device";
  return new RuntimeError("invalid-argument", text, { cause });
}

/** All devices of the host, for a privileged container. */
export function allHostDevices(): Promise<readonly HostDevice[]> {
  return devicesAt("/dev", "/dev");
}

async function devicesAt(path: string, target: string): Promise<readonly HostDevice[]> {
  return (await listDevices(path)).map(({ path: below, mode, ...node }) => ({
    ...node,
    path: below === "" ? target : join(target, below),
    fileMode: mode,
  }));
}

/** A device node of the host, for `path` in the container. */
export function deviceOf(stats: Stats, path: string): HostDevice {
  return {
    path,
    type: stats.isBlockDevice() ? "b" : "c",
    ...deviceNumbers(stats.rdev),
    fileMode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
  };
}
