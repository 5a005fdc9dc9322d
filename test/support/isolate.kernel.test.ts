import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, test } from "node:test";
import { type FileResult, runIsolated } from "./isolate.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-isolate-"));
after(() => rmSync(directory, { recursive: true }));

const head = `
  import { execFileSync, spawn } from "node:child_process";
  import { rmSync, writeFileSync } from "node:fs";
  import { networkInterfaces, tmpdir } from "node:os";
  import { test } from "node:test";
`;

/** Runs a file of the given text as the runner would. */
async function runText(text: string, timeoutMs = 60_000): Promise<FileResult> {
  const file = path.join(directory, "planted.kernel.test.ts");
  writeFileSync(file, head + text);
  return runIsolated(file, { timeoutMs, shared: true, settleMs: 300 });
}

describe("runIsolated()", () => {
  test("counts what passed, failed and was skipped", async () => {
    const result = await runText(`
      test("fine", () => undefined);
      test("broken", () => { throw new Error("on purpose"); });
      test("absent", { skip: "no such kernel" }, () => undefined);
    `);
    const { passed, failed, skipped, output } = result;
    assert.deepEqual({ passed, failed, skipped }, { passed: 1, failed: 1, skipped: 1 });
    assert.match(output, /failed: broken[^]*Error: on purpose/);
    assert.match(output, /skipped absent: no such kernel/);
  });

  test("gives the file lo, an empty /run and a TMPDIR of its own, and no other link", async () => {
    const result = await runText(`
      test("lo is up", () => { if (networkInterfaces()["lo"] === undefined) throw new Error("down"); });
      test("alone", () => {
        const links = JSON.parse(execFileSync("ip", ["-j", "link"]).toString());
        if (links.some(({ ifname }) => ifname.startsWith("eth"))) throw new Error("host links");
        writeFileSync("/run/planted", "");
        rmSync("/run/planted");
        if (!/davit-test-/.test(tmpdir())) throw new Error(tmpdir());
        if (process.pid > 100) throw new Error("not in a pid namespace");
      });
    `);
    assert.equal(result.failed, 0, result.output);
    assert.equal(result.passed, 2);
  });

  test("names an orphan without a mark, and ends it", async () => {
    const result = await runText(`
      test("leaks", () => {
        execFileSync("sh", ["-c", "setsid env -i sleep 3456 >/dev/null 2>&1 &"]);
      });
    `);
    assert.equal(result.passed, 1);
    assert.equal(result.failed, 1);
    assert.match(result.output, /\+ process sleep pid \d+ started \d+: sleep 3456/);
    assert.deepEqual(
      commandLines().filter((line) => line.includes("sleep\u{0}3456")),
      [],
    );
  });

  test("names a mount, a link, a file in TMPDIR and a rule that stayed in the namespaces", async () => {
    const result = await runText(`
      test("leaks", () => {
        writeFileSync(tmpdir() + "/left.txt", "");
        execFileSync("mount", ["-t", "tmpfs", "planted", "/mnt"]);
        execFileSync("ip", ["link", "add", "dvt-left", "type", "bridge"]);
        execFileSync("iptables", ["-A", "FORWARD", "-s", "10.94.0.0/24", "-j", "DROP"]);
      });
    `);
    assert.equal(result.failed, 1);
    for (const name of [
      /\+ mount \/mnt \(tmpfs planted\)/,
      /\+ link dvt-left \(bridge\)/,
      /\+ file \/.*\/left\.txt/,
      /\+ iptables .*10\.94\.0\.0/,
    ]) {
      assert.match(result.output, name);
    }
  });

  test("names what stayed on the host", async () => {
    const result = await runText(`
      test("leaks", () => writeFileSync("/tmp/" + process.env.DAVIT_TEST_CGROUP + "-left", ""));
    `);
    const left = /left behind on the host:\n\+ file (\/tmp\/davit-\w+-left)\n/.exec(
      result.output,
    )?.[1];
    assert.ok(left !== undefined, result.output);
    rmSync(left);
    assert.equal(result.failed, 1);
  });

  test("names a cgroup that stayed, and removes it", async () => {
    const result = await runText(`
      test("leaks", () => {
        const v2 = execFileSync("stat", ["-fc", "%T", "/sys/fs/cgroup"]).toString().trim() === "cgroup2fs";
        const parent = "/sys/fs/cgroup/" + (v2 ? "" : "pids/") + process.env.DAVIT_TEST_CGROUP;
        execFileSync("mkdir", ["-p", parent + "/pod"]);
      });
    `);
    const left = /left behind on the host:\n\+ cgroup (\S+)\n\+ cgroup (\S+)\/pod\n/.exec(
      result.output,
    );
    assert.ok(left?.[1] !== undefined && left[1] === left[2], result.output);
    assert.equal(existsSync(left[1]), false);
  });

  test("kills a file that hangs, with its children, and says which test hung", async () => {
    const result = await runText(
      `
      test("hangs", async () => {
        spawn("setsid", ["sleep", "3457"], { stdio: "ignore", detached: true });
        await new Promise(() => { setInterval(() => undefined, 1000); });
      });
    `,
      3000,
    );
    assert.equal(result.failed, 1);
    assert.match(result.output, /killed after 3 s; still running: "hangs"/);
    assert.deepEqual(
      commandLines().filter((line) => line.includes("sleep\u{0}3457")),
      [],
    );
  });

  test("fails a file that dies before its first test", async () => {
    const result = await runText("process.exit(7);");
    assert.equal(result.passed, 0);
    assert.equal(result.failed, 1);
    assert.match(result.output, /code: 7/);
  });

  test("leaves no scratch files", () => {
    const left = readdirSync(tmpdir()).filter((name) => name.startsWith("davit-test-"));
    assert.deepEqual(left, []);
  });
});

function commandLines(): readonly string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8");
      } catch {
        return "";
      }
    });
}
