import { RuntimeError } from "../../base/errors.ts";
import {
  type CdiDeviceNode,
  type CdiEdits,
  type CdiFile,
  type CdiHook,
  type CdiMount,
  type CdiNetDevice,
  isCdiKind,
  isCdiName,
} from "./cdi.ts";
import { hookStages, type IntelRdt } from "../../core/oci/index.ts";
import { quoted } from "../refuse.ts";

// The versions whose containerEdits have today's form; github.com/cncf-tags/container-device-interface.
const versions = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];
const maxId = 0xffff_fffe;

type Table = Readonly<Record<string, unknown>>;

/**
 * Parses a CDI file from its JSON or YAML value. `invalid-argument` naming the field that is
 * wrong, or that davit does not know: what a device needs must not be left out in silence.
 */
export function parseCdiFile(value: unknown): CdiFile {
  const file = table(value, "the file");
  only(file, "the file", ["cdiVersion", "kind", "annotations", "devices", "containerEdits"]);
  const version = text(file, "cdiVersion").replace(/^v/, "");
  if (!versions.includes(version)) {
    wrong(`cdiVersion is ${quoted(version)}, davit knows ${versions.join(", ")}`);
  }
  const kind = text(file, "kind");
  if (!isCdiKind(kind)) wrong(`kind must be vendor/class, got ${quoted(kind)}`);
  const devices = new Map<string, CdiEdits>();
  for (const [index, each] of list(file, "devices").entries()) {
    const where = `devices[${index}]`;
    const device = table(each, where);
    only(device, where, ["name", "annotations", "containerEdits"]);
    const name = text(device, "name", where);
    if (!isCdiName(name)) wrong(`${where}.name cannot be ${quoted(name)}`);
    if (devices.has(name)) wrong(`${where}.name is ${quoted(name)} for the second time`);
    devices.set(name, parseEdits(device["containerEdits"], `${where}.containerEdits`));
  }
  if (devices.size === 0) wrong("devices is empty");
  return { kind, edits: parseEdits(file["containerEdits"], "containerEdits"), devices };
}

const editFields = [
  "env",
  "deviceNodes",
  "netDevices",
  "mounts",
  "hooks",
  "additionalGids",
  "intelRdt",
];

function parseEdits(value: unknown, where: string): CdiEdits {
  const edits = value === undefined || value === null ? {} : table(value, where);
  only(edits, where, editFields);
  const each = <T>(field: string, parse: (item: Table, where: string) => T): readonly T[] =>
    list(edits, field, where).map((item, index) => {
      const at = `${where}.${field}[${index}]`;
      return parse(table(item, at), at);
    });
  const { intelRdt } = edits;
  return {
    env: environment(edits, where),
    deviceNodes: each("deviceNodes", parseNode),
    netDevices: each("netDevices", parseNetDevice),
    mounts: each("mounts", parseMount),
    hooks: each("hooks", parseHook),
    additionalGids: list(edits, "additionalGids", where).map((gid) =>
      whole(gid, `${where}.additionalGids`, maxId),
    ),
    ...(intelRdt === undefined || intelRdt === null
      ? {}
      : { intelRdt: parseIntelRdt(table(intelRdt, `${where}.intelRdt`), `${where}.intelRdt`) }),
  };
}

function parseNode(node: Table, where: string): CdiDeviceNode {
  const fields = ["path", "hostPath", "type", "major", "minor", "fileMode", "permissions"];
  only(node, where, [...fields, "uid", "gid"]);
  const path = absolute(node, "path", where);
  const optional = (field: string, max: number): number | undefined =>
    node[field] === undefined || node[field] === null
      ? undefined
      : whole(node[field], `${where}.${field}`, max);
  const type = node["type"] ?? "";
  if (type !== "" && type !== "b" && type !== "c" && type !== "u" && type !== "p") {
    wrong(`${where}.type must be b, c, u or p, got ${JSON.stringify(type)}`);
  }
  const permissions = node["permissions"] ?? "";
  if (typeof permissions !== "string" || !/^[rwm]{0,3}$/.test(permissions)) {
    wrong(`${where}.permissions must be some of r, w and m, got ${JSON.stringify(permissions)}`);
  }
  return {
    path,
    hostPath: (node["hostPath"] ?? "") === "" ? path : absolute(node, "hostPath", where),
    type: type === "" ? undefined : type,
    major: optional("major", 0xfff_ffff),
    minor: optional("minor", 0xfff_ffff),
    fileMode: optional("fileMode", 0xffff),
    permissions: permissions === "" ? "rwm" : permissions,
    uid: optional("uid", maxId),
    gid: optional("gid", maxId),
  };
}

function parseNetDevice(device: Table, where: string): CdiNetDevice {
  only(device, where, ["hostInterfaceName", "name"]);
  return {
    hostName: interfaceName(device, "hostInterfaceName", where),
    name: interfaceName(device, "name", where),
  };
}

/** A name that the kernel takes for an interface (dev_valid_name() in net/core/dev.c). */
function interfaceName(device: Table, field: string, where: string): string {
  const name = text(device, field, where);
  const isName =
    Buffer.byteLength(name) < 16 && !/[\s/:]/.test(name) && ![".", ".."].includes(name);
  return isName ? name : wrong(`${where}.${field} cannot be ${quoted(name)}`);
}

function parseMount(mount: Table, where: string): CdiMount {
  only(mount, where, ["hostPath", "containerPath", "options", "type"]);
  const type = mount["type"] ?? "";
  if (typeof type !== "string") wrong(`${where}.type must be a text`);
  return {
    hostPath: text(mount, "hostPath", where),
    containerPath: absolute(mount, "containerPath", where),
    type,
    options: texts(mount, "options", where),
  };
}

function parseHook(hook: Table, where: string): CdiHook {
  only(hook, where, ["hookName", "path", "args", "env", "timeout"]);
  const wanted = text(hook, "hookName", where);
  const hookName = hookStages.find((name) => name === wanted);
  if (hookName === undefined) {
    wrong(`${where}.hookName must be one of ${hookStages.join(", ")}, got ${quoted(wanted)}`);
  }
  const { timeout } = hook;
  return {
    hookName,
    path: absolute(hook, "path", where),
    args: texts(hook, "args", where),
    env: environment(hook, where),
    timeout: timeout === undefined || timeout === null ? undefined : positive(timeout, where),
  };
}

function parseIntelRdt(value: Table, where: string): IntelRdt {
  const { schemata, ...others } = value;
  const kinds: Readonly<Record<string, "string" | "boolean">> = {
    // Up to 1.0.0 the last two, from 1.1.0 on enableMonitoring and schemata.
    enableMonitoring: "boolean",
    closID: "string",
    l3CacheSchema: "string",
    memBwSchema: "string",
    enableCMT: "boolean",
    enableMBM: "boolean",
  };
  only(others, where, Object.keys(kinds));
  const result: Record<string, string | boolean | readonly string[]> = {};
  if (schemata !== undefined) result["schemata"] = texts(value, "schemata", where);
  for (const [field, kind] of Object.entries(kinds)) {
    const found = others[field];
    if (found === undefined) continue;
    if (typeof found !== kind) wrong(`${where}.${field} must be a ${kind}`);
    if (typeof found === "string" || typeof found === "boolean") result[field] = found;
  }
  return result;
}

// ---- values

function wrong(why: string): never {
  throw new RuntimeError("invalid-argument", why);
}

function table(value: unknown, where: string): Table {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    wrong(`${where} must be an object`);
  }
  return value as Table;
}

function only(value: Table, where: string, known: readonly string[]): void {
  const strange = Object.keys(value).find((key) => !known.includes(key));
  if (strange !== undefined) wrong(`${where} has the field ${quoted(strange)}, which is unknown`);
}

function text(value: Table, field: string, where?: string): string {
  const found = value[field];
  if (typeof found === "string" && found !== "" && !found.includes("\0")) return found;
  return wrong(`${where === undefined ? "" : `${where}.`}${field} must be a text, and not empty`);
}

function absolute(value: Table, field: string, where: string): string {
  const path = text(value, field, where);
  if (!path.startsWith("/")) wrong(`${where}.${field} must be absolute, got ${quoted(path)}`);
  return path;
}

function list(value: Table, field: string, where?: string): readonly unknown[] {
  const found = value[field] ?? [];
  if (!Array.isArray(found)) {
    wrong(`${where === undefined ? "" : `${where}.`}${field} must be an array`);
  }
  return found as readonly unknown[];
}

function texts(value: Table, field: string, where: string): readonly string[] {
  return list(value, field, where).map((item) => {
    if (typeof item !== "string" || item.includes("\0")) wrong(`${where}.${field} must be texts`);
    return item;
  });
}

function environment(value: Table, where: string): readonly string[] {
  const env = texts(value, "env", where);
  const bad = env.find((line) => line.indexOf("=") < 1);
  if (bad !== undefined) wrong(`${where}.env must be KEY=value, got ${quoted(bad)}`);
  return env;
}

function whole(value: unknown, where: string, max: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max) {
    return value;
  }
  return wrong(`${where} must be a whole number from 0 to ${max}, got ${JSON.stringify(value)}`);
}

function positive(value: unknown, where: string): number {
  const seconds = whole(value, `${where}.timeout`, 86_400);
  return seconds > 0 ? seconds : wrong(`${where}.timeout must be more than 0`);
}
