import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { spawnChild } from "../process/child.ts";
import { lockFile } from "./file-lock.ts";
import { firstText, openFds } from "../testing/leaks.ts";
import { nodeProgram } from "../testing/node.ts";

const dir = mkdtempSync(join(tmpdir(), "davit-lock-"));
after(() => rmSync(dir, { recursive: true }));

describe("lockFile()", () => {
  test("excludes a second process until the first one ends, even by SIGKILL", async () => {
    const path = join(dir, "daemon.lock");
    const script = `
      import { lockFile } from ${JSON.stringify(import.meta.resolve("./file-lock.ts"))};
      const lock = lockFile(${JSON.stringify(path)});
      console.log(lock === undefined ? "busy" : "held");
      setInterval(() => lock, 1000);
    `;
    const args = ["--input-type=module", "-e", script];
    const child = spawnChild({ file: nodeProgram, args, env: {}, stdout: "pipe" });
    assert.equal(await firstText(child.stdout), "held\n");
    assert.equal(lockFile(path), undefined);
    assert.equal(readFileSync(path, "utf8"), `${child.pid}\n`);
    child.kill(9);
    await child.exited;

    using lock = lockFile(path);
    assert.equal(lock?.path, path);
    assert.equal(lock.last, "ended");
    assert.equal(readFileSync(path, "utf8"), `${process.pid}\n`);
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  test("writes a note for people into its second line", () => {
    const path = join(dir, "noted.lock");
    using lock = lockFile(path, "0.1.0");
    assert.equal(readFileSync(path, "utf8"), `${process.pid}\n0.1.0\n`);
    assert.equal(lock?.last, undefined);
  });

  test("is not inherited by a child", async () => {
    const path = join(dir, "inherited.lock");
    const lock = lockFile(path);
    assert.deepEqual([lock?.path, lock?.last], [path, undefined]);
    const child = spawnChild({ file: "/bin/sleep", args: ["60"], env: {} });
    lock?.[Symbol.dispose]();
    lock?.[Symbol.dispose]();
    using again = lockFile(path);
    assert.equal(again?.last, "released");
    child.kill(9);
    await child.exited;
  });

  test("follows no symbolic link, and leaves no descriptor when it fails", () => {
    const fds = openFds().size;
    symlinkSync("/etc/hostname", join(dir, "link"));
    assert.throws(() => lockFile(join(dir, "link")), /take lock: open ".*link".*ELOOP/);
    assert.throws(() => lockFile(join(dir, "none", "lock")), /ENOENT/);
    assert.equal(openFds().size, fds);
  });
});
