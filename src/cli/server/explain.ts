import { existsSync } from "node:fs";
import { isKind, messageOf } from "../../base/errors.ts";
import { parseEndpoint } from "../../client/cri-client.ts";
import { reasonOf } from "../../client/reason.ts";
import { CommandFailure, exitCode, exitCodeOf } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import type { Endpoint } from "./endpoint.ts";

export { reasonOf } from "../../client/reason.ts";

/** Well-known sockets, which are suggested if the chosen one does not exist. */
const knownSockets = [
  "/run/davit/davit.sock",
  "/run/davit-demo/davit.sock",
  "/run/containerd/containerd.sock",
  "/run/crio/crio.sock",
];

/**
 * The error to show for a failed call: what was being done, why it failed, and what to do
 * next, with an exit code for scripts.
 *
 * @param exists whether a socket file exists, for tests
 */
export function explainFailure(
  error: unknown,
  endpoint: Endpoint,
  exists: (path: string) => boolean = existsSync,
): Error {
  if (error instanceof CommandFailure || error instanceof UsageError) return error;
  const unreachable = (reason: string): CommandFailure =>
    new CommandFailure(
      exitCode.unreachable,
      `connect to ${endpoint.address}${origin(endpoint)}: ${reason}`,
      { cause: error },
    );
  switch (connectErrno(error)) {
    case "ENOENT":
      return unreachable(`no such socket; ${whatToStart(endpoint, exists)}`);
    case "ECONNREFUSED":
      return unreachable(
        `connection refused, no server listens on this socket; ${whatToStart(endpoint, exists)}`,
      );
    case "EACCES":
      return unreachable(
        "permission denied; run davit as root, or set server.group to a group of which you are a member",
      );
    case "ENOTSOCK":
    case "EPROTOTYPE":
      return unreachable("not a stream socket; use another one with --endpoint");
    case undefined:
    default:
      return new CommandFailure(exitCodeOf(error), `${messageOf(error)}${advice(error)}`, {
        cause: error,
      });
  }
}

/**
 * Waits for `work` and adds to its error what was being done. The errors of a davit server already begin
 * with the operation and the id of the object: the id is replaced by the name that the user knows. If the
 * operation has another name (exec), it is replaced, too, with the id and the stage, which are in the
 * server's log.
 */
export async function doing<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof CommandFailure || connectErrno(error) !== undefined) throw error;
    if (isKind(error, "canceled")) throw error;
    const message = `${withObjectName(what, messageOf(error))}${advice(error)}`;
    throw new CommandFailure(exitCodeOf(error), message, { cause: error });
  }
}

function withObjectName(what: string, message: string): string {
  const [verb = ""] = what.split(" ");
  const [operation = ""] = /^(\w+ ){1,4}"[^"]*"/.exec(message) ?? [];
  return operation.startsWith(`${verb} `)
    ? `${what}${message.slice(operation.length)}`
    : `${what}: ${reasonOf(message)}`;
}

function origin({ chosenBy }: Endpoint): string {
  return chosenBy === "default" || chosenBy === "--endpoint" ? "" : ` (from ${chosenBy})`;
}

function whatToStart(endpoint: Endpoint, exists: (path: string) => boolean): string {
  const path = parseEndpoint(endpoint.address);
  const other = knownSockets.find((socket) => socket !== path && exists(socket));
  const start =
    'start davit with "davit serve" as root, or its service with "systemctl start davit"';
  return other === undefined
    ? `${start}, or use another socket with --endpoint or DAVIT_ENDPOINT`
    : `${start}, or use the existing socket with --endpoint unix://${other}`;
}

function advice(error: unknown): string {
  // Unsupported image features have the same kind, but other messages.
  if (
    isKind(error, "unimplemented") &&
    /\b(no such|unknown) (method|service)\b/.test(messageOf(error))
  ) {
    return "; the server does not support this call";
  }
  return isKind(error, "deadline-exceeded") ? "; use a longer --timeout" : "";
}

/** The errno of a failed connect(2); other system calls need other advice. */
function connectErrno(error: unknown): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (!("code" in cause) || typeof cause.code !== "string") continue;
    if ("syscall" in cause && cause.syscall === "connect") return cause.code;
  }
  return undefined;
}
