import { stat } from "node:fs/promises";

import { run } from "../../../linux/process/index.ts";
import { runtimeEnv, runtimeProgram } from "../runtime-command.ts";

const askMs = 5_000;
/** By path and time of the program: whether it has the option. */
const known = new Map<string, boolean>();

/**
 * Whether an OCI runtime's `restore` has the option --tcp-close. crun has it since 1.23, and then tells CRIU to keep
 * connections unless it is given, whatever CRIU's configuration says.
 */
export async function closesTcpByOption(runtimePath: string): Promise<boolean> {
  const { mtimeNs, ino } = await stat(runtimePath, { bigint: true });
  const key = `${runtimePath} ${ino} ${mtimeNs}`;
  let has = known.get(key);
  if (has === undefined) {
    const { stdout } = await run({
      file: runtimeProgram(runtimePath),
      args: ["restore", "--help"],
      env: runtimeEnv,
      timeoutMs: askMs,
    });
    has = stdout.toString("utf8").includes("--tcp-close");
    known.set(key, has);
  }
  return has;
}
