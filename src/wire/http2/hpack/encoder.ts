import { RuntimeError } from "../../../base/errors.ts";
import { type HeaderField, staticTable } from "./static-table.ts";

/** The first index of each name of the static table. */
const indexOfName = new Map<string, number>();
for (const [at, [name]] of staticTable.entries()) {
  if (!indexOfName.has(name)) indexOfName.set(name, at + 1);
}

/** The longest integer: 5 bytes have more bits than any length here. */
const maxIntegerBytes = 5;

/**
 * Encodes a header block from the static table and from literals that the peer does not index. So a block does not depend
 * on others: it can be used again, and on every connection. Strings are not compressed.
 *
 * @throws RuntimeError `internal` for a character that HTTP does not allow, so that no value can become another header.
 */
export function encodeHeaders(headers: readonly HeaderField[]): Buffer {
  let most = 0;
  for (const [name, value] of headers) {
    most += 1 + 2 * maxIntegerBytes + name.length + value.length;
  }
  const block = Buffer.allocUnsafe(most);
  let at = 0;
  for (const field of headers) at = writeField(block, at, field);
  return block.subarray(0, at);
}

function writeField(block: Buffer, at: number, [name, value]: HeaderField): number {
  const first = indexOfName.get(name) ?? 0;
  for (let index = first; index > 0 && staticTable[index - 1]?.[0] === name; index++) {
    if (staticTable[index - 1]?.[1] === value) return writeInteger(block, at, 0x80, 7, index);
  }
  // Literal without indexing (RFC 7541, 6.2.2).
  const afterIndex = writeInteger(block, at, 0, 4, first);
  const afterName = first === 0 ? writeString(block, afterIndex, name, name) : afterIndex;
  return writeString(block, afterName, value, name);
}

function writeInteger(
  block: Buffer,
  at: number,
  flags: number,
  bits: number,
  value: number,
): number {
  const most = 2 ** bits - 1;
  if (value < most) return block.writeUInt8(flags | value, at);
  let end = block.writeUInt8(flags | most, at);
  let rest = value - most;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) {
    end = block.writeUInt8((rest % 0x80) | 0x80, end);
  }
  return block.writeUInt8(rest, end);
}

function writeString(block: Buffer, at: number, text: string, name: string): number {
  const start = writeInteger(block, at, 0, 7, text.length);
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) {
      throw new RuntimeError(
        "internal",
        `encode HTTP/2 header "${name}": character ${code} is not allowed`,
      );
    }
    block[start + index] = code;
  }
  return start + text.length;
}
