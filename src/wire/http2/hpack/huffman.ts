// The Huffman code of RFC 7541, appendix B. It is canonical: codes of one length follow each other in the order of
// their symbols, and continue those of the length below. So the lengths define it.
import { HpackError } from "./errors.ts";

/** The bits of the code of each symbol, as a digit of base 36. The last symbol is EOS. */
const codeLengths =
  "dnsssssssoussussssssssusssssssss" +
  "6aacd68baa8b8666555666666678f6ca" +
  "d67777777777777777777777878djde6" +
  "f56565666577666567655677777fbeds" +
  "kmkkmmmnmnnnnnonoomnonnnnlmnmnno" +
  "mlkmmnnlnmmolmnnllmlnmnnkmmmnmmn" +
  "qqkjmnmpqqqrrqopjlqrrqrollqqsrrr" +
  "koklmllnmmppooqnqrqqrrrrrsrrrrrqu";

const endOfString = 256;
const maxCodeBits = 30;
/** Codes of at most this many bits are found in one step. Longer ones are those of rare characters. */
const shortBits = 8;

/** The codes of one length: `first` is the first of them, `offset` where its symbol is in `symbols`. */
interface CodesOfLength {
  readonly first: number;
  readonly count: number;
  readonly offset: number;
}

interface HuffmanTables {
  /** By the next 8 bits: the length of the code that they begin with, and in the lower 8 bits its symbol. 0 for a longer code. */
  readonly short: Uint16Array;
  /** By the number of bits. */
  readonly lengths: readonly CodesOfLength[];
  /** All symbols in the order of their codes. */
  readonly symbols: Uint16Array;
}

let tables: HuffmanTables | undefined;

function makeTables(): HuffmanTables {
  const short = new Uint16Array(2 ** shortBits);
  const symbols = new Uint16Array(codeLengths.length);
  const lengths: CodesOfLength[] = [];
  let code = 0;
  let offset = 0;
  for (let bits = 0; bits <= maxCodeBits; bits++) {
    code *= 2;
    const [first, from] = [code, offset];
    for (let symbol = 0; symbol < codeLengths.length; symbol++) {
      if (Number.parseInt(codeLengths.charAt(symbol), 36) !== bits) continue;
      symbols[offset++] = symbol;
      if (bits <= shortBits) {
        const unused = shortBits - bits;
        short.fill((bits << 8) | symbol, code << unused, (code + 1) << unused);
      }
      code += 1;
    }
    lengths.push({ first, count: offset - from, offset: from });
  }
  return { short, lengths, symbols };
}

/** For strings of up to 1280 bytes, which is more than any that gRPC sends often. */
const scratch = Buffer.allocUnsafeSlow(2048);
/** A string is at most this much longer than its code: the shortest codes have 5 bits. */
const longest = (bytes: number): number => Math.floor((bytes * 8) / 5);

/**
 * Decodes the string whose code is between two offsets of `bytes`. Throws HpackError when a code is truncated, when EOS
 * occurs, or when the padding is not the beginning of EOS or has more than 7 bits (RFC 7541, 5.2).
 */
export function decodeHuffman(bytes: Buffer, start: number, end: number): string {
  tables ??= makeTables();
  const { short } = tables;
  const most = longest(end - start);
  const text = most <= scratch.length ? scratch : Buffer.allocUnsafeSlow(most);
  const endBit = end * 8;
  let length = 0;
  let bit = start * 8;
  while (bit < endBit) {
    const at = bit >>> 3;
    // Beyond the end are ones, as in the padding.
    const two = ((bytes[at] ?? 0) << 8) | (at + 1 < end ? (bytes[at + 1] ?? 0) : 0xff);
    const found = short[(two >>> (8 - (bit & 7))) & 0xff] ?? 0;
    if (found !== 0) {
      bit += found >>> 8;
      if (bit > endBit) throw new HpackError("the padding of a Huffman code is not all ones");
      text[length++] = found & 0xff;
      continue;
    }
    if (isPadding(bytes, bit, endBit)) break;
    const long = longCode(tables, bytes, bit, endBit);
    bit += long >>> 8;
    text[length++] = long & 0xff;
  }
  return text.toString("latin1", 0, length);
}

/** Whether there are only ones until the end, and at most 7. */
function isPadding(bytes: Buffer, bit: number, endBit: number): boolean {
  const left = endBit - bit;
  const mask = (1 << left) - 1;
  return left < 8 && ((bytes[bit >>> 3] ?? 0) & mask) === mask;
}

/** The code of more than 8 bits at `bit`: its length, and in the lower 8 bits its symbol. */
function longCode(
  { lengths, symbols }: HuffmanTables,
  bytes: Buffer,
  bit: number,
  endBit: number,
): number {
  let code = 0;
  for (let bits = 1; bits <= maxCodeBits && bit + bits <= endBit; bits++) {
    const at = bit + bits - 1;
    code = (code << 1) | (((bytes[at >>> 3] ?? 0) >>> (7 - (at & 7))) & 1);
    const codes = lengths[bits];
    if (codes === undefined || code - codes.first >= codes.count) continue;
    const symbol = symbols[codes.offset + code - codes.first] ?? 0;
    if (symbol === endOfString) throw new HpackError("a Huffman code has EOS in it");
    return (bits << 8) | symbol;
  }
  throw new HpackError("a Huffman code is truncated");
}
