import { RuntimeError } from "../../../base/errors.ts";
import { errnoName, SystemError } from "../../../base/system-error.ts";
import { runtimeMessage } from "../runtime-command.ts";

/** What each step of davit-monitor does, which `failed STEP ERRNO` names. */
const steps: Readonly<Record<string, string>> = {
  arguments: "read its arguments (reinstall davit if it was upgraded while it ran)",
  pipe: "make the pipes of the container",
  attach: 'listen on the socket "attach" of the bundle',
  console: "get a terminal from the OCI runtime",
  fork: "start the OCI runtime",
  signals: "receive signals",
  log: "use the log, which must be a file that is open for appending",
};

/**
 * The pid in davit-monitor's answer to a start (native/monitor.c): of the process that the OCI runtime has created or
 * restored. Throws for an answer that it failed: the runtime's own message, or the step and its errno.
 */
export function parseAnswer(text: string, verb: string, runtimePath: string): number {
  const pid = Number(/^created ([1-9]\d{0,9})\n/.exec(text)?.[1]);
  if (pid > 0) return pid;
  throw failure(text, `OCI runtime ${verb}`, runtimePath);
}

function failure(text: string, doing: string, runtimePath: string): RuntimeError {
  const [, step = "", errno = ""] = /^failed (\w+)(?: (\d+))?\n/.exec(text) ?? [];
  if (/^\d+$/.test(step)) {
    const output = runtimeMessage(text.slice(text.indexOf("\n") + 1));
    return new RuntimeError("unknown", `${doing}: ${output === "" ? endOf(Number(step)) : output}`);
  }
  if (step === "pid") {
    return new RuntimeError(
      "unknown",
      `${doing}: "${runtimePath}" succeeded but wrote no --pid-file; set the path of the handler to an OCI runtime`,
    );
  }
  if (step === "exec") {
    const next = "install the OCI runtime, or set the path of the handler to it";
    return new SystemError(
      `${doing}: execute "${runtimePath}" (${next})`,
      errnoName(Number(errno)),
    );
  }
  const failed = Object.hasOwn(steps, step) ? steps[step] : undefined;
  if (failed !== undefined) {
    return new SystemError(`start davit-monitor: ${failed}`, errnoName(Number(errno)));
  }
  const said =
    text === ""
      ? "it ended before the OCI runtime had created a process; the kernel log shows whether it was killed"
      : `unknown answer ${JSON.stringify(text.slice(0, 200))}; install davit again`;
  return new RuntimeError("unknown", `start davit-monitor: ${said}`);
}

/** A status as davit-monitor reports it: the exit code, or 128 and the signal. */
function endOf(status: number): string {
  return status > 128 ? `signal ${status - 128}` : `exit code ${status}`;
}
