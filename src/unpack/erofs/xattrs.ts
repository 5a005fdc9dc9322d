import { constants } from "node:fs";

import { SystemError } from "../../base/system-error.ts";

/** Extended attributes of a file: names and values are byte strings. */
export type Xattrs = ReadonlyMap<string, string>;

const { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } = constants;
/** struct erofs_xattr_ibody_header, struct erofs_xattr_entry. */
const [HEADER, ENTRY] = [12, 4];
/** More than any file system on Linux but xfs and btrfs takes. */
const MAX_BYTES = 64 * 1024;
const MAX_NAME = 255;

/** EROFS_XATTR_INDEX_*: the beginning of the name. */
const prefixes: readonly (readonly [string, number])[] = [
  ["user.", 1],
  ["trusted.", 4],
  ["security.", 6],
];
const ACCESS_ACL = "system.posix_acl_access";
const DEFAULT_ACL = "system.posix_acl_default";

/** The file that gets an attribute: an access control list may change its mode, which has the type bits. */
interface XattrTarget {
  mode: number;
}

/** Bytes of attributes in an image, 0 for none. A multiple of 4. */
export function sizeOfXattrs(xattrs: Xattrs | undefined): number {
  if (xattrs === undefined || xattrs.size === 0) return 0;
  let size = HEADER;
  for (const [name, value] of xattrs) size += sizeOfEntry(splitName(name)[1], value);
  return size;
}

/** Writes attributes into zeroed bytes of {@link sizeOfXattrs}. */
export function writeXattrs(xattrs: Xattrs, into: Buffer): void {
  let at = HEADER;
  for (const [name, value] of xattrs) {
    const [index, rest] = splitName(name);
    into[at] = rest.length;
    into[at + 1] = index;
    into.writeUInt16LE(value.length, at + 2);
    into.write(rest, at + ENTRY, "latin1");
    into.write(value, at + ENTRY + rest.length, "latin1");
    at += sizeOfEntry(rest, value);
  }
}

/**
 * Adds an attribute as setxattr(2) does on a disk, with its errors: EOPNOTSUPP for a name that has no place in
 * an image, EPERM for `user.*` of something else than a file or directory, EINVAL for a malformed value, E2BIG
 * for too many bytes. An access control list may change the mode of the target instead.
 */
export function addXattr(
  xattrs: Map<string, string>,
  target: XattrTarget,
  name: string,
  value: string,
): void {
  if (name === ACCESS_ACL || name === DEFAULT_ACL) {
    addAcl(xattrs, target, name, value);
  } else {
    const [index, rest] = splitName(name);
    if (index === 0) throw refused(name, "EOPNOTSUPP");
    if (rest === "") throw refused(name, "EINVAL");
    if (name.length > MAX_NAME) throw refused(name, "ERANGE");
    if (index === 1 && !takesUserXattrs(target)) throw refused(name, "EPERM");
    if (name === "security.capability" && !isCapability(value)) throw refused(name, "EINVAL");
    xattrs.set(name, value);
  }
  if (value.length > 0xffff || sizeOfXattrs(xattrs) > MAX_BYTES) throw refused(name, "E2BIG");
}

function takesUserXattrs({ mode }: XattrTarget): boolean {
  return (mode & S_IFMT) === S_IFREG || (mode & S_IFMT) === S_IFDIR;
}

function splitName(name: string): readonly [number, string] {
  if (name === ACCESS_ACL) return [2, ""];
  if (name === DEFAULT_ACL) return [3, ""];
  for (const [prefix, index] of prefixes) {
    if (name.startsWith(prefix)) return [index, name.slice(prefix.length)];
  }
  return [0, name];
}

function sizeOfEntry(rest: string, value: string): number {
  return Math.ceil((ENTRY + rest.length + value.length) / 4) * 4;
}

/** struct vfs_cap_data of revision 2, or struct vfs_ns_cap_data of revision 3 (linux/capability.h). */
function isCapability(value: string): boolean {
  const revision = value.charCodeAt(3);
  return (value.length === 20 && revision === 2) || (value.length === 24 && revision === 3);
}

/** As posix_acl_update_mode() of the kernel: a list that only says what the mode can say is not kept. */
function addAcl(
  xattrs: Map<string, string>,
  target: XattrTarget,
  name: string,
  value: string,
): void {
  if ((target.mode & S_IFMT) === S_IFLNK) throw refused(name, "EOPNOTSUPP");
  if (name === DEFAULT_ACL && (target.mode & S_IFMT) !== S_IFDIR) throw refused(name, "EACCES");
  const acl = parseAcl(Buffer.from(value, "latin1"), name);
  if (acl === undefined) return;
  if (name === ACCESS_ACL) {
    target.mode = (target.mode & ~0o777) | acl.mode;
    if (!acl.isExtended) return;
  }
  xattrs.set(name, acl.value);
}

const tags = { userObj: 1, user: 2, groupObj: 4, group: 8, mask: 16, other: 32 } as const;
/** The order of entries: each number of this list is at least that of the entry before. */
const order: readonly number[] = Object.values(tags);

interface Acl {
  readonly mode: number;
  /** It says more than a mode. */
  readonly isExtended: boolean;
  readonly value: string;
}

/** Reads a list (linux/posix_acl_xattr.h); `undefined` for one without entries. */
function parseAcl(bytes: Buffer, name: string): Acl | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes.length < 4 || (bytes.length - 4) % 8 !== 0) throw refused(name, "EINVAL");
  if (bytes.readUInt32LE(0) !== 2) throw refused(name, "EOPNOTSUPP");
  if (bytes.length === 4) return undefined;
  const found = readEntries(bytes, name);
  const [user, group, other] = [tags.userObj, tags.groupObj, tags.other].map((t) => found.get(t));
  const mask = found.get(tags.mask);
  const needsMask = found.has(tags.user) || found.has(tags.group);
  const isWhole = user !== undefined && group !== undefined && other !== undefined;
  if (!isWhole || (needsMask && mask === undefined)) throw refused(name, "EINVAL");
  return {
    mode: (user << 6) | ((mask ?? group) << 3) | other,
    isExtended: found.size > 3,
    value: bytes.toString("latin1"),
  };
}

/** The permissions for each tag. Gives ids without a meaning the value that the kernel reports. */
function readEntries(bytes: Buffer, name: string): ReadonlyMap<number, number> {
  const found = new Map<number, number>();
  let last = 0;
  for (let at = 4; at < bytes.length; at += 8) {
    const [tag, permissions] = [bytes.readUInt16LE(at), bytes.readUInt16LE(at + 2)];
    const isNamed = tag === tags.user || tag === tags.group;
    const isInOrder = tag > last || (isNamed && tag === last);
    if (!order.includes(tag) || !isInOrder || permissions > 7) throw refused(name, "EINVAL");
    if (!isNamed) bytes.writeUInt32LE(0xffff_ffff, at + 4);
    found.set(tag, permissions);
    last = tag;
  }
  return found;
}

function refused(name: string, code: string): SystemError {
  return new SystemError(`set attribute ${JSON.stringify(name.slice(0, MAX_NAME))}`, code);
}
