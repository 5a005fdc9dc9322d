/** A hostile program in the place of the unpacker and of others: it reaches no socket, no process and no file outside. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import {
  type Child,
  type Confinement,
  keepText,
  type OwnProgram,
  type OwnProgramLimits,
  RootSender,
  spawnChild,
  startOwnProgram,
} from "../../src/linux/process/index.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { endDaemon, startDaemon } from "../support/suites/pods.ts";

const perl = "/usr/bin/perl";
const attacker = path.join(import.meta.dirname, "own-program.pl");
const obstacle =
  process.arch !== "x64"
    ? "the program makes system calls of x86_64"
    : !existsSync(perl) && "there is no perl";
const SIGSYS = 31;

let daemon: TestDaemon;
let directory: string;
before(async () => {
  daemon = await startDaemon();
  directory = mkdtempSync(path.join(tmpdir(), "davit-own-programs-"));
});
after(async () => {
  rmSync(directory, { recursive: true });
  await endDaemon(daemon);
});

interface Ended {
  readonly out: string;
  readonly err: string;
  readonly signal: number | null;
}

/** Runs a program as one of this kind, in an empty directory. */
async function runAs(kind: Confinement, program: OwnProgram): Promise<Ended> {
  const root = mkdtempSync(path.join(directory, "root-"));
  const start = (limits: OwnProgramLimits): Promise<Child> => startOwnProgram(program, [], limits);
  let child: Child;
  let sender: RootSender | undefined;
  if (kind === "unpacker") {
    const opened = await RootSender.open((roots) => start({ confinement: kind, roots }));
    ({ started: child, sender } = opened);
  } else {
    child = await start(kind === "nobody" ? { confinement: kind } : { confinement: kind, root });
  }
  const texts = [keepText(child.stdout, 65_536), keepText(child.stderr, 4096)];
  await sender?.send(root);
  const [out = "", err = ""] = await Promise.all(texts);
  const { signal } = await child.exited;
  child.stdin?.destroy();
  await sender?.close();
  return { out, err, signal };
}

/** What each kind is for, and so may do. */
const allowed: Readonly<Record<Confinement, readonly string[]>> = {
  unpacker: ["mkdir", "make a device", "make a file"],
  packer: [],
  "archive-reader": [],
  nobody: [],
};

describe("a hostile program in the place of davit's own", { skip: obstacle }, () => {
  for (const [kind, may] of Object.entries(allowed)) {
    test(`as ${kind} can do nothing but its work`, async () => {
      const args = [attacker, kind, daemon.paths.socket, String(daemon.pid)];
      const { out, err } = await runAs(kind as Confinement, { file: perl, args });
      const results = out.trimEnd().split("\n");
      assert.equal(results.length, 40, err);
      const done = results.filter((line) => line.endsWith(": done"));
      assert.deepEqual(
        done.map((line) => line.split(":")[0]),
        may,
      );
    });
  }

  test("ends at its first call of another architecture", async (context) => {
    const file = path.join(directory, "x86");
    writeFileSync(file, exit7());
    chmodSync(file, 0o755);
    const free = spawnChild({ file, env: {} });
    if ((await free.exited).code !== 7) {
      context.skip("the kernel runs no 32-bit programs");
      return;
    }
    assert.equal((await runAs("nobody", { file, args: [] })).signal, SIGSYS);
  });
});

/** A program of i386 that ends with code 7: the headers of elf(5), and `mov bl, 7; mov al, 1; int 0x80`. */
function exit7(): Buffer {
  const base = 0x08048000;
  const code = Buffer.from([0x31, 0xdb, 0xb3, 7, 0x31, 0xc0, 0xb0, 1, 0xcd, 0x80]);
  const [header, segment] = [Buffer.alloc(52), Buffer.alloc(32)];
  const size = header.length + segment.length + code.length;
  header.write("\x7fELF\x01\x01\x01", "latin1");
  header.writeUInt16LE(2, 16); // ET_EXEC
  header.writeUInt16LE(3, 18); // EM_386
  header.writeUInt32LE(1, 20);
  header.writeUInt32LE(base + header.length + segment.length, 24);
  header.writeUInt32LE(header.length, 28);
  header.writeUInt16LE(header.length, 40);
  header.writeUInt16LE(segment.length, 42);
  header.writeUInt16LE(1, 44);
  for (const [at, value] of [1, 0, base, base, size, size, 5, 0x1000].entries()) {
    segment.writeUInt32LE(value, at * 4);
  }
  return Buffer.concat([header, segment, code]);
}
