/** An entry of an archive to build, valid or not. Texts are byte strings. */
export interface BuiltEntry {
  readonly name: string;
  readonly type?: string;
  readonly data?: string | Buffer;
  readonly linkName?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly seconds?: number;
  readonly major?: number;
  readonly minor?: number;
  /** The size in the header in place of the size of the data. */
  readonly size?: number;
  /** Records of a PAX header before it. */
  readonly pax?: Readonly<Record<string, string>> | readonly (readonly [string, string])[];
  /** The bytes 257 to 264, `ustar\0` and `00` if not given. */
  readonly magic?: string;
  /** Bytes of the header that are replaced at the end, by offset. */
  readonly raw?: Readonly<Record<number, string>>;
  /** Blocks between the header and the data. */
  readonly extension?: Buffer;
}

/** Magic values of the formats other than ustar. */
export const [gnuMagic, v7Magic] = ["ustar  \0", "\0\0\0\0\0\0\0\0"];

/** An archive of these entries, with its end. */
export function buildTar(entries: readonly BuiltEntry[]): Buffer {
  return Buffer.concat([...entries.map(buildEntry), Buffer.alloc(1024)]);
}

/** One entry: its headers, and its data padded to blocks. */
export function buildEntry(entry: BuiltEntry): Buffer {
  const parts: Buffer[] = [];
  if (entry.pax !== undefined) {
    parts.push(buildEntry({ name: "pax", type: "x", data: paxContent(entry.pax) }));
  }
  const { data: given = "" } = entry;
  const data = typeof given === "string" ? Buffer.from(given, "latin1") : given;
  parts.push(header(entry, entry.size ?? data.length), entry.extension ?? Buffer.alloc(0), data);
  parts.push(Buffer.alloc((512 - (data.length % 512)) % 512));
  return Buffer.concat(parts);
}

/** The content of a PAX header. */
export function paxContent(records: NonNullable<BuiltEntry["pax"]>): string {
  const pairs: readonly (readonly [string, string])[] = Array.isArray(records)
    ? records
    : Object.entries(records);
  return pairs
    .map(([key, value]) => {
      const rest = ` ${key}=${value}\n`;
      let length = rest.length + 1;
      while (`${length}${rest}`.length !== length) length = `${length}${rest}`.length;
      return `${length}${rest}`;
    })
    .join("");
}

function header(entry: BuiltEntry, size: number): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, start: number, length: number): void => {
    block.write(value.toString(8).padStart(length - 1, "0"), start, length - 1, "latin1");
  };
  block.write(entry.name, 0, 100, "latin1");
  octal(entry.mode ?? 0o644, 100, 8);
  octal(entry.uid ?? 0, 108, 8);
  octal(entry.gid ?? 0, 116, 8);
  octal(size, 124, 12);
  octal(entry.seconds ?? 1_000_000_000, 136, 12);
  block.write(entry.type ?? "0", 156, 1, "latin1");
  block.write(entry.linkName ?? "", 157, 100, "latin1");
  block.write(entry.magic ?? "ustar\x0000", 257, 8, "latin1");
  octal(entry.major ?? 0, 329, 8);
  octal(entry.minor ?? 0, 337, 8);
  for (const [at, bytes] of Object.entries(entry.raw ?? {})) {
    block.write(bytes, Number(at), "latin1");
  }
  return seal(block);
}

/** A number as GNU tar stores it when octal digits are not enough: big-endian, with the first bit set. */
export function base256(value: bigint, length: number): string {
  const bytes = Array.from({ length }, (_, at) =>
    Number((value >> BigInt(8 * (length - 1 - at))) & 0xffn),
  );
  return String.fromCharCode((bytes[0] ?? 0) | 0x80, ...bytes.slice(1));
}

/** Sets the checksum of a header that a test changed. */
export function seal(block: Buffer): Buffer {
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, 8, "latin1");
  return block;
}
