// File systems in memory for emptyDir volumes. This package has no addon, so mount(8) and umount(8) do it.
import { execFile } from "node:child_process";
import { readFile, realpath } from "node:fs/promises";
import process from "node:process";
import { promisify } from "node:util";
import type { MountTmpfs } from "../client/pods/volumes.ts";
import { DavitError } from "./errors.ts";
import { explain } from "./explain.ts";

const run = promisify(execFile);

/** Mounts a tmpfs, as davit run does: nosuid, nodev and noexec. Throws `permission` without root. */
export const mountTmpfs: MountTmpfs = async (path, { sizeBytes, mode }) => {
  const what = `mount a tmpfs at "${path}"`;
  const options = `size=${sizeBytes},mode=${mode.toString(8)},nosuid,nodev,noexec`;
  try {
    await run("mount", ["-t", "tmpfs", "-o", options, "davit", path]);
  } catch (error) {
    const { stderr = "", code } = error as { stderr?: string; code?: unknown };
    if (typeof code !== "number") throw explain(what, error);
    const [reason = ""] = stderr.trim().split("\n");
    const isRoot = process.geteuid?.() === 0;
    throw new DavitError(isRoot ? "failed" : "permission", `${what}: ${reason}`, {
      hint: isRoot
        ? undefined
        : "only root can use an emptyDir with medium Memory; use one on disk",
      cause: error,
    });
  }
};

/** Unmounts what is mounted in a directory, the last mount first. False if something is mounted there still. */
export async function unmountAll(directory: string): Promise<boolean> {
  // The kernel's list has paths without symbolic links.
  const real = await realpath(directory).catch(() => directory);
  const mounts = await mountsIn(real);
  if (mounts.length === 0) return true;
  for (const path of mounts.toReversed()) {
    // A container that could not be removed may still use it.
    await run("umount", ["--lazy", path]).catch(() => undefined);
  }
  return (await mountsIn(real)).length === 0;
}

async function mountsIn(directory: string): Promise<readonly string[]> {
  const paths = mountPoints(await readFile("/proc/self/mountinfo", "utf8"));
  return paths.filter((path) => path.startsWith(`${directory}/`));
}

/** The mount points of /proc/PID/mountinfo, proc_pid_mountinfo(5): field 5, with \040 for a space. */
export function mountPoints(mountinfo: string): readonly string[] {
  return mountinfo
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path !== "")
    .map((path) =>
      path.replace(/\\([0-7]{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      ),
    );
}
