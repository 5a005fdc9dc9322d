import { type ErrorKind, kindOf, messageOf, RuntimeError } from "../../base/errors.ts";

/** What the process ends with; docs/cli.md has them for scripts. */
export const exitCode = {
  done: 0,
  failed: 1,
  /** The command line or a manifest is wrong; nothing was done. */
  usage: 2,
  /** No such pod, container or image, or more than one. */
  notFound: 3,
  /** The socket cannot be reached, or the server is not ready yet. */
  unreachable: 4,
  /** The server does not have this call. */
  unsupported: 5,
  /** The server is there; a registry that it asked for an image is not. */
  registry: 6,
  /** As timeout(1). */
  timeout: 124,
  /** Of `davit exec`: davit's own failure, so that every other code is the command's (docker). */
  execFailed: 125,
  /** Of `davit exec`: the container has no such program, as a shell says it. */
  noProgram: 127,
  /** 128 and SIGINT. */
  interrupted: 130,
} as const;

/** A sentence on each, for the help and docs/cli.md. */
export const exitCodeDocs: readonly (readonly [number, string])[] = [
  [exitCode.done, "done"],
  [exitCode.failed, "failed; the message says what and why"],
  [exitCode.usage, "the command line or a manifest is wrong, nothing was done"],
  [exitCode.notFound, "no such pod, container or image, or more than one of that name"],
  [exitCode.unreachable, "the server cannot be reached, or is not ready yet"],
  [exitCode.unsupported, "the server does not offer this"],
  [exitCode.registry, "the registry of an image cannot be reached; the server can"],
  [exitCode.timeout, "took longer than allowed"],
  [exitCode.execFailed, "davit exec itself failed; any other code of it is the command's own"],
  [exitCode.noProgram, "davit exec: there is no such program in the container"],
  [
    exitCode.interrupted,
    "interrupted by Ctrl-C; what was begun is undone, or the message says what is not",
  ],
];

/** A command that failed in a way that a script can tell from others. Its kind is its cause's. */
export class CommandFailure extends RuntimeError {
  readonly exitCode: number;

  constructor(code: number, message: string, options?: { readonly cause?: unknown }) {
    super(kindOf(options?.cause), message, options);
    this.name = "CommandFailure";
    this.exitCode = code;
  }
}

const codes: Readonly<Partial<Record<ErrorKind, number>>> = {
  "not-found": exitCode.notFound,
  unavailable: exitCode.unreachable,
  unimplemented: exitCode.unsupported,
  "deadline-exceeded": exitCode.timeout,
};

/** The exit code for a failure of a call to a server. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommandFailure) return error.exitCode;
  // What servers say where a registry does not answer (cri-api, pkg/errors: ErrRegistryUnavailable):
  // the code alone would be that of a server that is not ready.
  const mayBeRegistry = ["unavailable", "unknown"].includes(kindOf(error));
  if (mayBeRegistry && /\bRegistryUnavailable\b/.test(messageOf(error))) return exitCode.registry;
  return codes[kindOf(error)] ?? exitCode.failed;
}
