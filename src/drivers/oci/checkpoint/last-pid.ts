import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { RuntimeError } from "../../../base/errors.ts";
import { errnoCode } from "../../../base/system-error.ts";
import type { OciSpec } from "../../../core/oci/index.ts";
import { run } from "../../../linux/process/index.ts";
import { runtimeEnv } from "../runtime-command.ts";
import { readImage } from "./read-image.ts";

/*
 * Containers that share a PID namespace are restored one after the other, each with the pids that it had. The processes
 * of the first must not get those of the next for their children. So the number from which the kernel searches a
 * free pid (proc_sys_kernel(5), ns_last_pid) is captured and restored as well: it is above all pids of the pod, unless
 * it has started again at its low end.
 */

const setMs = 2_000;
const setting = "/proc/sys/kernel/ns_last_pid";
/** Beside CRIU's images, which have other names. */
const fileName = "davit-last-pid";
// PID_MAX_LIMIT, include/linux/threads.h.
const maxPid = 4 << 20;

/** The PID namespace that a container shares with others of the pod; undefined if it has its own or the node's. */
export function sharedPids({ linux }: OciSpec): string | undefined {
  return linux.namespaces.find(({ type }) => type === "pid")?.path;
}

/** Captures the last pid of a PID namespace, given by its path. */
export async function captureLastPid(namespace: string, images: string): Promise<void> {
  const text = await inNamespace(namespace, ["cat", setting]);
  await writeFile(join(images, fileName), text, { mode: 0o600 });
}

/** Sets the last pid of a PID namespace to that in the images, if they have one and it is higher. */
export async function restoreLastPid(namespace: string, images: string): Promise<void> {
  const text = await readImage(join(images, fileName)).catch(absent);
  const last = Number(text.toString("latin1"));
  if (!Number.isInteger(last) || last <= 0 || last >= maxPid) return;
  const script = `[ "$(cat ${setting})" -ge ${last} ] || echo ${last} >${setting}`;
  await inNamespace(namespace, ["sh", "-c", script]);
}

async function inNamespace(namespace: string, command: readonly string[]): Promise<string> {
  const result = await run({
    file: "nsenter",
    args: [`--pid=${namespace}`, "--", ...command],
    env: runtimeEnv,
    timeoutMs: setMs,
  });
  if (result.code === 0) return result.stdout.toString("latin1").trim();
  const error = result.stderr.toString("utf8").trim();
  throw new RuntimeError("unknown", `read or write "${setting}" in "${namespace}": ${error}`);
}

function absent(cause: unknown): string {
  if (errnoCode(cause) === "ENOENT") return "";
  throw cause;
}
