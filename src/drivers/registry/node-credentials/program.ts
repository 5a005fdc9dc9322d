import { messageOf } from "../../../base/errors.ts";
import { run } from "../../../linux/process/index.ts";
import { parseJson } from "./json-text.ts";

const maxAnswerBytes = 1024 * 1024;
const shownCharacters = 200;

/** A program that is asked for credentials. */
export interface Program {
  /** A name on the PATH of `env`, or an absolute path. */
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly input: string;
  readonly timeoutMs: number;
}

/** Why a program gave no credentials. The message has nothing of its output. */
export class ProgramFailure extends Error {
  /** The beginning of what it printed as its error, for the log of the daemon only. */
  readonly printed: string;

  constructor(message: string, printed = "") {
    super(message);
    this.name = "ProgramFailure";
    this.printed = printed;
  }
}

/**
 * Runs a program and returns the JSON that it prints. It is killed with its process group at the timeout.
 * `expected` gets the text of a failed run, and may make an answer of it. Rejects with a
 * {@link ProgramFailure}.
 */
export async function askProgram(
  program: Program,
  expected: (stdout: string) => boolean = () => false,
): Promise<unknown> {
  const { file } = program;
  const result = await run({
    ...program,
    maxOutputBytes: maxAnswerBytes + 1,
    killGroup: true,
  }).catch((error: unknown) => {
    throw new ProgramFailure(messageOf(error));
  });
  const stdout = result.stdout.toString("utf8");
  if (result.code !== 0) {
    if (expected(stdout)) return undefined;
    const how = result.code === null ? `signal ${result.signal}` : `exit code ${result.code}`;
    // Docker's programs print errors on stdout.
    const printed = excerpt(result.stderr.toString("utf8")) || excerpt(withoutJson(stdout));
    throw new ProgramFailure(`run "${file}": it ended with ${how}`, printed);
  }
  if (result.stdout.length > maxAnswerBytes) {
    throw new ProgramFailure(`run "${file}": it printed more than ${maxAnswerBytes} bytes`);
  }
  const parsed = parseJson(stdout);
  if ("value" in parsed) return parsed.value;
  const printed = excerpt(result.stderr.toString("utf8"));
  throw new ProgramFailure(`run "${file}": it printed something that is not JSON`, printed);
}

/** Nothing of a text that may be an answer with credentials. */
function withoutJson(text: string): string {
  return text.includes("{") ? "" : text;
}

/** The beginning of a text in one line, without control characters. */
function excerpt(text: string): string {
  const line = text
    .slice(0, 4 * shownCharacters)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, " ")
    .trim();
  return line.length > shownCharacters ? `${line.slice(0, shownCharacters)}...` : line;
}
