import { basename, dirname } from "node:path";

import { RuntimeError } from "../../base/errors.ts";
import { type FileIdentity, LogDirectory } from "../../linux/file/index.ts";
import type { LogTarget } from "./container-monitor.ts";
import { holds } from "./open-files.ts";

/** The directory of a log, its name there, and the new file's name until the monitor uses it. */
export interface LogNames extends Disposable {
  readonly directory: LogDirectory;
  readonly name: string;
  readonly hidden: string;
}

/** Opens the directory of a log; disposal closes it. */
export async function openLogNames({
  logPath,
  linkedRoots,
}: Pick<LogTarget, "logPath" | "linkedRoots">): Promise<LogNames> {
  const directory = await LogDirectory.open(dirname(logPath), { linkedRoots });
  const name = basename(logPath);
  return {
    directory,
    name,
    hidden: `.${name}.new`,
    [Symbol.dispose]: () => {
      directory[Symbol.dispose]();
    },
  };
}

/** Gives the new file the log's name. */
export async function publish(
  { logPath }: Pick<LogTarget, "logPath">,
  { directory, name, hidden }: LogNames,
  file: FileIdentity,
): Promise<void> {
  await directory.rename(hidden, name);
  if (holds([file], await directory.identity(name))) return;
  throw new RuntimeError(
    "failed-precondition",
    `reopen log "${logPath}": another process renames files in its directory; stop it, or use another directory`,
  );
}
