/**
 * C1: the log in an archive of a checkpoint, by which the log of a restored container begins. It may be a file of the node
 * (CVE-2026-53489), fill the disk, or say what no container has said.
 */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import type { BegunLog } from "../../src/core/container/index.ts";
import { FileLogs } from "../../src/drivers/logs/index.ts";
import { type BuiltEntry, buildTar } from "../../src/unpack/testing/tar-builder.ts";
import { CheckpointAttack, maxBytes } from "./checkpoint-attack.ts";

let attack: CheckpointAttack;
let directory = "";
let log = "";
let count = 0;

before(async () => {
  attack = await CheckpointAttack.open();
});
after(() => attack[Symbol.asyncDispose]());
beforeEach(() => {
  directory = attack.fixture.path(`logs-${count++}`);
  mkdirSync(directory);
  log = join(directory, "0.log");
});

const time = "2026-12-01T10:00:00.000000001Z";
const line = (text: string): string => `${time} stdout F ${text}\n`;

/** Begins the log with that of an archive with this entry. */
async function beginWith(entry: Partial<BuiltEntry>): Promise<BegunLog> {
  const archive = buildTar(attack.foreign({ name: "container.log", ...entry }));
  let begun: BegunLog | undefined;
  await attack.openBytes(archive, "any", async (opened) => {
    const from = join(opened.directory, "container.log");
    begun = await new FileLogs().begin(log, from, attack.fixture.operation.signal);
  });
  assert.ok(begun !== undefined);
  return begun;
}

describe("an archive is refused whose log is", () => {
  const sparse = {
    name: "GNUSparseFile.0/container.log",
    data: `1\n${10 * 1024 ** 3 - 512}\n0\n`.padEnd(512, "\0"),
    pax: {
      "GNU.sparse.major": "1",
      "GNU.sparse.minor": "0",
      "GNU.sparse.name": "container.log",
      "GNU.sparse.realsize": String(10 * 1024 ** 3),
    },
  };
  const entries: readonly (readonly [string, Partial<BuiltEntry>, RegExp, string?])[] = [
    ["a symbolic link", { type: "2", linkName: "/etc/shadow" }, /is of the type "symlink"/],
    ["a hard link", { type: "1", linkName: "spec.dump" }, /is of the type "link"/],
    ["a FIFO", { type: "6" }, /is of the type "fifo"/],
    ["a device", { type: "3", major: 1, minor: 5 }, /is of the type "char"/],
    ["a disk", { type: "4", major: 8, minor: 0 }, /is of the type "block"/],
    ["a directory", { type: "5" }, /is of the type "dir"/],
    ["a sparse file of 10 GB", sparse, /more than 67108864 bytes/, "failed-precondition"],
    [
      "larger than a checkpoint may be",
      { data: Buffer.alloc(maxBytes + 1, "x") },
      /more than 67108864 bytes/,
      "failed-precondition",
    ],
  ];
  for (const [what, entry, message, kind = "invalid-argument"] of entries) {
    test(what, async () => {
      const archive = buildTar(attack.foreign({ name: "container.log", ...entry }));
      await attack.refused(archive, kind, message, "any");
      await attack.refused(gzipSync(archive), kind, message, "any");
    });
  }
});

describe("the log of an archive", () => {
  test("has records only: no lines of another form, and no control characters outside of the text", async () => {
    const wrong = [
      "\u001b]0;title\u0007",
      "\u001b[2J stdout F text",
      `${time} \u001b[2J F text`,
      `${time} stdout \u001b[2J text`,
      `${time} stdout F:`.padEnd(300_000, "x"),
      "\0".repeat(1_000),
    ];
    const data = [line("first"), ...wrong.map((each) => `${each}\n`), line("last"), time].join("");
    const { dropped } = await beginWith({ data });
    // The tags of a record may be followed by others.
    assert.equal(dropped, wrong.length + 1);
    assert.equal(readFileSync(log, "utf8"), line("first") + line("last"));
  });

  test("is not a way to spend the time of the daemon", async () => {
    const refused = { kind: "invalid-argument", message: /more than 1000 lines/ };
    await assert.rejects(beginWith({ data: "\n".repeat(maxBytes / 2) }), refused);
    assert.deepEqual(readdirSync(directory), []);
    assert.deepEqual(attack.left(), []);
  });

  test("is written neither through a link nor into a file of the node", async () => {
    const canary = attack.fixture.path("canary");
    writeFileSync(canary, "");
    symlinkSync(canary, log);
    await assert.rejects(beginWith({ data: line("x") }), {
      kind: "failed-precondition",
      message: /it is a symbolic link, not a file/,
    });
    rmSync(log);
    symlinkSync(canary, join(directory, ".0.log.earlier"));
    await beginWith({ data: line("x") });
    assert.equal(readFileSync(canary, "utf8"), "");
    assert.equal(readFileSync(log, "utf8"), line("x"));
  });

  test("is written once, also if it is restored again", async () => {
    await beginWith({ data: line("x") });
    await beginWith({ data: line("x") });
    assert.equal(readFileSync(log, "utf8"), line("x"));
  });
});
