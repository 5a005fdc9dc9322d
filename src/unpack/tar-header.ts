import { RuntimeError } from "../base/errors.ts";

/** The size of a header; data is padded to it (POSIX pax, "ustar Interchange Format"). */
export const BLOCK = 512;

/** A header block, without PAX records and long names. Texts are byte strings. */
export interface TarHeader {
  readonly name: string;
  readonly linkName: string;
  readonly type: string;
  /** The block has the magic of GNU tar's own format. */
  readonly isGnu: boolean;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly seconds: number;
  readonly major: number;
  readonly minor: number;
}

/** The error for a malformed archive: `invalid-argument`. */
export function brokenArchive(what: string): RuntimeError {
  return new RuntimeError("invalid-argument", `read layer archive: ${what}`);
}

const zeros = Buffer.alloc(BLOCK);

/** True for a block of zeros; two of them end an archive. */
export function isZeroBlock(block: Buffer): boolean {
  return block[0] === 0 && block.equals(zeros);
}

/**
 * Reads a header block of any format in use: V7, ustar, GNU, star. The checksum must be
 * correct, computed with unsigned or, as some old writers did, with signed bytes.
 *
 * Every number of the format is read, and rejected if it is malformed, as in Go's archive/tar: if one reader accepts
 * a block that another one rejects, they see different archives.
 */
export function parseHeader(block: Buffer): TarHeader {
  checkSum(block);
  const magic = block.toString("latin1", 257, 265);
  const isGnu = magic === "ustar  \0";
  const isUstar = magic.startsWith("ustar\0");
  const name = text(block, 0, 100);
  const prefix = isGnu ? gnuPrefix(block) : isUstar ? ustarPrefix(block) : "";
  const hasDevice = isGnu || isUstar;
  return {
    name: prefix === "" ? name : `${prefix}/${name}`,
    linkName: text(block, 157, 100),
    type: String.fromCharCode(block[156] ?? 0),
    isGnu,
    mode: readNumber(block, 100, 8, "mode"),
    uid: readNumber(block, 108, 8, "uid"),
    gid: readNumber(block, 116, 8, "gid"),
    size: readNumber(block, 124, 12, "size"),
    seconds: readNumber(block, 136, 12, "mtime"),
    major: hasDevice ? readNumber(block, 329, 8, "device") : 0,
    minor: hasDevice ? readNumber(block, 337, 8, "device") : 0,
  };
}

function ustarPrefix(block: Buffer): string {
  if (block.toString("latin1", 508, 512) !== "tar\0") return text(block, 345, 155);
  readNumber(block, 476, 12, "atime");
  readNumber(block, 488, 12, "ctime");
  return text(block, 345, 131);
}

/**
 * GNU's format has times in place of the prefix of ustar. Go before 1.8 wrote a prefix nevertheless; if
 * the times are not numbers, Go reads the field as that prefix if it is ASCII (go.dev/issue/21005).
 */
function gnuPrefix(block: Buffer): string {
  const areTimes = [345, 357].every((at) => block[at] === 0 || isNumber(block, at, 12));
  if (areTimes) return "";
  const prefix = text(block, 345, 155);
  return /^[\x01-\x7f]*$/.test(prefix) ? prefix : "";
}

/** Any number of 64 bits is valid here, even if it is too large for {@link readNumber}. */
function isNumber(block: Buffer, start: number, length: number): boolean {
  if (((block[start] ?? 0) & 0x80) !== 0) {
    const value = twosComplement(block, start, length);
    return BigInt.asIntN(64, value) === value;
  }
  try {
    octal(block, start, length, "time");
    return true;
  } catch {
    return false;
  }
}

function checkSum(block: Buffer): void {
  let sum = 8 * 0x20;
  let negative = 0;
  for (let at = 0; at < BLOCK; at++) {
    if (at === 148) at = 156; // the checksum itself counts as spaces
    const byte = block[at] ?? 0;
    sum += byte;
    negative += byte >> 7;
  }
  const stored = octal(block, 148, 8, "checksum");
  if (stored !== sum && stored !== sum - 256 * negative) {
    throw brokenArchive("a header has a wrong checksum; is it a tar archive?");
  }
}

/** The bytes up to the first NUL. */
function text(block: Buffer, start: number, length: number): string {
  let end = start;
  while (end < start + length && block[end] !== 0) end++;
  return block.toString("latin1", start, end);
}

/**
 * A number of a header: octal digits with spaces and NULs around them, or, with the first bit set, a
 * big-endian two's complement. `invalid-argument` for anything else, and above 2^53.
 */
export function readNumber(block: Buffer, start: number, length: number, field: string): number {
  if (((block[start] ?? 0) & 0x80) !== 0) return base256(block, start, length, field);
  return octal(block, start, length, field);
}

function octal(block: Buffer, start: number, length: number, field: string): number {
  let from = start;
  let to = start + length;
  while (from < to && isBlank(block[from])) from++;
  while (to > from && isBlank(block[to - 1])) to--;
  let value = 0;
  for (let at = from; at < to && block[at] !== 0; at++) {
    const digit = (block[at] ?? 0) - 0x30;
    if (digit < 0 || digit > 7) {
      throw brokenArchive(`a header has an invalid ${field}; is it a tar archive?`);
    }
    value = value * 8 + digit;
  }
  return value;
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0;
}

function base256(block: Buffer, start: number, length: number, field: string): number {
  const result = Number(twosComplement(block, start, length));
  if (!Number.isSafeInteger(result))
    throw brokenArchive(`a header has a ${field} that is too large`);
  return result;
}

/** Without the first bit, which marks this format. */
function twosComplement(block: Buffer, start: number, length: number): bigint {
  let value = BigInt.asIntN(7, BigInt((block[start] ?? 0) & 0x7f));
  for (let at = start + 1; at < start + length; at++) {
    value = value * 256n + BigInt(block[at] ?? 0);
  }
  return value;
}
