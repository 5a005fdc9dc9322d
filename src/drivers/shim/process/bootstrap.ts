import { create, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { messageOf, RuntimeError } from "../../../base/errors.ts";
import { quote, quoteValue } from "../../../base/quote.ts";
import {
  BootstrapParamsSchema,
  type BootstrapResult,
  BootstrapResultSchema,
} from "../../../gen/containerd/runtime/bootstrap/v1/bootstrap_pb.ts";
import { decodeBounded } from "../../../wire/protobuf.ts";

/** The answer of a shim's `start`: how to reach it. */
export interface Bootstrap {
  /** Version of the task API. */
  readonly version: 2 | 3;
  /** A path that begins with NUL is an abstract socket (unix(7)). */
  readonly socketPath: string;
}

/**
 * What a shim reads on stdin at its `start`: its options alone, or BootstrapParams, as shims of containerd 2.3 and
 * later.
 */
export type BootstrapInput = "options" | "params";

/** The first byte of a BootstrapResult: one of its first fields, whichever the shim writes first. */
const [versionTag, addressTag, protocolTag] = [0x08, 0x12, 0x1a];

/** The version of containerd whose protocol davit speaks, for shims that go by it. */
const containerdVersion = "2.3.0";

/** What is passed to a shim at its start. */
export interface BootstrapFacts {
  readonly id: string;
  readonly namespace: string;
  /** The socket for events. */
  readonly eventsPath: string;
  readonly publishBinary: string;
  /** The directory for the shim's socket; undefined for the one that it has by itself. */
  readonly socketDirectory: string | undefined;
  readonly options: Any;
}

/** The bytes for the stdin of a shim's `start`. */
export function bootstrapInput(kind: BootstrapInput, facts: BootstrapFacts): Uint8Array {
  if (kind === "options") return toBinary(AnySchema, facts.options);
  const params = create(BootstrapParamsSchema, {
    instanceId: facts.id,
    namespace: facts.namespace,
    containerdVersion,
    containerdTtrpcAddress: facts.eventsPath,
    containerdGrpcAddress: facts.eventsPath,
    containerdBinary: facts.publishBinary,
    extensions: [{ value: facts.options }],
    ...(facts.socketDirectory === undefined ? {} : { socketDir: facts.socketDirectory }),
  });
  return toBinary(BootstrapParamsSchema, params);
}

/**
 * Whether a `start` failed because the shim reads BootstrapParams only, by its error: a shim of containerd 2.3 calls
 * the options alone "the deprecated API", and parameters for another pod a mismatch of "bootstrap parameters".
 */
export function asksForParams(errorText: string): boolean {
  return /deprecated API|bootstrap param/i.test(errorText);
}

/**
 * Parses the answer of a shim's `start`: a BootstrapResult, JSON with version, address and protocol, or a bare address
 * (version 2). `failed-precondition` for any other version or protocol.
 */
export function parseBootstrap(answer: Uint8Array): Bootstrap {
  const isMessage = [versionTag, addressTag, protocolTag].includes(answer[0] ?? 0);
  if (isMessage) return bootstrapOf(parseResult(answer));
  const text = Buffer.from(answer).toString("utf8").trim();
  if (text === "") {
    throw new RuntimeError("unavailable", "start shim: it returned no address");
  }
  if (!text.startsWith("{")) return { version: 2, socketPath: socketPathOf(text) };
  return bootstrapOf(parseJson(text));
}

function bootstrapOf({
  version,
  address,
  protocol,
}: {
  readonly version?: unknown;
  readonly address?: unknown;
  readonly protocol?: unknown;
}): Bootstrap {
  if (version !== 2 && version !== 3) {
    throw new RuntimeError(
      "failed-precondition",
      `start shim: its version of the task API must be 2 or 3; it is ${quoteValue(version)}`,
    );
  }
  const name = protocol ?? "";
  if (name !== "" && (typeof name !== "string" || name.toLowerCase() !== "ttrpc")) {
    throw new RuntimeError(
      "failed-precondition",
      `start shim: its protocol must be "ttrpc"; it is ${quoteValue(name)}; use a shim that speaks ttrpc`,
    );
  }
  if (typeof address !== "string") {
    throw new RuntimeError("unavailable", "start shim: malformed response, it has no address");
  }
  return { version, socketPath: socketPathOf(address) };
}

function parseResult(answer: Uint8Array): BootstrapResult {
  try {
    return decodeBounded(BootstrapResultSchema, answer);
  } catch (cause) {
    const text = `start shim: malformed response: ${messageOf(cause)}`;
    throw new RuntimeError("unavailable", text, { cause });
  }
}

function parseJson(text: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw new RuntimeError("unavailable", `start shim: malformed response, not JSON: ${text}`, {
      cause,
    });
  }
}

/** The socket of an address: unix:///path, a bare path, or the name of an abstract socket. */
function socketPathOf(address: string): string {
  const path = address.startsWith("unix://") ? address.slice("unix://".length) : address;
  if (path.startsWith("@") || path.startsWith("\0")) return `\0${path.slice(1)}`;
  if (path.startsWith("/")) return path;
  throw new RuntimeError(
    "failed-precondition",
    `start shim: its address must be that of a unix socket; it is ${quote(address)}`,
  );
}
