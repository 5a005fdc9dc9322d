import { RuntimeError } from "../../../../base/errors.ts";

// criu/include/magic.h.
const commonMagic = 0x54564319;

/** The second magic number of the kinds of images that are read here (criu/include/magic.h). */
export const imageMagic = {
  inventory: 0x58313116,
  core: 0x55053847,
  ids: 0x54432030,
  users: 0x55474906,
  mounts: 0x55563928,
  processes: 0x50273030,
  seccomp: 0x64413049,
  uts: 0x54473203,
  "ipc-shm": 0x46283044,
  "ipc-msg": 0x55453737,
  "ipc-sem": 0x59573019,
} as const;

/** A kind of CRIU's images. */
export type ImageKind = keyof typeof imageMagic;

/** The most that is read of an image, in bytes. One of these kinds has a few kilobytes. */
export const maxImageBytes = 4 << 20;
const maxEntries = 65_536;

/**
 * The entries of an image: protobuf messages, each after its length (u32, little endian), after two magic numbers, of
 * which the inventory has only the second. `invalid-argument` for a file of another kind, a damaged one, and one beyond
 * the limits.
 */
export function imageEntries(kind: ImageKind, file: Uint8Array): readonly Uint8Array[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const magic = headOf(kind);
  const start = magic.length * 4;
  if (
    file.length > maxImageBytes ||
    file.length < start ||
    magic.some((number, at) => view.getUint32(at * 4, true) !== number)
  ) {
    throw invalid(kind, "it is not one");
  }
  const entries: Uint8Array[] = [];
  for (let at = start; at < file.length; ) {
    if (entries.length >= maxEntries) throw invalid(kind, "it has too many entries");
    if (at + 4 > file.length) throw invalid(kind, "its last entry is incomplete");
    const size = view.getUint32(at, true);
    if (size > file.length - at - 4) throw invalid(kind, "its last entry is incomplete");
    entries.push(file.subarray(at + 4, at + 4 + size));
    at += 4 + size;
  }
  return entries;
}

/** The image with these entries. */
export function writeImage(kind: ImageKind, entries: readonly Uint8Array[]): Uint8Array {
  const parts = entries.flatMap((entry) => [word(entry.length), entry]);
  return Buffer.concat([...headOf(kind).map(word), ...parts]);
}

function headOf(kind: ImageKind): readonly number[] {
  return kind === "inventory" ? [imageMagic[kind]] : [commonMagic, imageMagic[kind]];
}

function word(number: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(number);
  return bytes;
}

/** The error about an image that cannot be read. */
export function invalid(kind: ImageKind, why: string): RuntimeError {
  return new RuntimeError("invalid-argument", `read image of CRIU (${kind}): ${why}`);
}
