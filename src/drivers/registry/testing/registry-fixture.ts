// What tests of the registry client have in common: scripted servers, clients and their configuration.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach } from "node:test";

import { RuntimeError } from "../../../base/errors.ts";
import { bytesOf } from "../../../base/unread-bytes.ts";
import {
  type BlobStream,
  type Descriptor,
  parseReference,
  type RegistryAuth,
  type ResolvedImage,
} from "../../../core/image/index.ts";
import { Registry, type RegistryOptions } from "../registry.ts";
import {
  type Certificates,
  digestOf,
  fetcherOf,
  KeptLog,
  makeCertificates,
  type Script,
  ScriptedRegistry,
} from "./scripted-registry.ts";

export const anySignal = new AbortController().signal;
/** Times of a client that a test need not wait for. */
export const fast = { backoffMs: [1, 1], answerTimeoutMs: 5000, dialTimeoutMs: 5000 };
const amd64 = { os: "linux", architecture: "amd64", variant: "" };

/** Makes servers and clients for the tests of a file; each test's are closed after it. */
export class RegistryFixture {
  log = new KeptLog();
  stack = new AsyncDisposableStack();
  dir = "";
  #certificates: Certificates | undefined;

  /** Registers the hooks of the calling test file. */
  constructor() {
    before(() => {
      this.dir = mkdtempSync(join(tmpdir(), "davit-registry-"));
    });
    after(() => {
      rmSync(this.dir, { recursive: true });
    });
    beforeEach(() => {
      this.stack = new AsyncDisposableStack();
      this.log = new KeptLog();
    });
    afterEach(() => this.stack.disposeAsync());
  }

  get certificates(): Certificates {
    this.#certificates ??= makeCertificates(this.dir);
    return this.#certificates;
  }

  readonly server = async (script: Script, tls?: Certificates): Promise<ScriptedRegistry> =>
    this.stack.use(await ScriptedRegistry.open(script, tls));

  readonly client = (options: Partial<RegistryOptions> = {}): Registry => {
    const { dir, log } = this;
    const timing = { ...fast, ...options.timing };
    const configDir = join(dir, "none");
    return this.stack.use(new Registry({ configDir, log, platform: amd64, ...options, timing }));
  };

  /** A directory of registry configuration with one hosts.toml. */
  readonly hostsToml = (registry: string, text: string): string => {
    const configDir = mkdtempSync(join(this.dir, "certs.d-"));
    mkdirSync(join(configDir, registry));
    writeFileSync(join(configDir, registry, "hosts.toml"), text);
    return configDir;
  };

  /** Checks kind and message of an error, and that neither it nor the log holds a secret. */
  readonly fails = async (
    promise: Promise<unknown>,
    kind: string,
    ...texts: RegExp[]
  ): Promise<void> => {
    await assert.rejects(promise, (error) => {
      assert.ok(error instanceof RuntimeError, String(error));
      assert.equal(error.kind, kind, error.message);
      for (const text of texts) assert.match(error.message, text);
      assert.doesNotMatch(error.message, /s3cret/);
      assert.doesNotMatch(JSON.stringify(this.log.lines), /s3cret/);
      return true;
    });
  };
}

/** What a name resolves to. */
export async function resolve(
  registry: Registry,
  name: string,
  auth?: RegistryAuth,
): Promise<ResolvedImage> {
  return (await registry.resolve(parseReference(name), auth, anySignal)).image;
}

export const blobOf = (bytes: Uint8Array): Descriptor => ({
  mediaType: "application/vnd.oci.image.layer.v1.tar",
  digest: digestOf(bytes),
  sizeBytes: BigInt(bytes.length),
});

/** Opens these bytes as a blob of the image `<host>/app`. */
export function openBlob(
  registry: Registry,
  host: string,
  bytes: Uint8Array,
  signal = anySignal,
): Promise<BlobStream> {
  return fetcherOf(registry, `${host}/app`).blob(blobOf(bytes), signal);
}

export async function readAll(stream: BlobStream): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream.chunks) chunks.push(await bytesOf(chunk));
  return Buffer.concat(chunks);
}
