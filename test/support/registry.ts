/**
 * A real registry for tests (Debian's docker-registry) on 127.0.0.1, behind a proxy that counts requests, delays
 * answers and fails on demand. Programs may push through the proxy, too.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import {
  createServer,
  type IncomingMessage,
  request as httpRequest,
  type Server,
  type ServerResponse,
} from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Blob, digestOf, type TestImage } from "./images.ts";
import { patient } from "./patience.ts";

/** The registry names of pulled images: the daemon's configuration maps them to the registry. */
const registryNames = ["registry.k8s.io", "docker.io", "images.test"] as const;

/** A registry with its own storage, which disposal removes. */
export class TestRegistry implements AsyncDisposable {
  /** For `[images] registry_config_path`: all of `registryNames` resolve to this registry. */
  readonly certsDir: string;
  /** All requests of the daemon in order, for example `GET /v2/NAME/blobs/DIGEST`. */
  readonly requests: string[] = [];
  readonly #directory: string;
  readonly #process: ChildProcess;
  readonly #port: number;
  readonly #front: Server;
  #hold:
    | { readonly match: RegExp; readonly until: Promise<void>; readonly bytes: number }
    | undefined;

  #cut: { readonly match: RegExp; readonly bytes: number } | undefined;
  #corrupt: RegExp | undefined;
  /** By repository: the Authorization header that is required. */
  readonly #guards = new Map<string, string>();

  private constructor(directory: string, child: ChildProcess, port: number) {
    this.#directory = directory;
    this.#process = child;
    this.#port = port;
    this.certsDir = path.join(directory, "certs.d");
    this.#front = createServer((request, response) => {
      this.#forward(request, response).catch(() => response.destroy());
    });
  }

  static async start(): Promise<TestRegistry> {
    const directory = mkdtempSync(path.join(tmpdir(), "davit-registry-"));
    const port = await freePort();
    const config = path.join(directory, "config.yml");
    writeFileSync(config, configText(path.join(directory, "storage"), port));
    const child = spawn("docker-registry", ["serve", config], { stdio: "ignore" });
    const registry = new TestRegistry(directory, child, port);
    try {
      await registry.#answers();
      registry.#front.listen(0, "127.0.0.1");
      await once(registry.#front, "listening");
      for (const name of registryNames) registry.mirror(name);
      return registry;
    } catch (error) {
      await registry[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Host and port of the proxy. */
  get address(): string {
    return `127.0.0.1:${(this.#front.address() as AddressInfo).port}`;
  }

  /** Makes the daemon pull images of registry `name` from here, or from another URL. */
  mirror(name: string, url = `http://${this.address}`): void {
    mkdirSync(path.join(this.certsDir, name), { recursive: true });
    const lines = [
      `server = "${url}"`,
      "",
      `[host."${url}"]`,
      '  capabilities = ["pull", "resolve"]',
      "",
    ];
    writeFileSync(path.join(this.certsDir, name, "hosts.toml"), lines.join("\n"));
  }

  /** Pushes an image with tags. The tags name `index`, if given, instead of the manifest. */
  async push(
    repository: string,
    image: TestImage,
    tags: readonly string[],
    index?: Blob,
  ): Promise<void> {
    for (const blob of [image.config, ...image.layers]) await this.#pushBlob(repository, blob);
    await this.#pushManifest(repository, image.manifest, image.manifest.digest);
    for (const tag of tags) await this.#pushManifest(repository, index ?? image.manifest, tag);
  }

  /** Allows only this user to read a repository, with Basic authentication. */
  guard(repository: string, { username, password }: { username: string; password: string }): void {
    const pair = Buffer.from(`${username}:${password}`).toString("base64");
    this.#guards.set(repository, `Basic ${pair}`);
  }

  /** Deletes a blob from a repository; the manifests that name it stay. */
  async removeBlob(repository: string, { digest }: Blob): Promise<void> {
    const { status } = await this.#call("DELETE", `/v2/${repository}/blobs/${digest}`);
    if (status !== 202) throw new Error(`remove ${digest} from ${repository}: ${status}`);
  }

  /** The number of requests of the daemon that match, for example `GET .../blobs/sha256:...`. */
  count(match: RegExp): number {
    return this.requests.filter((line) => match.test(line)).length;
  }

  /**
   * Holds back the answers to GETs that match, after their first `bytes`, until the returned
   * function is called.
   */
  hold(match: RegExp, bytes = 1000): () => void {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const hold = { match, until: promise, bytes };
    this.#hold = hold;
    return () => {
      if (this.#hold === hold) this.#hold = undefined;
      resolve(undefined);
    };
  }

  /** Closes the connection of the next GET that matches after these bytes of the answer. */
  cut(match: RegExp, bytes: number): void {
    this.#cut = { match, bytes };
  }

  /** Corrupts a byte in all answers to GETs that match; undefined ends that. */
  corrupt(match: RegExp | undefined): void {
    this.#corrupt = match;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#front.closeAllConnections();
    this.#front.close();
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const exited = once(this.#process, "exit");
      this.#process.kill("SIGKILL");
      await exited;
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #answers(): Promise<void> {
    const deadline = Date.now() + patient(20_000);
    for (;;) {
      try {
        await this.#call("GET", "/v2/");
        return;
      } catch (error) {
        if (Date.now() > deadline || this.#process.exitCode !== null) {
          throw new Error("start docker-registry: it does not answer", { cause: error });
        }
      }
      await sleep(20);
    }
  }

  async #pushBlob(repository: string, { digest, bytes }: Blob): Promise<void> {
    const there = await this.#call("HEAD", `/v2/${repository}/blobs/${digest}`);
    if (there.status === 200) return;
    const begun = await this.#call("POST", `/v2/${repository}/blobs/uploads/`);
    const location = new URL(begun.headers.get("location") ?? "", `http://127.0.0.1:${this.#port}`);
    location.searchParams.set("digest", digest);
    await this.#upload(`${location.pathname}${location.search}`, bytes, "application/octet-stream");
  }

  async #pushManifest(repository: string, manifest: Blob, reference: string): Promise<void> {
    const target = `/v2/${repository}/manifests/${reference}`;
    await this.#upload(target, manifest.bytes, manifest.mediaType);
  }

  async #upload(target: string, bytes: Buffer, type: string): Promise<void> {
    const { status, text } = await this.#call("PUT", target, bytes, type);
    if (status !== 201) throw new Error(`push ${digestOf(bytes)} to ${target}: ${status} ${text}`);
  }

  async #call(method: string, target: string, body?: Buffer, type?: string) {
    const answer = await fetch(`http://127.0.0.1:${this.#port}${target}`, {
      method,
      ...(body === undefined ? {} : { body: new Uint8Array(body) }),
      ...(type === undefined ? {} : { headers: { "content-type": type } }),
    });
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  }

  #isAllowed(url: string, authorization: string | undefined): boolean {
    for (const [repository, wanted] of this.#guards) {
      if (url.startsWith(`/v2/${repository}/`)) return authorization === wanted;
    }
    return true;
  }

  async #forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "GET", url = "/", headers } = request;
    const line = `${method} ${url}`;
    this.requests.push(line);
    if (!this.#isAllowed(url, headers.authorization)) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="test"' }).end();
      return;
    }
    const behind = httpRequest({ host: "127.0.0.1", port: this.#port, method, path: url, headers });
    request.pipe(behind);
    const [answer] = (await once(behind, "response")) as [IncomingMessage];
    response.on("close", () => answer.destroy());
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    if (this.#cut?.match.test(line) === true) {
      const { bytes } = this.#cut;
      this.#cut = undefined;
      await sendPart(answer, response, bytes);
    } else {
      await this.#send(line, answer, response);
    }
  }

  async #send(line: string, answer: IncomingMessage, response: ServerResponse): Promise<void> {
    const hold = this.#hold?.match.test(line) === true ? this.#hold : undefined;
    let left = hold?.bytes ?? Number.POSITIVE_INFINITY;
    let corrupt = this.#corrupt?.test(line) === true;
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      if (corrupt)
        chunk.writeUInt8((chunk.readUInt8(chunk.length - 1) + 1) % 256, chunk.length - 1);
      corrupt = false;
      if (chunk.length > left && hold !== undefined) {
        response.write(chunk.subarray(0, left));
        await hold.until;
        response.write(chunk.subarray(left));
        left = Number.POSITIVE_INFINITY;
        continue;
      }
      left -= chunk.length;
      if (!response.write(chunk)) await once(response, "drain");
    }
    response.end();
  }
}

/** Sends the first bytes, and closes the connection when they are on their way. */
async function sendPart(
  answer: IncomingMessage,
  response: ServerResponse,
  bytes: number,
): Promise<void> {
  let left = bytes;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    const part = chunk.subarray(0, left);
    left -= part.length;
    await new Promise((resolve) => response.write(part, resolve));
    if (left === 0) break;
  }
  response.socket?.end();
}

function configText(storage: string, port: number): string {
  return [
    "version: 0.1",
    "log: {level: error, accesslog: {disabled: true}}",
    `storage: {filesystem: {rootdirectory: ${JSON.stringify(storage)}}, delete: {enabled: true}}`,
    `http: {addr: "127.0.0.1:${port}", secret: davit-test}`,
    "",
  ].join("\n");
}

/** A free port of 127.0.0.1. */
export async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
