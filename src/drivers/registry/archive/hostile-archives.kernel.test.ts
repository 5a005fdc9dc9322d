// What hostile archives of images cannot do to the real reader.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { type BuiltEntry, buildTar } from "../../../unpack/testing/tar-builder.ts";
import { digestOf } from "../manifest.ts";
import {
  config,
  descriptor,
  docker,
  fixture,
  hex,
  indexType,
  json,
  layer,
  layout,
  manifest,
  manifestType,
  named,
  read,
} from "./testing/archive-fixture.ts";

describe("a hostile archive", () => {
  const wrong: readonly (readonly [string, () => Buffer, RegExp])[] = [
    [
      "with a config of another digest",
      () => docker({ Config: `${"0".repeat(64)}.json` }),
      /no file/,
    ],
    [
      "whose config is not the one that its name says",
      () =>
        docker({ Config: `${"0".repeat(64)}.json` }, [
          { name: `${"0".repeat(64)}.json`, data: config },
        ]),
      /has the digest/,
    ],
    ["without a layer", () => docker({}, []), /no file "a\/layer\.tar", a layer of/],
    [
      "whose layer is a link out",
      () => docker({}, [{ name: "a/layer.tar", type: "2", linkName: "../../etc/passwd" }]),
      /no file/,
    ],
    [
      "whose layer is a link to the node",
      () => docker({}, [{ name: "a/layer.tar", type: "2", linkName: "/etc/passwd" }]),
      /no file/,
    ],
    [
      "with links in a circle",
      () =>
        docker({}, [
          { name: "a/layer.tar", type: "2", linkName: "layer2.tar" },
          { name: "a/layer2.tar", type: "2", linkName: "layer.tar" },
        ]),
      /no file/,
    ],
    [
      "with a name that leads out",
      () => docker({}, [{ name: "../../outside", data: "x" }]),
      /leads out/,
    ],
    ["whose layers are not a list", () => docker({ Layers: "a" }), /is not a list of texts/],
    ["with an invalid name", () => docker({ RepoTags: ["../UP"] }), /parse image name/],
    [
      "with a name with a digest",
      () => docker({ RepoTags: [`a@${digestOf(layer)}`] }),
      /has no tag/,
    ],
    [
      "with a manifest that is not a list",
      () => buildTar([{ name: "manifest.json", data: "{}" }]),
      /is not a list/,
    ],
    [
      "with a manifest that is not JSON",
      () => buildTar([{ name: "manifest.json", data: "[" }]),
      /is not JSON/,
    ],
    [
      "with a manifest that is too large",
      () => buildTar([{ name: "manifest.json", data: Buffer.alloc(4 * 2 ** 20 + 1, " ") }]),
      /more than 4194304/,
    ],
    [
      "with a manifest that is a sparse file",
      () =>
        buildTar([
          {
            name: "s",
            pax: {
              "GNU.sparse.major": "1",
              "GNU.sparse.minor": "0",
              "GNU.sparse.realsize": "1099511627776",
              "GNU.sparse.name": "manifest.json",
            },
            data: Buffer.concat([Buffer.from("1\n0\n0\n"), Buffer.alloc(506)]),
          },
        ]),
      /sparse file/,
    ],
    ["that is empty", () => buildTar([]), /neither a docker archive nor/],
    ["that is not an archive", () => Buffer.alloc(2000, "x"), /archive/],
    ["that ends early", () => docker().subarray(0, 1600), /ends in the middle/],
    ["that is compressed and ends early", () => gzipSync(docker()).subarray(0, 200), /decompress/],
    [
      "without a blob",
      () => layout([descriptor(manifestType, manifest)], [manifest, config]),
      /a blob of an image/,
    ],
    [
      "of another platform",
      () =>
        layout([
          descriptor(manifestType, manifest, {
            platform: { os: "linux", architecture: "s390x" },
            ...named("a:1"),
          }),
        ]),
      /for linux\/s390x, not for this node's linux\/amd64/,
    ],
    [
      "with a version of the future",
      () =>
        buildTar([
          { name: "oci-layout", data: '{"imageLayoutVersion":"2.0.0"}' },
          { name: "index.json", data: json({ manifests: [] }) },
        ]),
      /unknown version/,
    ],
    [
      "with a size that is not true",
      () => layout([{ ...descriptor(manifestType, manifest), size: 1 }]),
      /instead of 1/,
    ],
    [
      "with a digest that is a path",
      () =>
        layout([{ ...descriptor(manifestType, manifest), digest: "sha256:../../../etc/passwd" }]),
      /not a sha256 digest/,
    ],
  ];
  for (const [what, bytes, message] of wrong) {
    test(`${what} is refused and leaves nothing`, async () => {
      await using site = await fixture();
      await assert.rejects(site.open(bytes()), { message });
      site.assertEmpty();
      assert.deepEqual(readdirSync(site.root), ["archives"]);
    });
  }

  test("whose blob has other bytes than its name says is refused", async () => {
    await using site = await fixture();
    const forged = buildTar([
      { name: "oci-layout", data: '{"imageLayoutVersion":"1.0.0"}' },
      { name: "index.json", data: json({ manifests: [descriptor(manifestType, manifest)] }) },
      { name: `blobs/sha256/${hex(manifest)}`, data: config },
    ]);
    await assert.rejects(site.open(forged), { kind: "data-loss", message: /has the digest/ });
    site.assertEmpty();
  });

  test("with indexes in indexes is refused", async () => {
    await using site = await fixture();
    let inner = manifest;
    let type = manifestType;
    const blobs = [manifest, config, layer];
    for (let depth = 0; depth < 5; depth++) {
      inner = json({
        schemaVersion: 2,
        mediaType: indexType,
        manifests: [descriptor(type, inner)],
      });
      type = indexType;
      blobs.push(inner);
    }
    await assert.rejects(site.open(layout([descriptor(type, inner)], blobs)), {
      kind: "failed-precondition",
      message: /more than 3 deep/,
    });
  });

  test("with too many names is refused, and devices in it are not made", async () => {
    await using site = await fixture();
    const names = Array.from({ length: 12_000 }, (_, at) => ({
      name: `${"d".repeat(90)}/${at}`,
    }));
    await assert.rejects(site.open(buildTar(names)), { kind: "failed-precondition" });
    const devices: readonly BuiltEntry[] = [
      { name: "a/layer.tar", data: layer },
      { name: "null", type: "3", major: 1, minor: 3 },
      { name: "pipe", type: "6" },
    ];
    await using archive = await site.open(docker({}, devices));
    const [directory = ""] = readdirSync(join(site.root, "archives"));
    assert.deepEqual(readdirSync(join(site.root, "archives", directory)).toSorted(), [
      "0",
      "1",
      "2",
    ]);
    assert.deepEqual(await read(archive), layer);
  });
});
