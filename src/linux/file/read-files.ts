import { nativeTexts } from "../native.ts";

/**
 * What files of the kernel (proc, cgroupfs) say, read one after the other in one job on a thread of
 * the pool: some 5 us a file, and a kernel that lets us wait does not stop the event loop. `null`
 * for a file that cannot be read or has 64 KiB or more. One byte a character. Files of one directory are best
 * named one after the other: it is then looked up once.
 */
export async function readFiles(paths: readonly string[]): Promise<readonly (string | null)[]> {
  return await nativeTexts("readFiles", [null, ...paths]);
}

/**
 * The same inside a network namespace, on a thread of its own: 0.1 ms. Paths go through
 * `/proc/thread-self`, as `/proc/self` is the process's first thread and stays outside
 * (proc_thread-self(5)). Rejects with `not-found` when nothing is at `net`, and with
 * `invalid-argument` when what is there is no network namespace.
 */
export async function readFilesInNamespace(
  namespace: { readonly net: string },
  paths: readonly string[],
): Promise<readonly (string | null)[]> {
  return await nativeTexts("readFilesInNamespace", [namespace.net, ...paths]);
}
