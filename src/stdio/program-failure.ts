import { RuntimeError } from "../base/errors.ts";
import { quote } from "../base/quote.ts";

/** A program that cannot be executed in a container. The container runs: its end is not the reason. */
export class ProgramFailure extends RuntimeError {}

/** crun; "open executable" is how older versions say that a program is not executable. */
const missing = /\bexecutable file `[^`]*` not found/;
const denied =
  /\bthe path `[^`]*` (?:is not a regular file|exists but it is not executable)|\bopen executable: Permission denied/;
/** runc, by the words of Go's os/exec. containerd's shims put their own around it. */
const inWordsOfGo = /\bexec: "(?:[^"\\]|\\.)*": (?:stat [^:]*: )?([^;]+)/;

/**
 * The failure of `program` that a runtime's message reports, a {@link ProgramFailure}; undefined for a message about
 * anything else. It is `exec: "PROGRAM": REASON` for every runtime, with the reasons of Go's os/exec, which clients know
 * from containerd and CRI-O.
 * The kind is `unknown`, as theirs: `not-found` would be a missing container.
 */
export function programFailure(program: string, message: string): RuntimeError | undefined {
  const reason = reasonIn(program, message);
  if (reason === undefined) return undefined;
  return new ProgramFailure("unknown", `exec: ${quote(program)}: ${reason}`);
}

function reasonIn(program: string, message: string): string | undefined {
  if (missing.test(message)) {
    return program.includes("/")
      ? "no such file or directory"
      : "executable file not found in $PATH";
  }
  if (denied.test(message)) return "permission denied";
  return inWordsOfGo
    .exec(message)?.[1]
    ?.replace(/: unknown$/, "")
    .trim();
}
