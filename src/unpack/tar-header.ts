import { RuntimeError } from "../base/errors.ts";

/** Size of a header, and what data is padded to (POSIX pax, "ustar Interchange Format"). */
export const BLOCK = 512;

/** A header block as it stands, before PAX records and long names. Texts are byte strings. */
export interface TarHeader {
  readonly name: string;
  readonly linkName: string;
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly seconds: number;
  readonly major: number;
  readonly minor: number;
}

/** The archive is not what a tar archive can be: `invalid-argument`. */
export function brokenArchive(what: string): RuntimeError {
  return new RuntimeError("invalid-argument", `read layer archive: ${what}`);
}

/** True for the block of zeros of which two end an archive. */
export function isZeroBlock(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

/**
 * Reads a header block of any of the forms in use: V7, ustar, GNU, star. The checksum must be
 * right, computed with unsigned or, as some old writers did, with signed bytes.
 */
export function parseHeader(block: Buffer): TarHeader {
  checkSum(block);
  const magic = block.toString("latin1", 257, 265);
  const isUstar = magic.startsWith("ustar\0");
  const isGnu = magic === "ustar  \0";
  const isStar = isUstar && block.toString("latin1", 508, 512) === "tar\0";
  const type = block.toString("latin1", 156, 157);
  const isDevice = (isUstar || isGnu) && (type === "3" || type === "4");
  const prefix = isUstar ? text(block, 345, isStar ? 131 : 155) : "";
  const name = text(block, 0, 100);
  return {
    name: prefix === "" ? name : `${prefix}/${name}`,
    linkName: text(block, 157, 100),
    type,
    mode: number(block, 100, 8, "mode"),
    uid: number(block, 108, 8, "uid"),
    gid: number(block, 116, 8, "gid"),
    size: number(block, 124, 12, "size"),
    seconds: number(block, 136, 12, "mtime"),
    major: isDevice ? number(block, 329, 8, "device") : 0,
    minor: isDevice ? number(block, 337, 8, "device") : 0,
  };
}

function checkSum(block: Buffer): void {
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < BLOCK; at++) {
    const byte = at >= 148 && at < 156 ? 0x20 : (block[at] ?? 0);
    unsigned += byte;
    signed += byte < 128 ? byte : byte - 256;
  }
  const stored = number(block, 148, 8, "checksum");
  if (stored !== unsigned && stored !== signed) {
    throw brokenArchive("a header has a wrong checksum; is it a tar archive?");
  }
}

/** The bytes up to the first NUL. */
function text(block: Buffer, start: number, length: number): string {
  const end = block.indexOf(0, start);
  return block.toString("latin1", start, end < 0 || end > start + length ? start + length : end);
}

/** Octal digits among blanks and NULs, or, with the first bit set, a big-endian two's complement. */
function number(block: Buffer, start: number, length: number, field: string): number {
  const first = block[start] ?? 0;
  if ((first & 0x80) !== 0) return base256(block, start, length, field);
  const digits = block.toString("latin1", start, start + length).replace(/^[ \0]+|[ \0].*$/gs, "");
  if (!/^[0-7]*$/.test(digits)) {
    throw brokenArchive(`a header has no number as its ${field}; is it a tar archive?`);
  }
  return digits === "" ? 0 : Number.parseInt(digits, 8);
}

function base256(block: Buffer, start: number, length: number, field: string): number {
  let value = BigInt.asIntN(7, BigInt((block[start] ?? 0) & 0x7f));
  for (let at = start + 1; at < start + length; at++) {
    value = value * 256n + BigInt(block[at] ?? 0);
  }
  const result = Number(value);
  if (!Number.isSafeInteger(result)) throw brokenArchive(`a header has too large a ${field}`);
  return result;
}
