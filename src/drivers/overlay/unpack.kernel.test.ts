import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";

import { hexOf } from "../../base/digest.ts";
import { isKind } from "../../base/errors.ts";
import type { LayerSource } from "../../core/snapshot/index.ts";
import { childPids, openFds, until } from "../../linux/testing/leaks.ts";
import { buildEntry, buildTar } from "../../unpack/testing/tar-builder.ts";
import { never, OverlayFixture } from "./testing/fixture.ts";
import { digestOf, sourceOf, TestOverlay } from "./testing/layers.ts";
import { defaultUnpackerCommand, unpackBlob } from "./unpacker.ts";
import { UnpackerProcesses } from "./unpacker-processes.ts";

const fixture = new OverlayFixture();
const { directory } = fixture;

describe("blobs with wrong content", () => {
  const tar = buildTar([{ name: "file", data: "x".repeat(100_000) }]);
  const blob = gzipSync(tar);
  const other = digestOf(Buffer.from("other"));

  test("wrong digests, sizes and bytes leave nothing behind", async () => {
    const right = sourceOf(tar, blob);
    await fixture.assertRefused(
      { ...right, blob: { ...right.blob, digest: other } },
      "data-loss",
      /digest mismatch for blob/,
    );
    await fixture.assertRefused(
      { ...sourceOf(tar, blob), diffId: other },
      "data-loss",
      /is not the layer that/,
    );
    const short = sourceOf(tar, blob);
    await fixture.assertRefused(
      { ...short, blob: { ...short.blob, sizeBytes: 10n } },
      "data-loss",
      /longer than its 10 bytes/,
    );
    const damaged = Buffer.from(blob);
    damaged.fill(0x55, 20, 60);
    await fixture.assertRefused(
      { ...sourceOf(tar, blob), chunks: sourceOf(damaged).chunks },
      "data-loss",
      /digest mismatch for blob/,
    );
    await fixture.assertRefused(
      { ...sourceOf(tar, blob), chunks: sourceOf(blob.subarray(0, 90)).chunks },
      "data-loss",
      /ended after 90 of its/,
    );
  });

  test("a broken archive with the right digest is an invalid argument", async () => {
    await fixture.assertRefused(
      sourceOf(Buffer.alloc(3000, "no tar ")),
      "invalid-argument",
      /is it a tar/,
    );
    const cut = blob.subarray(0, 100);
    await fixture.assertRefused(sourceOf(cut, cut), "invalid-argument", /decompress: /);
    const half = tar.subarray(0, 50_000);
    await fixture.assertRefused(sourceOf(half), "invalid-argument", /in the middle of an entry/);
  });

  test("a failure of the source is passed on unchanged", async () => {
    const failure = new Error("the registry went away");
    async function* chunks(): AsyncGenerator<Buffer> {
      yield blob.subarray(0, 50);
      throw failure;
    }
    const call = fixture.layers.unpack({ ...sourceOf(tar, blob), chunks: chunks() }, never);
    await assert.rejects(call, (error) => error === failure);
    fixture.assertNoLayers();
  });
});

describe("an unpack that ends early", () => {
  /** A source that gives the beginning of a large archive and then waits forever. */
  function endless(returned: () => void): LayerSource {
    const head = Buffer.concat([
      buildEntry({ name: "small", data: "made" }),
      buildEntry({ name: "large", size: 2 ** 30 }),
      Buffer.alloc(3_000_000, 1),
    ]);
    const chunks: AsyncIterable<Buffer> = {
      [Symbol.asyncIterator]: () => {
        let given = false;
        return {
          next: async () => {
            if (given) await Promise.withResolvers<undefined>().promise;
            given = true;
            return { done: false as const, value: head };
          },
          return: async () => {
            returned();
            return { done: true as const, value: undefined };
          },
        };
      },
    };
    return { ...sourceOf(head), blob: { ...sourceOf(head).blob, sizeBytes: 2n ** 31n }, chunks };
  }

  function halfMade(): readonly string[] {
    const layers = join(fixture.root, "layers");
    return readdirSync(layers)
      .filter((name) => name.startsWith(".new-"))
      .map((name) => join(layers, name, "fs"));
  }

  function hasBegun(): boolean {
    return halfMade().some((path) => existsSync(join(path, "large")));
  }

  test("abort: ends the process, removes the directory and closes the source", async () => {
    const controller = new AbortController();
    let returned = false;
    const source = endless(() => {
      returned = true;
    });
    const call = fixture.layers.unpack(source, controller.signal);
    await until("the large file is there", hasBegun);
    assert.equal(childPids().length, 1);
    const reason = new Error("enough");
    controller.abort(reason);
    await assert.rejects(call, (error) => error === reason);
    fixture.assertNoLayers();
    assert.deepEqual(childPids(), []);
    assert.ok(returned);
    await fixture.assertRefused(
      endless(() => undefined),
      "unknown",
      /enough/,
      controller.signal,
    );
  });

  test("abort during the start: rejects once, without an unhandled rejection", async () => {
    const files = join(directory, "aborted");
    mkdirSync(files);
    const reason = new Error("enough");
    const chunks = {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.reject<IteratorResult<Buffer>>(reason),
      }),
    };
    const layer = { ...sourceOf(buildTar([{ name: "file" }])), chunks };
    const controller = new AbortController();
    const unpackers = new UnpackerProcesses(defaultUnpackerCommand());
    const { signal } = controller;
    const format = "directory" as const;
    const rest = { layer, disk: files, signal, stallMs: 60_000 };
    const options = { unpackers, format, directory: files, ...rest };
    const call = unpackBlob(options);
    controller.abort(reason);
    // The runner fails a test that leaves a rejection.
    await assert.rejects(call, (error) => error === reason);
  });

  test("killed unpacker: is reported, and leaves nothing behind", async () => {
    const call = fixture.layers.unpack(
      endless(() => undefined),
      never,
    );
    await until("the large file is there", hasBegun);
    for (const pid of childPids()) process.kill(pid, "SIGKILL");
    await assert.rejects(call, /unpacker ended with signal 9 and no report/);
    fixture.assertNoLayers();
  });

  test("stalled unpacker: is killed after the timeout", async () => {
    await using slow = await TestOverlay.open(join(directory, "slow"), {
      unpacker: { file: "/bin/sh", args: ["-c", "exec sleep 1000"] },
      stallMs: 50,
    });
    const tar = buildTar([{ name: "file", data: Buffer.alloc(2_000_000) }]);
    await assert.rejects(slow.layers.unpack(sourceOf(tar), never), (error) => {
      assert.match(String(error), /made no progress for 50 ms: killed/);
      return isKind(error, "deadline-exceeded");
    });
    assert.deepEqual(readdirSync(join(directory, "slow/layers")), [".empty"]);
  });

  test("a running unpacker is confined to the layer, without files of the daemon", async () => {
    const controller = new AbortController();
    const call = fixture.layers.unpack(
      endless(() => undefined),
      controller.signal,
    );
    await until("the large file is there", hasBegun);
    const [pid = 0] = childPids();
    // The directory of the layer, as a mount that has no name.
    const [made = ""] = halfMade();
    for (const what of ["root", "cwd"]) {
      assert.equal(readlinkSync(`/proc/${pid}/${what}`), "/");
      assert.equal(statSync(`/proc/${pid}/${what}/`).ino, statSync(made).ino);
    }
    const files = [...openFds(pid).values()].filter(
      (path) => !/^(pipe|socket|anon_inode):|^\/dev\/null$/.test(path),
    );
    assert.deepEqual(files, ["/large"]);
    controller.abort();
    await assert.rejects(call);
  });

  test("an unpacker is used for the next layer of its pull, in that layer's directory", async () => {
    await using lasting = await TestOverlay.open(join(directory, "lasting"), {
      unpackerIdleMs: 60_000,
    });
    const pull = { bytesLeft: 1 };
    const pids = new Set<number>();
    for (let count = 0; count < 3; count++) {
      const outside = { name: `outside-${count}`, type: "2", linkName: "/file-0" };
      const tar = buildTar([outside, { name: `file-${count}`, data: "x" }]);
      await lasting.layers.unpack({ ...sourceOf(tar), pull }, never);
      for (const pid of childPids()) pids.add(pid);
    }
    assert.equal(pids.size, 1);
    const other = [{ name: "of another pull" }, { name: "the same" }];
    await lasting.layers.unpack({ ...sourceOf(buildTar(other)), pull: { ...pull } }, never);
    assert.equal(childPids().length, 2, "another pull has another one");
    for (const diffId of lasting.layers.list()) {
      assert.equal(readdirSync(join(lasting.root, "layers", hexOf(diffId), "fs")).length, 2);
    }
    const broken = { ...sourceOf(Buffer.alloc(3000, "no tar")), pull };
    await assert.rejects(lasting.layers.unpack(broken, never));
    assert.equal(childPids().length, 1, "one that has failed is not used again");
    for (const pid of childPids()) process.kill(pid, "SIGKILL");
    await until("the one of the other pull has ended", () => childPids().length === 0);
  });

  test("one layer from several sources at the same time is stored once", async () => {
    const tar = buildTar([{ name: "file" }]);
    const calls = [1, 2, 3].map(() => fixture.layers.unpack(sourceOf(tar), never));
    await Promise.all(calls);
    assert.deepEqual(fixture.layers.list(), [digestOf(tar)]);
    assert.deepEqual(halfMade(), []);
  });
});
