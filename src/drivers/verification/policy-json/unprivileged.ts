import { randomInt } from "node:crypto";

import { RuntimeError, wrap } from "../../../base/errors.ts";
import { run, type RunResult } from "../../../linux/process/index.ts";

// None of the node, nor that kubelet lets a pod ask for: run_as_user ends at 2^31-1.
const firstUser = 3_000_000_000;
const lastUser = 4_294_900_000;

/**
 * A user for the programs of one verification, which read what is from the network. Nobody else can have it: an
 * image that names a user of its own cannot know which one is next.
 */
export function someUser(): number {
  return randomInt(firstUser, lastUser);
}

/** The directory of a program: it may not search the directories above. */
export const here = "/proc/self/cwd";

const timeoutMs = 10_000;
const maxOutputBytes = 256 * 1024;
const searchPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

const drop = (user: number): readonly string[] => [
  `--reuid=${user}`,
  `--regid=${user}`,
  "--clear-groups",
  "--no-new-privs",
  "--bounding-set=-all",
  "--inh-caps=-all",
];

/** A program that verifies signatures. */
export interface VerifyingProgram {
  readonly name: "gpg" | "openssl";
  /** The package that has it. */
  readonly package: "gnupg" | "openssl";
  readonly args: readonly string[];
  /** Of {@link someUser}. */
  readonly user: number;
  /** Its directory. */
  readonly cwd: string;
  readonly input: Uint8Array;
  readonly signal: AbortSignal;
}

/**
 * Runs a program without rights (unshare and setpriv of util-linux), for 10 s at most: as a user of its own, without
 * a network, and in a PID namespace, which ends with it, so that nothing that it starts survives. Resolves with any
 * exit code; `failed-precondition` where it is not installed or cannot be run so, `deadline-exceeded` when it does
 * not end in time.
 */
export async function runUnprivileged(program: VerifyingProgram): Promise<RunResult> {
  const { name, args, user, cwd, input, signal } = program;
  const doing = `verify a signature with ${name}`;
  let result: RunResult;
  try {
    result = await run({
      file: "unshare",
      args: ["--net", "--ipc", "setpriv", ...drop(user), name, ...args],
      newPidNamespace: true,
      cwd,
      env: { PATH: searchPath, HOME: here, LC_ALL: "C" },
      input: Buffer.from(input),
      timeoutMs,
      maxOutputBytes,
      killGroup: true,
      signal,
    });
  } catch (error) {
    const failure = wrap(doing, error);
    throw failure.kind === "not-found" ? notInstalled(doing, "unshare", "util-linux") : failure;
  }
  const said = firstLine(result.stderr);
  if (result.code === 0 || !/^(?:unshare|setpriv): /.test(said)) return result;
  // What both answer for a program that is not there.
  if (result.code !== 127) throw new RuntimeError("failed-precondition", `${doing}: ${said}`);
  throw said.startsWith("unshare")
    ? notInstalled(doing, "setpriv", "util-linux")
    : notInstalled(doing, name, program.package);
}

/** The first line of what a program printed, without control characters. */
export function firstLine(text: Buffer): string {
  const line = text.toString("utf8").trim().split("\n", 1)[0] ?? "";
  return line.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").slice(0, 200);
}

function notInstalled(doing: string, program: string, packageName: string): RuntimeError {
  const next = `install the package ${packageName}`;
  return new RuntimeError(
    "failed-precondition",
    `${doing}: ${program} is not installed on this node; ${next}`,
  );
}
