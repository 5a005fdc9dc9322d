import { readdir } from "node:fs/promises";

import { wrap } from "../../../base/errors.ts";
import { run } from "../../../linux/process/index.ts";
import { runtimeEnv } from "../runtime-command.ts";
import { type ImageKind, writeImage } from "./images/image-file.ts";

const readMs = 2_000;
/** The kinds of objects of System V, as files in /proc/sysvipc (proc(5)) and as images of CRIU. */
const kinds = ["shm", "msg", "sem"] as const;

/**
 * The images of a container that must be replaced by empty ones, by name: those of objects of System V that its pod's IPC
 * namespace has already. Each container's images have all objects of the namespace, and the first container that is
 * restored in a pod makes them for all.
 */
export async function presentIpcObjects(
  images: string,
  namespace: string,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const names = (await readdir(images)).filter((name) =>
    /^ipcns-(shm|msg|sem)-\d+\.img$/.test(name),
  );
  const empty = new Map<string, Uint8Array>();
  if (names.length === 0) return empty;
  for (const kind of kinds) {
    const own = names.filter((name) => name.startsWith(`ipcns-${kind}-`));
    if (own.length === 0 || !(await hasObjects(kind, namespace))) continue;
    for (const name of own) empty.set(name, writeImage(`ipc-${kind}` satisfies ImageKind, []));
  }
  return empty;
}

async function hasObjects(kind: (typeof kinds)[number], namespace: string): Promise<boolean> {
  const file = `/proc/sysvipc/${kind}`;
  try {
    const { stdout } = await run({
      file: "cat",
      args: [file],
      env: runtimeEnv,
      joinNamespaces: [namespace],
      timeoutMs: readMs,
    });
    // After a line with the names of the columns.
    return stdout.toString("latin1").trim().split("\n").length > 1;
  } catch (cause) {
    throw wrap(`read "${file}" in IPC namespace "${namespace}"`, cause);
  }
}
