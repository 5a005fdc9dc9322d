import { toBinary } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import type {
  Container,
  ContainerImage,
  ContainerImageVolume,
  ContainerRestore,
  ContainerState,
  ContainerUsage,
  ContainerUser,
} from "../../core/container/index.ts";
import {
  type ContainerConfig,
  CreateContainerRequestSchema,
  type LinuxContainerResources,
  LinuxContainerResourcesSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { decodeMessage } from "../../wire/protobuf.ts";
import { Fields } from "./fields.ts";
import { parseImageConfigFields } from "./image-row.ts";
import { bytesOf, checkVersion, decodeColumn, integerOf, type Row, textOf } from "./row.ts";
import { parseProcess } from "./sandbox-row.ts";
import type { RowFormat } from "./table.ts";

/** The version of the records that are written: the column `version`, and `v` in the JSON. */
const version = 1;

/**
 * Containers: the client's request byte for byte, all that is davit's own in the JSON.
 *
 * The column `resources` holds the resources in force at every write, updated or still those of
 * the config: so a reader need not know which of the two they are. NULL means that there are none. A
 * record that has lost createdAtNs takes the time when its row was first written.
 */
export const containerRows: RowFormat<Container> = {
  kind: "container",
  noun: "container",
  key: "id",
  keyOf: (container) => container.id,
  columns: (container, nowMs) => ({
    id: container.id,
    name: container.name,
    sandbox_id: container.sandboxId,
    version,
    recorded_at: nowMs,
    request: container.requestBytes,
    resources: container.resources
      ? toBinary(LinuxContainerResourcesSchema, container.resources)
      : null,
    state: JSON.stringify({
      v: version,
      createdAtNs: container.createdAtNs.toString(),
      bootId: container.bootId,
      state: formatState(container.state),
      image: container.image,
      imageVolumes: container.imageVolumes,
      volumes: container.volumes,
      user: formatUser(container.user),
      stopSignal: container.stopSignal,
      logPath: container.logPath,
      hasLog: container.hasLog,
      cgroupPath: container.cgroupPath,
      ...(container.adjustment && { adjustment: toBase64(container.adjustment) }),
      ...(container.restore && { restore: container.restore }),
      ...(container.pausedForCheckpoint && { pausedForCheckpoint: true }),
    }),
  }),
  parse,
};

function parse(row: Row): Container {
  checkVersion(row, version);
  const requestBytes = bytesOf(row, "request");
  const recordedAtMs = integerOf(row, "recorded_at");
  const fields = Fields.parse(textOf(row, "state"), version);
  return {
    id: textOf(row, "id"),
    name: textOf(row, "name"),
    sandboxId: textOf(row, "sandbox_id"),
    requestBytes,
    config: parseConfig(requestBytes),
    resources: parseResources(row),
    image: parseImage(fields.object("image")),
    // Earlier daemons had neither.
    imageVolumes: fields.has("imageVolumes")
      ? fields.objects("imageVolumes").map(parseImageVolume)
      : [],
    volumes: fields.has("volumes") ? fields.strings("volumes") : [],
    user: parseUser(fields.object("user")),
    stopSignal: fields.string("stopSignal"),
    logPath: fields.string("logPath"),
    hasLog: fields.boolean("hasLog"),
    cgroupPath: fields.string("cgroupPath"),
    ...(fields.has("adjustment") && { adjustment: fromBase64(fields.string("adjustment")) }),
    ...(fields.has("restore") && { restore: parseRestore(fields.object("restore")) }),
    ...(fields.has("pausedForCheckpoint") && { pausedForCheckpoint: true as const }),
    createdAtNs: fields.has("createdAtNs")
      ? fields.bigint("createdAtNs")
      : recordedAtMs * 1_000_000n,
    bootId: fields.string("bootId"),
    state: parseState(fields.object("state")),
  };
}

function parseRestore(fields: Fields): ContainerRestore {
  return {
    directory: fields.string("directory"),
    owned: fields.boolean("owned"),
    closeTcp: fields.boolean("closeTcp"),
    ...(fields.has("changes") && { changes: fields.digest("changes") }),
  };
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

function fromBase64(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"));
}

function parseConfig(bytes: Uint8Array): ContainerConfig {
  const doing = 'parse record column "request"';
  const request = decodeColumn("request", () => decodeMessage(CreateContainerRequestSchema, bytes));
  if (request.config === undefined) {
    throw new RuntimeError("data-loss", `${doing}: it has no config`);
  }
  if (request.config.metadata === undefined) {
    throw new RuntimeError("data-loss", `${doing}: its config has no metadata`);
  }
  return request.config;
}

function parseResources(row: Row): LinuxContainerResources | undefined {
  if (row["resources"] === null) return undefined;
  const bytes = bytesOf(row, "resources");
  return decodeColumn("resources", () => decodeMessage(LinuxContainerResourcesSchema, bytes));
}

function parseImage(fields: Fields): ContainerImage {
  return {
    id: fields.digest("id"),
    requested: fields.string("requested"),
    shown: fields.string("shown"),
    ref: fields.string("ref"),
    layers: fields.digests("layers"),
    config: parseImageConfigFields(fields.object("config")),
  };
}

function parseImageVolume(fields: Fields): ContainerImageVolume {
  return {
    image: fields.digest("image"),
    layers: fields.digests("layers"),
  };
}

function formatUser(user: ContainerUser): Readonly<Record<string, unknown>> {
  return {
    uid: user.uid.toString(),
    gid: user.gid.toString(),
    supplementalGroups: user.supplementalGroups.map(String),
  };
}

function parseUser(fields: Fields): ContainerUser {
  return {
    uid: fields.bigint("uid"),
    gid: fields.bigint("gid"),
    supplementalGroups: fields.bigints("supplementalGroups"),
  };
}

function formatState(state: ContainerState): Readonly<Record<string, unknown>> {
  switch (state.name) {
    case "creating":
    case "created":
      return state;
    case "running":
      return {
        ...state,
        startedAtNs: state.startedAtNs.toString(),
        ...(state.pausedAtNs !== undefined && { pausedAtNs: state.pausedAtNs.toString() }),
      };
    case "exited":
      return {
        ...state,
        startedAtNs: state.startedAtNs.toString(),
        finishedAtNs: state.finishedAtNs.toString(),
        ...(state.usage && { usage: formatUsage(state.usage) }),
      };
  }
}

const usageFields = [
  "cpuNs",
  "memoryPeakBytes",
  "oomKills",
  "readBytes",
  "writtenBytes",
] as const satisfies readonly (keyof ContainerUsage)[];

function formatUsage(usage: ContainerUsage): Readonly<Record<string, unknown>> {
  const { takenAtNs } = usage;
  const known = usageFields.map((name) => [name, usage[name]?.toString()] as const);
  return { takenAtNs: takenAtNs.toString(), ...Object.fromEntries(known) };
}

/** Earlier daemons had none. */
function parseUsage(fields: Fields | undefined): { readonly usage?: ContainerUsage } {
  if (fields === undefined) return {};
  const known = usageFields.filter((name) => fields.has(name));
  const values = Object.fromEntries(known.map((name) => [name, fields.bigint(name)]));
  return { usage: { takenAtNs: fields.bigint("takenAtNs"), ...values } };
}

function parseState(fields: Fields): ContainerState {
  const name = fields.string("name");
  switch (name) {
    case "creating":
    case "created":
      return { name };
    case "running": {
      const monitor = fields.optionalObject("monitor");
      return {
        name,
        startedAtNs: fields.bigint("startedAtNs"),
        process: parseProcess(fields.object("process")),
        monitor: monitor && parseProcess(monitor),
        ...(fields.has("pausedAtNs") && { pausedAtNs: fields.bigint("pausedAtNs") }),
      };
    }
    case "exited":
      return {
        name,
        startedAtNs: fields.bigint("startedAtNs"),
        finishedAtNs: fields.bigint("finishedAtNs"),
        exitCode: fields.integer("exitCode"),
        reason: fields.string("reason"),
        message: fields.string("message"),
        ...parseUsage(fields.optionalObject("usage")),
      };
    default:
      throw new RuntimeError(
        "data-loss",
        `parse record field "state.name": unknown state "${name}"`,
      );
  }
}
