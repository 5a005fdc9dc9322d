// Archives of images through the real reader: what they may contain, and what hostile ones cannot do.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { silentLogger } from "../../../base/logger.ts";
import {
  type ArchiveOptions,
  formatReference,
  type ImageArchive,
} from "../../../core/image/index.ts";
import { type BuiltEntry, buildTar } from "../../../unpack/testing/tar-builder.ts";
import { digestOf } from "../manifest.ts";
import { Archives } from "./archives.ts";

const never = new AbortController().signal;
const linux = { os: "linux", architecture: "amd64", variant: "" };

interface Fixture extends AsyncDisposable {
  readonly root: string;
  readonly archives: Archives;
  open(bytes: Buffer, options?: ArchiveOptions): Promise<ImageArchive>;
  /** Nothing of a received archive is left. */
  assertEmpty(): void;
}

async function fixture(): Promise<Fixture> {
  const root = await mkdtemp(join(tmpdir(), "davit-archives-"));
  const archives = new Archives({ root, log: silentLogger, platform: linux });
  return {
    root,
    archives,
    open: (bytes, options = {}) => archives.open(pieces(bytes), options, never),
    assertEmpty: () => assert.deepEqual(readdirSync(join(root, "archives")), []),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const hex = (bytes: Buffer): string => digestOf(bytes).slice(7);
const layer = buildTar([{ name: "file", data: "content" }]);
const config = json({ rootfs: { diff_ids: [digestOf(layer)] } });
const configName = `${hex(config)}.json`;

/** A docker archive with one image. */
function docker(
  item: Readonly<Record<string, unknown>> = {},
  entries: readonly BuiltEntry[] = [{ name: "a/layer.tar", data: layer }],
): Buffer {
  const manifest = [{ Config: configName, RepoTags: ["app:1"], Layers: ["a/layer.tar"], ...item }];
  return buildTar([
    { name: "manifest.json", data: json(manifest) },
    { name: configName, data: config },
    ...entries,
  ]);
}

const ociType = (kind: string): string => `application/vnd.oci.image.${kind}`;
const blob = (bytes: Buffer): BuiltEntry => ({ name: `blobs/sha256/${hex(bytes)}`, data: bytes });
const descriptor = (mediaType: string, bytes: Buffer, more: object = {}): object => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
  ...more,
});
const manifest = json({
  schemaVersion: 2,
  config: descriptor(ociType("config.v1+json"), config),
  layers: [descriptor(ociType("layer.v1.tar"), layer)],
});
const manifestType = ociType("manifest.v1+json");
const indexType = ociType("index.v1+json");

/** An OCI layout with these entries in its index. */
function layout(
  entries: readonly object[],
  blobs: readonly Buffer[] = [manifest, config, layer],
): Buffer {
  return buildTar([
    { name: "oci-layout", data: '{"imageLayoutVersion":"1.0.0"}' },
    { name: "index.json", data: json({ schemaVersion: 2, manifests: entries }) },
    ...blobs.map(blob),
  ]);
}

const named = (name: string): object => ({
  annotations: { "org.opencontainers.image.ref.name": name },
});

async function read(archive: ImageArchive, at = 0): Promise<Buffer> {
  const [first] = archive.images[at]?.layers ?? [];
  assert.ok(first);
  await using stream = await archive.blob(first);
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream.chunks) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const namesOf = (archive: ImageArchive): readonly (readonly string[])[] =>
  archive.images.map(({ names }) => names.map(formatReference));

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
      message: /^read image archive: it has a config of type/,
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
