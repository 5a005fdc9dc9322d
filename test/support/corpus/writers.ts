/** The layers of the image corpus: one tree, written by the programs that write archives of layers. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import { goArchive } from "./go-archive.ts";
import { fullTree, makeTree, portableTree, type TreeNode } from "./tree.ts";

/** A program with its options. Its archive has the tree in the directory `name`. */
interface Writer {
  readonly name: string;
  readonly tree: readonly TreeNode[];
  /** Packs everything in a directory, with names that begin with `./` or without. */
  readonly pack: (directory: string) => Buffer;
}

const maxBuffer = 2 ** 28;
const run = (program: string, ...args: readonly string[]): Buffer =>
  execFileSync(program, args, { maxBuffer, env: { PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8" } });

const gnuTar =
  (...options: readonly string[]) =>
  (directory: string): Buffer =>
    run("tar", ...options, "--numeric-owner", "-C", directory, "-c", ".");
const attributes = ["--xattrs", "--xattrs-include=*"];
const bsdTar =
  (format: string) =>
  (directory: string): Buffer =>
    run(
      "bsdtar",
      `--format=${format}`,
      "--numeric-owner",
      "--no-mac-metadata",
      "-C",
      directory,
      "-cf",
      "-",
      ".",
    );
const python =
  (format: string) =>
  (directory: string): Buffer => {
    const program = `
import os, sys, tarfile
os.chdir(sys.argv[1])
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.${format}) as archive:
    for name in sorted(os.listdir(b".")): archive.add(os.fsdecode(name))`;
    return run("/usr/bin/python3", "-c", program, directory);
  };

const inFull = (name: string, pack: Writer["pack"]): Writer => ({ name, tree: fullTree, pack });
const inPart = (name: string, pack: Writer["pack"]): Writer => ({ name, tree: portableTree, pack });

const programs: readonly Writer[] = [
  inFull("gnu-tar-gnu", gnuTar("--format=gnu")),
  inFull("gnu-tar-gnu-sparse", gnuTar("--format=gnu", "--sparse")),
  inFull("gnu-tar-oldgnu", gnuTar("--format=oldgnu")),
  inFull("gnu-tar-pax", gnuTar("--format=pax", ...attributes)),
  ...["0.0", "0.1", "1.0"].map((version) =>
    inFull(
      `gnu-tar-sparse-${version}`,
      gnuTar("--format=pax", "--sparse", `--sparse-version=${version}`),
    ),
  ),
  inPart("gnu-tar-ustar", gnuTar("--format=ustar")),
  inFull("bsdtar-pax", bsdTar("pax")),
  inFull("bsdtar-restricted", bsdTar("paxr")),
  inFull("bsdtar-gnu", bsdTar("gnutar")),
  inPart("bsdtar-ustar", bsdTar("ustar")),
  inFull("python-pax", python("PAX_FORMAT")),
  inFull("python-gnu", python("GNU_FORMAT")),
  inPart("python-ustar", python("USTAR_FORMAT")),
];

/** An archive, and the directory in it. */
export interface WrittenLayer {
  readonly name: string;
  readonly tar: Buffer;
}

/** The archives of all programs that are installed. */
export function writeLayers(scratch: string): readonly WrittenLayer[] {
  // A machine that was set up for an earlier version may lack it.
  const hasBsdTar = existsSync("/usr/bin/bsdtar");
  const installed = programs.filter(({ name }) => hasBsdTar || !name.startsWith("bsdtar"));
  const written = installed.map(({ name, tree, pack }) => {
    const directory = path.join(scratch, name);
    mkdirSync(path.join(directory, name), { recursive: true });
    makeTree(path.join(directory, name), tree);
    return { name, tar: pack(directory) };
  });
  const byGo = (["ustar", "pax", "gnu"] as const).map((format) => {
    const name = `go-${format}`;
    const tree = format === "ustar" ? portableTree : fullTree;
    return { name, tar: goArchive(tree, format, { prefix: `${name}/` }) };
  });
  return [...written, ...byGo];
}
