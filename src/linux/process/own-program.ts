// Programs of davit that run as processes of their own, because what they read is hostile.
import { closeSync, existsSync } from "node:fs";
import { chown } from "node:fs/promises";
import type { Socket } from "node:net";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { RuntimeError } from "../../base/errors.ts";
import { type Child, spawnChildInPool } from "./child.ts";
import { NOBODY } from "./confinement.ts";
import { openRoot } from "./native.ts";

/** How to start a program; the arguments of one run follow. */
export interface OwnProgram {
  readonly file: string;
  readonly args: readonly string[];
}

/**
 * The heap holds names only, buffers are outside of it; a broken archive must not grow it. The small
 * young space makes 100 MB of memory out of 150, at the same speed.
 */
const nodeOptions = [
  "--disable-warning=ExperimentalWarning",
  "--max-old-space-size=384",
  "--max-semi-space-size=1",
];

/**
 * A program of this build: its bundle next to the daemon's, which loads fast, or its source, relative to `src`.
 * `failed-precondition`, which begins with `find ${what}`, where it is missing.
 */
export function findOwnProgram(
  what: string,
  { source, bundle }: { readonly source: string; readonly bundle: string },
): OwnProgram {
  const fromSource = import.meta.url.endsWith("/src/linux/process/own-program.ts");
  const file = fromSource ? `../../${source}` : `./${bundle}`;
  const program = fileURLToPath(new URL(file, import.meta.url));
  if (!existsSync(program)) {
    throw new RuntimeError(
      "failed-precondition",
      `find ${what}: "${program}" is missing; run "npm run build"`,
    );
  }
  return { file: process.execPath, args: [...nodeOptions, program] };
}

/** What a program may do, and where. docs/security.md has the table. */
export type OwnProgramLimits =
  /** Reads the directory, and what is mounted below it. */
  | { readonly confinement: "packer"; readonly root: string }
  /** Makes files in the directory, which becomes nobody's. */
  | { readonly confinement: "archive-reader"; readonly root: string }
  /** Sees no file, and is nobody. */
  | { readonly confinement: "nobody" }
  /** Makes everything that a layer has, in roots that it gets by this socket (`RootSender`). */
  | { readonly confinement: "unpacker"; readonly roots: number };

/** Descriptors that a program gets instead of pipes. They stay the caller's. */
export interface OwnProgramStreams {
  readonly stdin?: number;
  readonly stdout?: number;
  /** They become 4, 5... in the program. */
  readonly more?: readonly number[];
}

/**
 * pool; starts a program with pipes as its standard streams, unless `streams` has others, and the limits. The program itself calls
 * `enterConfinement` before it reads anything. The caller ends it.
 */
export async function startOwnProgram(
  program: OwnProgram,
  more: readonly string[],
  limits: OwnProgramLimits,
  streams: OwnProgramStreams = {},
): Promise<Child> {
  const { confinement } = limits;
  const begin = async (root: number): Promise<Child> =>
    await start(program, more, { confinement, root, streams });
  if (confinement === "unpacker") return await begin(limits.roots);
  const directory = confinement === "nobody" ? null : limits.root;
  if (directory !== null && confinement === "archive-reader") {
    await chown(directory, NOBODY, NOBODY);
  }
  const root = await openRoot(directory, { readOnly: confinement === "packer" });
  try {
    return await begin(root);
  } finally {
    closeSync(root);
  }
}

function start(
  { file, args }: OwnProgram,
  more: readonly string[],
  how: {
    readonly confinement: OwnProgramLimits["confinement"];
    readonly root: number;
    readonly streams: OwnProgramStreams;
  },
): Promise<Child> {
  const { stdin = "pipe", stdout = "pipe", more: others = [] } = how.streams;
  return spawnChildInPool({
    file,
    args: [...args, ...more],
    // Nothing of the daemon's: NODE_EXTRA_CA_CERTS, for example, makes a thread of Node.js open files,
    // which later would be files of the image.
    env: {},
    // Not in the daemon's session, which is preferred: see preferEventLoop().
    newSession: true,
    confinement: how.confinement,
    stdin,
    stdout,
    stderr: "pipe",
    extraFds: [how.root, ...others],
  });
}

/** What a program writes to a stream until that is closed, at most `maxBytes` of it; nothing of one that is closed. */
export async function keepText(stream: Socket | undefined, maxBytes: number): Promise<string> {
  if (stream === undefined || stream.closed) return "";
  const parts: Buffer[] = [];
  let room = maxBytes;
  const { promise, resolve } = Promise.withResolvers<undefined>();
  stream.on("close", () => resolve(undefined));
  stream.on("data", (part: Buffer) => {
    if (room > 0) parts.push(part.subarray(0, room));
    room -= part.length;
  });
  await promise;
  return Buffer.concat(parts).toString("utf8");
}
