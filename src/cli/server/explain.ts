import { existsSync } from "node:fs";
import { isKind, messageOf } from "../../base/errors.ts";
import { parseEndpoint } from "../../client/cri-client.ts";
import { CommandFailure, exitCode, exitCodeOf } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import type { Endpoint } from "./endpoint.ts";

/** Other sockets that people have; one that is there is named when the chosen one is not. */
const knownSockets = [
  "/run/davit/davit.sock",
  "/run/davit-demo/davit.sock",
  "/run/containerd/containerd.sock",
  "/run/crio/crio.sock",
];

/**
 * What a person should read of a failed call: what was being done, why it failed, and what to do
 * next. The result's exit code tells a script the same.
 *
 * @param isThere whether a socket file exists, for tests
 */
export function explainFailure(
  error: unknown,
  endpoint: Endpoint,
  isThere: (path: string) => boolean = existsSync,
): Error {
  if (error instanceof CommandFailure || error instanceof UsageError) return error;
  const reach = (why: string): CommandFailure =>
    new CommandFailure(
      exitCode.unreachable,
      `cannot reach a server at ${endpoint.address}${chosen(endpoint)}: ${why}`,
      { cause: error },
    );
  switch (connectErrno(error)) {
    case "ENOENT":
      return reach(`there is no such socket; ${whatToStart(endpoint, isThere)}`);
    case "ECONNREFUSED":
      return reach(`nobody serves this socket any more; ${whatToStart(endpoint, isThere)}`);
    case "EACCES":
      return reach(
        "no permission; run it as root, or have server.group name a group that you are in",
      );
    case "ENOTSOCK":
    case "EPROTOTYPE":
      return reach("this is no stream socket; name another one with --endpoint");
    case undefined:
    default:
      return new CommandFailure(exitCodeOf(error), `${messageOf(error)}${advice(error)}`, {
        cause: error,
      });
  }
}

/**
 * Does `work` and, when it fails, says what was being done. davit's own messages begin with that,
 * and name the object by its id: it gets the name that the person knows instead. Where they say it in
 * other words (exec), these go, with the id and the stage, which the server's log has.
 */
export async function doing<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof CommandFailure || connectErrno(error) !== undefined) throw error;
    if (isKind(error, "canceled")) throw error;
    const message = `${inOurWords(what, messageOf(error))}${advice(error)}`;
    throw new CommandFailure(exitCodeOf(error), message, { cause: error });
  }
}

function inOurWords(what: string, message: string): string {
  const [verb = ""] = what.split(" ");
  const [theirs = ""] = /^(\w+ ){1,3}"[^"]*"/.exec(message) ?? [];
  return theirs.startsWith(`${verb} `)
    ? `${what}${message.slice(theirs.length)}`
    : `${what}: ${reasonOf(message)}`;
}

/** Why davit failed, without the operation, the id and the stage that its message begins with. */
export function reasonOf(message: string): string {
  return message.replace(ofAnId, "");
}

/** What an operation on an id begins with, and the step of it that only passes on what crun or runc says. */
const ofAnId =
  /^(?:[a-z]+ ){1,3}"[0-9a-f]{64}"(?: \(stage [a-z-]+, \d+ ms\))?: (?:OCI runtime exec: )?/;

function chosen({ chosenBy }: Endpoint): string {
  return chosenBy === "default" || chosenBy === "--endpoint" ? "" : ` (from ${chosenBy})`;
}

function whatToStart(endpoint: Endpoint, isThere: (path: string) => boolean): string {
  const path = parseEndpoint(endpoint.address);
  const other = knownSockets.find((socket) => socket !== path && isThere(socket));
  const start = 'start davit with "davit serve" (as root), or "npm start" for a first look';
  return other === undefined
    ? `${start}, or name another socket with --endpoint or DAVIT_ENDPOINT`
    : `${start}; there is a server's socket at ${other}: --endpoint unix://${other}`;
}

function advice(error: unknown): string {
  // What a server cannot do with an image has the same kind, and words of its own.
  if (
    isKind(error, "unimplemented") &&
    /\b(no such|unknown) (method|service)\b/.test(messageOf(error))
  ) {
    return "; this server does not have that call";
  }
  return isKind(error, "deadline-exceeded") ? "; --timeout gives it longer" : "";
}

/** The errno of a connect that failed; files have the same ones, and other advice. */
function connectErrno(error: unknown): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (!("code" in cause) || typeof cause.code !== "string") continue;
    if ("syscall" in cause && cause.syscall === "connect") return cause.code;
  }
  return undefined;
}
