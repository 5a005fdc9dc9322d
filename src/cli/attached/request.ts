import type { Readable } from "node:stream";
import { RuntimeError } from "../../base/errors.ts";

/** What Davit.start() asks for, in the first line of stdin. */
export interface AttachedRequest {
  readonly network: "bridge" | "none" | { readonly conflist: string };
  /** The directory for images and records, which stays. Undefined for one that does not. */
  readonly root?: string;
  /** More configuration, as TOML. */
  readonly config?: string;
}

const maxBytes = 1024 * 1024;

/** Reads the request from a stream, which then tells by its end that the program has ended. */
export function readRequest(stream: Readable): {
  readonly request: Promise<AttachedRequest>;
  readonly ended: Promise<void>;
} {
  const request = Promise.withResolvers<AttachedRequest>();
  const ended = Promise.withResolvers<undefined>();
  let text = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    if (text.includes("\n")) return;
    text += chunk;
    if (text.includes("\n") || text.length > maxBytes) settle();
  });
  const settle = (): void => {
    try {
      request.resolve(parseRequest(text.split("\n")[0] ?? ""));
    } catch (error) {
      request.reject(error);
    }
  };
  const end = (): void => {
    if (!text.includes("\n")) settle();
    ended.resolve(undefined);
  };
  stream.once("end", end).once("error", end).once("close", end);
  request.promise.catch(() => undefined);
  return { request: request.promise, ended: ended.promise };
}

/** Parses a request; throws `invalid-argument`. */
export function parseRequest(line: string): AttachedRequest {
  const { network = "bridge", root, config } = parseObject(line);
  if (root !== undefined && !(typeof root === "string" && root.startsWith("/"))) {
    throw refusal("root must be an absolute path");
  }
  if (config !== undefined && typeof config !== "string") throw refusal("config must be a text");
  return {
    network: parseNetwork(network),
    ...(root === undefined ? {} : { root }),
    ...(config === undefined ? {} : { config }),
  };
}

function parseObject(line: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw refusal("not JSON");
  }
  if (typeof value !== "object" || value === null) throw refusal("not an object");
  return value as Record<string, unknown>;
}

function parseNetwork(network: unknown): AttachedRequest["network"] {
  if (network === "bridge" || network === "none") return network;
  if (typeof network === "object" && network !== null && "conflist" in network) {
    const { conflist } = network;
    if (typeof conflist === "string") return { conflist };
  }
  throw refusal('network must be "bridge", "none" or { conflist }');
}

function refusal(why: string): RuntimeError {
  return new RuntimeError(
    "invalid-argument",
    `read the request of the program: ${why}; this command is for Davit.start() of the SDK`,
  );
}
