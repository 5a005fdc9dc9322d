/**
 * Reads EROFS images (fs/erofs/erofs_fs.h of Linux) of the form that davit writes, without any of its code, and
 * rejects what the kernel would: offsets outside of the image, names out of order, broken attributes.
 */
import assert from "node:assert/strict";

const block = 4096;
const prefixes: Readonly<Record<number, string>> = {
  1: "user.",
  2: "system.posix_acl_access",
  3: "system.posix_acl_default",
  4: "trusted.",
  6: "security.",
};
const fileTypes: Readonly<Record<number, number>> = {
  0o100000: 1,
  0o040000: 2,
  0o020000: 3,
  0o060000: 4,
  0o010000: 5,
  0o120000: 7,
};
/** The content of a larger file is not read. */
export const maxErofsContent = 1024 * 1024;

/** An inode of an image. */
export interface ErofsInode {
  readonly number: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly size: number;
  readonly rdev: number;
  readonly xattrs: ReadonlyMap<string, string>;
  /** Of a file or symbolic link that is not too large. */
  readonly content: Buffer | undefined;
}

/** All names of an image with their inodes; the root is "/". */
export function readErofs(image: Buffer): ReadonlyMap<string, ErofsInode> {
  assert.equal(image.length % block, 0);
  assert.equal(image.readUInt32LE(1024), 0xe0f5e1e2, "the magic number");
  assert.equal(image.readUInt8(1024 + 12), 12, "the size of a block");
  assert.equal(image.readUInt32LE(1024 + 36), image.length / block, "the number of blocks");
  assert.equal(image.readUInt32LE(1024 + 80) & ~4, 0, "features that are not known");
  const found = new Map<string, ErofsInode>();
  const names = new Map<number, number>();
  const rest: { path: string; number: number; parent: number }[] = [];
  const root = image.readUInt16LE(1024 + 14);
  rest.push({ path: "/", number: root, parent: root });
  const seen = new Set<number>();
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    const inode = readInode(image, next.number);
    found.set(next.path, inode);
    names.set(inode.number, (names.get(inode.number) ?? 0) + 1);
    if ((inode.mode & 0o170000) !== 0o040000) continue;
    assert.ok(!seen.has(inode.number), "a directory has two names");
    seen.add(inode.number);
    let directories = 0;
    for (const [name, { number, type }] of readDirectory(image, inode)) {
      if (name === "." || name === "..") {
        assert.equal(number, name === "." ? inode.number : next.parent, name);
        continue;
      }
      const child = readInode(image, number);
      assert.equal(type, fileTypes[child.mode & 0o170000], `the type of "${name}"`);
      if (type === 2) directories++;
      const path = `${next.path === "/" ? "" : next.path}/${name}`;
      rest.push({ path, number, parent: inode.number });
    }
    assert.equal(inode.links, 2 + directories, `links of the directory "${next.path}"`);
  }
  for (const inode of found.values()) {
    if (seen.has(inode.number)) continue;
    assert.equal(inode.links, names.get(inode.number), "links of a file");
  }
  const inodes = new Set([...found.values()].map(({ number }) => number)).size;
  assert.ok(Number(image.readBigUInt64LE(1024 + 16)) >= inodes, "the number of inodes");
  return found;
}

interface Parsed extends ErofsInode {
  readonly layout: number;
  readonly where: number;
  /** Where the data or map after the inode begins. */
  readonly inline: number;
}

function readInode(image: Buffer, number: number): Parsed {
  const at = number * 32;
  assert.ok(at >= 1024 + 128 && at + 64 <= image.length, `inode ${number} is outside of the image`);
  const format = image.readUInt16LE(at);
  assert.equal(format & 1, 1, "not an extended inode");
  const layout = format >> 1;
  const count = image.readUInt16LE(at + 2);
  const xattrBytes = count === 0 ? 0 : 12 + 4 * (count - 1);
  const mode = image.readUInt16LE(at + 4);
  const isDevice = [0o020000, 0o060000].includes(mode & 0o170000);
  const where = image.readUInt32LE(at + 16);
  const parsed = {
    number,
    mode,
    uid: image.readUInt32LE(at + 24),
    gid: image.readUInt32LE(at + 28),
    links: image.readUInt32LE(at + 44),
    size: Number(image.readBigUInt64LE(at + 8)),
    rdev: isDevice ? where : 0,
    xattrs: readXattrs(image.subarray(at + 64, at + 64 + xattrBytes)),
    layout,
    where,
    inline: at + 64 + xattrBytes,
    content: undefined,
  };
  const hasContent = [0o100000, 0o120000].includes(mode & 0o170000);
  if (!hasContent) return parsed;
  checkRange(image, parsed);
  return parsed.size > maxErofsContent ? parsed : { ...parsed, content: readData(image, parsed) };
}

function readXattrs(bytes: Buffer): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (let at = 12; at < bytes.length; ) {
    const [nameLength, index, valueLength] = [
      bytes[at] ?? 0,
      bytes[at + 1] ?? 0,
      bytes.readUInt16LE(at + 2),
    ];
    const end = at + 4 + nameLength + valueLength;
    assert.ok(end <= bytes.length, "an attribute leads out of its inode");
    const prefix = prefixes[index];
    assert.ok(prefix !== undefined, `the index ${index} of an attribute`);
    const name = prefix + bytes.toString("latin1", at + 4, at + 4 + nameLength);
    assert.ok(!found.has(name), `"${name}" twice`);
    found.set(name, bytes.toString("latin1", at + 4 + nameLength, end));
    at = 4 * Math.ceil(end / 4);
  }
  return found;
}

/** Where the content is, also of one that is not read. */
function checkRange(image: Buffer, { layout, where, size, inline }: Parsed): void {
  const whole = layout === 2 ? Math.floor(size / block) : Math.ceil(size / block);
  if (layout === 0 || (layout === 2 && whole > 0)) {
    if (size > 0) assert.ok((where + whole) * block <= image.length, "data outside of the image");
  }
  if (layout === 2) {
    const tail = size - whole * block;
    assert.ok(inline + tail <= image.length);
    if (tail > 0) assert.equal(Math.floor(inline / block), Math.floor((inline + tail - 1) / block));
  } else if (layout === 4) {
    const chunk = block * 2 ** (where & 31);
    assert.ok(inline + 4 * Math.ceil(size / chunk) <= image.length, "a map outside of the image");
  } else {
    assert.equal(layout, 0);
  }
}

function readData(image: Buffer, { layout, where, size, inline }: Parsed): Buffer {
  if (layout === 0) return Buffer.from(image.subarray(where * block, where * block + size));
  if (layout === 2) {
    const whole = Math.floor(size / block) * block;
    const first = image.subarray(where * block, where * block + whole);
    return Buffer.concat([
      whole === 0 ? Buffer.alloc(0) : first,
      image.subarray(inline, inline + size - whole),
    ]);
  }
  const chunk = block * 2 ** (where & 31);
  const data = Buffer.alloc(size);
  for (let at = 0, entry = inline; at < size; at += chunk, entry += 4) {
    const address = image.readUInt32LE(entry);
    if (address === 0xffffffff) continue;
    const length = Math.min(chunk, size - at);
    assert.ok(address * block + length <= image.length, "a chunk outside of the image");
    image.copy(data, at, address * block, address * block + length);
  }
  return data;
}

function readDirectory(
  image: Buffer,
  inode: ErofsInode,
): ReadonlyMap<string, { readonly number: number; readonly type: number }> {
  const parsed = inode as Parsed;
  checkRange(image, parsed);
  const data = readData(image, parsed);
  const found = new Map<string, { number: number; type: number }>();
  let before = "";
  for (let start = 0; start < data.length; start += block) {
    const part = data.subarray(start, start + block);
    const count = part.readUInt16LE(8) / 12;
    assert.ok(Number.isInteger(count) && count > 0);
    for (let at = 0; at < count; at++) {
      const nameAt = part.readUInt16LE(12 * at + 8);
      const end = at + 1 < count ? part.readUInt16LE(12 * (at + 1) + 8) : part.length;
      const name = part.toString("latin1", nameAt, end).replace(/\0+$/, "");
      assert.ok(name !== "" && name.length <= 255 && !/[/\0]/.test(name), `the name "${name}"`);
      assert.ok(before < name, `"${name}" follows "${before}"`);
      before = name;
      found.set(name, {
        number: Number(part.readBigUInt64LE(12 * at)),
        type: part[12 * at + 10] ?? 0,
      });
    }
  }
  assert.ok(found.has(".") && found.has(".."));
  return found;
}
