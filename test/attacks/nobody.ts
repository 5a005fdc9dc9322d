/** Helpers for attacks by another user of the node. */
import { spawnSync } from "node:child_process";

/** Output and exit code of a command. */
interface NobodySaid {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command as uid and gid 65534, who own nothing that davit keeps. */
export function asNobody(command: readonly [string, ...string[]], input = ""): NobodySaid {
  const user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
  const { status, stdout, stderr, error } = spawnSync("setpriv", [...user, ...command], {
    input,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  if (error !== undefined) throw error;
  return { code: status, stdout, stderr };
}
