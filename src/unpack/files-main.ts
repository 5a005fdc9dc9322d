// Writes an archive of named files, in the process of pack-main.ts.
import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from "node:fs";

import { RuntimeError } from "../base/errors.ts";
import { archiveEnd, headersOf, paddingOf } from "./tar-writer.ts";

/** What to write. */
export interface FilesPlan {
  /** In this order: directories end with `/`. Paths in the root of this process, without links. */
  readonly entries: readonly { readonly name: string; readonly size: number }[];
}

const ARCHIVE = 1;
const pieceBytes = 1024 * 1024;

/** Writes the archive: all entries belong to root and are root's alone. */
export function writeFiles({ entries }: FilesPlan): void {
  const piece = Buffer.allocUnsafeSlow(pieceBytes);
  for (const { name, size } of entries) {
    if (name.endsWith("/")) write(headersOf({ name, type: "5", mode: 0o700 }));
    else writeFile(name, size, piece);
  }
  write(archiveEnd);
}

function writeFile(name: string, size: number, piece: Buffer): void {
  const fd = openSync(`/${name}`, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const info = fstatSync(fd, { bigint: true });
    if (!info.isFile()) throw changed(name);
    write(headersOf({ name, type: "0", mode: 0o600, size, timeNs: info.mtimeNs }));
    for (let left = size; left > 0; ) {
      const count = readSync(fd, piece, 0, Math.min(pieceBytes, left), null);
      if (count === 0) throw changed(name);
      write(piece.subarray(0, count));
      left -= count;
    }
  } finally {
    closeSync(fd);
  }
  write(paddingOf(size));
}

function changed(name: string): RuntimeError {
  return new RuntimeError("data-loss", `write archive: "${name}" was changed meanwhile`);
}

function write(bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(ARCHIVE, bytes, at);
}
