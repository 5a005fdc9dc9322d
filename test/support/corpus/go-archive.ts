/** Archives as Go's archive/tar writes them, which Docker, BuildKit, kaniko and most other builders use. */
import {
  base256,
  type BuiltEntry,
  buildTar,
  gnuMagic,
} from "../../../src/unpack/testing/tar-builder.ts";
import type { TreeNode } from "./tree.ts";

type Format = "ustar" | "pax" | "gnu";

const types = { file: "0", link: "1", symlink: "2", char: "3", block: "4", dir: "5", fifo: "6" };
/** The largest number of 7 octal digits. */
const maxOctal = 0o7777777;

/**
 * The files as entries, in their order. `prefix` begins each name, `linkPrefix` each target of a hard link. Sparse files have
 * their zeros, since Go does not write them in another way.
 */
export function goArchive(
  tree: readonly TreeNode[],
  format: Format,
  {
    prefix = "",
    linkPrefix = prefix,
  }: { readonly prefix?: string; readonly linkPrefix?: string } = {},
): Buffer {
  const byPath = new Map(tree.map((one) => [one.path, one]));
  return buildTar(
    tree.flatMap((listed) => {
      // A hard link has the attributes of its file in its header, as lstat(2) gives them.
      const { path, type, target } = listed;
      const linked = type === "link" ? byPath.get(target) : undefined;
      const one = linked === undefined ? listed : { ...linked, path, type, target };
      const name = `${prefix}${one.path}${one.type === "dir" ? "/" : ""}`;
      const linkName = one.type === "link" ? linkPrefix + one.target : one.target;
      const entry = { ...headerOf(one), name, linkName };
      return format === "gnu" ? gnuEntries(entry, one) : [paxEntry(entry, one, format)];
    }),
  );
}

function headerOf(one: TreeNode): Omit<BuiltEntry, "name"> {
  const { mode, uid, gid, seconds, device, data, sparse } = one;
  const bytes = Buffer.alloc(sparse?.size ?? data.length);
  bytes.write(data, sparse?.at ?? 0, "latin1");
  return {
    type: types[one.type],
    mode,
    uid,
    gid,
    seconds,
    ...device,
    data: one.type === "file" ? bytes : "",
  };
}

/** Numbers in base 256 and long names in entries of their own. */
function gnuEntries(entry: BuiltEntry, one: TreeNode): readonly BuiltEntry[] {
  const extra = (type: string, text: string): readonly BuiltEntry[] =>
    text.length < 100
      ? []
      : [{ name: "././@LongLink", type, data: `${text}\0`, magic: gnuMagic, mode: 0, seconds: 0 }];
  const raw: Record<number, string> = {};
  if (one.uid > maxOctal) raw[108] = base256(BigInt(one.uid), 8);
  if (one.gid > maxOctal) raw[116] = base256(BigInt(one.gid), 8);
  if (one.seconds < 0)
    raw[136] = `\xff${base256(BigInt.asUintN(88, BigInt(one.seconds)), 11).replace(/^./s, "\xff")}`;
  return [
    ...extra("L", entry.name),
    ...extra("K", entry.linkName ?? ""),
    { ...entry, ...octals(one), magic: gnuMagic, raw },
  ];
}

/** In a field that is too small for its number, Go writes 0. */
function octals(one: TreeNode): Pick<BuiltEntry, "uid" | "gid" | "seconds"> {
  return {
    uid: one.uid > maxOctal ? 0 : one.uid,
    gid: one.gid > maxOctal ? 0 : one.gid,
    seconds: Math.max(0, one.seconds),
  };
}

/** Records for what the header cannot hold, sorted by their keys, or a prefix of the name where that suffices. */
function paxEntry(entry: BuiltEntry, one: TreeNode, format: Format): BuiltEntry {
  const records: Record<string, string> = {};
  const { name, linkName = "" } = entry;
  const isAscii = (text: string): boolean => /^[\x00-\x7f]*$/.test(text);
  const split = splitName(name);
  if (!isAscii(name) || split === undefined) records["path"] = name;
  if (!isAscii(linkName) || linkName.length > 100) records["linkpath"] = linkName;
  if (one.uid > maxOctal) records["uid"] = String(one.uid);
  if (one.gid > maxOctal) records["gid"] = String(one.gid);
  const time = decimalTime(one);
  if (one.nanoseconds !== 0 || one.seconds < 0) records["mtime"] = time;
  for (const [key, value] of Object.entries(one.xattrs)) records[`SCHILY.xattr.${key}`] = value;
  const keys = Object.keys(records).sort();
  if (format === "ustar" && keys.length > 0) throw new Error(`${name} does not fit into ustar`);
  const header = { ...entry, ...octals(one) };
  if (keys.length === 0) {
    return split === undefined
      ? header
      : { ...header, name: split.name, raw: { 345: split.prefix } };
  }
  return { ...header, pax: keys.map((key) => [key, records[key] ?? ""] as const) };
}

function decimalTime({ seconds, nanoseconds }: TreeNode): string {
  if (seconds >= 0 || nanoseconds === 0) {
    const decimals =
      nanoseconds === 0 ? "" : `.${String(nanoseconds).padStart(9, "0").replace(/0+$/, "")}`;
    return `${seconds}${decimals}`;
  }
  throw new Error("no file of the tree is from before 1970 with nanoseconds");
}

/** The two fields of ustar: up to 155 and 100 bytes, divided at a slash. */
function splitName(name: string): { readonly prefix: string; readonly name: string } | undefined {
  if (name.length <= 100) return { prefix: "", name };
  const slash = name
    .slice(0, 156)
    .lastIndexOf("/", name.endsWith("/") ? name.length - 2 : name.length);
  const rest = name.slice(slash + 1);
  if (slash <= 0 || rest.length > 100 || rest === "") return undefined;
  return { prefix: name.slice(0, slash), name: rest };
}
