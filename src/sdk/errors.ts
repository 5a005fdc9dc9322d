/**
 * What kind of failure an error is, for programs:
 *
 * - `aborted`: the `signal` of the call was aborted, or the client was closed;
 * - `already-exists`: there is an object of this name;
 * - `deadline`: a time limit has passed;
 * - `ended`: a container ended that had to run;
 * - `exit-code`: a command ended with another code than 0 (`ExecError`);
 * - `failed`: the state of the object does not allow it, or a program failed; the message says which;
 * - `internal`: the server, or this package, has a defect;
 * - `invalid`: an argument is invalid, and nothing was done;
 * - `no-space`: a disk is full, or another resource is used up;
 * - `not-found`: there is no such object, file or program;
 * - `permission`: the process may not do it;
 * - `registry`: the registry of an image did not answer, or refused;
 * - `unavailable`: the server cannot be reached, or is not ready;
 * - `unsupported`: this server, or this image, cannot do it.
 */
export type DavitErrorKind =
  | "aborted"
  | "already-exists"
  | "deadline"
  | "ended"
  | "exit-code"
  | "failed"
  | "internal"
  | "invalid"
  | "no-space"
  | "not-found"
  | "permission"
  | "registry"
  | "unavailable"
  | "unsupported";

/** What an error has besides its message. */
export interface DavitErrorOptions {
  readonly stage?: string | undefined;
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** Every failure of this package: a kind for programs, and a message that says what failed, on which object. */
export class DavitError extends Error {
  readonly kind: DavitErrorKind;
  /** The stage of the server's operation in which it failed, such as "add-network" or "fetch", if there is one. */
  readonly stage: string | undefined;
  /** What a person can do. It is also part of the message. */
  readonly hint: string | undefined;

  constructor(kind: DavitErrorKind, message: string, options: DavitErrorOptions = {}) {
    const { stage, hint, cause } = options;
    const text = hint === undefined || message.includes(hint) ? message : `${message}; ${hint}`;
    super(text, cause === undefined ? undefined : { cause });
    this.name = "DavitError";
    this.kind = kind;
    this.stage = stage;
    this.hint = hint;
  }
}

/** What a command did that ended with another code than 0. */
export interface FailedCommand {
  readonly command: readonly string[];
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command ended with another code than 0. */
export class ExecError extends DavitError {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** The code; 128 and the number of the signal, for a command that a signal ended. */
  readonly exitCode: number;
  /** All that it wrote to its stdout. */
  readonly stdout: string;
  /** All that it wrote to its stderr. */
  readonly stderr: string;

  constructor(container: string, failed: FailedCommand) {
    const { command, exitCode, stdout, stderr } = failed;
    const end = stderr.trimEnd().split("\n").slice(-3).join("\n");
    const why = end === "" ? "" : `: ${end}`;
    const [program = ""] = command;
    super("exit-code", `run "${program}" in container "${container}": exit code ${exitCode}${why}`);
    this.name = "ExecError";
    this.command = command;
    this.exitCode = exitCode;
    this.stdout = stdout;
    this.stderr = stderr;
  }
}
