import { chmod, lstat, mkdir } from "node:fs/promises";

/** Where logs and emptyDir volumes of pods are that no other directory was named for. */
export const defaultPodsDirectory = "/var/lib/davit-run";

/**
 * Makes the directory of pods, closed to other users of the node as kubelet's is: they must not run what a container has made
 * setuid in its volumes. davit's own directory, which earlier versions made with mode 0755, is closed to them as well. A
 * directory that a user has named, or that is a link, keeps its mode: others may need it. Rejects with the error of node:fs.
 */
export async function makePodsDirectory(path: string, own = defaultPodsDirectory): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o750 });
  if (made !== undefined || path !== own) return;
  const info = await lstat(path);
  if (info.isDirectory() && (info.mode & 0o007) !== 0) await chmod(path, info.mode & 0o7770);
}
