// A registry on loopback that runs the script of a test, and records its requests.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

import type { Digest } from "../../../base/digest.ts";
import type { LogFields, Logger } from "../../../base/logger.ts";
import {
  type ImageFetcher,
  parseReference,
  type RegistryAuth,
  type ResolvedImage,
} from "../../../core/image/index.ts";
import type { Registry } from "../registry.ts";

/** A request as the server saw it. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export type Script = (
  seen: Seen,
  response: ServerResponse,
  request: IncomingMessage,
) => void | Promise<void>;

/** PEM texts of a server that clients should trust by `ca`. */
export interface Certificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** Of a client, signed by the same CA. */
  readonly clientCert: string;
  readonly clientKey: string;
}

export class ScriptedRegistry implements AsyncDisposable {
  readonly seen: Seen[] = [];
  readonly #server: Server;

  static async open(script: Script, certificates?: Certificates): Promise<ScriptedRegistry> {
    const seen: Seen[] = [];
    const listener = (request: IncomingMessage, response: ServerResponse): void => {
      void answer(request, response, script, seen);
    };
    const server =
      certificates === undefined
        ? createServer(listener)
        : createSecureServer(
            { ...certificates, requestCert: true, rejectUnauthorized: false },
            listener,
          );
    server.keepAliveTimeout = 60_000;
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new ScriptedRegistry(server, seen);
  }

  private constructor(server: Server, seen: Seen[]) {
    this.#server = server;
    this.seen = seen;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** `127.0.0.1:PORT`. */
  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** `METHOD /path?query` of each request. */
  get asked(): readonly string[] {
    return this.seen.map(({ method, url }) => `${method} ${url}`);
  }

  connections(): Promise<number> {
    return new Promise((resolve, reject) =>
      this.#server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  script: Script,
  all: Seen[],
): Promise<void> {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  const { method = "", url = "", headers } = request;
  const seen = { method, url, headers, body };
  all.push(seen);
  await script(seen, response, request);
}

/** Content by path, as a registry without any authentication has it. */
export function serve(content: Readonly<Record<string, Content>>): Script {
  return ({ url }, response) => {
    const found = content[url.split("?")[0] ?? ""];
    if (found === undefined) {
      response.writeHead(404, { "content-type": "application/json" });
      response.end(JSON.stringify({ errors: [{ code: "MANIFEST_UNKNOWN", message: "no such" }] }));
      return;
    }
    const { bytes, type, digest = digestOf(bytes) } = found;
    response.writeHead(200, {
      "content-type": type,
      "content-length": bytes.length,
      "docker-content-digest": digest,
    });
    response.end(bytes);
  };
}

export interface Content {
  readonly bytes: Uint8Array;
  readonly type: string;
  readonly digest?: string;
}

export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

export const ociManifest = "application/vnd.oci.image.manifest.v1+json";
export const ociIndex = "application/vnd.oci.image.index.v1+json";

/** An image of one layer under `/v2/REPOSITORY`, as {@link serve} takes it. */
export function tinyImage(
  repository: string,
  options: {
    readonly layer?: Uint8Array;
    readonly change?: Readonly<Record<string, unknown>>;
  } = {},
): TinyImage {
  const layer = options.layer ?? Buffer.from("layer".repeat(1000));
  const config = Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux" }));
  const descriptor = (mediaType: string, bytes: Uint8Array): object => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      config: descriptor("application/vnd.oci.image.config.v1+json", config),
      layers: [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
      ...options.change,
    }),
  );
  const base = `/v2/${repository}`;
  const octets = "application/octet-stream";
  return {
    manifest,
    config,
    layer,
    content: {
      [`${base}/manifests/latest`]: { bytes: manifest, type: ociManifest },
      [`${base}/manifests/${digestOf(manifest)}`]: { bytes: manifest, type: ociManifest },
      [`${base}/blobs/${digestOf(config)}`]: { bytes: config, type: octets },
      [`${base}/blobs/${digestOf(layer)}`]: { bytes: layer, type: octets },
    },
  };
}

export interface TinyImage {
  readonly manifest: Uint8Array;
  readonly config: Uint8Array;
  readonly layer: Uint8Array;
  readonly content: Readonly<Record<string, Content>>;
}

/** Reads an image by name without resolving it; facts that are not given point to nothing. */
export function fetcherOf(
  registry: Registry,
  name: string,
  auth?: RegistryAuth,
  facts: Partial<ResolvedImage> = {},
): ImageFetcher {
  const nothing = { mediaType: "", digest: digestOf(Buffer.alloc(0)), sizeBytes: 0n };
  const image = {
    digest: nothing.digest,
    manifest: nothing,
    config: nothing,
    layers: [],
    ...facts,
  };
  return registry.fetcherOf(image, parseReference(name), auth);
}

/** Credentials with only the given fields. */
export function someAuth(fields: Partial<RegistryAuth>): RegistryAuth {
  const nothing = { username: "", password: "", auth: "", serverAddress: "" };
  return { ...nothing, identityToken: "", registryToken: "", ...fields };
}

/** A log that keeps its lines. */
export class KeptLog implements Logger {
  readonly lines: { readonly message: string; readonly fields: LogFields }[] = [];

  /** The lines of requests, in their order. */
  get requests(): readonly { readonly fields: LogFields }[] {
    return this.lines.filter(({ message }) => message === "asked registry");
  }

  debug(message: string, fields: LogFields = {}): void {
    this.lines.push({ message, fields });
  }
  info(message: string, fields: LogFields = {}): void {
    this.lines.push({ message, fields });
  }
  warn(message: string, fields: LogFields = {}): void {
    this.lines.push({ message, fields });
  }
  error(message: string, fields: LogFields = {}): void {
    this.lines.push({ message, fields });
  }
  with(): Logger {
    return this;
  }
}

/** A CA, a server of 127.0.0.1 and a client, made in `dir` with openssl. */
export function makeCertificates(dir: string): Certificates {
  const openssl = (...args: readonly string[]): void => {
    execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
  };
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const life = ["-days", "2"];
  openssl(
    "req",
    "-x509",
    ...curve,
    ...life,
    "-subj",
    "/CN=test CA",
    "-keyout",
    "ca.key",
    "-out",
    "ca.crt",
  );
  const issue = (name: string, extension: string): void => {
    openssl(
      ...["req", "-x509", ...curve, ...life, "-subj", `/CN=${name}`, "-CA", "ca.crt"],
      ...["-CAkey", "ca.key", "-addext", extension, "-addext", "basicConstraints=CA:FALSE"],
      ...["-keyout", `${name}.key`, "-out", `${name}.crt`],
    );
  };
  issue("server", "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.test");
  issue("client", "extendedKeyUsage=clientAuth");
  const read = (name: string): string => readFileSync(join(dir, name), "utf8");
  return {
    ca: read("ca.crt"),
    cert: read("server.crt"),
    key: read("server.key"),
    clientCert: read("client.crt"),
    clientKey: read("client.key"),
  };
}
