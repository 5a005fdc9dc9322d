import type { Readable } from "node:stream";

import { endingStep } from "../../../core/operation/index.ts";
import { monitorProgram, spawnChildInPool } from "../../../linux/process/index.ts";
import type { MonitorDeps, MonitorStart, StartingMonitor } from "../container-monitor.ts";
import { runtimeEnv, runtimeOptions, runtimeProgram, runtimeStep } from "../runtime-command.ts";
import { parseAnswer } from "./answer.ts";

/** More than the program's longest answer: 4 KiB of the OCI runtime's stderr and a line before it. */
const answerBytes = 8 * 1024;

/**
 * Starts davit-monitor for a bundle, which is its working directory. It runs the OCI runtime's `create` or `restore`,
 * says on its stdout how that ended, and continues in a session of its own. Its stdin is the log.
 */
export async function startMonitor(
  deps: MonitorDeps,
  options: MonitorStart,
): Promise<StartingMonitor> {
  const { paths, bundle, runtimePath, restore } = options;
  const verb = restore === undefined ? "create" : "restore";
  const end = runtimeStep(deps.onStep, verb, runtimePath);
  const child = await spawnChildInPool({
    file: monitorProgram(),
    name: "davit-monitor",
    args: [
      ...monitorOptions(deps, options),
      ...["--", runtimeProgram(runtimePath)],
      ...runtimeOptions(paths.runtimeRoot(runtimePath), bundle.cgroupPath),
      ...verbArguments(options),
    ],
    env: { ...runtimeEnv, ...restore?.env },
    cwd: paths.bundle(bundle.id),
    newSession: true,
    ...(options.logFd === undefined ? {} : { stdin: options.logFd }),
    stdout: "pipe",
  });
  let isCreated = false;
  const answer = endingStep(
    end,
    readAnswer(child.stdout).then((text) => parseAnswer(text, verb, runtimePath)),
  ).finally(() => {
    isCreated = true;
  });
  answer.catch(() => undefined);
  deps.expectMigration?.(() => isCreated);
  return { child, answer };
}

/** recovery/orphans.ts finds a monitor by `--cid` and `--exit-dir`. */
function monitorOptions(
  { logSizeMax }: MonitorDeps,
  { paths, bundle, memoryEvents }: MonitorStart,
): readonly string[] {
  return [
    ...["--cid", bundle.id, "--exit-dir", paths.exits],
    ...(bundle.terminal ? ["--terminal"] : []),
    ...(bundle.stdin ? [bundle.stdinOnce ? "--stdin-once" : "--stdin"] : []),
    ...(logSizeMax > 0 ? ["--log-max", String(logSizeMax)] : []),
    ...(memoryEvents === undefined ? [] : ["--memory-events", memoryEvents]),
  ];
}

/**
 * The verb of the OCI runtime with its arguments. A restore detaches, as otherwise the runtime would stay with the
 * processes (runc-restore(8)). The console socket and the file of the pid are in the bundle.
 */
function verbArguments({ paths, bundle, restore }: MonitorStart): readonly string[] {
  const directory = paths.bundle(bundle.id);
  return [
    ...[restore === undefined ? "create" : "restore", "--bundle", directory, "--pid-file", "pid"],
    ...(restore === undefined
      ? []
      : ["--detach", "--image-path", restore.images, "--work-path", directory, ...restore.options]),
    ...(bundle.terminal ? ["--console-socket", "console"] : []),
    bundle.id,
  ];
}

/** The first line if it is an answer of success, otherwise all of it. */
async function readAnswer(stream: Readable | undefined): Promise<string> {
  let text = "";
  try {
    for await (const chunk of stream ?? []) {
      text += String(chunk);
      if (/^created .*\n/.test(text) || text.length > answerBytes) break;
    }
  } catch {
    // The stream was destroyed with a start that is undone.
  }
  stream?.destroy();
  return text;
}
