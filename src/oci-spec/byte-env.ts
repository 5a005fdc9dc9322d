import { isUtf8 } from "node:buffer";
import type { OciProcess } from "../core/oci/index.ts";

/**
 * Path of the program in a container whose command gets variables of any bytes (native/env.c). At the top of
 * the root, since a mount in it could hide any other path.
 */
export const envProgram = "/.davit-env";

/**
 * Decodes any bytes to a text without loss: UTF-8 is decoded, any other byte becomes half of a surrogate
 * pair, U+DC80 to U+DCFF, which no UTF-8 gives (Python does the same, PEP 383).
 */
export function textOfBytes(bytes: Uint8Array): string {
  const units = new Uint16Array(bytes.length);
  let count = 0;
  for (let at = 0; at < bytes.length; ) {
    const length = characterLength(bytes, at);
    const code = length === 0 ? 0xdc00 + (bytes[at] ?? 0) : codePoint(bytes, at, length);
    if (code > 0xffff) units[count++] = 0xd7c0 + (code >> 10);
    units[count++] = code > 0xffff ? 0xdc00 + (code & 0x3ff) : code;
    at += Math.max(1, length);
  }
  return Buffer.from(units.buffer, 0, 2 * count).toString("utf16le");
}

/** The code point of a complete character. */
function codePoint(bytes: Uint8Array, at: number, length: number): number {
  const first = bytes[at] ?? 0;
  let code = length === 1 ? first : first & (0x7f >> length);
  for (let next = 1; next < length; next++) code = (code << 6) | ((bytes[at + next] ?? 0) & 0x3f);
  return code;
}

/**
 * How many bytes the character has that begins at `at`; 0 where none does (The Unicode Standard, table
 * 3-7: no overlong form, no surrogate, nothing above U+10FFFF).
 */
function characterLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  const [low, high] = secondBytes[first] ?? [0x80, 0xbf];
  for (let next = 1; next < length; next++) {
    const byte = bytes[at + next] ?? 0;
    const isIn = next === 1 ? low <= byte && byte <= high : (byte & 0xc0) === 0x80;
    if (!isIn) return 0;
  }
  return length;
}

/** First bytes that leave less than 0x80 to 0xbf to the second one. */
const secondBytes: Readonly<Record<number, readonly [low: number, high: number]>> = {
  0xe0: [0xa0, 0xbf],
  0xed: [0x80, 0x9f],
  0xf0: [0x90, 0xbf],
  0xf4: [0x80, 0x8f],
};

/** The bytes of a text of {@link textOfBytes}; other halves of pairs become U+FFFD. */
function bytesOfText(text: string): Buffer {
  const parts = text.split(/([\udc80-\udcff])/u).map((part) => {
    const code = part.charCodeAt(0);
    const isByte = part.length === 1 && code >= 0xdc80 && code <= 0xdcff;
    return isByte ? Buffer.from([code - 0xdc00]) : Buffer.from(part, "utf8");
  });
  return Buffer.concat(parts);
}

/** Whether a variable of the process has a value that is not UTF-8. */
export function hasByteValues({ env }: Pick<OciProcess, "env">): boolean {
  return env.some((line) => !line.isWellFormed());
}

/** Whether a request or an image has a variable whose value is not UTF-8. */
export function asksForByteValues(
  request: readonly { readonly value: Uint8Array }[],
  image: readonly string[],
): boolean {
  return request.some(({ value }) => !isUtf8(value)) || hasByteValues({ env: image });
}

/**
 * The process as JSON can hold it: values that are not UTF-8 in hexadecimal digits, and before the
 * command the program that decodes them.
 */
export function asUnicode(process: OciProcess): OciProcess {
  if (!hasByteValues(process)) return process;
  const names: string[] = [];
  const env = process.env.map((line) => {
    if (line.isWellFormed()) return line;
    const equals = line.indexOf("=");
    const name = line.slice(0, equals).toWellFormed();
    names.push(name);
    return `${name}=${bytesOfText(line.slice(equals + 1)).toString("hex")}`;
  });
  return { ...process, env, args: [envProgram, String(names.length), ...names, ...process.args] };
}

/** The inverse of {@link asUnicode}. */
export function withBytes(process: OciProcess): OciProcess {
  const [program, count = "", ...rest] = process.args;
  if (program !== envProgram || !/^[1-9]\d*$/.test(count)) return process;
  const names = new Set(rest.slice(0, Number(count)));
  const env = process.env.map((line) => {
    const equals = line.indexOf("=");
    const name = line.slice(0, equals);
    if (!names.has(name)) return line;
    return `${name}=${textOfBytes(Buffer.from(line.slice(equals + 1), "hex"))}`;
  });
  return { ...process, env, args: rest.slice(Number(count)) };
}
