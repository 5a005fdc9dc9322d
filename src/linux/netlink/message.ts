// The format of netlink messages (netlink(7), rtnetlink(7)): a header, fields that depend on the type, and attributes.
// Numbers have the byte order of the machine, and x64 and arm64 are little-endian.
import { RuntimeError } from "../../base/errors.ts";

/** An attribute: its number, and its bytes or the attributes in it. */
export type Attribute = readonly [type: number, value: Uint8Array | readonly Attribute[]];

/** A message for the kernel. */
export interface Request {
  /** For errors: what it does, as in `create link "veth0"`. */
  readonly doing: string;
  readonly type: number;
  /** Besides NLM_F_REQUEST and NLM_F_ACK, which encodeRequest() sets. */
  readonly flags: number;
  /** The fields between header and attributes. */
  readonly fields: Uint8Array;
  readonly attributes: readonly Attribute[];
}

/** A message from the kernel. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  /** The number of the request that it answers. */
  readonly sequence: number;
  /** Fields and attributes. */
  readonly body: Buffer;
}

/** Bits of nlmsg_flags. */
export const flag = {
  request: 0x1,
  ack: 0x4,
  dumpInterrupted: 0x10,
  dump: 0x300,
  exclusive: 0x200,
  create: 0x400,
} as const;

/** Message types that are not of rtnetlink. */
export const control = { error: 2, done: 3 } as const;

const headerBytes = 16;
const attributeHeaderBytes = 4;
const nested = 0x8000;
const typeMask = 0x3fff;
const maxAttributeBytes = 0xffff;

const align = (size: number): number => (size + 3) & ~3;

/** A 32-bit number as the value of an attribute. */
export function uint32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** A text that ends with a zero byte, as the value of an attribute. */
export function text(value: string): Uint8Array {
  return Buffer.from(`${value}\0`, "latin1");
}

function encodeAttribute([type, value]: Attribute): Buffer {
  const isNested = !(value instanceof Uint8Array);
  const content = isNested ? encodeAttributes(value) : value;
  const size = attributeHeaderBytes + content.length;
  if (size > maxAttributeBytes) {
    throw new RuntimeError("invalid-argument", `encode netlink attribute ${type}: ${size} bytes`);
  }
  const bytes = Buffer.alloc(align(size));
  bytes.writeUInt16LE(size, 0);
  bytes.writeUInt16LE(isNested ? type | nested : type, 2);
  bytes.set(content, attributeHeaderBytes);
  return bytes;
}

/** The bytes of attributes, for one that has fields before them. */
export function encodeAttributes(attributes: readonly Attribute[]): Buffer {
  return Buffer.concat(attributes.map(encodeAttribute));
}

/**
 * The bytes of one message; `sequence` comes back in its answers. It asks for an acknowledgement unless it is a dump or
 * `acknowledged` is false.
 */
export function encodeRequest(request: Request, sequence: number, acknowledged = true): Buffer {
  const body = Buffer.concat([request.fields, encodeAttributes(request.attributes)]);
  const header = Buffer.alloc(headerBytes);
  const asks = acknowledged && (request.flags & flag.dump) !== flag.dump;
  header.writeUInt32LE(headerBytes + body.length, 0);
  header.writeUInt16LE(request.type, 4);
  header.writeUInt16LE(request.flags | flag.request | (asks ? flag.ack : 0), 6);
  header.writeUInt32LE(sequence, 8);
  return Buffer.concat([header, body], align(headerBytes + body.length));
}

function malformed(what: string, length: number): RuntimeError {
  return new RuntimeError("internal", `read netlink ${what}: its length ${length} is not possible`);
}

/** Splits what the kernel sent. Throws `internal` for a length that leads out of the bytes. */
export function parseMessages(bytes: Buffer): readonly Message[] {
  const messages: Message[] = [];
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at;
    const length = left < headerBytes ? left : bytes.readUInt32LE(at);
    if (length < headerBytes || length > left) throw malformed("message", length);
    messages.push({
      type: bytes.readUInt16LE(at + 4),
      flags: bytes.readUInt16LE(at + 6),
      sequence: bytes.readUInt32LE(at + 8),
      body: bytes.subarray(at + headerBytes, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** The attributes from `offset` on, in order. Throws `internal` for a length that leads out of the bytes. */
export function* attributesOf(bytes: Buffer, offset = 0): Generator<readonly [number, Buffer]> {
  for (let at = offset; at < bytes.length; ) {
    const left = bytes.length - at;
    const length = left < attributeHeaderBytes ? left : bytes.readUInt16LE(at);
    if (length < attributeHeaderBytes || length > left) throw malformed("attribute", length);
    const type = bytes.readUInt16LE(at + 2) & typeMask;
    yield [type, bytes.subarray(at + attributeHeaderBytes, at + length)];
    at += align(length);
  }
}

/** Like {@link attributesOf}, by their numbers. */
export function parseAttributes(bytes: Buffer, offset = 0): ReadonlyMap<number, Buffer> {
  return new Map(attributesOf(bytes, offset));
}

/** The 32-bit number in an attribute; undefined when it is not there. Throws `internal` when it is shorter. */
export function readUint32(value: Buffer | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (value.length < 4) throw malformed("number", value.length);
  return value.readUInt32LE(0);
}

/** The text in an attribute, up to its zero byte. */
export function readText(value: Buffer | undefined): string | undefined {
  if (value === undefined) return undefined;
  const end = value.indexOf(0);
  return value.toString("latin1", 0, end < 0 ? value.length : end);
}
