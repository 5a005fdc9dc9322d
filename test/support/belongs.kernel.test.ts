import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { belongsOnHost, belongsToFile, testMark } from "./belongs.ts";
import { describeLeaks, findLeaks, takeSnapshot } from "./leaks.ts";
import { anyHierarchy, Stranger } from "./stranger.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-belongs-"));
const mountPoint = path.join(directory, "mount");
const cgroup = path.join(anyHierarchy(), `${testMark}-belongs`);
const temporary = `/tmp/${testMark}-belongs`;
// A disk that is not below TMPDIR, for the containers of somebody else.
const outside = "/mnt";

const sh = (script: string): Buffer => execFileSync("sh", ["-c", script], { stdio: "pipe" });

before(() => void sh(`mount -t tmpfs davit-outside ${outside}`));
after(() => {
  sh(`umount ${outside}`);
  rmSync(directory, { recursive: true });
});

describe("findLeaks()", () => {
  const everything = { settleMs: 0, counts: () => true };
  const ownOnHost = { settleMs: 0, counts: belongsOnHost(testMark, directory) };

  test("leaves out a stranger's container on a shared host, and finds it on a strict one", async () => {
    // Other runs of these tests may be on this host: their cgroups and files in /tmp are left out.
    const kinds = Stranger.kinds.filter((kind) => kind !== "cgroup" && kind !== "file");
    const earlier = await takeSnapshot();
    using stranger = new Stranger(outside);
    stranger.start();
    assert.equal(describeLeaks(await findLeaks(earlier, ownOnHost)), "");
    const found = await findLeaks(earlier, everything);
    for (const kind of kinds) {
      assert.ok(
        found.some((leak) => leak.kind === kind),
        `${kind} in:\n${describeLeaks(found)}`,
      );
    }
  });

  test("finds what bears the file's mark or lies in its directory, beside a stranger's container", async () => {
    const earlier = await takeSnapshot();
    using stranger = new Stranger(outside);
    stranger.start();
    const own = [mountPoint, cgroup, temporary];
    mkdirSync(mountPoint);
    sh(`mount -t tmpfs davit-planted '${mountPoint}'`);
    mkdirSync(cgroup);
    writeFileSync(temporary, "");
    const found = await findLeaks(earlier, ownOnHost);
    sh(`umount '${mountPoint}'`);
    rmdirSync(mountPoint);
    rmdirSync(cgroup);
    rmSync(temporary);
    assert.equal(found.length, own.length, describeLeaks(found));
    for (const name of own)
      assert.ok(
        found.some((leak) => leak.name.startsWith(name)),
        name,
      );
  });

  test("takes a mount that went with its directory for the host's doing, unless the host is strict", async () => {
    const stranger = new Stranger(outside);
    stranger.start();
    const earlier = await takeSnapshot();
    stranger[Symbol.dispose]();
    const gone = (await findLeaks(earlier, everything)).filter(({ kind }) => kind === "mount");
    assert.match(
      gone.map(({ name }) => name).join(),
      /^\/mnt\/stranger-\w+\/rootfs \(tmpfs stranger\)$/,
    );
    const counted = (await findLeaks(earlier, { settleMs: 0, counts: belongsToFile })).map(
      ({ kind }) => kind,
    );
    assert.ok(!counted.includes("mount") && !counted.includes("namespace"));
  });

  test("finds a mount that was taken off a directory that is still there", async () => {
    const place = path.join(outside, "there");
    sh(`mkdir ${place} && mount -t tmpfs davit-planted ${place}`);
    const earlier = await takeSnapshot();
    sh(`umount ${place}`);
    const found = await findLeaks(earlier, { settleMs: 0, counts: belongsToFile });
    assert.equal(describeLeaks(found), "- mount /mnt/there (tmpfs davit-planted)");
  });
});
