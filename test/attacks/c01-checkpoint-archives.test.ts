/**
 * C1: archives and directories of checkpoints that somebody made or changed. What is restored has the privileges that
 * its images say, so a checkpoint that passes as this node's own is root on the node; and the archive itself may try to
 * write elsewhere, to read files of the node, or to fill its disk (CVE-2026-53489 and -53492 of other runtimes).
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import type { CheckpointTrust } from "../../src/core/checkpoint/index.ts";
import { type BuiltEntry, buildEntry, buildTar } from "../../src/unpack/testing/tar-builder.ts";
import { TestCheckpoints } from "../support/test-checkpoints.ts";

const maxBytes = 64 * 1024 * 1024;
let fixture: TestCheckpoints;
let directory: string;
/** The entries of an archive that this node made. */
let own: readonly BuiltEntry[];
let count = 0;

before(async () => {
  fixture = await TestCheckpoints.open(maxBytes);
  const change = (root: string): void => writeFileSync(join(root, "new"), "new");
  directory = await fixture.completed("one", [], change);
  await fixture.store.archive(directory, fixture.path("own.tar"), fixture.operation.signal);
  own = entriesOf(directory);
});
after(() => fixture[Symbol.asyncDispose]());

/** Nothing of a checkpoint that was refused stays on the node. */
beforeEach(() => {
  count++;
});

function entriesOf(from: string): readonly BuiltEntry[] {
  const names = execFileSync("find", ["-type", "f", "-printf", "%P\n"], {
    cwd: from,
    encoding: "utf8",
  });
  return names
    .trim()
    .split("\n")
    .toSorted()
    .map((name) => ({ name, data: readFileSync(join(from, name)) }));
}

const without = (name: string): readonly BuiltEntry[] => own.filter((each) => each.name !== name);
const replaced = (name: string, data: string | Buffer): readonly BuiltEntry[] =>
  own.map((each) => (each.name === name ? { ...each, data } : each));
/** As CRI-O writes it. */
const foreign = (...more: readonly BuiltEntry[]): readonly BuiltEntry[] => [
  ...without("davit.json").filter(
    ({ name }) => !more.some((each) => each.name === name) && name !== "rootfs-diff.tar",
  ),
  ...more,
];

function left(): readonly string[] {
  const restores = join(fixture.root, "checkpoints/restores");
  return existsSync(restores) ? readdirSync(restores) : [];
}

async function openBytes(archive: Buffer, trust: CheckpointTrust = "own"): Promise<unknown> {
  const location = fixture.path(`archive-${count}-${String(Math.random()).slice(2)}`);
  writeFileSync(location, archive);
  try {
    return await openPath(location, trust);
  } finally {
    rmSync(location);
  }
}

async function openPath(location: string, trust: CheckpointTrust = "own"): Promise<unknown> {
  const restore = { containerId: `restore-${count}`, trust, hold: () => undefined };
  const opened = await fixture.store.openArchive(location, restore, fixture.operation);
  await fixture.store.discard(opened.directory);
  return opened;
}

async function refused(
  archive: Buffer,
  kind: string,
  message: RegExp,
  trust: CheckpointTrust = "own",
): Promise<void> {
  const layers = fixture.overlay.layers.list();
  await assert.rejects(openBytes(archive, trust), (error: Error & { kind?: string }) => {
    assert.match(error.message, message);
    assert.equal(error.kind, kind, error.message);
    return true;
  });
  assert.deepEqual(left(), []);
  assert.deepEqual(fixture.overlay.layers.list(), layers);
}

describe("an archive that this node made", () => {
  test("is restored, also compressed and with other names for the same files", async () => {
    const tar = buildTar(own);
    for (const archive of [tar, gzipSync(tar), zstdCompressSync(tar)]) await openBytes(archive);
    await openBytes(buildTar(own.map((each) => ({ ...each, name: `./${each.name}` }))));
    await openBytes(Buffer.concat([tar, Buffer.alloc(20 * 512)]));
  });

  const changes: readonly (readonly [string, () => readonly BuiltEntry[], string, RegExp])[] = [
    [
      "other memory",
      () => replaced("checkpoint/pages-1.img", "Pages"),
      "data-loss",
      /pages-1.img" of a checkpoint: it has "sha256:.*was changed/,
    ],
    [
      "less memory",
      () => replaced("checkpoint/pages-1.img", "page"),
      "data-loss",
      /it has 4 bytes instead of 5/,
    ],
    ["a file less", () => without("checkpoint/core-1.img"), "data-loss", /core-1.img" is missing/],
    [
      "a file more",
      () => [...own, { name: "checkpoint/core-2.img", data: "x" }],
      "data-loss",
      /core-2.img" was added/,
    ],
    [
      "a manifest with another digest",
      () => {
        const text = manifest().replace(/"sha256": "[0-9a-f]{4}/, '"sha256": "0000');
        return replaced("davit.json", text);
      },
      "permission-denied",
      /this node did not make it, or it was changed.*restore = "any" in \[checkpoint\]/,
    ],
    [
      "a manifest with another name",
      () => replaced("davit.json", manifest().replace('"busybox"', '"otherbox"')),
      "permission-denied",
      /this node did not make it, or it was changed/,
    ],
    [
      "the code of another manifest",
      () =>
        replaced("davit.json", manifest().replace(/"hmac": ".*"/, `"hmac": "${"0".repeat(64)}"`)),
      "permission-denied",
      /this node did not make it/,
    ],
    ["no manifest", () => without("davit.json"), "permission-denied", /it has no davit\.json/],
    [
      "a manifest of 30 MiB, which is not parsed",
      () => replaced("davit.json", "[".repeat(30 * 1024 ** 2)),
      "permission-denied",
      /this node did not make it/,
    ],
  ];
  for (const [name, entries, kind, message] of changes) {
    test(`is refused with ${name}`, () => refused(buildTar(entries()), kind, message));
  }
});

function manifest(): string {
  return readFileSync(join(directory, "davit.json"), "utf8");
}

test("an archive of another node is refused, unless any is trusted, and then says nothing of its config", async () => {
  const other = fixture.open(maxBytes, fixture.path("other-node"));
  const capture = await fixture.capture();
  const captured = fixture.captured("one");
  await other.complete(capture, captured, fixture.operation);
  await other.archive(capture, fixture.path("other.tar"), fixture.operation.signal);
  const tar = buildTar(entriesOf(capture));
  await refused(tar, "permission-denied", /this node did not make it/);
  const opened = (await openBytes(tar, "any")) as { readonly facts: { readonly config: unknown } };
  assert.equal(opened.facts.config, undefined);
  await refused(
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
      const archive = buildTar([...own, entry]);
      const kind = name === "a sparse file of 10 GB" ? "failed-precondition" : "invalid-argument";
      await refused(archive, kind, message, "any");
      await refused(gzipSync(archive), kind, message);
      assert.ok(!existsSync(fixture.path("x")) && !existsSync("/etc/cron.d/x"));
    });
  }
});

describe("an archive that is too large is refused, and leaves nothing", () => {
  test("a bomb", async () => {
    const bomb = Buffer.alloc(2 * maxBytes);
    const archive = buildTar([...own, { name: "checkpoint/pages-2.img", data: bomb }]);
    const message = /it has more than 67108864 bytes \(\[checkpoint\] max_bytes\)/;
    for (const packed of [gzipSync(archive), zstdCompressSync(archive), archive]) {
      await refused(packed, "failed-precondition", message, "any");
    }
  });

  test("30,000 files, and 100,000 headers without files", async () => {
    const many = Array.from({ length: 30_000 }, (_, at) => ({
      name: `checkpoint/core-${at}.img`,
      data: "",
    }));
    await refused(buildTar(many), "failed-precondition", /more than 20000 files/, "any");
    const header = buildEntry({ name: "pax", type: "x", data: "" });
    const headers = Buffer.concat(Array.from({ length: 100_000 }, () => header));
    await refused(headers, "resource-exhausted", /entries/, "any");
  });
});

describe("an archive that ends elsewhere than a reader thinks is refused", () => {
  const tar = (): Buffer => buildTar(own);
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
    test(name, () => refused(archive(), "invalid-argument", message));
  }
});

test("a path that is not a file is refused without being opened", async () => {
  const archive = fixture.path("real.tar");
  writeFileSync(archive, buildTar(own));
  const link = fixture.path("link.tar");
  symlinkSync(archive, link);
  const fifo = fixture.path("fifo.tar");
  execFileSync("mkfifo", [fifo]);
  for (const [path, message] of [
    [link, /it is a symbolic link, not a file/],
    [fifo, /it is a named pipe, not a file/],
    [fixture.directory, /it is a directory, not a file/],
    ["/dev/zero", /it is a device, not a file/],
    [fixture.path("missing.tar"), /no such file/],
    ["relative.tar", /must be an absolute path/],
  ] as const) {
    await assert.rejects(openPath(path), { message });
    assert.deepEqual(left(), []);
  }
});

describe("an archive of another runtime", () => {
  test("gives facts that may be shown, and nothing else", async () => {
    const config = {
      id: "a".repeat(64),
      name: "evil\u001b[31m",
      rootfsImageName: "quay.io/x:1",
      rootfsImageRef: `quay.io/x@sha256:${"b".repeat(64)}`,
      runtime: "/usr/bin/../bin/runc",
      checkpointedTime: "2026-01-02T03:04:05.6Z",
    };
    const spec = {
      hostname: "h\nh",
      process: { terminal: true },
      annotations: { "io.kubernetes.pod.name": "pod", "io.kubernetes.pod.namespace": 5 },
    };
    const archive = foreign(
      { name: "config.dump", data: JSON.stringify(config) },
      { name: "spec.dump", data: JSON.stringify(spec) },
      { name: "bind.mounts", data: '[{"Source":"/etc"}]' },
      { name: "io.kubernetes.cri-o.LogPath", data: "/etc/shadow" },
    );
    const { facts } = (await openBytes(buildTar(archive), "any")) as { readonly facts: object };
    assert.deepEqual(facts, {
      name: "",
      containerId: "a".repeat(64),
      podName: "pod",
      podNamespace: "",
      imageName: "quay.io/x:1",
      imageDigests: [`sha256:${"b".repeat(64)}`],
      runtime: "runc",
      terminal: true,
      hostname: "",
      capturedAtNs: 1_767_323_045_600_000_000n,
      config: undefined,
      podConfig: undefined,
      runtimeHandler: "",
    });
  });

  test("that is not a checkpoint is refused", async () => {
    const wrong: readonly (readonly [readonly BuiltEntry[], RegExp])[] = [
      [foreign().filter(({ name }) => name !== "spec.dump"), /it has no "spec.dump"/],
      [foreign({ name: "config.dump", data: "[]" }), /"config.dump".*not a JSON object/],
      [foreign().filter(({ name }) => !name.includes("inventory")), /no "checkpoint\/inventory/],
    ];
    for (const [entries, message] of wrong) {
      await refused(buildTar(entries), "invalid-argument", message, "any");
    }
  });

  test("hides files of its image only, by either form", async () => {
    const base = await fixture.overlay.layer(
      { name: "a", data: "a" },
      { name: "d/", type: "5" },
      { name: "d/b", data: "b" },
      { name: "d/c", data: "c" },
    );
    const forms: readonly (readonly BuiltEntry[])[] = [
      [{ name: "deleted.files", data: '["/a","d/b"]' }],
      [
        {
          name: "rootfs-diff.tar",
          data: gzipSync(
            buildTar([
              { name: ".wh.a", data: "" },
              { name: "d/.wh.b", data: "" },
            ]),
          ),
        },
      ],
    ];
    for (const [at, form] of forms.entries()) {
      const opened = (await openBytes(buildTar(foreign(...form)), "any")) as {
        readonly changes: `sha256:${string}`;
      };
      const root = await fixture.mount(`form-${at}`, [base, opened.changes]);
      assert.deepEqual(readdirSync(root), ["d"]);
      assert.deepEqual(readdirSync(join(root, "d")), ["c"]);
    }
  });

  test("cannot delete or write outside of its layer", async () => {
    const escape = buildTar([{ name: "../../../x", data: "x" }]);
    const wrong: readonly (readonly [BuiltEntry, RegExp])[] = [
      [{ name: "deleted.files", data: '["/../../etc/passwd"]' }, /leads out of the layer/],
      [{ name: "deleted.files", data: '[""]' }, /a path is empty/],
      [{ name: "deleted.files", data: '["a\\u0000b"]' }, /has a NUL/],
      [{ name: "deleted.files", data: "[1]" }, /it must be a list of paths/],
      [{ name: "deleted.files", data: '{"length":1}' }, /it must be a list of paths/],
      [{ name: "deleted.files", data: "[" }, /it is not JSON/],
      [{ name: "rootfs-diff.tar", data: escape }, /leads out of the layer/],
      [{ name: "rootfs-diff.tar", data: "not an archive".repeat(100) }, /header/],
    ];
    for (const [entry, message] of wrong) {
      await refused(buildTar(foreign(entry)), "invalid-argument", message, "any");
    }
  });
});

describe("the directory of a pod's checkpoint", () => {
  let made: string;
  beforeEach(async () => {
    made = await fixture.completedPod(`pod-${count}`, ["a", "b"]);
  });
  const open = async (trust: CheckpointTrust = "own"): Promise<void> => {
    const restore = { restoreId: `pod-${count}`, trust, hold: () => undefined };
    const { containers } = await fixture.store.openPod(made, restore, fixture.operation);
    for (const each of containers) await fixture.store.discard(each.directory);
  };

  const changes: readonly (readonly [string, (at: string) => void, string, RegExp])[] = [
    [
      "a file that is a link",
      (at) => {
        const file = join(at, "containers/a/checkpoint/inventory.img");
        renameSync(file, join(at, "moved"));
        symlinkSync(join(at, "moved"), file);
      },
      "failed-precondition",
      /it is a symbolic link, not a file/,
    ],
    [
      "images behind a link",
      (at) => {
        renameSync(join(at, "containers/a/checkpoint"), join(at, "moved"));
        symlinkSync(join(at, "moved"), join(at, "containers/a/checkpoint"));
      },
      "invalid-argument",
      /containers\/a\/checkpoint": it is not a directory/,
    ],
    [
      "a container behind a link",
      (at) => {
        renameSync(join(at, "containers/a"), join(at, "moved"));
        symlinkSync(join(at, "moved"), join(at, "containers/a"));
      },
      "invalid-argument",
      /containers\/a": it is not a directory/,
    ],
    [
      "a FIFO",
      (at) => {
        const file = join(at, "containers/b/spec.dump");
        rmSync(file);
        execFileSync("mkfifo", [file]);
      },
      "failed-precondition",
      /it is a named pipe, not a file/,
    ],
    [
      "a FIFO for its manifest",
      (at) => {
        rmSync(join(at, "pod.json"));
        execFileSync("mkfifo", [join(at, "pod.json")]);
      },
      "failed-precondition",
      /it is a named pipe/,
    ],
    ["no manifest", (at) => rmSync(join(at, "pod.json")), "invalid-argument", /no "pod.json"/],
    [
      "other memory",
      (at) => writeFileSync(join(at, "containers/a/checkpoint/inventory.img"), "b"),
      "data-loss",
      /inventory.img" of a checkpoint: it has "sha256:/,
    ],
    [
      "a file of 10 GB",
      (at) => truncateSync(join(at, "containers/a/checkpoint/inventory.img"), 10 * 1024 ** 3),
      "data-loss",
      /bytes instead of 1/,
    ],
    [
      "its containers exchanged",
      (at) => {
        const all = join(at, "containers");
        renameSync(join(all, "a"), join(all, "c"));
        renameSync(join(all, "b"), join(all, "a"));
        renameSync(join(all, "c"), join(all, "b"));
      },
      "data-loss",
      /not the one that the pod's checkpoint was made with/,
    ],
    [
      "another pod's name",
      (at) => {
        const text = readFileSync(join(at, "pod.json"), "utf8");
        writeFileSync(join(at, "pod.json"), text.replace('"default"', '"kube-system"'));
      },
      "permission-denied",
      /this node did not make it, or it was changed/,
    ],
  ];
  for (const [name, change, kind, message] of changes) {
    test(`is refused with ${name}`, async () => {
      await open();
      change(made);
      await assert.rejects(open(), (error: Error & { kind?: string }) => {
        assert.match(error.message, message);
        assert.equal(error.kind, kind, error.message);
        return true;
      });
      assert.deepEqual(left(), []);
    });
  }

  test("with a container of another pod of this node is refused", async () => {
    const other = await fixture.completedPod(`other-${count}`, ["a"]);
    rmSync(join(made, "containers/a"), { recursive: true });
    renameSync(join(other, "containers/a"), join(made, "containers/a"));
    await assert.rejects(open(), { kind: "data-loss" });
    await assert.rejects(open("any"), { kind: "data-loss" });
  });

  test("is written only where nobody but root can exchange it", async () => {
    const parent = fixture.path(`open-${count}`);
    mkdirSync(parent);
    execFileSync("chmod", ["0777", parent]);
    await assert.rejects(fixture.store.begin("c", parent), {
      kind: "permission-denied",
      message: /can be changed by others than root/,
    });
    // Who can change the directory of a pod's checkpoint could exchange the one in it.
    await assert.rejects(fixture.store.begin("c", join(parent, "containers")), {
      kind: "permission-denied",
      message: /can be changed by others than root/,
    });
    symlinkSync(parent, `${parent}-link`);
    await assert.rejects(fixture.store.begin("c", `${parent}-link`), /it is not a directory/);
    await assert.rejects(fixture.store.begin("../c", fixture.directory), /must be a plain name/);
  });
});
