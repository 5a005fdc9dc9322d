import type { BoundHandler } from "../../core/handler/index.ts";
import { RuntimeError } from "../../base/errors.ts";
import type {
  OwnIds,
  ProcessIdentity,
  Sandbox,
  SandboxNetwork,
  SandboxState,
} from "../../core/sandbox/index.ts";
import { withOwnIds } from "../../core/sandbox/index.ts";
import {
  type PodSandboxConfig,
  RunPodSandboxRequestSchema,
  UpdatePodSandboxResourcesRequestSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { decodeMessage } from "../../wire/protobuf.ts";
import { Fields } from "./fields.ts";
import { bytesOf, checkVersion, decodeColumn, integerOf, type Row, textOf } from "./row.ts";
import type { RowFormat } from "./table.ts";

/** The version of the records that are written: the column `version`, and `v` in the JSON. */
const version = 1;

/**
 * Sandboxes: the client's bytes in columns of their own, all that is davit's own in the JSON. A
 * record that has lost createdAtNs takes the time when its row was first written.
 */
export const sandboxRows: RowFormat<Sandbox> = {
  kind: "sandbox",
  noun: "sandbox",
  key: "id",
  keyOf: (sandbox) => sandbox.id,
  columns: (sandbox, nowMs) => ({
    id: sandbox.id,
    name: sandbox.name,
    version,
    recorded_at: nowMs,
    request: sandbox.requestBytes,
    resources: sandbox.resourcesBytes ?? null,
    state: formatState(sandbox),
  }),
  parse,
};

function formatState(sandbox: Sandbox): string {
  const { state } = sandbox;
  return JSON.stringify({
    v: version,
    createdAtNs: sandbox.createdAtNs?.toString(),
    bootId: sandbox.bootId,
    state: "atNs" in state ? { ...state, atNs: state.atNs.toString() } : state,
    handler: sandbox.handler,
    cgroup: sandbox.cgroup,
    process: sandbox.process,
    netnsPath: sandbox.netnsPath,
    network: sandbox.network,
    selinux: sandbox.selinux,
    ownIds: sandbox.ownIds,
    unfinished: sandbox.unfinished,
  });
}

function parse(row: Row): Sandbox {
  checkVersion(row, version);
  const requestBytes = bytesOf(row, "request");
  const resourcesBytes = parseResources(row);
  const recordedAtMs = integerOf(row, "recorded_at");
  const fields = Fields.parse(textOf(row, "state"), version);
  const cgroup = fields.optionalObject("cgroup");
  const process = fields.optionalObject("process");
  const network = fields.optionalObject("network");
  const selinux = fields.optionalObject("selinux");
  const ownIds = parseOwnIds(fields.optionalObject("ownIds"));
  const config = parseConfig(requestBytes);
  return {
    id: textOf(row, "id"),
    name: textOf(row, "name"),
    requestBytes,
    config: ownIds?.range === undefined ? config : withOwnIds(config, ownIds.range),
    ...(resourcesBytes && { resourcesBytes }),
    handler: parseHandler(fields.object("handler")),
    createdAtNs: fields.has("createdAtNs")
      ? fields.bigint("createdAtNs")
      : recordedAtMs * 1_000_000n,
    bootId: fields.string("bootId"),
    state: parseState(fields.object("state")),
    ...(cgroup && {
      cgroup: {
        parent: cgroup.string("parent"),
        ownedFrom: cgroup.optionalString("ownedFrom"),
        ...(cgroup.optionalString("driver") === "systemd" && { driver: "systemd" as const }),
      },
    }),
    ...(process && { process: parseProcess(process) }),
    ...(fields.has("netnsPath") && { netnsPath: fields.string("netnsPath") }),
    ...(network && { network: parseNetwork(network) }),
    ...(selinux && {
      selinux: { process: selinux.string("process"), mount: selinux.string("mount") },
    }),
    ...(ownIds && { ownIds }),
    ...(fields.has("unfinished") && fields.boolean("unfinished") && { unfinished: true as const }),
  };
}

/** A process in a record. */
export function parseProcess(fields: Fields): ProcessIdentity {
  return { pid: fields.integer("pid"), startTime: fields.string("startTime") };
}

function parseOwnIds(fields: Fields | undefined): OwnIds | undefined {
  if (fields === undefined) return undefined;
  const range = fields.optionalObject("range");
  return {
    ...(range && {
      range: { hostId: range.integer("hostId"), length: range.integer("length") },
    }),
    ...(fields.has("reason") && { reason: fields.string("reason") }),
    ...(fields.has("inherited") && { inherited: fields.boolean("inherited") }),
  };
}

function parseConfig(bytes: Uint8Array): PodSandboxConfig {
  const doing = 'parse record column "request"';
  const request = decodeColumn("request", () => decodeMessage(RunPodSandboxRequestSchema, bytes));
  if (request.config === undefined) {
    throw new RuntimeError("data-loss", `${doing}: it has no config`);
  }
  if (request.config.metadata === undefined) {
    throw new RuntimeError("data-loss", `${doing}: its config has no metadata`);
  }
  return request.config;
}

function parseResources(row: Row): Uint8Array | undefined {
  if (row["resources"] === null) return undefined;
  const bytes = bytesOf(row, "resources");
  decodeColumn("resources", () => decodeMessage(UpdatePodSandboxResourcesRequestSchema, bytes));
  return bytes;
}

function parseHandler(fields: Fields): BoundHandler {
  const path = fields.optionalString("path");
  const runtimeType = fields.optionalString("runtimeType");
  const runtimePath = fields.optionalString("runtimePath");
  const ioType = fields.optionalString("ioType");
  const options = fields.optionalJson("options");
  return {
    requested: fields.string("requested"),
    name: fields.string("name"),
    controller: fields.string("controller"),
    ...(path !== undefined && { path }),
    ...(runtimeType !== undefined && { runtimeType }),
    ...(runtimePath !== undefined && { runtimePath }),
    ...(ioType === "streaming" && { ioType }),
    ...(options !== undefined && { options }),
  };
}

function parseNetwork(fields: Fields): SandboxNetwork {
  return { ips: fields.strings("ips"), result: fields.string("result") };
}

function parseState(fields: Fields): SandboxState {
  const name = fields.string("name");
  switch (name) {
    case "creating":
    case "ready":
      return { name };
    case "dead":
      return { name, reason: fields.string("reason"), atNs: fields.bigint("atNs") };
    case "stopped":
      return { name, atNs: fields.bigint("atNs") };
    default:
      throw new RuntimeError(
        "data-loss",
        `parse record field "state.name": unknown state "${name}"`,
      );
  }
}
