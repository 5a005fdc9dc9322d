import { constants } from "node:fs";
import { type FileHandle, lstat, open, opendir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";

const blockBytes = 512;
const chunkBytes = 64 * 1024;
/** The limits of the fields of a ustar header (POSIX pax, "ustar Interchange Format"). */
const nameBytes = 100;
const maxSize = 0o77777777777;
const maxId = 0o7777777;

/**
 * A tar archive of a local file or directory, with the name `name` in it. Links are archived as links;
 * other files, such as devices, are reported to `onSkipped`. Throws if a file is truncated
 * meanwhile.
 */
export async function* packTar(
  path: string,
  name: string,
  onSkipped: (path: string) => void,
): AsyncGenerator<Buffer> {
  yield* packEntry(path, name, onSkipped);
  yield Buffer.alloc(2 * blockBytes);
}

/** A tar archive of one file with this content, which belongs to root. */
export function* packBytes(name: string, content: Uint8Array, mode: number): Generator<Buffer> {
  const common = { mode: mode & 0o7777, uid: 0, gid: 0, seconds: Math.floor(Date.now() / 1000) };
  yield* header({ ...common, name, type: "0", size: content.length, linkName: "" });
  yield Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  yield Buffer.alloc(((blockBytes - (content.length % blockBytes)) % blockBytes) + 2 * blockBytes);
}

async function* packEntry(
  path: string,
  name: string,
  onSkipped: (path: string) => void,
): AsyncGenerator<Buffer> {
  const stats = await lstat(path);
  const { mode, uid, gid, mtimeMs } = stats;
  const common = { mode: mode & 0o7777, uid, gid, seconds: Math.floor(mtimeMs / 1000) };
  if (stats.isDirectory()) {
    yield* header({ ...common, name: `${name}/`, type: "5", size: 0, linkName: "" });
    for await (const { name: child } of await opendir(path)) {
      yield* packEntry(join(path, child), `${name}/${child}`, onSkipped);
    }
  } else if (stats.isSymbolicLink()) {
    const linkName = await readlink(path);
    yield* header({ ...common, name, type: "2", size: 0, linkName });
  } else if (stats.isFile()) {
    // The file may have been replaced: opening a FIFO would block, and a link must not be followed.
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const { size } = await file.stat();
      yield* header({ ...common, name, type: "0", size, linkName: "" });
      yield* contents(file, path, size);
    } finally {
      await file.close();
    }
  } else {
    onSkipped(path);
  }
}

/** Exactly `size` bytes, as in the header, padded with zeros to a block. */
async function* contents(file: FileHandle, path: string, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < size; ) {
    const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, size - at));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) {
      throw new RuntimeError(
        "aborted",
        `read "${path}": the file was truncated while it was copied; try again`,
      );
    }
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
  yield Buffer.alloc((blockBytes - (size % blockBytes)) % blockBytes);
}

interface Entry {
  readonly name: string;
  readonly type: string;
  readonly linkName: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly seconds: number;
}

/** The header of an entry. Values that do not fit are written to a PAX header before it. */
function* header(entry: Entry): Generator<Buffer> {
  const records: string[] = [];
  const add = (key: string, value: string | number): void => {
    records.push(paxRecord(key, String(value)));
  };
  if (Buffer.byteLength(entry.name) > nameBytes) add("path", entry.name);
  if (Buffer.byteLength(entry.linkName) > nameBytes) add("linkpath", entry.linkName);
  if (entry.size > maxSize) add("size", entry.size);
  if (entry.uid > maxId) add("uid", entry.uid);
  if (entry.gid > maxId) add("gid", entry.gid);
  if (records.length > 0) {
    const body = Buffer.from(records.join(""));
    yield block({ ...entry, name: "PaxHeader", linkName: "", type: "x", size: body.length });
    yield body;
    yield Buffer.alloc((blockBytes - (body.length % blockBytes)) % blockBytes);
  }
  yield block(entry);
}

/** A record "LENGTH KEY=VALUE\n"; LENGTH includes its own digits. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const bytes = Buffer.byteLength(rest);
  let length = bytes + 1;
  while (bytes + String(length).length !== length) length = bytes + String(length).length;
  return `${length}${rest}`;
}

function block(entry: Entry): Buffer {
  const bytes = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, width: number): void => {
    const fits = value >= 0 && value < 8 ** (width - 1);
    bytes.write((fits ? value : 0).toString(8).padStart(width - 1, "0"), at, "latin1");
  };
  Buffer.from(entry.name).copy(bytes, 0, 0, nameBytes);
  octal(entry.mode, 100, 8);
  octal(entry.uid, 108, 8);
  octal(entry.gid, 116, 8);
  octal(entry.size, 124, 12);
  octal(entry.seconds, 136, 12);
  bytes.write("        ", 148, "latin1");
  bytes.write(entry.type, 156, "latin1");
  Buffer.from(entry.linkName).copy(bytes, 157, 0, nameBytes);
  bytes.write("ustar\u000000", 257, "latin1");
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, "0")}\u0000 `, 148, "latin1");
  return bytes;
}
