import { hostname as nodeName } from "node:os";
import { basename } from "node:path";
import { toBinary } from "@bufbuild/protobuf";
import { type Digest, isDigest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { CapturedContainer, CheckpointFacts } from "../../core/checkpoint/index.ts";
import { type Sandbox, usesHostNetwork } from "../../core/sandbox/index.ts";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { isPlainText } from "./manifest.ts";

/** What the manifest says of a container that was just captured. */
export function factsOf(captured: CapturedContainer): CheckpointFacts {
  const { container, sandbox, spec, runtimePath } = captured;
  const { image, config } = container;
  return {
    name: config.metadata?.name ?? "",
    containerId: container.id,
    podName: sandbox.config.metadata?.name ?? "",
    podNamespace: sandbox.config.metadata?.namespace ?? "",
    imageName: image.requested,
    imageDigests: [...new Set([image.id, ...digestsIn(image.ref)])],
    runtime: basename(runtimePath),
    terminal: spec.process.terminal === true,
    hostname: hostnameOf(sandbox),
    capturedAtNs: BigInt(Date.now()) * 1_000_000n,
    config: toBinary(ContainerConfigSchema, config),
    podConfig: toBinary(PodSandboxConfigSchema, sandbox.config),
    runtimeHandler: sandbox.handler.requested,
  };
}

function hostnameOf({ config }: Sandbox): string {
  const own = usesHostNetwork(config) ? "" : config.hostname;
  return own === "" ? nodeName() : own;
}

/**
 * config.dump as CRI-O, podman and containerd write it and checkpointctl reads it: lib/metadata.go of
 * github.com/checkpoint-restore/checkpointctl, ContainerConfig.
 */
export function formatConfigDump(
  { container }: CapturedContainer,
  { capturedAtNs, runtime }: CheckpointFacts,
): string {
  const { image } = container;
  const dump = {
    id: container.id,
    name: container.config.metadata?.name ?? "",
    rootfsImage: image.requested,
    rootfsImageRef: image.ref,
    rootfsImageName: image.shown,
    runtime,
    createdTime: timeText(container.createdAtNs),
    checkpointedTime: timeText(capturedAtNs),
    restoredTime: "0001-01-01T00:00:00Z",
    restored: false,
  };
  return `${JSON.stringify(dump, null, 2)}\n`;
}

/** RFC 3339 with nanoseconds. */
function timeText(ns: bigint): string {
  const seconds = new Date(Number(ns / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(ns % 1_000_000_000n).padStart(9, "0")}Z`;
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * The facts of a checkpoint without a manifest of davit, from config.dump and spec.dump. CRI-O, podman and containerd
 * name the container and its pod in annotations of the spec. `invalid-argument` for files that are not those of a
 * checkpoint.
 */
export function foreignFacts(configText: string, specText: string): CheckpointFacts {
  const config = parseObject("config.dump", configText);
  const spec = parseObject("spec.dump", specText);
  const annotations = objectOf(spec["annotations"]);
  const first = (...names: readonly string[]): string =>
    names.map((name) => plain(annotations[name])).find((text) => text !== "") ?? "";
  const image = [config["rootfsImageRef"], config["rootfsImage"], config["rootfsImageName"]];
  return {
    name:
      first("io.kubernetes.cri.container-name", "io.kubernetes.container.name") ||
      plain(config["name"]),
    containerId: plain(config["id"]),
    podName: first("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
    podNamespace: first("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
    imageName: plain(config["rootfsImageName"]) || plain(config["rootfsImage"]),
    imageDigests: [...new Set(image.flatMap((each) => digestsIn(plain(each))))],
    runtime: basename(plain(config["runtime"])),
    terminal: objectOf(spec["process"])["terminal"] === true,
    hostname: plain(spec["hostname"]),
    capturedAtNs: timeOf(config["checkpointedTime"]),
    config: undefined,
    podConfig: undefined,
    runtimeHandler: "",
  };
}

/** The digests in the name of an image: `name@sha256:...`, `sha256:...`, or 64 digits alone. */
function digestsIn(text: string): readonly Digest[] {
  const found = /(?:^|@)(?:sha256:)?([0-9a-f]{64})$/.exec(text)?.[1];
  const digest = `sha256:${found ?? ""}`;
  return isDigest(digest) ? [digest] : [];
}

function timeOf(value: unknown): bigint {
  const ms = typeof value === "string" && value.length < 64 ? Date.parse(value) : Number.NaN;
  return Number.isNaN(ms) || ms < 0 ? 0n : BigInt(Math.floor(ms)) * 1_000_000n;
}

/** A text that may be shown; anything else is left out. */
function plain(value: unknown): string {
  return typeof value === "string" && isPlainText(value) ? value : "";
}

function objectOf(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

function parseObject(name: string, text: string): Fields {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Fields;
  } catch {
    // Said below.
  }
  throw new RuntimeError(
    "invalid-argument",
    `read "${name}" of a checkpoint: it is not a JSON object`,
  );
}
