import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import type { Attempts } from "../testing/confined-program.ts";
import { nodeProgram } from "../testing/node.ts";
import type { Child } from "./child.ts";
import { RootSender } from "./confinement.ts";
import { type Confinement, landlockVersion } from "./native.ts";
import { type OwnProgramLimits, startOwnProgram } from "./own-program.ts";
import { SIGKILL } from "./signals.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-confinement-"));
const socket = join(directory, "socket");
const server = createServer();
before(() => new Promise<void>((resolve) => void server.listen(socket, resolve)));
after(() => {
  server.close();
  rmSync(directory, { recursive: true });
});

const program = fileURLToPath(new URL("../testing/confined-program.ts", import.meta.url));

interface Confined {
  readonly child: Child;
  readonly root: string;
  /** The next line that it writes. */
  readonly line: () => Promise<string>;
}

async function withProgram(kind: Confinement, use: (of: Confined) => Promise<void>): Promise<void> {
  const root = join(directory, kind);
  mkdirSync(root);
  const command = { file: nodeProgram, args: ["--disable-warning=ExperimentalWarning", program] };
  const start = (limits: OwnProgramLimits): Promise<Child> =>
    startOwnProgram(command, [kind], limits);
  let child: Child;
  let sender: RootSender | undefined;
  if (kind === "unpacker") {
    const confinement = kind;
    const opened = await RootSender.open((roots) => start({ confinement, roots }));
    ({ started: child, sender } = opened);
    await sender.send(root);
  } else {
    child = await start(kind === "nobody" ? { confinement: kind } : { confinement: kind, root });
  }
  let complaint = "";
  child.stderr?.on("data", (part: Buffer) => (complaint += part.toString()));
  const output = child.stdout?.setEncoding("utf8")[Symbol.asyncIterator]();
  const line = async (): Promise<string> => {
    const next = await output?.next();
    assert.ok(next?.done !== true, complaint);
    return String(next?.value);
  };
  try {
    await use({ child, root, line });
  } finally {
    child.kill(SIGKILL);
    await child.exited;
    child.stdin?.destroy();
    await sender?.close();
  }
}

/** The values of a status file of /proc by their names. */
function statusOf(path: string): ReadonlyMap<string, string> {
  const lines = readFileSync(path, "utf8").split("\n");
  return new Map(lines.map((line) => [line.split(":")[0] ?? "", line.split(":\t")[1] ?? ""]));
}

/** What each kind may do, besides reading its root, and as which user with which capabilities. */
const kinds = {
  unpacker: {
    user: 0,
    capabilities: "8824001b",
    may: ["write a file", "make a directory", "begin to write a file to the disk"],
  },
  packer: { user: 0, capabilities: "240004", may: [] },
  "archive-reader": { user: 65_534, capabilities: "0", may: ["write a file"] },
  nobody: { user: 65_534, capabilities: "0", may: [] },
} as const;

describe("startOwnProgram() and enterConfinement()", () => {
  for (const [kind, { user, capabilities, may }] of Object.entries(kinds)) {
    // AddressSanitizer reserves more address space than it may have.
    const skip = kind === "nobody" && nodeProgram !== process.execPath;
    test(`${kind}: each thread is limited`, { skip }, async () => {
      await withProgram(kind as Confinement, async ({ child, line }) => {
        assert.equal(await line(), "ready\n");
        const tasks = `/proc/${child.pid}/task`;
        for (const task of readdirSync(tasks)) {
          const status = statusOf(join(tasks, task, "status"));
          assert.equal(status.get("Uid"), Array(4).fill(user).join("\t"));
          assert.equal(status.get("Gid"), Array(4).fill(user).join("\t"));
          for (const set of ["CapPrm", "CapEff"]) {
            assert.equal(status.get(set), capabilities.padStart(16, "0"), `${set} of ${task}`);
          }
          assert.equal(status.get("NoNewPrivs"), "1");
          assert.equal(status.get("Seccomp"), "2");
        }
        assert.equal(readFileSync(`/proc/${child.pid}/oom_score_adj`, "utf8"), "900\n");
      });
    });

    test(`${kind}: sees its root only, and reaches nothing else`, { skip }, async () => {
      rmSync(join(directory, kind), { recursive: true, force: true });
      await withProgram(kind as Confinement, async ({ child, root, line }) => {
        assert.equal(await line(), "ready\n");
        child.stdin?.end(JSON.stringify({ socket, pid: process.pid } satisfies Attempts));
        const done = Object.entries(JSON.parse(await line()) as Readonly<Record<string, string>>)
          .filter(([, how]) => how === "done")
          .map(([name]) => name);
        // Landlock keeps nobody from the empty root, too.
        const reads = kind === "nobody" && landlockVersion() > 0 ? [] : ["read the root"];
        assert.deepEqual(done, [...reads, ...may]);
        if (kind === "archive-reader") assert.equal(statSync(join(root, "written")).uid, user);
      });
    });
  }

  test("a root for a process that has ended is not an error", async () => {
    const { sender } = await RootSender.open(() => Promise.resolve());
    await sender.send(directory);
    await sender.close();
    await sender.send(directory);
    await sender.close();
  });

  test("a directory that is missing is reported, and no process is left", async () => {
    const limits = { confinement: "packer", root: join(directory, "missing") } as const;
    await assert.rejects(
      startOwnProgram({ file: nodeProgram, args: [] }, [], limits),
      /missing": no such file or directory/,
    );
  });
});
