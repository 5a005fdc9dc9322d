/**
 * Runs the commands of README.md and of pages in docs, in their order, on what looks like a fresh
 * machine: blocks marked `sh run`, and what follows `$` in a recording. Blocks that need systemd, a
 * cluster or the network are marked `sh` and are not run.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { DatagramListener } from "../../src/linux/testing/datagrams.ts";
import { busyboxLayer, imageOf } from "../support/images.ts";
import { TestRegistry } from "../support/registry.ts";

const repo = path.resolve(import.meta.dirname, "../..");
const notifySocket = "@davit-test-docs";

// Empty directories where an installation writes, and a writable overlay on the machine's /etc.
const freshMachine = `
  for directory in /var/lib /opt /usr/local /run; do mount -t tmpfs davit-test-docs $directory; done
  mkdir -p /run/etc/upper /run/etc/work /usr/local/bin /opt/davit
  mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work davit-test-docs /etc
  mount --bind "$0" /opt/davit
  echo ready
  exec sleep 3600`;

/** A block of a document: what is typed, and for a recording what was printed then. */
interface Typed {
  readonly command: string;
  readonly printed: readonly string[];
}

let registry: TestRegistry;
let machine: ChildProcess;
let daemon: ChildProcess | undefined;

before(async () => {
  registry = await TestRegistry.start();
  const image = imageOf([busyboxLayer()], { Cmd: ["sh"] });
  await registry.push("library/busybox", image, ["1.37", "latest"]);
  const args = ["--mount", "--propagation", "private", "sh", "-euc", freshMachine, repo];
  machine = spawn("unshare", args, { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: machine.stdout ?? process.stdin });
  const [line] = (await once(lines, "line")) as [string];
  assert.equal(line, "ready");
  await type(`mkdir -p /etc/davit && cp -r ${registry.certsDir} /etc/davit/certs.d`);
});

after(async () => {
  await stopDaemon();
  spawnSync("ip", ["link", "delete", "davit0"]);
  machine.kill("SIGKILL");
  await once(machine, "exit");
  await registry[Symbol.asyncDispose]();
});

/** Runs a command on the fresh machine and returns its output. Fails with the output if the command fails. */
async function type(command: string): Promise<string> {
  const args = ["-t", String(machine.pid), "-m", "sh", "-euc", `cd /opt/davit\n${command}`];
  // Not spawnSync: a part of the registry runs in this process.
  const child = spawn("nsenter", args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [status] = (await once(child, "close")) as [number | null];
  const printed = Buffer.concat(chunks).toString();
  assert.equal(status, 0, `${command}\n${printed}`);
  return printed;
}

async function startDaemon(): Promise<void> {
  await using manager = await DatagramListener.start(notifySocket);
  daemon = spawn("nsenter", ["-t", String(machine.pid), "-m", "/usr/local/bin/davit", "serve"], {
    stdio: "ignore",
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, NOTIFY_SOCKET: notifySocket },
  });
  while (!(await manager.next()).startsWith("READY=1"));
}

async function stopDaemon(): Promise<void> {
  if (daemon === undefined) return;
  const exited = once(daemon, "exit");
  daemon.kill("SIGTERM");
  daemon = undefined;
  await exited;
}

/** The fenced blocks of a document that begin with this info string. */
function blocks(file: string, info: string): readonly string[] {
  const text = readFileSync(path.join(repo, file), "utf8");
  const fence = new RegExp(`^\`\`\`${info}\\n([^]*?)^\`\`\`$`, "gm");
  const found = [...text.matchAll(fence)].map(([, body = ""]) => body);
  assert.ok(found.length > 0, `${file} has no block "${info}"`);
  // A finding about the machine that runs the tests is not a failure of the document.
  return found.map((body) => body.replace(/^davit doctor[^#\n]*/gm, "$& || test $? -eq 1 "));
}

function recording(text: string): readonly Typed[] {
  return text
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const [command = "", ...printed] = part.trimEnd().split("\n");
      return { command, printed };
    });
}

/** Types a recorded command. It must fail if it did, and print what does not differ from run to run. */
async function repeat({ command, printed }: Typed): Promise<void> {
  const fails = printed.some((line) => /^ {2}error |^NetworkReady +no|^davit: /.test(line));
  const printedNow = await type(fails ? `! { ${command}; }` : command);
  const now = printedNow.split("\n").map(squeezed);
  // The heads of tables, and messages: ids, times and addresses differ.
  const constant = printed.map(squeezed).filter((line) => /^[A-Z]{3}[A-Z ]+$|^davit: /.test(line));
  for (const line of constant) {
    assert.ok(now.includes(line), `"${command}" prints no "${line}" but:\n${now.join("\n")}`);
  }
}

const squeezed = (line: string): string => line.trim().replace(/ +/g, " ");

test("README.md: install, then its recording and that of docs/tour.md", async () => {
  for (const block of blocks("README.md", "sh run")) await type(block);
  await startDaemon();
  const recorded = ["README.md", "docs/tour.md"].flatMap((file) => blocks(file, "console"));
  for (const typed of recorded.flatMap(recording)) await repeat(typed);
});

for (const file of ["docs/tutorial.md", "docs/registries.md", "examples/README.md"]) {
  test(`${file}: its commands and recordings in their order`, async () => {
    for (const block of blocks(file, "(?:sh run|console)")) {
      // A recording begins with a prompt.
      if (!block.startsWith("$ ")) await type(block);
      else for (const typed of recording(block)) await repeat(typed);
    }
  });
}

test("docs/operations.md: from installation to removal", async () => {
  for (const block of blocks("docs/operations.md", "sh run")) {
    if (/rm -rf .*\/run\/davit/.test(block)) await stopDaemon();
    await type(block);
  }
  assert.equal(execFileSync("ip", ["-o", "link"], { encoding: "utf8" }).includes("davit0"), false);
  assert.equal(await type("ls -d /run/davit /var/lib/davit 2>/dev/null || true"), "");
});
