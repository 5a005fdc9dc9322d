/** Header blocks of HTTP/2, beside a decoder that is as simple as it can be. */
import assert from "node:assert/strict";

import fc from "fast-check";

import {
  encodeHeaders,
  HeaderDecoder,
  HeadersTooLarge,
  HpackError,
} from "../../../src/wire/http2/hpack/index.ts";
import { type HeaderField, staticTable } from "../../../src/wire/http2/hpack/static-table.ts";
import { bytesOf, huffmanBits } from "../../../src/wire/http2/hpack/testing/huffman.ts";
import { expectKind, type FuzzTarget } from "../target.ts";

const maxListBytes = 2000;
const maxPairs = 20;
const tableSizes = [0, 64, 256, 4096];

/** The symbols by their codes. */
const symbols = new Map<string, string>();
for (let code = 0; code < 256; code++) {
  symbols.set(huffmanBits(String.fromCharCode(code)), String.fromCharCode(code));
}

class Malformed extends Error {}

/** RFC 7541 section by section, bit by bit. */
class SimpleDecoder {
  table: HeaderField[] = [];
  readonly #setting: number;
  #tableBytes: number;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(tableBytes: number) {
    this.#setting = tableBytes;
    this.#tableBytes = tableBytes;
  }

  decode(block: Buffer): readonly HeaderField[] {
    this.#bytes = block;
    const fields: HeaderField[] = [];
    while (this.#bytes.length > 0) {
      const bits = (this.#bytes[0] ?? 0).toString(2).padStart(8, "0");
      if (bits.startsWith("001")) {
        if (fields.length > 0) throw new Malformed();
        this.#tableBytes = this.#integer(5);
        if (this.#tableBytes > this.#setting) throw new Malformed();
        this.#evict();
      } else if (bits.startsWith("1")) {
        fields.push(this.#field(this.#integer(7)));
      } else {
        const isAdded = bits.startsWith("01");
        const index = this.#integer(isAdded ? 6 : 4);
        const name = index === 0 ? this.#string() : this.#field(index)[0];
        const field: HeaderField = [name, this.#string()];
        fields.push(field);
        if (isAdded) this.table.unshift(field);
        this.#evict();
      }
    }
    return fields;
  }

  #evict(): void {
    const size = (): number =>
      this.table.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
    while (size() > this.#tableBytes) this.table.pop();
  }

  #field(index: number): HeaderField {
    const field = [...staticTable, ...this.table][index - 1];
    if (field === undefined) throw new Malformed();
    return field;
  }

  #take(count: number): Buffer {
    if (count > this.#bytes.length) throw new Malformed();
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return taken;
  }

  #integer(bits: number): number {
    const first = (this.#take(1)[0] ?? 0) % 2 ** bits;
    if (first < 2 ** bits - 1) return first;
    let digits = "";
    for (let byte = 0x80; byte >= 0x80; ) {
      if (digits.length === 28) throw new Malformed();
      byte = this.#take(1)[0] ?? 0;
      digits = (byte % 0x80).toString(2).padStart(7, "0") + digits;
    }
    return first + Number.parseInt(digits, 2);
  }

  #string(): string {
    const isHuffman = (this.#bytes[0] ?? 0) >= 0x80;
    const bytes = this.#take(this.#integer(7));
    if (!isHuffman) return bytes.toString("latin1");
    let [text, code] = ["", ""];
    for (const bit of [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("")) {
      code += bit;
      const symbol = symbols.get(code);
      if (symbol === undefined) continue;
      text += symbol;
      code = "";
    }
    if (!/^1{0,7}$/.test(code)) throw new Malformed();
    return text;
  }
}

/** The first byte chooses the size of the table. Each block follows its length, of two bytes. */
function partsOf(input: Buffer): { readonly tableBytes: number; readonly blocks: Buffer[] } {
  const blocks: Buffer[] = [];
  for (let at = 1; at + 2 <= input.length; ) {
    const end = at + 2 + input.readUInt16BE(at);
    blocks.push(input.subarray(at + 2, end));
    at = end;
  }
  return { tableBytes: tableSizes[(input[0] ?? 0) % tableSizes.length] ?? 0, blocks };
}

function joined(tableIndex: number, blocks: readonly Buffer[]): Buffer {
  const parts = blocks.map((block) => {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(block.length);
    return Buffer.concat([length, block]);
  });
  return Buffer.concat([Buffer.from([tableIndex]), ...parts]);
}

/** An integer; with zeros after it, which an encoder may write but does not. */
function integer(flags: number, bits: number, value: number, zeros = 0): Buffer {
  const most = 2 ** bits - 1;
  if (value < most) return Buffer.from([flags | value]);
  const bytes = [flags | most];
  let rest = value - most;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  if (zeros === 0) return Buffer.from([...bytes, rest]);
  return Buffer.from([...bytes, rest | 0x80, ...new Array<number>(zeros - 1).fill(0x80), 0]);
}

/** A string; Huffman codes with more bits after them where they are given. */
function string(text: string, isHuffman: boolean, more = ""): Buffer {
  const bytes = isHuffman ? bytesOf(huffmanBits(text) + more) : Buffer.from(text, "latin1");
  return Buffer.concat([integer(isHuffman ? 0x80 : 0, 7, bytes.length), bytes]);
}

const latin1 = fc.oneof(
  fc.string({ maxLength: 4 }),
  fc
    .array(fc.integer({ min: 0, max: 255 }), { maxLength: 60 })
    .map((codes) => String.fromCharCode(...codes)),
  fc.integer({ min: 0, max: 3000 }).map((length) => "a".repeat(length)),
);
const encoded = fc
  .tuple(
    latin1,
    fc.boolean(),
    fc.constantFrom(...new Array<string>(20).fill(""), "0", "11111111", "1".repeat(30)),
  )
  .map(([text, isHuffman, more]) => string(text, isHuffman, more));
const anyIndex = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: 1, max: 62 }) },
  { weight: 4, arbitrary: fc.integer({ min: 60, max: 66 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 2 ** 28 }) },
);
const zeros = fc.oneof(
  { weight: 20, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 4 }) },
);
const literal = fc
  .tuple(
    fc.constantFrom([0x00, 4], [0x10, 4], [0x40, 6], [0x40, 6]),
    fc.option(anyIndex, { freq: 2, nil: 0 }),
    zeros,
    encoded,
    encoded,
  )
  .map(([[flags = 0, bits = 0], index, more, name, value]) =>
    Buffer.concat([integer(flags, bits, index, more), index === 0 ? name : Buffer.alloc(0), value]),
  );
/** Entries that fill a small table to the byte. */
const small = fc
  .tuple(fc.constantFrom("", "a", "b"), fc.constantFrom("", "1", "22"))
  .map(([name, value]) =>
    Buffer.concat([Buffer.from([0x40]), string(name, false), string(value, false)]),
  );
const field = fc.oneof(
  { weight: 2, arbitrary: small },
  { weight: 3, arbitrary: literal },
  {
    weight: 3,
    arbitrary: fc.tuple(anyIndex, zeros).map(([index, more]) => integer(0x80, 7, index, more)),
  },
);
const resize = fc
  .oneof(
    { weight: 5, arbitrary: fc.integer({ min: 0, max: 64 }) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 5000 }) },
  )
  .map((bytes) => integer(0x20, 5, bytes));
const block = fc
  .tuple(fc.array(resize, { maxLength: 2 }), fc.array(field, { maxLength: 25 }))
  .map((parts) => Buffer.concat(parts.flat()));

/** What HTTP allows in a header: these are encoded. */
const isAllowed = (text: string): boolean => /^[\t\x20-\x7e\x80-\xff]*$/.test(text);

function checkEncoder(fields: readonly HeaderField[]): void {
  const allowed = fields.filter((one) => one.every(isAllowed));
  const decoder = new HeaderDecoder({ maxTableBytes: 0, maxListBytes, maxPairs });
  assert.deepEqual(decoder.decode(encodeHeaders(allowed)), allowed);
}

/** The headers, "malformed" or "too large". */
function outcomeOf(decode: () => readonly HeaderField[]): readonly HeaderField[] | string {
  try {
    return decode();
  } catch (error) {
    if (error instanceof Malformed) return "malformed";
    expectKind(error, ["invalid-argument", "resource-exhausted"], 300);
    if (error instanceof HpackError) return "malformed";
    assert.ok(error instanceof HeadersTooLarge);
    return "too large";
  }
}

function check(input: Buffer): void {
  const { tableBytes, blocks } = partsOf(input);
  const decoder = new HeaderDecoder({ maxTableBytes: tableBytes, maxListBytes, maxPairs });
  const simple = new SimpleDecoder(tableBytes);
  for (const one of blocks) {
    const outcome = outcomeOf(() => decoder.decode(one));
    const expected = outcomeOf(() => simple.decode(one));
    if (typeof expected === "string") {
      assert.equal(outcome, expected);
      return;
    }
    const bytes = expected.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
    if (bytes > maxListBytes || expected.length > maxPairs) assert.equal(outcome, "too large");
    else assert.deepEqual(outcome, expected);
    if (typeof outcome !== "string") checkEncoder(outcome);
    // The tables are the same, also after a list that was too large.
    for (const [at, entry] of simple.table.entries()) {
      const found = outcomeOf(() => decoder.decode(integer(0x80, 7, staticTable.length + 1 + at)));
      if (typeof found !== "string") assert.deepEqual(found, [entry]);
      else assert.ok(entry[0].length + entry[1].length > maxListBytes - 32, found);
    }
  }
  const beyond = integer(0x80, 7, staticTable.length + 1 + simple.table.length);
  assert.equal(
    outcomeOf(() => decoder.decode(beyond)),
    "malformed",
    "the table has more entries than it may",
  );
}

const request = Buffer.concat([
  Buffer.from([0x83, 0x86]),
  integer(0x40, 6, 4),
  string("/runtime.v1.RuntimeService/Version", true),
  integer(0x40, 6, 0),
  string("grpc-timeout", true),
  string("1999998u", true),
  integer(0x10, 4, 23),
  string("Bearer secret", false),
]);

export const target: FuzzTarget = {
  name: "hpack",
  seeds: () => [
    joined(3, [request, request, Buffer.from([0x83, 0x86, 0xbe, 0xbf])]),
    joined(1, [request, request]),
    joined(3, [Buffer.from([0x20]), request, Buffer.from([0x3f, 0x09]), request]),
    joined(2, [Buffer.concat([request, Buffer.alloc(30, 0xbe)]), Buffer.from([0xbf])]),
  ],
  words: ["\x20", "\x3f\xe1\x1f", "\xbe", "\x40\x01a\x01b", "\xff\xff\xff\xff\x0f", "\x0f\x10"],
  structured: fc
    .tuple(fc.nat(tableSizes.length - 1), fc.array(block, { maxLength: 6 }))
    .map(([tableIndex, blocks]) => joined(tableIndex, blocks)),
  maxBytes: 8 * 1024,
  // Of the simple decoder.
  limitMs: (bytes) => 500 + bytes / 8,
  check,
};
