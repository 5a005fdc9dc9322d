import { lstatSync, readdirSync, rmdirSync, type Stats, unlinkSync } from "node:fs";

import { errnoCode } from "../base/system-error.ts";
import { printable } from "./tar-entry.ts";
import { brokenArchive } from "./tar-header.ts";

/**
 * The absolute path in the layer for a name in the archive. Throws `invalid-argument`
 * when it leads out of the layer.
 */
export function layerPath(name: string): string {
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) {
      throw brokenArchive(`"${printable(name)}" leads out of the layer`);
    }
  }
  return `/${parts.join("/")}`;
}

/** A byte string for node:fs; ASCII names stay strings, which is faster. */
export function onDisk(path: string): string | Buffer {
  return /^[\x01-\x7f]*$/.test(path) ? path : Buffer.from(path, "latin1");
}

/** `undefined` also when a component of the path is not a directory. */
export function findEntry(path: string): Stats | undefined {
  try {
    return lstatSync(onDisk(path), { throwIfNoEntry: false });
  } catch (cause) {
    const code = errnoCode(cause);
    if (code === "ENOTDIR" || code === "ELOOP") return undefined;
    throw cause;
  }
}

/** A whiteout hides a file of a lower layer in overlayfs: a character device 0:0 (overlayfs.rst). */
export function isWhiteout(info: Stats): boolean {
  return info.isCharacterDevice() && info.rdev === 0;
}

/** Removes the entry at the path with everything in it. */
export function removeEntry(path: string): void {
  if (path === "/") throw brokenArchive("an entry would replace the layer's root");
  if (findEntry(path)?.isDirectory() !== true) {
    unlinkSync(onDisk(path));
    return;
  }
  for (const name of readdirSync(onDisk(path), { encoding: "latin1" })) {
    removeEntry(`${path}/${name}`);
  }
  rmdirSync(onDisk(path));
}
