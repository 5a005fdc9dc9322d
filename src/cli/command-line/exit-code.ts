import { type ErrorKind, kindOf, messageOf, RuntimeError } from "../../base/errors.ts";

/** The exit codes, which docs/cli.md documents for scripts. */
export const exitCode = {
  done: 0,
  failed: 1,
  /** The command line or a manifest is invalid; nothing was done. */
  usage: 2,
  /** A pod, container or image was not found, or its name is ambiguous. */
  notFound: 3,
  /** The server is not reachable, or not ready yet. */
  unreachable: 4,
  /** The server does not support the call. */
  unsupported: 5,
  /** The registry of an image is not reachable, but the server is. */
  registry: 6,
  /** As in timeout(1). */
  timeout: 124,
  /** `davit exec` or `davit run IMAGE` failed itself; other codes are those of the command, as in docker. */
  execFailed: 125,
  /** The program of `davit exec` or `davit run IMAGE` cannot be executed. */
  cannotInvoke: 126,
  /** `davit exec` or `davit run IMAGE` did not find the program in the container, as in shells. */
  noProgram: 127,
  /** 128 + SIGINT. */
  interrupted: 130,
} as const;

/** The descriptions for the help and docs/cli.md. */
export const exitCodeDocs: readonly (readonly [number, string])[] = [
  [exitCode.done, "success"],
  [exitCode.failed, "failure; the message has the reason"],
  [exitCode.usage, "the command line or a manifest is invalid; nothing was done"],
  [exitCode.notFound, "a pod, container or image was not found, or its name is ambiguous"],
  [exitCode.unreachable, "the server is not reachable, or not ready yet"],
  [exitCode.unsupported, "the server does not support the request"],
  [exitCode.registry, "the registry of an image is not reachable"],
  [exitCode.timeout, "timeout"],
  [
    exitCode.execFailed,
    "davit exec or davit run IMAGE failed itself; other codes are those of the command",
  ],
  [exitCode.cannotInvoke, "the program of davit exec or davit run IMAGE cannot be executed"],
  [
    exitCode.noProgram,
    "the program of davit exec or davit run IMAGE was not found in the container",
  ],
  [
    exitCode.interrupted,
    "interrupted by Ctrl-C; changes are undone, or the message says what remains",
  ],
];

/** What crun and runc say of a program that is missing, and davit itself, in the words of Go's os/exec. */
const noProgram =
  /executable file .*not found|(?:stat .*|exec: "(?:[^"\\]|\\.)*"): no such file or directory/;

/** The exit code for a program that an OCI runtime did not start, by the runtime's message. */
export function codeOfProgram(message: string): number {
  if (noProgram.test(message)) return exitCode.noProgram;
  return /permission denied|exec format error|is a directory|not a regular file|is not executable/i.test(
    message,
  )
    ? exitCode.cannotInvoke
    : exitCode.execFailed;
}

/** A failure with an exit code of its own. Its kind is that of its cause. */
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

/** The exit code for the failure of a call to a server. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommandFailure) return error.exitCode;
  // Servers return ErrRegistryUnavailable of cri-api (pkg/errors) if a registry does not respond:
  // the code alone would mean that the server is not ready.
  const mayBeRegistry = ["unavailable", "unknown"].includes(kindOf(error));
  if (mayBeRegistry && /\bRegistryUnavailable\b/.test(messageOf(error))) return exitCode.registry;
  return codes[kindOf(error)] ?? exitCode.failed;
}
