/**
 * The C of native/ that takes names of containers and archives: paths in a root with symbolic links, extended
 * attributes, directories below one, and texts of many files. The kernel and davit's own resolution of paths agree,
 * and nothing outside of the root is reached.
 */
import assert from "node:assert/strict";
import {
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import fc from "fast-check";

import { type ErrorKind, RuntimeError } from "../../../src/base/errors.ts";
import {
  getXattrs,
  makeNode,
  pathInRoot,
  projectsOf,
  readFiles,
  readFilesInRoot,
  setAttributes,
  setXattr,
} from "../../../src/linux/file/index.ts";
import { openDirectory } from "../../../src/linux/file/native.ts";
import { attempt, attemptAsync, type FuzzTarget, textSeeds } from "../target.ts";

const canary = "outside of the root";
/** Of failed system calls, whose errno has a kind. */
const kinds: readonly ErrorKind[] = [
  "not-found",
  "invalid-argument",
  "failed-precondition",
  "already-exists",
  "permission-denied",
  "resource-exhausted",
  "unimplemented",
  "unknown",
  "internal",
  "out-of-range",
  "unavailable",
];

let base: string | undefined;
let count = 0;

interface Tree {
  readonly root: string;
  readonly paths: readonly string[];
}

/** Makes what the lines say: "l NAME TARGET", "d NAME", "f NAME", others are paths to be read. */
function makeTree(lines: readonly string[]): Tree {
  base ??= mkdtempSync(path.join(tmpdir(), "davit-fuzz-files-"));
  const own = path.join(base, String(count++));
  const root = path.join(own, "root");
  mkdirSync(root, { recursive: true });
  writeFileSync(path.join(own, "f"), canary);
  writeFileSync(path.join(own, "a"), canary);
  const paths: string[] = [];
  for (const line of lines.slice(0, 20)) {
    try {
      if (!make(root, line)) paths.push(line);
    } catch {
      // The name exists, or cannot be one.
    }
  }
  return { root, paths };
}

/** Makes what a line says in the root. False for a line that is a path. */
function make(root: string, line: string): boolean {
  const [kind = "", name = "", target = ""] = line.split(" ");
  // A name, not a path: the tree is made in the root.
  if (!/^[^/\0]+$/.test(name) || name === "." || name === "..") return false;
  const at = path.join(root, name);
  switch (kind) {
    case "l":
      symlinkSync(target, at);
      return true;
    case "d":
      mkdirSync(at);
      writeFileSync(path.join(at, "f"), `in ${name}`, { flag: "wx" });
      return true;
    case "f":
      writeFileSync(at, `file ${name}`, { flag: "wx" });
      return true;
    default:
      return false;
  }
}

async function checkPath(root: string, wanted: string): Promise<void> {
  if (wanted.includes("\0")) return;
  const found = await attemptAsync(kinds, () => readFilesInRoot(root, [wanted], 4096));
  const text = found?.[0];
  assert.notEqual(text, canary, "a file outside of the root was read");
  const own = await attemptAsync(kinds, () => pathInRoot(root, wanted));
  if (text !== undefined && own !== undefined) {
    assert.equal(
      readFileSync(path.join(root, own), "utf8"),
      text,
      `"${wanted}" leads to another file`,
    );
  }
  const fd = await attemptAsync(kinds, () => openDirectory(root, wanted, undefined));
  if (fd === undefined) return;
  const at = readlinkSync(`/proc/self/fd/${fd}`);
  closeSync(fd);
  assert.ok(at === root || at.startsWith(`${root}/`), `"${wanted}" opens "${at}"`);
}

function checkAttributes(root: string, bytes: Buffer): void {
  const [name = "", ...rest] = bytes.toString("latin1").split("=");
  const value = rest.join("=");
  const file = path.join(root, "attributes");
  writeFileSync(file, "", { flag: "wx" });
  for (const key of [`user.${name.slice(0, 240)}`, name]) {
    attempt(kinds, () => setXattr(file, key, value));
    const all = attempt(kinds, () => getXattrs(file));
    assert.equal((all?.length ?? 0) % 2, 0);
    const at = all?.indexOf(key) ?? -1;
    if (at >= 0 && at % 2 === 0 && key.startsWith("user.")) assert.equal(all?.[at + 1], value);
  }
  const odd = bytes.length > 4 ? bytes.readInt32LE(0) : 1;
  attempt(kinds, () =>
    setAttributes(file, { uid: 0, gid: 0, mode: odd & 0o7777, time: undefined }),
  );
  attempt(kinds, () =>
    makeNode(`${root}/fifo-${name.slice(0, 300).replaceAll("/", "_")}`, 0o010600),
  );
}

const name = fc.constantFrom("a", "b", "c", "loop", "f");
const leads = fc.constantFrom(
  "..",
  "../..",
  "/",
  "/a",
  "a/f",
  "../f",
  "../../f",
  "loop",
  ".",
  "/..",
  "b/../../f",
  "a/../../../f",
);
const line = fc.oneof(
  fc.tuple(name, leads).map(([from, to]) => `l ${from} ${to}`),
  name.map((each) => `d ${each}`),
  name.map((each) => `f ${each}`),
  fc.tuple(name, leads).map(([first, second]) => `${first}/${second}`),
);

async function check(input: Buffer): Promise<void> {
  const { root, paths } = makeTree(input.toString("utf8").split("\n"));
  try {
    for (const wanted of paths) {
      await checkPath(root, wanted);
      // Not the path itself: it is for files of the kernel, and links lead out of the root.
      const texts = await readFiles([
        path.join(root, "none"),
        `${root}/${wanted.replace(/[/\0]/g, "_")}`,
      ]);
      assert.equal(texts.length, 2);
    }
    checkAttributes(root, input);
    assert.deepEqual(await projectsOf([path.join(root, "none")]), [0]);
    assert.equal(lstatSync(path.join(root, "..", "f")).size, canary.length);
  } catch (error) {
    // A name with a NUL is refused by the addon with an error of its arguments.
    if (error instanceof RuntimeError || !(error instanceof TypeError)) throw error;
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

export const target: FuzzTarget = {
  name: "native-files",
  isNative: true,
  seeds: () =>
    textSeeds(
      "f a\na\nb/../a",
      "d a\nl b a\nb/f\n/b/f\nb/../../f",
      "l a ..\na/f\nl b /\nb/../f\nb/b/b/a",
      "l loop loop\nloop/f",
      "user.a=value",
      "d a\nl c /../a/./f\nc",
    ),
  words: [
    "\nl a ",
    "\nd b",
    "../",
    "/",
    "/proc/self/root",
    "\n",
    "=",
    "security.capability=",
    "system.posix_acl_access=",
  ],
  structured: fc
    .array(line, { minLength: 2, maxLength: 8 })
    .map((lines) => Buffer.from(lines.join("\n"))),
  maxBytes: 6 * 1024,
  maxLongBytes: 16 * 1024,
  // Each name of a path is a system call.
  limitMs: () => 1500,
  check,
  close: () => {
    if (base !== undefined) rmSync(base, { recursive: true, force: true });
    base = undefined;
  },
};
