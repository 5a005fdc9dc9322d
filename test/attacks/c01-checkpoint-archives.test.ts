/**
 * C1: archives of checkpoints that somebody made or changed. What is restored has the privileges that its images say, so
 * a checkpoint that passes as this node's own is root on the node; and the archive itself may try to write elsewhere, to
 * read files of the node, or to fill its disk (CVE-2026-53489 and -53492 of other runtimes).
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { type BuiltEntry, buildEntry, buildTar } from "../../src/unpack/testing/tar-builder.ts";
import { CheckpointAttack, entriesOf, maxBytes } from "./checkpoint-attack.ts";

let attack: CheckpointAttack;

before(async () => {
  attack = await CheckpointAttack.open();
});
after(() => attack[Symbol.asyncDispose]());

describe("an archive that this node made", () => {
  test("is restored, also compressed and with other names for the same files", async () => {
    const tar = buildTar(attack.own);
    for (const archive of [tar, gzipSync(tar), zstdCompressSync(tar)])
      await attack.openBytes(archive);
    await attack.openBytes(
      buildTar(attack.own.map((each) => ({ ...each, name: `./${each.name}` }))),
    );
    await attack.openBytes(Buffer.concat([tar, Buffer.alloc(20 * 512)]));
  });

  const changes: readonly (readonly [string, () => readonly BuiltEntry[], string, RegExp])[] = [
    [
      "other memory",
      () => attack.replaced("checkpoint/pages-1.img", "Pages"),
      "data-loss",
      /pages-1.img" of a checkpoint: it has "sha256:.*was changed/,
    ],
    [
      "less memory",
      () => attack.replaced("checkpoint/pages-1.img", "page"),
      "data-loss",
      /it has 4 bytes instead of 5/,
    ],
    [
      "a file less",
      () => attack.without("checkpoint/core-1.img"),
      "data-loss",
      /core-1.img" is missing/,
    ],
    [
      "a file more",
      () => [...attack.own, { name: "checkpoint/core-2.img", data: "x" }],
      "data-loss",
      /core-2.img" was added/,
    ],
    [
      "a manifest with another digest",
      () => {
        const text = manifest().replace(/"sha256": "[0-9a-f]{4}/, '"sha256": "0000');
        return attack.replaced("davit.json", text);
      },
      "permission-denied",
      /this node did not make it, or it was changed.*restore = "any" in \[checkpoint\]/,
    ],
    [
      "a manifest with another name",
      () => attack.replaced("davit.json", manifest().replace('"busybox"', '"otherbox"')),
      "permission-denied",
      /this node did not make it, or it was changed/,
    ],
    [
      "the code of another manifest",
      () =>
        attack.replaced(
          "davit.json",
          manifest().replace(/"hmac": ".*"/, `"hmac": "${"0".repeat(64)}"`),
        ),
      "permission-denied",
      /this node did not make it/,
    ],
    [
      "no manifest",
      () => attack.without("davit.json"),
      "permission-denied",
      /it has no davit\.json/,
    ],
    [
      "a manifest of 30 MiB, which is not parsed",
      () => attack.replaced("davit.json", "[".repeat(30 * 1024 ** 2)),
      "permission-denied",
      /this node did not make it/,
    ],
  ];
  for (const [name, entries, kind, message] of changes) {
    test(`is refused with ${name}`, () => attack.refused(buildTar(entries()), kind, message));
  }
});

function manifest(): string {
  return readFileSync(join(attack.directory, "davit.json"), "utf8");
}

test("an archive of another node is refused, unless any is trusted, and then says nothing of its config", async () => {
  const other = attack.fixture.open(maxBytes, attack.fixture.path("other-node"));
  const capture = await attack.fixture.capture();
  const captured = attack.fixture.captured("one");
  await other.complete(capture, captured, attack.fixture.operation);
  await other.archive(capture, attack.fixture.path("other.tar"), attack.fixture.operation.signal);
  const tar = buildTar(entriesOf(capture));
  await attack.refused(tar, "permission-denied", /this node did not make it/);
  const opened = (await attack.openBytes(tar, "any")) as {
    readonly facts: { readonly config: unknown };
  };
  assert.equal(opened.facts.config, undefined);
  await attack.refused(
    buildTar(entriesOf(capture).filter(({ name }) => name !== "checkpoint/core-1.img")),
    "data-loss",
    /core-1.img" is missing/,
    "any",
  );
});

describe("an archive with what no checkpoint has is refused", () => {
  const huge = 10 * 1024 ** 3;
  const sparse = (size: number): BuiltEntry => ({
    name: "GNUSparseFile.0/sparse.img",
    data: `1\n${size - 512}\n0\n`.padEnd(512, "\0"),
    pax: {
      "GNU.sparse.major": "1",
      "GNU.sparse.minor": "0",
      "GNU.sparse.name": "checkpoint/sparse.img",
      "GNU.sparse.realsize": String(size),
    },
  });
  const entries: readonly (readonly [string, BuiltEntry, RegExp])[] = [
    [
      "a symbolic link",
      { name: "checkpoint/x.img", type: "2", linkName: "/etc/shadow" },
      /"checkpoint\/x.img" is of the type "symlink"; it must be a regular file/,
    ],
    [
      "a log that is a link",
      { name: "container.log", type: "2", linkName: "/etc/shadow" },
      /"container.log" is of the type "symlink"/,
    ],
    [
      "a hard link",
      { name: "checkpoint/x.img", type: "1", linkName: "spec.dump" },
      /of the type "link"/,
    ],
    [
      "a link in place of the directory",
      { name: "checkpoint", type: "2", linkName: "/etc" },
      /"checkpoint" is of the type "symlink"; it must be a directory/,
    ],
    ["a device", { name: "checkpoint/x.img", type: "3", major: 1, minor: 3 }, /type "char"/],
    ["a disk", { name: "checkpoint/x.img", type: "4", major: 8, minor: 0 }, /type "block"/],
    ["a FIFO", { name: "dump.log", type: "6" }, /type "fifo"/],
    ["a parent directory", { name: "../x", data: "x" }, /"\.\.\/x" is not a file of a checkpoint/],
    ["one in the middle", { name: "checkpoint/../../x", data: "x" }, /not a file of a checkpoint/],
    ["an absolute name", { name: "/etc/cron.d/x", data: "x" }, /not a file of a checkpoint/],
    ["an unknown file", { name: "authorized_keys", data: "x" }, /not a file of a checkpoint/],
    ["a directory below", { name: "checkpoint/a/b.img", data: "x" }, /not a file of a checkpoint/],
    ["another directory", { name: "etc/", type: "5" }, /not a file of a checkpoint/],
    ["a control character", { name: "checkpoint/a\u001b[2J", data: "x" }, /"checkpoint\/a\\u001b/],
    ["a name twice", { name: "checkpoint/core-1.img", data: "x" }, /is in it twice/],
    ["a name in two spellings", { name: "./spec.dump", data: "{}" }, /is in it twice/],
    ["a sparse file of 10 GB", sparse(huge), /more than 67108864 bytes/],
    ["a sparse file of 1 MB", sparse(1024 ** 2), /"checkpoint\/sparse.img" is a sparse file/],
    [
      "10 GB in its header",
      { name: "checkpoint/big.img", data: "x", size: huge },
      /it ends in the middle of an entry/,
    ],
  ];
  for (const [name, entry, message] of entries) {
    test(name, async () => {
      const archive = buildTar([...attack.own, entry]);
      const kind = name === "a sparse file of 10 GB" ? "failed-precondition" : "invalid-argument";
      await attack.refused(archive, kind, message, "any");
      await attack.refused(gzipSync(archive), kind, message);
      assert.ok(!existsSync(attack.fixture.path("x")) && !existsSync("/etc/cron.d/x"));
    });
  }
});

describe("an archive that is too large is refused, and leaves nothing", () => {
  test("a bomb", async () => {
    const bomb = Buffer.alloc(2 * maxBytes);
    const archive = buildTar([...attack.own, { name: "checkpoint/pages-2.img", data: bomb }]);
    const message = /it has more than 67108864 bytes \(\[checkpoint\] max_bytes\)/;
    for (const packed of [gzipSync(archive), zstdCompressSync(archive), archive]) {
      await attack.refused(packed, "failed-precondition", message, "any");
    }
  });

  test("30,000 files, and 100,000 headers without files", async () => {
    const many = Array.from({ length: 30_000 }, (_, at) => ({
      name: `checkpoint/core-${at}.img`,
      data: "",
    }));
    await attack.refused(buildTar(many), "failed-precondition", /more than 20000 files/, "any");
    const header = buildEntry({ name: "pax", type: "x", data: "" });
    const headers = Buffer.concat(Array.from({ length: 100_000 }, () => header));
    await attack.refused(headers, "resource-exhausted", /entries/, "any");
  });
});

describe("an archive that ends elsewhere than a reader thinks is refused", () => {
  const tar = (): Buffer => buildTar(attack.own);
  const wrong: readonly (readonly [string, () => Buffer, RegExp])[] = [
    ["bytes behind its end", () => Buffer.concat([tar(), Buffer.from("x")]), /other bytes than/],
    ["a second archive", () => Buffer.concat([tar(), tar()]), /other bytes than zeros follow/],
    [
      "bytes behind the zeros",
      () => Buffer.concat([tar(), Buffer.alloc(100_000), Buffer.from("x")]),
      /other bytes than zeros/,
    ],
    ["no end", () => tar().subarray(0, -1024), /its end is missing: it was cut/],
    ["half of a file", () => tar().subarray(0, 515), /in the middle of an entry/],
    ["nothing", () => Buffer.alloc(0), /its end is missing/],
    ["half of a stream", () => gzipSync(tar()).subarray(0, -20), /decompress/],
    [
      "bytes behind the stream",
      () => Buffer.concat([gzipSync(tar()), Buffer.from("garbage")]),
      /decompress/,
    ],
    [
      "bytes behind the frames",
      () => Buffer.concat([zstdCompressSync(tar()), Buffer.from("garbage")]),
      /decompress|zstd/,
    ],
    ["text", () => Buffer.from("not an archive".repeat(100)), /header/],
  ];
  for (const [name, archive, message] of wrong) {
    test(name, () => attack.refused(archive(), "invalid-argument", message));
  }
});

test("a path that is not a file is refused without being opened", async () => {
  const archive = attack.fixture.path("real.tar");
  writeFileSync(archive, buildTar(attack.own));
  const link = attack.fixture.path("link.tar");
  symlinkSync(archive, link);
  const fifo = attack.fixture.path("fifo.tar");
  execFileSync("mkfifo", [fifo]);
  for (const [path, message] of [
    [link, /it is a symbolic link, not a file/],
    [fifo, /it is a named pipe, not a file/],
    [attack.fixture.directory, /it is a directory, not a file/],
    ["/dev/zero", /it is a device, not a file/],
    [attack.fixture.path("missing.tar"), /no such file/],
    ["relative.tar", /must be an absolute path/],
  ] as const) {
    await assert.rejects(attack.openPath(path), { message });
    assert.deepEqual(attack.left(), []);
  }
});
