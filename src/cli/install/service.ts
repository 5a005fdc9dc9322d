import { existsSync } from "node:fs";
import process from "node:process";
import { RuntimeError } from "../../base/errors.ts";
import { findProgram, run } from "../../linux/process/index.ts";

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** A stop waits for running calls, and a start until pods are restored. */
const timeoutMs = 120_000;

/** Whether systemd runs this machine: sd_booted(3). */
export function systemdRuns(): boolean {
  return existsSync("/run/systemd/system");
}

/** The service of davit, as systemctl has it. */
export interface ServiceState {
  readonly enabled: boolean;
  readonly active: boolean;
}

/** Asks systemd for the service. */
export async function serviceState(): Promise<ServiceState> {
  const answer = async (verb: string): Promise<string> => {
    const { stdout } = await command("systemctl", [verb, "davit.service"]);
    return stdout.toString().trim();
  };
  return {
    enabled: (await answer("is-enabled")).startsWith("enabled"),
    active: /^(active|activating|reloading)$/.test(await answer("is-active")),
  };
}

/** Runs systemctl; `unknown` with what it printed if it fails, `canceled` when the signal is aborted. */
export async function systemctl(args: readonly string[], signal?: AbortSignal): Promise<void> {
  await mustRun("systemctl", args, signal);
}

/** Runs a program of the system and returns its stdout; `unknown` with what it printed if it fails. */
export async function mustRun(
  name: string,
  args: readonly string[],
  signal?: AbortSignal,
): Promise<string> {
  const { code, stdout, stderr } = await command(name, args, signal);
  if (code === 0) return stdout.toString();
  const said = stderr.toString().trim().split("\n")[0] ?? "";
  throw new RuntimeError("unknown", `run "${[name, ...args].join(" ")}": ${said}`);
}

/** Whether a program is on the PATH, or where systems have theirs. */
export function hasProgram(name: string): boolean {
  return fileOf(name) !== undefined;
}

function fileOf(name: string): string | undefined {
  return findProgram(name, process.env["PATH"] ?? searchPath) ?? findProgram(name, searchPath);
}

async function command(
  name: string,
  args: readonly string[],
  signal?: AbortSignal,
): ReturnType<typeof run> {
  const path = process.env["PATH"] ?? searchPath;
  const file = fileOf(name);
  if (file === undefined) {
    const line = [name, ...args].join(" ");
    throw new RuntimeError("failed-precondition", `run "${line}": there is no program "${name}"`);
  }
  const env = { PATH: path, LC_ALL: "C", SYSTEMD_PAGER: "" };
  // In a session of its own: a Ctrl-C is for davit alone, which may be undoing something.
  const own = { newSession: true, ...(signal === undefined ? {} : { signal }) };
  return await run({ file, args, env, timeoutMs, ...own });
}
