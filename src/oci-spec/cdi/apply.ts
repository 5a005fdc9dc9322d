import type { RuntimeFeatures } from "../../core/handler/index.ts";
import type { CdiDeviceNode, CdiEdits, CdiMount } from "./cdi.ts";
import { mountDestination } from "../mounts.ts";
import { quoted, refuseHere } from "../refuse.ts";
import { withVersion } from "../spec-version.ts";
import {
  hookStages,
  type OciDevice,
  type OciDeviceRule,
  type OciHook,
  type OciHooks,
  type OciLinux,
  type OciMount,
  type OciSpec,
  type OciUser,
} from "../../core/oci/index.ts";

// The mode that OCI runtimes give a device node without one.
const defaultMode = 0o666;

/**
 * A spec with the edits of CDI devices: they replace an existing variable, device path
 * and mount point. `edits` are whole: type and numbers of each device node are in it. `failed-precondition` for network
 * devices that cannot be moved.
 */
export function withCdiEdits(
  spec: OciSpec,
  edits: CdiEdits,
  runtime: Pick<RuntimeFeatures, "optionalFields">,
): OciSpec {
  const { process, linux } = spec;
  const devices = edits.deviceNodes.map((node) => deviceOf(node, process.user));
  const paths = new Set(devices.map(({ path }) => path));
  const rules = edits.deviceNodes.flatMap(ruleOf);
  const allDevices = [...(linux.devices ?? []).filter(({ path }) => !paths.has(path)), ...devices];
  const hooks = withHooks(spec.hooks, edits);
  return withVersion({
    ...spec,
    process: {
      ...process,
      env: withEnv(process.env, edits.env),
      user: withGroups(process.user, edits),
    },
    mounts: withMounts(spec.mounts, edits.mounts),
    ...(hooks === undefined ? {} : { hooks }),
    linux: {
      ...linux,
      resources: {
        ...linux.resources,
        devices: [...(linux.resources.devices ?? []), ...rules],
      },
      ...(allDevices.length === 0 ? {} : { devices: allDevices }),
      ...(edits.intelRdt === undefined ? {} : { intelRdt: edits.intelRdt }),
      ...netDevicesOf(spec, edits, runtime),
    },
  });
}

function withEnv(env: readonly string[], added: readonly string[]): readonly string[] {
  const byKey = new Map(env.map((line) => [keyOf(line), line]));
  for (const line of added) byKey.set(keyOf(line), line);
  return [...byKey.values()];
}

function keyOf(line: string): string {
  return line.slice(0, line.indexOf("="));
}

function withGroups(user: OciUser, { additionalGids }: CdiEdits): OciUser {
  if (additionalGids.length === 0) return user;
  // 0 in a file stands for "none" (CDI SPEC.md).
  const groups = new Set([
    ...(user.additionalGids ?? []),
    ...additionalGids.filter((gid) => gid > 0),
  ]);
  return { ...user, additionalGids: [...groups].toSorted((a, b) => a - b) };
}

function deviceOf(node: CdiDeviceNode, user: OciUser): OciDevice {
  const { path, type, major, minor, fileMode, uid, gid } = node;
  if (type === undefined) refuseHere(`type of CDI device ${quoted(path)} is not known`);
  return {
    path,
    type,
    major: major ?? 0,
    minor: minor ?? 0,
    fileMode: fileMode ?? defaultMode,
    // The container's own user may use what it was given.
    uid: uid ?? user.uid,
    gid: gid ?? user.gid,
  };
}

function ruleOf({ type, major, minor, permissions }: CdiDeviceNode): readonly OciDeviceRule[] {
  if (type === "p") return [];
  return [
    {
      allow: true,
      type: type === "b" ? "b" : "c",
      major: major ?? 0,
      minor: minor ?? 0,
      access: permissions,
    },
  ];
}

/** Those with fewer path parts first, so that none hides another; existing ones keep their order. */
function withMounts(mounts: readonly OciMount[], added: readonly CdiMount[]): readonly OciMount[] {
  let all = [...mounts];
  for (const mount of added.map(mountOf)) {
    all = all.filter(({ destination }) => destination !== mount.destination);
    const below = (other: OciMount): boolean =>
      other.destination.startsWith(`${mount.destination}/`);
    const at = all.findIndex(below);
    all.splice(at < 0 ? all.length : at, 0, mount);
  }
  return all;
}

function mountOf({ hostPath, containerPath, type, options }: CdiMount): OciMount {
  const isBind = type === "" || type === "bind";
  const bound = options.includes("bind") || options.includes("rbind");
  return {
    destination: mountDestination({ containerPath }),
    type: isBind ? "bind" : type,
    source: hostPath,
    options: isBind && !bound ? ["rbind", ...options] : options,
  };
}

function withHooks(before: OciHooks | undefined, { hooks }: CdiEdits): OciHooks | undefined {
  if (hooks.length === 0) return before;
  const all: Partial<Record<keyof OciHooks, readonly OciHook[]>> = { ...before };
  for (const name of hookStages) {
    const added = hooks.filter(({ hookName }) => hookName === name).map(hookOf);
    if (added.length > 0) all[name] = [...(all[name] ?? []), ...added];
  }
  return all;
}

function hookOf({ path, args, env, timeout }: CdiEdits["hooks"][number]): OciHook {
  return {
    path,
    ...(args.length === 0 ? {} : { args }),
    ...(env.length === 0 ? {} : { env }),
    ...(timeout === undefined ? {} : { timeout }),
  };
}

/**
 * The runtime moves them into the container's network namespace, which is the pod's. The node's own one has them
 * already (runtime-spec, config-linux.md, netDevices).
 */
function netDevicesOf(
  { linux }: OciSpec,
  { netDevices }: CdiEdits,
  runtime: Pick<RuntimeFeatures, "optionalFields">,
): Pick<OciLinux, "netDevices"> {
  if (netDevices.length === 0) return {};
  const asked = netDevices.map(({ hostName }) => quoted(hostName)).join(", ");
  if (runtime.optionalFields?.includes("linux.netDevices") !== true) {
    refuseHere(
      `the OCI runtime cannot move the network devices of CDI, ${asked}; it needs crun 1.22 or runc 1.4`,
    );
  }
  if (!linux.namespaces.some(({ type }) => type === "network")) {
    refuseHere(`CDI moves network devices, ${asked}, but the pod has the network of the node`);
  }
  const names = new Set(netDevices.map(({ name }) => name));
  const hostNames = new Set(netDevices.map(({ hostName }) => hostName));
  if (names.size < netDevices.length || hostNames.size < netDevices.length) {
    refuseHere(`CDI moves two network devices of one name: ${asked}`);
  }
  return {
    netDevices: Object.fromEntries(netDevices.map(({ hostName, name }) => [hostName, { name }])),
  };
}
