/** docs/security.md, "What each process may do": the table is what the kernel says of running processes. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { findByCommandLine } from "../../src/linux/process/index.ts";
import { buildTar } from "../../src/unpack/testing/tar-builder.ts";
import { imageOf, layerOf } from "../support/images.ts";
import { program } from "../support/suites/cli.ts";
import {
  byShim,
  closePod,
  monitorName,
  Node,
  openPod,
  type Pod,
  pull,
  runIn,
} from "../support/suites/containers.ts";
import { holderOf, NODE, POD, pod as podOf, until } from "../support/suites/pods.ts";

/** Larger than all buffers between a process and who does not read from it. */
const large = 16 << 20;
/** capabilities(7), by number. */
const capabilities =
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE " +
  "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN " +
  "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP";

let node: Node;
let pod: Pod;
const children: ChildProcess[] = [];

before(async () => {
  node = await Node.startWithBusybox();
  pod = await openPod(node.daemon, podOf({ network: NODE, ipc: NODE, pid: POD }));
});
after(async () => {
  for (const child of children) child.kill("SIGKILL");
  await closePod(pod);
  await node[Symbol.asyncDispose]();
});

/** The cells of a row of the table. */
function rowOf(process: string): readonly string[] {
  const file = path.join(import.meta.dirname, "../../docs/security.md");
  const lines = readFileSync(file, "utf8").split("\n");
  const cells = lines.map((line) => line.split("|").map((cell) => cell.trim()));
  const row = cells.find(([, first]) => first === process);
  assert.ok(row !== undefined, `no row "${process}"`);
  return row.slice(2);
}

function statusOf(pid: number, field: string): string {
  const lines = readFileSync(`/proc/${pid}/status`, "utf8").split("\n");
  return lines.find((line) => line.startsWith(`${field}:`))?.split("\t")[1] ?? "";
}

/** The mask of the names of a cell, as in /proc/PID/status. */
function maskOf(cell: string): string {
  if (cell === "all") return statusOf(process.pid, "CapBnd");
  const known = capabilities.split(" ");
  let mask = 0n;
  for (const name of cell === "none" ? [] : cell.split(" ")) {
    assert.ok(known.includes(name), name);
    mask |= 1n << BigInt(known.indexOf(name));
  }
  return mask.toString(16).padStart(16, "0");
}

function assertRow(name: string, pid: number): void {
  const [user = "", held = "", bounding = "", seccomp, privileges, , root = ""] = rowOf(name);
  for (const task of readdirSync(`/proc/${pid}/task`).map(Number)) {
    assert.equal(statusOf(task, "Uid"), user);
    for (const set of ["CapEff", "CapPrm"]) assert.equal(statusOf(task, set), maskOf(held), set);
    const bound = bounding === "the same" ? held : bounding;
    assert.equal(statusOf(task, "CapBnd"), maskOf(bound), "CapBnd");
    assert.equal(statusOf(task, "CapAmb"), maskOf("none"));
    assert.equal(statusOf(task, "Seccomp"), seccomp === "filter" ? "2" : "0");
    assert.equal(statusOf(task, "NoNewPrivs"), privileges === "yes" ? "1" : "0");
  }
  const mounts = readFileSync(`/proc/${pid}/mountinfo`, "utf8");
  // In a mount without a name, the process sees no mount at all.
  if (root.startsWith("the directory")) assert.equal(mounts, "");
}

/** The process whose command line has these words, once it is there and `isReady`. */
async function started(...words: readonly string[]): Promise<number> {
  let pid = 0;
  await until(`${words.join(" ")} runs`, async () => {
    // Not findByCommandLine: it leaves out processes with another root.
    for (const entry of readdirSync("/proc").map(Number)) {
      if (!(entry > 0)) continue;
      const line = commandOf(entry);
      if (words.every((word) => line.some((each) => each.endsWith(word)))) pid = entry;
    }
    return await Promise.resolve(pid > 0);
  });
  return pid;
}

function commandOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

/** Both filters: the second one is that of the program, which then begins its work. */
async function isSealed(pid: number): Promise<void> {
  await until("it has begun", () => Promise.resolve(statusOf(pid, "Seccomp_filters") === "2"));
}

function davit(...args: readonly string[]): ChildProcess {
  const child = spawn(program, args, {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, DAVIT_ENDPOINT: `unix://${node.daemon.paths.socket}` },
  });
  child.stdin.on("error", () => undefined);
  children.push(child);
  return child;
}

describe("the table of processes is true", () => {
  test("daemon", () => assertRow("daemon", node.daemon.pid));

  test("monitor", { skip: byShim && "a shim runs containers" }, async () => {
    const id = await runIn(pod);
    const found = await findByCommandLine((args) => args.includes(id) && args.includes("--cid"));
    const [monitor] = found;
    assert.ok(monitor !== undefined);
    const { pid } = monitor;
    // It limits itself when its container is created.
    if (monitorName !== "conmon") {
      await until("it is limited", () => Promise.resolve(statusOf(pid, "Seccomp") === "2"));
    }
    assertRow(monitorName, pid);
  });

  test("holder", { skip: byShim && "a shim keeps its pods" }, async () => {
    assertRow("holder", await holderOf(node.daemon, pod.id));
  });

  test("unpacker", async () => {
    const layer = layerOf([{ path: "large", body: randomBytes(large) }], "none");
    await node.registry.push("t/large", imageOf([layer]), ["1"]);
    const release = node.registry.hold(/^GET .*\/blobs\//, 1 << 20);
    const pulled = pull(node.daemon, "registry.k8s.io/t/large:1");
    try {
      const pid = await started("davit-unpack.cjs");
      await isSealed(pid);
      assertRow("unpacker", pid);
    } finally {
      release();
      await pulled;
    }
  });

  test("packer", async () => {
    davit("save", "registry.k8s.io/t/large:1"); // nobody reads its output
    const pid = await started("davit-archive.cjs", "pack");
    await isSealed(pid);
    assertRow("packer", pid);
  });

  test("archive reader", async () => {
    const child = davit("load");
    child.stdin?.write(
      buildTar([{ name: "large", data: randomBytes(large) }]).subarray(0, 1 << 20),
    );
    const pid = await started("davit-archive.cjs", "read");
    await isSealed(pid);
    assertRow("archive reader", pid);
  });
});
