/** The file tree of the image corpus: everything that archives of layers contain in practice. */
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { makeNode, setAttributes, setXattr } from "../../../src/linux/file/index.ts";

/** A file of any type. Texts are byte strings: one character of U+0000 to U+00FF for each byte. */
export interface TreeNode {
  readonly path: string;
  readonly type: "file" | "dir" | "symlink" | "link" | "char" | "block" | "fifo";
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly data: string;
  /** Of a sparse file: where `data` begins, and the whole size. */
  readonly sparse: { readonly at: number; readonly size: number } | undefined;
  readonly target: string;
  readonly device: { readonly major: number; readonly minor: number };
  readonly xattrs: Readonly<Record<string, string>>;
}

const plain = {
  mode: 0o644,
  uid: 0,
  gid: 0,
  seconds: 1_500_000_000,
  nanoseconds: 0,
  data: "",
  sparse: undefined,
  target: "",
  device: { major: 0, minor: 0 },
  xattrs: {},
};
type Some = Partial<TreeNode>;

export const file = (at: string, data = at, more: Some = {}): TreeNode => ({
  ...plain,
  path: at,
  type: "file",
  data,
  ...more,
});
export const dir = (at: string, more: Some = {}): TreeNode => ({
  ...plain,
  path: at,
  type: "dir",
  mode: 0o755,
  ...more,
});
export const link = (at: string, target: string): TreeNode => ({
  ...plain,
  path: at,
  type: "link",
  target,
});
export const symlink = (at: string, target: string, more: Some = {}): TreeNode => ({
  ...plain,
  path: at,
  type: "symlink",
  mode: 0o777,
  target,
  ...more,
});
const node = (at: string, type: "char" | "block" | "fifo", more: Some = {}): TreeNode => ({
  ...plain,
  path: at,
  type,
  ...more,
});

/** What every format of tar can contain. */
export const portableTree: readonly TreeNode[] = [
  dir("modes", { mode: 0o1777, seconds: 1_400_000_000 }),
  ...[0, 0o400, 0o644, 0o755, 0o4755, 0o2755, 0o6711, 0o1777].map((mode) =>
    file(`modes/${mode.toString(8)}`, "x", { mode }),
  ),
  file("owned", "owned", { uid: 1000, gid: 2000, mode: 0o640 }),
  file("by nobody", "", { uid: 65534, gid: 65534 }),
  dir("empty", { mode: 0o2750, uid: 3, gid: 4, seconds: 1_000_000_001 }),
  dir("links"),
  file("links/first", "shared by three", { mode: 0o600, uid: 5 }),
  link("links/second", "links/first"),
  symlink("links/absolute", "/etc/passwd", { uid: 7, gid: 8, seconds: 99 }),
  symlink("links/relative", "../owned"),
  symlink("links/dangling", "nowhere/at all"),
  symlink("links/up", "../../../../../../etc"),
  dir("third"),
  link("third/link", "links/first"),
  node("fifo", "fifo", { mode: 0o620, uid: 9 }),
  node("null", "char", { mode: 0o666, device: { major: 1, minor: 3 } }),
  node("disk", "block", { mode: 0o660, gid: 6, device: { major: 8, minor: 17 } }),
  dir("p".repeat(60)),
  file(`${"p".repeat(60)}/${"n".repeat(60)}`, "more than 100 bytes"),
  file("exactly a block", "b".repeat(512)),
  file("more than a block", "c".repeat(513)),
  file("large", "0123456789abcdef".repeat(20_000)),
];

// cap_net_raw+ep, revision 2, as the kernel stores it.
export const capability =
  "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

/** What the newer formats can contain as well, most of them. */
export const fullTree: readonly TreeNode[] = [
  ...portableTree,
  dir("deep"),
  dir(`deep/${"a".repeat(150)}`, { gid: 10 }),
  dir(`deep/${"a".repeat(150)}/${"b".repeat(150)}`, { gid: 11 }),
  file(`deep/${"a".repeat(150)}/${"b".repeat(150)}/${"f".repeat(255)}`, "deep"),
  symlink("deep/long", "t/".repeat(200)),
  file("\xc3\xbc \xf0\x9f\x98\x80 \xe6\xbc\xa2", "unicode"),
  file('new\nline\ttab \\ "quotes"', "special"),
  file("large ids", "", { uid: 4_000_000_000, gid: 3_000_000 }),
  file("nanoseconds", "", { nanoseconds: 123_456_789 }),
  file("before 1970", "", { seconds: -1_000_000 }),
  file("in 2100", "", { seconds: 4_102_444_800 }),
  file("capable", "#!", { mode: 0o755, xattrs: { "security.capability": capability } }),
  file("attributes", "x", {
    xattrs: { "user.text": "a value\n= with \xff bytes", "user.long": "x".repeat(1500) },
  }),
  dir("attributed", { xattrs: { "user.of-a-directory": "1" } }),
  node("large device", "block", { device: { major: 259, minor: 70_000 } }),
  file("sparse", "in the middle", { sparse: { at: 1_048_576, size: 3_000_000 } }),
  file("hole at the end", "begin", { sparse: { at: 0, size: 500_000 } }),
  file("only a hole", "", { sparse: { at: 0, size: 65_536 } }),
];

/** Makes the tree below an existing directory. */
export function makeTree(root: string, tree: readonly TreeNode[]): void {
  const at = (name: string): Buffer => Buffer.from(join(root, name), "latin1");
  for (const one of tree) {
    makeFile(root, one, at);
    if (one.type === "link") continue;
    describe(root, one);
    for (const [name, value] of Object.entries(one.xattrs))
      setXattr(join(root, one.path), name, value);
  }
  // Each new file changes the time of its directory.
  for (const one of tree) if (one.type === "dir") describe(root, one);
}

const join = (root: string, name: string): string => `${root}/${name}`;

function describe(
  root: string,
  { path: name, type, mode, uid, gid, seconds, nanoseconds }: TreeNode,
): void {
  const time = { seconds, nanoseconds };
  setAttributes(join(root, name), { uid, gid, mode: type === "symlink" ? undefined : mode, time });
}

function makeFile(root: string, one: TreeNode, at: (name: string) => Buffer): void {
  switch (one.type) {
    case "dir":
      mkdirSync(at(one.path));
      return;
    case "symlink":
      symlinkSync(Buffer.from(one.target, "latin1"), at(one.path));
      return;
    case "link":
      linkSync(at(one.target), at(one.path));
      return;
    case "file": {
      const opened = openSync(at(one.path), "wx");
      writeSync(opened, Buffer.from(one.data, "latin1"), 0, undefined, one.sparse?.at ?? 0);
      if (one.sparse !== undefined) ftruncateSync(opened, one.sparse.size);
      closeSync(opened);
      return;
    }
    case "char":
    case "block":
    case "fifo": {
      const kind = { char: 0o020000, block: 0o060000, fifo: 0o010000 }[one.type];
      makeNode(join(root, one.path), kind | 0o600, one.device);
    }
  }
}
