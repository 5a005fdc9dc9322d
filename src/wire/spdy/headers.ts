import { inflateRawSync } from "node:zlib";
import { RuntimeError } from "../../base/errors.ts";
import { dictionary, dictionaryId } from "./dictionary.ts";

/** The headers of a stream, names in lower case. */
export type SpdyHeaders = ReadonlyMap<string, string>;

/** The limit of a decompressed header block in bytes. Kubernetes sends about 100. */
export const maxHeaderBytes = 16 * 1024;

// deflate refers back 32 KiB at most (RFC 1951).
const windowBytes = 32 * 1024;

const refuse = (why: string): RuntimeError =>
  new RuntimeError(
    "invalid-argument",
    `read SPDY headers: ${why}; the peer speaks another protocol`,
  );

/**
 * Decompresses the header blocks of one direction of a connection. They are one zlib stream in which each
 * block is flushed and so ends on a byte boundary (Z_SYNC_FLUSH). So each is inflated separately, with
 * the earlier ones as dictionary, which needs neither a thread nor cleanup.
 */
export class HeaderReader {
  #window: Buffer = Buffer.alloc(0);
  #begun = false;

  /** Throws when the block is malformed, or decompresses to more than `maxHeaderBytes`. */
  read(block: Buffer): SpdyHeaders {
    const deflated = this.#begun ? block : this.#begin(block);
    let plain: Buffer;
    try {
      plain = inflateRawSync(deflated, {
        dictionary: this.#window,
        finishFlush: 2, // Z_SYNC_FLUSH: the stream continues in the next block
        maxOutputLength: maxHeaderBytes,
      });
    } catch (cause) {
      const big = cause instanceof RangeError;
      throw refuse(big ? `more than ${maxHeaderBytes} bytes when decompressed` : "not compressed");
    }
    const window = Buffer.concat([this.#window, plain]);
    this.#window = window.subarray(Math.max(0, window.length - windowBytes));
    return parseBlock(plain);
  }

  /** The first block starts with the zlib header (RFC 1950). */
  #begin(block: Buffer): Buffer {
    if (block.length < 2 || (block.readUInt8(0) & 0x0f) !== 8 || block.readUInt16BE(0) % 31 !== 0) {
      throw refuse("not a zlib stream");
    }
    this.#begun = true;
    if ((block.readUInt8(1) & 0x20) === 0) return block.subarray(2);
    if (block.length < 6 || block.readUInt32BE(2) !== dictionaryId)
      throw refuse("other dictionary");
    this.#window = dictionary;
    return block.subarray(6);
  }
}

/**
 * Encodes the header blocks of one direction. They are "stored" blocks of zlib: davit sends only a
 * few dozen bytes, and secrets must not be compressed together with data that a peer controls.
 */
export class HeaderWriter {
  #begun = false;

  write(headers: SpdyHeaders): Buffer {
    const plain = writeBlock(headers);
    if (plain.length > 0xffff) throw refuse("too long to be sent");
    const lengths = Buffer.from([0, 0, 0, 0, 0]);
    lengths.writeUInt16LE(plain.length, 1);
    lengths.writeUInt16LE(~plain.length & 0xffff, 3);
    // NOTE(go): its reader passes a stored block on only when an empty one follows, as after a flush.
    const parts = [lengths, plain, Buffer.from([0, 0, 0, 0xff, 0xff])];
    if (!this.#begun) {
      this.#begun = true;
      // RFC 1950: deflate with a window of 32 KiB and a dictionary, whose id follows.
      const start = Buffer.from([0x78, 0x3f, 0, 0, 0, 0]);
      start.writeUInt32BE(dictionaryId, 2);
      parts.unshift(start);
    }
    return Buffer.concat(parts);
  }
}

/** A block is a count, then names and values, each after its length; all numbers have 32 bits. */
function parseBlock(plain: Buffer): SpdyHeaders {
  const headers = new Map<string, string>();
  let offset = 0;
  const number = (): number => {
    if (offset + 4 > plain.length) throw refuse("truncated");
    offset += 4;
    return plain.readUInt32BE(offset - 4);
  };
  const text = (): string => {
    const length = number();
    if (length > plain.length - offset) throw refuse("truncated");
    offset += length;
    return plain.toString("latin1", offset - length, offset);
  };
  const count = number();
  // A header has at least 8 bytes, so a larger count is invalid.
  if (count > plain.length / 8) throw refuse("truncated");
  for (let i = 0; i < count; i++) {
    const name = text().toLowerCase();
    const value = text();
    if (name === "") throw refuse("a header without a name");
    if (headers.has(name)) throw refuse(`"${name}" twice`);
    headers.set(name, value);
  }
  if (offset !== plain.length) throw refuse("bytes after the last header");
  return headers;
}

function writeBlock(headers: SpdyHeaders): Buffer {
  const parts: Buffer[] = [uint32(headers.size)];
  for (const pair of headers) {
    for (const text of pair) parts.push(uint32(text.length), Buffer.from(text, "latin1"));
  }
  return Buffer.concat(parts);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
