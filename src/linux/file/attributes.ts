import { nativeJob, nativeTexts } from "../native.ts";

/**
 * The names of an open file's or directory's extended attributes; none where its file system has no such
 * attributes. As bytes, one character for each.
 */
export async function xattrNames(fd: number): Promise<readonly string[]> {
  const names = await nativeTexts("xattrNames", [], [fd]);
  return names.filter((name) => name !== null);
}

/**
 * Gives an open directory the owner, permissions, times and extended attributes of another one. What
 * overlayfs keeps in attributes, and the SELinux label, stay behind.
 */
export async function copyAttributes(from: number, to: number): Promise<void> {
  await nativeJob("copyAttributes", [], [from, to]);
}
