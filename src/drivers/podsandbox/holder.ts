import { type FileHandle, open, readdir, readFile } from "node:fs/promises";
import { basename } from "node:path";
import { text } from "node:stream/consumers";
import { RuntimeError } from "../../base/errors.ts";
import type { ProcessIdentity, Sandbox } from "../../core/sandbox/index.ts";
import {
  type CgroupLayout,
  cgroupProcsPaths,
  createCgroup,
  killCgroup,
  removeCgroup,
} from "../../linux/cgroup/index.ts";
import {
  holderProgram,
  openProcess,
  processStartTime,
  spawnChildInPool,
  SIGKILL,
} from "../../linux/process/index.ts";
import type { PinnedPaths } from "./state-layout.ts";

// The name that users see as PID 1 of their pod.
const holderName = "davit-holder";
const killMs = 5_000;

/** The process that keeps a pod-wide PID namespace alive, as this daemon knows it. */
export interface Holder {
  readonly identity: ProcessIdentity;
  readonly exited: Promise<unknown>;
  kill(): void;
}

/** The cgroup that the holder lives in: `<pod's parent>/<sandbox id>`. */
export function holderCgroup(sandbox: Sandbox): string {
  return `${sandbox.cgroup?.parent ?? ""}/${sandbox.id}`;
}

/**
 * Starts the holder: process 1 of a new PID namespace, in the pod's other namespaces and, before
 * its first instruction, in the pod's cgroup. A holder that started just
 * before the daemon died is found by that cgroup.
 */
export async function startHolder(
  layout: CgroupLayout,
  sandbox: Sandbox,
  pins: PinnedPaths,
): Promise<Holder> {
  const cgroup = holderCgroup(sandbox);
  await createCgroup(layout, cgroup);
  if (pins.user !== undefined) return await startUserHolder(layout, sandbox, pins);
  const child = await spawnChildInPool({
    file: holderProgram(),
    name: holderName,
    args: ["-"],
    env: {},
    cwd: "/",
    stdout: "pipe",
    newSession: true,
    newPidNamespace: true,
    joinNamespaces: [pins.net, pins.ipc, pins.uts].filter((path) => path !== undefined),
    cgroupProcsPaths: cgroupProcsPaths(layout, cgroup),
  });
  // Until it has left the node's root, a container could reach the node's files through it.
  const said = child.stdout === undefined ? "" : await text(child.stdout);
  const startTime = said === "" ? undefined : processStartTime(child.pid);
  if (startTime === undefined) {
    const { code } = await child.exited;
    throw endedAtOnce(sandbox, code);
  }
  return {
    identity: { pid: child.pid, startTime: String(startTime) },
    exited: child.exited,
    kill: () => {
      child.kill(SIGKILL);
    },
  };
}

/**
 * The same in a user namespace, which the PID namespace must belong to: /proc is mounted for its
 * owner alone. The program joins the namespaces itself, so that no process of the pod can trace it
 * (native/holder.c), and its PID 1 is not a child of the daemon.
 */
async function startUserHolder(
  layout: CgroupLayout,
  sandbox: Sandbox,
  pins: PinnedPaths,
): Promise<Holder> {
  const paths = [pins.user, pins.net, pins.ipc, pins.uts].filter((path) => path !== undefined);
  const files: FileHandle[] = [];
  try {
    for (const path of paths) files.push(await open(path, "r"));
    const child = await spawnChildInPool({
      file: holderProgram(),
      name: holderName,
      args: paths,
      env: {},
      cwd: "/",
      stdout: "pipe",
      newSession: true,
      extraFds: files.map(({ fd }) => fd),
      cgroupProcsPaths: cgroupProcsPaths(layout, holderCgroup(sandbox)),
    });
    const said = child.stdout === undefined ? "" : await text(child.stdout);
    const { code } = await child.exited;
    const pid = Number(said);
    const startTime = pid > 0 ? processStartTime(pid) : undefined;
    const holder =
      startTime === undefined ? undefined : findHolder({ pid, startTime: String(startTime) });
    if (holder !== undefined) return holder;
    throw endedAtOnce(sandbox, code);
  } finally {
    for (const file of files) await file.close();
  }
}

/** The code is the number of the step in native/holder.c that failed. */
function endedAtOnce({ id }: Sandbox, code: number | null): RuntimeError {
  const how = code === null ? "" : `, with code ${String(code)}`;
  return new RuntimeError(
    "internal",
    `start holder of sandbox "${id}": it ended immediately${how}`,
  );
}

/** The holder that an earlier daemon started; undefined when it is gone. */
export function findHolder(identity: ProcessIdentity): Holder | undefined {
  const process = openProcess(identity.pid, BigInt(identity.startTime));
  if (process === undefined) return undefined;
  void process.exited.then(() => {
    process.close();
  });
  return {
    identity,
    exited: process.exited,
    kill: () => {
      process.kill(SIGKILL);
    },
  };
}

/** Kills all processes in the holder's cgroup, and removes the cgroup. Idempotent. */
export async function clearHolderCgroup(layout: CgroupLayout, sandbox: Sandbox): Promise<void> {
  await killCgroup(layout, holderCgroup(sandbox), { timeoutMs: killMs });
  await removeCgroup(layout, holderCgroup(sandbox));
}

/**
 * Ends the holders of sandboxes whose records, and with them the cgroups' parents, were lost. A
 * holder's cgroup is named by its sandbox's id. Returns a line for each.
 */
export async function endOrphanHolders(
  layout: CgroupLayout,
  ids: readonly string[],
): Promise<readonly string[]> {
  if (ids.length === 0) return [];
  // Other entries of the state directory must not name a cgroup of the system ("init.scope").
  const wanted = new Set(ids.filter((id) => /^[0-9a-f]{64}$/.test(id)));
  const found = new Set<string>();
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    for (const cgroup of await cgroupsOf(entry)) {
      if (wanted.has(basename(cgroup))) found.add(cgroup);
    }
  }
  for (const cgroup of found) {
    await killCgroup(layout, cgroup, { timeoutMs: killMs });
    await removeCgroup(layout, cgroup);
  }
  return [...found].map((cgroup) => `holder in cgroup ${cgroup}`);
}

/** Lines of /proc/PID/cgroup: hierarchy, controllers, path (cgroups(7)). None for a process that ended. */
async function cgroupsOf(pid: string): Promise<readonly string[]> {
  try {
    const text = await readFile(`/proc/${pid}/cgroup`, "utf8");
    return text.split("\n").map((line) => line.split(":").slice(2).join(":"));
  } catch {
    return [];
  }
}
