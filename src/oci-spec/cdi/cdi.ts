import type { ContainerConfig } from "../../gen/runtime/v1/api_pb.ts";
import { messageOf } from "../../base/errors.ts";
import { quoted, refuse, refuseHere } from "../refuse.ts";
import type { IntelRdt, OciHookStage } from "../../core/oci/index.ts";

/** What a device of the Container Device Interface adds to a container (CDI SPEC.md, containerEdits). */
export interface CdiEdits {
  /** `KEY=value`. */
  readonly env: readonly string[];
  readonly deviceNodes: readonly CdiDeviceNode[];
  readonly netDevices: readonly CdiNetDevice[];
  readonly mounts: readonly CdiMount[];
  readonly hooks: readonly CdiHook[];
  readonly additionalGids: readonly number[];
  /** As the runtime-spec's `linux.intelRdt`. */
  readonly intelRdt?: IntelRdt | undefined;
}

/** A device node. What is left out is that of the node at `hostPath`. */
export interface CdiDeviceNode {
  readonly path: string;
  readonly hostPath: string;
  readonly type?: "b" | "c" | "u" | "p" | undefined;
  readonly major?: number | undefined;
  readonly minor?: number | undefined;
  readonly fileMode?: number | undefined;
  /** Of r, w and m. */
  readonly permissions: string;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

/** A network interface of the host and its name in the container. */
export interface CdiNetDevice {
  readonly hostName: string;
  readonly name: string;
}

/** A mount from the host. */
export interface CdiMount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly type: string;
  readonly options: readonly string[];
}

/** A program that the OCI runtime runs. */
export interface CdiHook {
  readonly hookName: OciHookStage;
  readonly path: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** Seconds. */
  readonly timeout?: number | undefined;
}

/** A file of CDI: the devices of one kind, `vendor/class`. */
export interface CdiFile {
  readonly kind: string;
  /** For a container with any of its devices, once. */
  readonly edits: CdiEdits;
  readonly devices: ReadonlyMap<string, CdiEdits>;
}

/** A file that was read: what it holds, or why that cannot be used. */
export interface ReadCdiFile {
  readonly path: string;
  /** Position of its directory in the settings: a later one comes before an earlier one. */
  readonly priority: number;
  readonly content: CdiFile | Error;
}

const annotationPrefix = "cdi.k8s.io/";
// SPEC.md, "CDI JSON Specification": kind and device names.
const vendorPattern = /^[A-Za-z]([\w.-]*[A-Za-z0-9])?$/;
const classPattern = /^[A-Za-z]([\w-]*[A-Za-z0-9])?$/;
const namePattern = /^[A-Za-z0-9]([\w.:-]*[A-Za-z0-9])?$/;

/** True for what can be a kind: `vendor/class`. */
export function isCdiKind(text: string): boolean {
  const [vendor = "", deviceClass = "", ...more] = text.split("/");
  return more.length === 0 && vendorPattern.test(vendor) && classPattern.test(deviceClass);
}

/** True for what can be a device's own name. */
export function isCdiName(text: string): boolean {
  return namePattern.test(text);
}

/**
 * The CDI devices that a request names, by its field and by its annotations (`cdi.k8s.io/...`, with
 * commas between names), each once, in this order. `invalid-argument` for an invalid name.
 */
export function requestedCdiDevices(
  config: Pick<ContainerConfig, "CDIDevices" | "annotations">,
): readonly string[] {
  const names = new Set<string>();
  for (const { name } of config.CDIDevices) names.add(checkedName("CDI_devices", name));
  for (const [key, value] of Object.entries(config.annotations)) {
    if (!key.startsWith(annotationPrefix)) continue;
    for (const name of value.split(",")) names.add(checkedName(`annotation ${quoted(key)}`, name));
  }
  return [...names];
}

function checkedName(where: string, text: string): string {
  const at = text.indexOf("=");
  if (at < 0 || !isCdiKind(text.slice(0, at)) || !isCdiName(text.slice(at + 1))) {
    refuse(`${where}: a CDI device is vendor/class=name, got ${quoted(text)}`);
  }
  return text;
}

/**
 * What the named devices add, in the order of their names. Where files of several directories have a
 * device, the last directory's counts; two of one directory that have it are a conflict, and none counts.
 * `invalid-argument` naming missing and known devices; an unusable file is not an error by
 * itself, but is named with the missing devices.
 */
export function cdiEdits(files: readonly ReadCdiFile[], names: readonly string[]): CdiEdits {
  const { devices, problems } = registered(files);
  const missing = names.filter((name) => !devices.has(name));
  if (missing.length > 0) {
    const there = [...devices.keys()].toSorted();
    const shown = there.slice(0, 20).map(quoted).join(", ");
    const more = there.length > 20 ? ` and ${there.length - 20} more` : "";
    const because = problems.length === 0 ? "" : `; not usable: ${problems.join("; ")}`;
    refuse(
      `CDI devices that this node does not have: ${missing.map(quoted).join(", ")}; it has ${shown === "" ? "none" : shown + more}${because}`,
    );
  }
  const all: CdiEdits[] = [];
  const seen = new Set<CdiFile>();
  for (const name of names) {
    const device = devices.get(name);
    if (device === undefined) continue;
    if (!seen.has(device.file)) all.push(device.file.edits);
    seen.add(device.file);
    all.push(device.edits);
  }
  return merged(all);
}

interface Registered {
  readonly file: CdiFile;
  readonly path: string;
  readonly priority: number;
  readonly edits: CdiEdits;
}

function registered(files: readonly ReadCdiFile[]): {
  readonly devices: ReadonlyMap<string, Registered>;
  readonly problems: readonly string[];
} {
  const devices = new Map<string, Registered>();
  const conflicts = new Map<string, number>();
  const problems: string[] = [];
  for (const { path, priority, content } of files) {
    if (content instanceof Error) {
      problems.push(`${quoted(path)}: ${messageOf(content)}`);
      continue;
    }
    for (const [name, edits] of content.devices) {
      const full = `${content.kind}=${name}`;
      const other = devices.get(full);
      if (other !== undefined && other.priority > priority) continue;
      if (other?.priority === priority) {
        conflicts.set(full, priority);
        problems.push(`${quoted(full)} is in ${quoted(other.path)} and ${quoted(path)}`);
        continue;
      }
      devices.set(full, { file: content, path, priority, edits });
    }
  }
  for (const [name, priority] of conflicts) {
    if (devices.get(name)?.priority === priority) devices.delete(name);
  }
  return { devices, problems };
}

function merged(all: readonly CdiEdits[]): CdiEdits {
  const intelRdt = all.findLast((edits) => edits.intelRdt !== undefined)?.intelRdt;
  return {
    env: all.flatMap(({ env }) => env),
    deviceNodes: all.flatMap(({ deviceNodes }) => deviceNodes),
    netDevices: all.flatMap(({ netDevices }) => netDevices),
    mounts: all.flatMap(({ mounts }) => mounts),
    hooks: all.flatMap(({ hooks }) => hooks),
    additionalGids: all.flatMap(({ additionalGids }) => additionalGids),
    ...(intelRdt === undefined ? {} : { intelRdt }),
  };
}

/** Refuses CDI devices where the node's administrator has switched them off. */
export function refuseCdi(names: readonly string[]): void {
  if (names.length === 0) return;
  refuseHere(
    `CDI devices are switched off on this node (cdi.enable), asked for ${names.map(quoted).join(", ")}`,
  );
}
