import { RuntimeError } from "../../../base/errors.ts";

/** The answer of a shim's `start`: how to reach it. */
export interface Bootstrap {
  /** Version of the task API. */
  readonly version: 2 | 3;
  /** A path that begins with NUL is an abstract socket (unix(7)). */
  readonly socketPath: string;
}

/**
 * Parses the answer of a shim's `start`: a bare address (version 2), or JSON with version, address
 * and protocol. `failed-precondition` for any other version or protocol.
 */
export function parseBootstrap(answer: string): Bootstrap {
  const text = answer.trim();
  if (text === "") {
    throw new RuntimeError("unavailable", "start shim: it returned no address");
  }
  if (!text.startsWith("{")) return { version: 2, socketPath: socketPathOf(text) };
  const { version, address, protocol } = parseJson(text);
  if (version !== 2 && version !== 3) {
    throw new RuntimeError(
      "failed-precondition",
      `start shim: its version of the task API must be 2 or 3; it is ${JSON.stringify(version)}`,
    );
  }
  if (protocol !== undefined && protocol !== "" && protocol !== "ttrpc") {
    throw new RuntimeError(
      "failed-precondition",
      `start shim: its protocol must be "ttrpc"; it is ${JSON.stringify(protocol)}; use a shim that speaks ttrpc`,
    );
  }
  if (typeof address !== "string") {
    throw new RuntimeError("unavailable", `start shim: malformed response, no address: ${text}`);
  }
  return { version, socketPath: socketPathOf(address) };
}

function parseJson(text: string): {
  readonly version?: unknown;
  readonly address?: unknown;
  readonly protocol?: unknown;
} {
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
    `start shim: its address must be that of a unix socket; it is "${address}"`,
  );
}
