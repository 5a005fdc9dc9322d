import { isCheckpointFile } from "../../base/checkpoint-names.ts";
import { type Digest, isDigest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import { quote, quoteValue } from "../../base/quote.ts";
import type { CheckpointFacts } from "../../core/checkpoint/index.ts";

/** What a manifest says of a file. */
export interface FileFacts {
  /** Bytes. */
  readonly size: number;
  readonly digest: Digest;
}

/** The manifest of a container's checkpoint (davit.json). */
export interface Manifest {
  readonly facts: CheckpointFacts;
  /** All other files, by their names. */
  readonly files: ReadonlyMap<string, FileFacts>;
}

/** The manifest of a pod's checkpoint (pod.json). */
export interface PodManifest {
  readonly podName: string;
  readonly podNamespace: string;
  /** The name of the pod's handler; empty for the default one. */
  readonly runtimeHandler: string;
  /** Nanoseconds since 1970. */
  readonly capturedAtNs: bigint;
  /** The client's PodSandboxConfig, as protobuf. */
  readonly config: Uint8Array;
  /** The digests of the manifests of its containers, by the names of their directories. */
  readonly containers: ReadonlyMap<string, Digest>;
}

/** The code of a manifest. */
export interface Sealed {
  /** What the code is of. */
  readonly sealed: string;
  /** Empty if the manifest has no code. */
  readonly code: string;
}

const version = 1;
/** Longer than every name that Kubernetes accepts, and than every name of an image. Characters. */
const maxText = 4096;
const maxFiles = 20_000;
const maxContainers = 1_000;
/** A message of the CRI has 16 MiB at most. Characters of base64. */
const maxConfig = 24 * 1024 * 1024;

/** The bytes of a manifest may be as many as this: those of two configs, and 400 for each file. */
export const maxManifestBytes = 64 * 1024 * 1024;

/** A code that no checkpoint has. */
export const noCode = "0".repeat(64);

/** The text of davit.json: the code, and then what it is of, byte by byte. */
export function formatManifest(manifest: Manifest, code: string): string {
  return withCode(textOfContent(contentOf(manifest)), code);
}

/** The text of pod.json, as {@link formatManifest}. */
export function formatPodManifest(manifest: PodManifest, code: string): string {
  return withCode(textOfContent(podContentOf(manifest)), code);
}

/** What the code of a manifest is of. */
export function sealedText(manifest: Manifest): string {
  return sealedOf("container", textOfContent(contentOf(manifest)));
}

/** As {@link sealedText}, for a pod. */
export function sealedPodText(manifest: PodManifest): string {
  return sealedOf("pod", textOfContent(podContentOf(manifest)));
}

/** The code of a manifest that was read. Nothing is parsed: it may be from anyone. */
export function sealOf(of: SealedKind, text: string): Sealed {
  const code = codeLine.exec(text.slice(0, codeLineLength))?.[1] ?? "";
  return { code, sealed: sealedOf(of, text.slice(codeLineLength)) };
}

type SealedKind = "container" | "pod";

const codeLine = /^\{\n "hmac": "([0-9a-f]{64})",\n$/;
const codeLineLength = withCode("", noCode).length;

function withCode(content: string, code: string): string {
  return `{\n "hmac": "${code}",\n${content}`;
}

/** A JSON object without its first line. */
function textOfContent(content: object): string {
  return `${JSON.stringify(content, null, 1).slice(2)}\n`;
}

/** The first line keeps the code apart from the codes of anything else. */
function sealedOf(of: SealedKind, content: string): string {
  return `davit checkpoint of a ${of}\n${content}`;
}

function contentOf({ facts, files }: Manifest): object {
  const { capturedAtNs, config, podConfig, ...others } = facts;
  const names = [...files].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return {
    version,
    facts: {
      name: others.name,
      containerId: others.containerId,
      podName: others.podName,
      podNamespace: others.podNamespace,
      imageName: others.imageName,
      imageDigests: others.imageDigests,
      runtime: others.runtime,
      terminal: others.terminal,
      hostname: others.hostname,
      capturedAtNs: String(capturedAtNs),
      config: Buffer.from(config ?? []).toString("base64"),
      podConfig: Buffer.from(podConfig ?? []).toString("base64"),
      runtimeHandler: others.runtimeHandler,
    },
    files: Object.fromEntries(
      names.map(([name, { size, digest }]) => [name, { size, sha256: digest.slice(7) }]),
    ),
  };
}

function podContentOf(manifest: PodManifest): object {
  const { podName, podNamespace, runtimeHandler, capturedAtNs, config, containers } = manifest;
  return {
    version,
    podName,
    podNamespace,
    runtimeHandler,
    capturedAtNs: String(capturedAtNs),
    config: Buffer.from(config).toString("base64"),
    containers: [...containers].map(([name, digest]) => ({ name, manifest: digest.slice(7) })),
  };
}

/**
 * Reads davit.json, which may be from anyone: every name and number is checked, and nothing else is taken from it.
 * `invalid-argument` with what is wrong.
 */
export function parseManifest(text: string): Manifest {
  const fields = parseFields(text);
  const facts = fieldsOf(fields["facts"], "facts");
  const files = Object.entries(fieldsOf(fields["files"], "files"));
  if (files.length > maxFiles) throw wrong(`it has ${files.length} files`);
  return {
    facts: {
      name: textOf(facts, "name"),
      containerId: textOf(facts, "containerId"),
      podName: textOf(facts, "podName"),
      podNamespace: textOf(facts, "podNamespace"),
      imageName: textOf(facts, "imageName"),
      imageDigests: digestsOf(facts["imageDigests"]),
      runtime: textOf(facts, "runtime"),
      terminal: facts["terminal"] === true,
      hostname: textOf(facts, "hostname"),
      capturedAtNs: timeOf(facts["capturedAtNs"]),
      config: configOf(facts["config"]),
      podConfig: configOf(facts["podConfig"]),
      runtimeHandler: textOf(facts, "runtimeHandler"),
    },
    files: new Map(files.map(([name, each]) => [fileName(name), fileFacts(name, each)])),
  };
}

/** Reads pod.json, as {@link parseManifest}. */
export function parsePodManifest(text: string): PodManifest {
  const fields = parseFields(text);
  const listed: unknown = fields["containers"];
  if (!Array.isArray(listed) || listed.length > maxContainers) {
    throw wrong("it must have a list of containers");
  }
  const containers = new Map<string, Digest>();
  for (const each of listed as readonly unknown[]) {
    const container = fieldsOf(each, "containers");
    const name = containerDirectory(textOf(container, "name"));
    if (containers.has(name)) throw wrong(`container ${quote(name)} is in it twice`);
    containers.set(name, sha256Of(container["manifest"], name));
  }
  return {
    podName: textOf(fields, "podName"),
    podNamespace: textOf(fields, "podNamespace"),
    runtimeHandler: textOf(fields, "runtimeHandler"),
    capturedAtNs: timeOf(fields["capturedAtNs"]),
    config: configOf(fields["config"]),
    containers,
  };
}

/** The name of the directory of a container: the container's own. `invalid-argument` for one that is not a plain name. */
export function containerDirectory(name: string): string {
  if (/^[A-Za-z0-9_][A-Za-z0-9._-]{0,252}$/.test(name)) return name;
  const text = `name directory of container ${quote(name)}: it must be a plain name`;
  throw new RuntimeError("invalid-argument", text);
}

type Fields = Readonly<Record<string, unknown>>;

function parseFields(text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong("it is not JSON");
  }
  const fields = fieldsOf(value, "it");
  if (fields["version"] === version) return fields;
  throw wrong(
    `it has the version ${quoteValue(fields["version"])}, and this davit knows ${version}: restore it on a node with the davit that made it, or a later one`,
  );
}

function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw wrong(`${what} must be an object`);
}

function textOf(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value === "string" && isPlainText(value)) return value;
  throw wrong(`${name} must be a text of at most ${maxText} characters without control characters`);
}

/** Whether a text can be in messages and labels: no control characters, and not too long. */
export function isPlainText(text: string): boolean {
  return (
    text.length <= maxText && text.isWellFormed() && !/[\u0000-\u001f\u007f-\u009f]/.test(text)
  );
}

function digestsOf(value: unknown): readonly Digest[] {
  if (Array.isArray(value) && value.length <= 100) {
    const digests = value.filter(
      (each): each is Digest => typeof each === "string" && isDigest(each),
    );
    if (digests.length === value.length) return digests;
  }
  throw wrong("imageDigests must be a list of digests");
}

function timeOf(value: unknown): bigint {
  if (typeof value === "string" && /^[0-9]{1,19}$/.test(value)) return BigInt(value);
  throw wrong("capturedAtNs must be a number of nanoseconds");
}

function configOf(value: unknown): Uint8Array {
  if (typeof value === "string" && value.length <= maxConfig && /^[A-Za-z0-9+/=]*$/.test(value)) {
    return Buffer.from(value, "base64");
  }
  throw wrong("config must be base64");
}

function fileName(name: string): string {
  if (isCheckpointFile(name) && name !== "davit.json") return name;
  throw wrong(`${quote(name)} is not a file of a checkpoint`);
}

function fileFacts(name: string, value: unknown): FileFacts {
  const { size, sha256 } = fieldsOf(value, quote(name));
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw wrong(`the size of ${quote(name)} must be a number of bytes`);
  }
  return { size, digest: sha256Of(sha256, name) };
}

function sha256Of(value: unknown, of: string): Digest {
  const digest = `sha256:${typeof value === "string" ? value : ""}`;
  if (isDigest(digest)) return digest;
  throw wrong(`the digest of ${quote(of)} must have 64 hexadecimal digits`);
}

function wrong(what: string): RuntimeError {
  return new RuntimeError("invalid-argument", `read manifest of a checkpoint: ${what}`);
}
