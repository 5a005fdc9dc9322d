import type * as http from "node:http";
import type * as https from "node:https";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";

import { type Digest, hexOf } from "../../../base/digest.ts";
import { messageOf, RuntimeError } from "../../../base/errors.ts";
import type { ImageReference } from "../../../core/image/index.ts";
import { isLocalConnection, type ProxyEnv } from "../../../wire/local-address.ts";
import { systemCertificates } from "../../../wire/system-certificates.ts";
import { readIfPresent } from "./bounded-file.ts";

/** Limits of what a store may have for one manifest. A signature has about 1 KB. */
const maxSignatures = 32;
const maxSignatureBytes = 64 * 1024;
const maxRedirects = 3;
const answerMs = 10_000;

/**
 * The GPG signatures of a manifest in a store: `STORE/REPOSITORY@sha256=HEX/signature-N`, from 1 on until there
 * is none. `unavailable` for a store that does not answer, `resource-exhausted` for more or larger ones,
 * `failed-precondition` for one elsewhere that leads to an address of this node.
 */
export async function readSignatures(
  store: URL,
  image: { readonly reference: ImageReference; readonly digest: Digest },
  { env, signal }: { readonly env: ProxyEnv; readonly signal: AbortSignal },
): Promise<readonly Uint8Array[]> {
  using agents = new Agents(env);
  const found: Uint8Array[] = [];
  for (let number = 1; ; number++) {
    const url = signatureUrl(store, image, number);
    const signature =
      url.protocol === "file:"
        ? await readIfPresent(fileURLToPath(url), maxSignatureBytes)
        : await fetchSignature(url, agents, signal);
    if (signature === undefined) return found;
    if (number > maxSignatures) {
      throw new RuntimeError(
        "resource-exhausted",
        `read signatures of ${image.digest} in "${shownUrl(store)}": there are more than ${maxSignatures}`,
      );
    }
    found.push(signature);
  }
}

/** An address without its password. */
export function shownUrl(url: URL): string {
  const shown = new URL(url);
  shown.username = "";
  shown.password = "";
  shown.search = "";
  return shown.href;
}

function signatureUrl(
  store: URL,
  { reference, digest }: { readonly reference: ImageReference; readonly digest: Digest },
  number: number,
): URL {
  const url = new URL(store);
  url.pathname += `/${reference.repository}@sha256=${hexOf(digest)}/signature-${number}`;
  return url;
}

/** Undefined where there is none (404). */
async function fetchSignature(
  url: URL,
  agents: Agents,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  let next = url;
  let isRemote = false;
  for (let redirects = 0; redirects <= maxRedirects; redirects++) {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
    try {
      const answer = await agents.get(next, { signal: deadline, refuseLocal: isRemote });
      isRemote ||= !agents.isLocal(next, answer.socket);
      const { statusCode = 0, headers } = answer;
      if (statusCode === 200) return await bodyOf(answer, next);
      answer.destroy();
      if (statusCode === 404) return undefined;
      const target = statusCode >= 300 && statusCode < 400 ? headers.location : undefined;
      if (target === undefined) throw unavailable(next, `it answers with HTTP ${statusCode}`);
      next = redirected(next, target);
    } catch (cause) {
      if (cause instanceof RuntimeError) throw cause;
      signal.throwIfAborted();
      const why = deadline.aborted ? `no answer within ${answerMs / 1000} s` : messageOf(cause);
      throw unavailable(next, why);
    }
  }
  throw unavailable(url, `it redirects more than ${maxRedirects} times`);
}

function redirected(from: URL, target: string): URL {
  const to = URL.parse(target, from.href);
  const isSafe =
    to?.protocol === "https:" || (to?.protocol === "http:" && from.protocol === "http:");
  if (to !== null && isSafe) return to;
  throw unavailable(from, "it redirects to an address without TLS");
}

async function bodyOf(answer: http.IncomingMessage, url: URL): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of answer as AsyncIterable<Buffer>) {
    parts.push(part);
    bytes += part.length;
    if (bytes <= maxSignatureBytes) continue;
    throw new RuntimeError(
      "resource-exhausted",
      `read "${shownUrl(url)}": a signature has more than ${maxSignatureBytes} bytes`,
    );
  }
  return Buffer.concat(parts);
}

/** The connections of one image. */
class Agents implements Disposable {
  readonly #env: ProxyEnv;
  #plain: http.Agent | undefined;
  #secure: https.Agent | undefined;

  constructor(env: ProxyEnv) {
    this.#env = env;
  }

  /** Sends nothing where `refuseLocal`, and {@link isLocalConnection} is true. */
  get(
    url: URL,
    { signal, refuseLocal }: { readonly signal: AbortSignal; readonly refuseLocal: boolean },
  ): Promise<http.IncomingMessage> {
    const isPlain = url.protocol === "http:";
    const agent = isPlain ? this.#plainAgent() : this.#secureAgent();
    const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
    const { get } = process.getBuiltinModule(isPlain ? "node:http" : "node:https");
    const request = get(url, { agent, signal }, resolve);
    request.on("error", reject);
    const check = (socket: Socket): void => {
      // Read in any case: Node.js keeps the address for later reads, when the peer may have closed the connection.
      if (this.isLocal(url, socket) && refuseLocal) request.destroy(local(url));
    };
    request.once("socket", (socket) => {
      // Before a byte is written: Node.js passes the request to the socket after this event.
      if (socket.connecting) socket.once("connect", () => check(socket));
      else check(socket);
    });
    return promise;
  }

  isLocal(url: URL, socket: Socket): boolean {
    return isLocalConnection(url, socket, this.#env);
  }

  [Symbol.dispose](): void {
    this.#plain?.destroy();
    this.#secure?.destroy();
  }

  // Most policies need neither HTTP nor TLS when the daemon starts.
  #plainAgent(): http.Agent {
    const { Agent } = process.getBuiltinModule("node:http");
    return (this.#plain ??= new Agent({ keepAlive: true, proxyEnv: { ...this.#env } }));
  }

  #secureAgent(): https.Agent {
    const { Agent } = process.getBuiltinModule("node:https");
    return (this.#secure ??= new Agent({
      keepAlive: true,
      proxyEnv: { ...this.#env },
      ca: [...systemCertificates()],
    }));
  }
}

function unavailable(url: URL, why: string): RuntimeError {
  return new RuntimeError("unavailable", `read "${shownUrl(url)}": ${why}`);
}

function local(url: URL): RuntimeError {
  const why = "it is at an address that only this node reaches, where no store elsewhere may lead";
  return new RuntimeError("failed-precondition", `read "${shownUrl(url)}": ${why}`);
}
