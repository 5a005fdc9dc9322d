import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type FileResult, runIsolated } from "./isolate.ts";
import { anyHierarchy, Stranger } from "./stranger.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-isolate-"));
after(() => rmSync(directory, { recursive: true }));

const head = `
  import { execFileSync, spawn } from "node:child_process";
  import { existsSync, rmSync, writeFileSync } from "node:fs";
  import { networkInterfaces, tmpdir } from "node:os";
  import { describe, test } from "node:test";
  import { setTimeout as sleep } from "node:timers/promises";
`;

/** Runs a file of the given text as the runner would. */
async function runText(
  text: string,
  { timeoutMs = 60_000, strict = false } = {},
): Promise<FileResult> {
  const file = path.join(directory, "planted.kernel.test.ts");
  writeFileSync(file, head + text);
  return runIsolated(file, { timeoutMs, strict, settleMs: 300 });
}

const modes = [
  { strict: false, on: "on a shared host" },
  { strict: true, on: "on a strict host" },
] as const;

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

  test("counts a suite that is skipped whole as one skipped test", async () => {
    const result = await runText(`
      describe("absent", { skip: "no such program" }, () => {
        test("in it", () => { throw new Error("on purpose"); });
      });
    `);
    const { passed, failed, skipped, output } = result;
    assert.deepEqual({ passed, failed, skipped }, { passed: 0, failed: 0, skipped: 1 }, output);
    assert.match(output, /skipped absent: no such program/);
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

  test("kills a file that hangs, with its children, and says which test hung", async () => {
    const result = await runText(
      `
      test("hangs", async () => {
        spawn("setsid", ["sleep", "3457"], { stdio: "ignore", detached: true });
        await new Promise(() => { setInterval(() => undefined, 1000); });
      });
    `,
      { timeoutMs: 3000 },
    );
    assert.equal(result.failed, 1);
    assert.match(result.output, /killed after 3 s; still running: "hangs"/);
    assert.match(result.output, /: sleep 3457\n {2}process \d+ \("sleep"\) in state S/);
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

describe("a leak of the file's own", () => {
  for (const { strict, on } of modes) {
    test(`names an orphan without a mark, and ends it, ${on}`, async () => {
      const result = await runText(
        `
      test("leaks", () => {
        execFileSync("sh", ["-c", "setsid env -i sleep 3456 >/dev/null 2>&1 &"]);
      });
    `,
        { strict },
      );
      assert.equal(result.passed, 1);
      assert.ok(result.failed >= 1);
      assert.match(result.output, /\+ process sleep pid \d+ started \d+: sleep 3456/);
      assert.deepEqual(
        commandLines().filter((line) => line.includes("sleep\u{0}3456")),
        [],
      );
    });

    test(`names a mount, a link, a file in TMPDIR and a rule that stayed in the namespaces, ${on}`, async () => {
      const result = await runText(
        `
      test("leaks", () => {
        writeFileSync(tmpdir() + "/left.txt", "");
        execFileSync("mount", ["-t", "tmpfs", "planted", "/mnt"]);
        execFileSync("ip", ["link", "add", "dvt-left", "type", "bridge"]);
        execFileSync("iptables", ["-A", "FORWARD", "-s", "10.94.0.0/24", "-j", "DROP"]);
      });
    `,
        { strict },
      );
      assert.ok(result.failed >= 1);
      for (const name of [
        /\+ mount \/mnt \(tmpfs planted\)/,
        /\+ link dvt-left \(bridge\)/,
        /\+ file \/.*\/left\.txt/,
        /\+ iptables .*10\.94\.0\.0/,
      ]) {
        assert.match(result.output, name);
      }
    });

    test(`names what stayed on the host, ${on}`, async () => {
      const result = await runText(
        `
      test("leaks", () => writeFileSync("/tmp/" + process.env.DAVIT_TEST_CGROUP + "-left", ""));
    `,
        { strict },
      );
      const left = /left behind on the host:\n[^]*^\+ file (\/tmp\/davit-\w+-left)$/m.exec(
        result.output,
      )?.[1];
      assert.ok(left !== undefined, result.output);
      rmSync(left);
      assert.ok(result.failed >= 1);
    });

    test(`names a cgroup that stayed, and removes it, ${on}`, async () => {
      const result = await runText(
        `
      test("leaks", () => {
        const parent = "${anyHierarchy()}/" + process.env.DAVIT_TEST_CGROUP;
        execFileSync("mkdir", ["-p", parent + "/pod"]);
      });
    `,
        { strict },
      );
      const left = /left behind on the host:\n[^]*^\+ cgroup (\S+)\n\+ cgroup (\1)\/pod$/m.exec(
        result.output,
      );
      assert.ok(left?.[1] !== undefined, result.output);
      assert.equal(existsSync(left[1]), false);
    });
  }
});

describe("containers of somebody else, while a file runs", () => {
  /** Runs a file that begins and ends beside strangers: one goes away meanwhile, one appears. */
  async function runBesideStrangers(strict: boolean): Promise<FileResult> {
    const begun = path.join(directory, "begun");
    const over = path.join(directory, "over");
    using stays = new Stranger();
    const goes = new Stranger();
    let result: Promise<FileResult>;
    {
      using _ = goes;
      goes.start();
      result = runText(
        `
        test("waits", async () => {
          writeFileSync(${JSON.stringify(begun)}, "");
          while (!existsSync(${JSON.stringify(over)})) await sleep(10);
        });
      `,
        { strict },
      );
      while (!existsSync(begun)) await sleep(10);
    }
    stays.start();
    writeFileSync(over, "");
    const ended = await result;
    rmSync(begun);
    rmSync(over);
    return ended;
  }

  test("are not findings on a shared host", async () => {
    const result = await runBesideStrangers(false);
    assert.equal(result.failed, 0, result.output);
    assert.equal(result.passed, 1);
  });

  test("are findings on a strict host, inside and outside", async () => {
    const result = await runBesideStrangers(true);
    assert.equal(result.passed, 1);
    const [inside = "", outside = ""] = result.output.split("left behind on the host:");
    assert.match(inside, /- mount .*\/stranger-\w+\/rootfs/);
    assert.match(inside, /- namespace .*\/stranger-\w+\/netns/);
    for (const kind of Stranger.kinds) {
      assert.match(outside, new RegExp(`^\\+ ${kind} `, "m"));
      assert.match(outside, new RegExp(`^- ${kind} `, "m"));
    }
    assert.match(outside, /^- mount .*\/stranger-\w+\/rootfs/m);
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
