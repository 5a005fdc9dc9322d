// Archives of images through the real reader.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import type { BuiltEntry } from "../../../unpack/testing/tar-builder.ts";
import { digestOf } from "../manifest.ts";
import {
  config,
  descriptor,
  docker,
  fixture,
  indexType,
  json,
  layer,
  layout,
  manifest,
  manifestType,
  named,
  namesOf,
  never,
  read,
} from "./testing/archive-fixture.ts";

describe("an archive of images", () => {
  test("of docker has configs, layers and names, also where a layer is a link", async () => {
    await using site = await fixture();
    const links: readonly BuiltEntry[] = [
      { name: "real.tar", data: layer },
      { name: "hard/layer.tar", type: "1", linkName: "real.tar" },
      { name: "a/layer.tar", type: "2", linkName: "../hard/layer.tar" },
    ];
    for (const bytes of [
      docker(),
      docker({}, links),
      gzipSync(docker()),
      zstdCompressSync(docker()),
    ]) {
      await using archive = await site.open(bytes);
      assert.deepEqual(namesOf(archive), [["docker.io/library/app:1"]]);
      const [image] = archive.images;
      assert.ok(image);
      assert.deepEqual([image.config.digest, image.digest], [digestOf(config), undefined]);
      assert.deepEqual(Buffer.from(await archive.config(image)), config);
      assert.deepEqual(await read(archive), layer);
    }
    site.assertEmpty();
  });

  test("of docker has no names where RepoTags is null", async () => {
    await using site = await fixture();
    await using archive = await site.open(docker({ RepoTags: null }));
    assert.deepEqual(namesOf(archive), [[]]);
  });

  test("in an OCI layout is found through indexes and annotations", async () => {
    await using site = await fixture();
    const nested = json({
      schemaVersion: 2,
      manifests: [
        descriptor(manifestType, Buffer.from("not here"), {
          platform: { os: "linux", architecture: "s390x" },
        }),
        descriptor(manifestType, manifest, { platform: { os: "linux", architecture: "amd64" } }),
      ],
    });
    const full = { annotations: { "io.containerd.image.name": "images.test/app" } };
    const entries = [
      descriptor(indexType, nested, full),
      descriptor(manifestType, manifest, named("other:2")),
      descriptor(manifestType, manifest, named("latest")),
    ];
    const bytes = layout(entries, [nested, manifest, config, layer]);
    await using archive = await site.open(bytes);
    assert.deepEqual(namesOf(archive), [
      ["images.test/app:latest"],
      ["docker.io/library/other:2"],
      [],
    ]);
    assert.deepEqual(
      archive.images.map(({ digest }) => digest),
      [digestOf(nested), digestOf(manifest), digestOf(manifest)],
    );
    assert.deepEqual(await read(archive), layer);
  });

  test("in an OCI layout may have signatures, but not only these", async () => {
    await using site = await fixture();
    const signature = json({
      schemaVersion: 2,
      config: descriptor("application/vnd.example.signature", config),
      layers: [],
    });
    const entries = [descriptor(manifestType, signature), descriptor(manifestType, manifest)];
    const blobs = [signature, manifest, config, layer];
    await using archive = await site.open(layout(entries, blobs));
    assert.equal(archive.images.length, 1);
    await assert.rejects(site.open(layout(entries.slice(0, 1), blobs)), {
      kind: "unimplemented",
      message: /^read image archive: it has an OCI artifact/,
    });
  });

  test("of a root file system is one layer", async () => {
    await using site = await fixture();
    const rootFs = {
      entrypoint: [],
      cmd: ["/bin/sh"],
      env: ["A=b"],
      workingDir: "/",
      user: "",
    };
    for (const bytes of [layer, gzipSync(layer)]) {
      await using archive = await site.open(bytes, { rootFs });
      const [image] = archive.images;
      assert.ok(image);
      assert.deepEqual(JSON.parse(Buffer.from(await archive.config(image)).toString()), {
        architecture: "amd64",
        os: "linux",
        config: { Env: ["A=b"], Cmd: ["/bin/sh"], WorkingDir: "/" },
        rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
        history: [{ comment: "imported from a root file system" }],
      });
      assert.equal(image.layers[0]?.digest, digestOf(bytes));
      assert.deepEqual(await read(archive), bytes);
    }
  });
});

describe("receiving", () => {
  test("ends with its caller and with its source, and leaves nothing", async () => {
    await using site = await fixture();
    const caller = new AbortController();
    const begun = Promise.withResolvers<undefined>();
    async function* stalls(): AsyncGenerator<Uint8Array> {
      yield docker().subarray(0, 600);
      begun.resolve(undefined);
      await new Promise(() => undefined);
    }
    const opening = site.archives.open(stalls(), {}, caller.signal);
    await begun.promise;
    caller.abort(new Error("left"));
    await assert.rejects(opening, { message: "left" });
    async function* breaks(): AsyncGenerator<Uint8Array> {
      yield docker().subarray(0, 600);
      throw new Error("the pipe broke");
    }
    await assert.rejects(site.archives.open(breaks(), {}, never), { message: "the pipe broke" });
    site.assertEmpty();
  });

  test("removes what an earlier daemon received, and nothing that is open", async () => {
    await using site = await fixture();
    await site.archives.sweep(); // without the directory
    await using archive = await site.open(docker());
    const old = join(site.root, "archives", "old");
    mkdirSync(old);
    writeFileSync(join(old, "0"), "x");
    await site.archives.sweep();
    assert.ok(!existsSync(old));
    assert.deepEqual(await read(archive), layer);
  });
});
