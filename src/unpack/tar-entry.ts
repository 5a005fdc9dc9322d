import type { FileTime } from "../linux/file/index.ts";
import { type PaxRecords, paxNumber, paxTime } from "./pax-records.ts";
import { oldSparseSize, paxSparseFormat, paxSparseSize } from "./sparse.ts";
import { brokenArchive, type TarHeader } from "./tar-header.ts";

/** The type of an entry. */
export type EntryType = "file" | "link" | "symlink" | "char" | "block" | "dir" | "fifo";

/** An entry of an archive. Names are byte strings: one character of U+0000 to U+00FF for each byte. */
export interface TarEntry {
  readonly type: EntryType;
  /** As in the archive: it may be absolute and contain `..`. Never empty, and without NUL. */
  readonly path: string;
  /** Target of a link or symlink. */
  readonly linkPath: string;
  /** The 12 bits of chmod(2). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of data and holes that follow; 0 if not a file. */
  readonly size: number;
  readonly time: FileTime;
  /** 0 to 4095 and 0 to 1048575, the range of the kernel. */
  readonly major: number;
  readonly minor: number;
  /** Extended attributes (SCHILY.xattr.*). Names and values are byte strings. */
  readonly xattrs: ReadonlyMap<string, string>;
}

/** An entry, with the format of its data. */
export interface StoredEntry {
  readonly entry: TarEntry;
  /** Bytes in the archive that belong to it. */
  readonly storedBytes: number;
  /** Where the map of a sparse file is; `undefined` if it is not sparse. */
  readonly sparse: "map-in-header" | "map-in-records" | "map-in-data" | undefined;
}

/** The records and long names before the header of an entry. */
export interface EntryExtras {
  readonly pax: PaxRecords;
  readonly longName: string;
  readonly longLink: string;
}

const types: Readonly<Record<string, EntryType>> = {
  "0": "file",
  "\0": "file",
  S: "file",
  "1": "link",
  "2": "symlink",
  "3": "char",
  "4": "block",
  "5": "dir",
  "6": "fifo",
};
const XATTR = "SCHILY.xattr.";
const PATH_MAX = 4096;
/** uid_t and gid_t; to chown(2) the last value means "do not change". */
const ID_MAX = 0xffff_fffe;
/** dev_t of Linux (include/linux/kdev_t.h): mknod(2) drops higher bits. */
const [MAJOR_MAX, MINOR_MAX] = [4095, 1_048_575];
const noXattrs: ReadonlyMap<string, string> = new Map();

/** True for the types without data in an archive, whatever the size in their header is. */
export function isHeaderOnly(type: string): boolean {
  return type >= "1" && type <= "6";
}

/**
 * Makes an entry from a header and the records before it, with the precedence of Go's archive/tar:
 * PAX records, then GNU's long names, then the name of a sparse file. `block` is the header itself.
 */
export function makeEntry(header: TarHeader, extras: EntryExtras, block: Buffer): StoredEntry {
  const { pax } = extras;
  const named = mergeExtras(header, extras);
  const isV7Directory = header.type === "\0" && named.path.endsWith("/");
  const hasData = !isHeaderOnly(header.type) && !isV7Directory;
  const size = paxNumber(pax, "size") ?? header.size;
  if (hasData && size < 0) throw brokenArchive("a header has a negative size");
  const sparse = sparseOf(header, pax);
  const path = checkName(nameOfSparse(sparse, pax) || named.path);
  const type = isV7Directory ? "dir" : typeOf(header.type, path);
  if (sparse !== undefined && type !== "file") {
    throw brokenArchive(`entry "${printable(path)}" is sparse, but not a file`);
  }
  const entry: TarEntry = {
    type,
    path,
    linkPath: type === "link" || type === "symlink" ? checkName(named.linkPath, path) : "",
    mode: header.mode & 0o7777,
    ...ownerOf(header, pax, path),
    size: type === "file" ? wholeSize(sparse, size, pax, block) : 0,
    time: timeOf(header, pax),
    ...deviceOf(header, type, path),
    xattrs: xattrsOf(pax),
  };
  return { entry, storedBytes: hasData ? size : 0, sparse };
}

function mergeExtras(
  header: TarHeader,
  { pax, longName, longLink }: EntryExtras,
): Pick<TarEntry, "path" | "linkPath"> {
  return {
    path: longName || pax.get("path") || header.name,
    linkPath: longLink || pax.get("linkpath") || header.linkName,
  };
}

function sparseOf(header: TarHeader, pax: PaxRecords): StoredEntry["sparse"] {
  if (header.type !== "S") return pax.size === 0 ? undefined : paxSparseFormat(pax);
  // Other writers of this type store the map elsewhere.
  if (!header.isGnu) throw brokenArchive("a sparse file is not in GNU's format");
  return "map-in-header";
}

/** The real name. The header has a name for readers that do not know the format; the old format has no other name. */
function nameOfSparse(sparse: StoredEntry["sparse"], pax: PaxRecords): string {
  const isInRecords = sparse === "map-in-records" || sparse === "map-in-data";
  return (isInRecords && pax.get("GNU.sparse.name")) || "";
}

function wholeSize(
  sparse: StoredEntry["sparse"],
  size: number,
  pax: PaxRecords,
  block: Buffer,
): number {
  if (sparse === undefined) return size;
  return sparse === "map-in-header" ? oldSparseSize(block) : (paxSparseSize(pax) ?? size);
}

/** The other two times are not used, but a malformed one is rejected like any number. */
function timeOf(header: TarHeader, pax: PaxRecords): FileTime {
  if (pax.size === 0) return { seconds: header.seconds, nanoseconds: 0 };
  paxTime(pax, "atime");
  paxTime(pax, "ctime");
  return paxTime(pax, "mtime") ?? { seconds: header.seconds, nanoseconds: 0 };
}

/**
 * Go's reader knows four more types: contiguous files (7) and those of GNU tar for labels, volumes and
 * listings. containerd and Docker reject them, so images do not contain them.
 */
function typeOf(code: string, path: string): EntryType {
  const type = types[code];
  if (type !== undefined) return type;
  throw brokenArchive(`entry "${printable(path)}" has the unknown type ${JSON.stringify(code)}`);
}

function deviceOf(
  { major, minor }: TarHeader,
  type: EntryType,
  path: string,
): Pick<TarEntry, "major" | "minor"> {
  if (type !== "char" && type !== "block") return { major: 0, minor: 0 };
  if (major >= 0 && major <= MAJOR_MAX && minor >= 0 && minor <= MINOR_MAX) return { major, minor };
  throw brokenArchive(
    `entry "${printable(path)}" is the invalid device ${major}:${minor}; the limit is ${MAJOR_MAX}:${MINOR_MAX}`,
  );
}

function xattrsOf(pax: PaxRecords): ReadonlyMap<string, string> {
  if (pax.size === 0) return noXattrs;
  const found = new Map<string, string>();
  for (const [key, value] of pax) {
    if (key.startsWith(XATTR)) found.set(key.slice(XATTR.length), value);
  }
  return found;
}

function checkName(name: string, of = name): string {
  if (name === "" || name.includes("\0") || name.length >= PATH_MAX) {
    throw brokenArchive(
      `entry "${printable(of).slice(0, 200)}" has an empty or too long name or target`,
    );
  }
  return name;
}

function ownerOf(header: TarHeader, pax: PaxRecords, path: string): Pick<TarEntry, "uid" | "gid"> {
  return {
    uid: checkId(paxNumber(pax, "uid") ?? header.uid, path),
    gid: checkId(paxNumber(pax, "gid") ?? header.gid, path),
  };
}

function checkId(id: number, path: string): number {
  if (id >= 0 && id <= ID_MAX) return id;
  throw brokenArchive(`entry "${printable(path)}" has the invalid owner ${id}`);
}

/** A byte string for messages: its UTF-8 text, with escaped control characters. */
export function printable(bytes: string): string {
  const text = Buffer.from(bytes, "latin1").toString("utf8");
  return JSON.stringify(text).slice(1, -1);
}
