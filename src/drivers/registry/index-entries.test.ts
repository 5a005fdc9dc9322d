import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { type ImageFetcher, parseReference } from "../../core/image/index.ts";
import { RegistryFixture, resolve } from "./testing/registry-fixture.ts";
import {
  type Content,
  digestOf,
  ociIndex,
  ociManifest,
  serve,
  type TinyImage,
  tinyImage,
} from "./testing/scripted-registry.ts";

const fixture = new RegistryFixture();
const { client, fails, server } = fixture;

const dockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
const dockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
const amd64 = { os: "linux", architecture: "amd64" };
const arm64 = { os: "linux", architecture: "arm64" };

/** An image whose config says what it runs on. */
function imageFor(config: object, change: object = {}): TinyImage {
  const bytes = Buffer.from(JSON.stringify(config));
  const image = tinyImage("app", {
    change: {
      config: {
        mediaType: "application/vnd.oci.image.config.v1+json",
        digest: digestOf(bytes),
        size: bytes.length,
      },
      ...change,
    },
  });
  const blob = { bytes, type: "application/octet-stream" };
  const content = { ...image.content, [`/v2/app/blobs/${digestOf(bytes)}`]: blob };
  return { ...image, content };
}

const entryOf = (manifest: Uint8Array, more: object = {}): object => ({
  mediaType: ociManifest,
  digest: digestOf(manifest),
  size: manifest.length,
  ...more,
});

/** An index under its digest; with `name` also under that tag. */
function indexOf(
  manifests: readonly object[],
  name?: string,
  type = ociIndex,
): { readonly bytes: Buffer; readonly content: Readonly<Record<string, Content>> } {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: type, manifests }));
  const content = { bytes, type };
  const tagged = name === undefined ? {} : { [`/v2/app/manifests/${name}`]: content };
  return {
    bytes,
    content: { [`/v2/app/manifests/${digestOf(bytes)}`]: content, ...tagged },
  };
}

async function chosen(...contents: readonly Readonly<Record<string, Content>>[]): Promise<string> {
  const host = await server(serve(Object.assign({}, ...contents) as Record<string, Content>));
  return (await resolve(client(), `${host.host}/app`)).manifest.digest;
}

describe("Registry.resolve() of an index", () => {
  const own = imageFor(amd64);
  const other = imageFor(arm64);

  test("lets the config decide about an entry without a platform", async () => {
    const index = indexOf([entryOf(other.manifest), entryOf(own.manifest)], "latest");
    assert.equal(await chosen(own.content, other.content, index.content), digestOf(own.manifest));
    const none = indexOf([entryOf(other.manifest)], "latest");
    const host = await server(serve({ ...other.content, ...none.content }));
    await fails(resolve(client(), `${host.host}/app`), "not-found", /no platform at all, not for/);
  });

  test("takes an entry with an empty platform, and an image whose config names none", async () => {
    const silent = imageFor({});
    const index = indexOf([entryOf(silent.manifest, { platform: {} })], "latest");
    assert.equal(await chosen(silent.content, index.content), digestOf(silent.manifest));
  });

  test("prefers an entry for the platform to one that names none, wherever they are", async () => {
    const silent = imageFor({});
    const index = indexOf(
      [entryOf(silent.manifest), entryOf(own.manifest, { platform: amd64 })],
      "latest",
    );
    assert.equal(await chosen(silent.content, own.content, index.content), digestOf(own.manifest));
  });

  test("ignores attestations, signatures and entries of unknown types", async () => {
    const index = indexOf(
      [
        entryOf(other.manifest, { platform: { os: "unknown", architecture: "unknown" } }),
        entryOf(other.manifest, { mediaType: "application/vnd.in-toto+json" }),
        entryOf(other.manifest, { mediaType: "application/vnd.oci.artifact.manifest.v1+json" }),
        entryOf(own.manifest, { platform: { os: "LINUX", architecture: "x86_64" } }),
      ],
      "latest",
    );
    assert.equal(await chosen(own.content, index.content), digestOf(own.manifest));
  });

  test("searches the indexes in it, and continues after one without the platform", async () => {
    const without = indexOf([entryOf(other.manifest, { platform: arm64 })]);
    const inner = indexOf([entryOf(own.manifest, { platform: amd64 })]);
    const index = indexOf(
      [
        entryOf(without.bytes, { mediaType: ociIndex }),
        entryOf(inner.bytes, { mediaType: ociIndex }),
      ],
      "latest",
    );
    assert.equal(
      await chosen(own.content, without.content, inner.content, index.content),
      digestOf(own.manifest),
    );
  });

  test("reads Docker's list with manifests of both kinds, and old types of configs", async () => {
    const old = imageFor(amd64, {
      mediaType: dockerManifest,
      config: {
        mediaType: "application/octet-stream",
        digest: digestOf(Buffer.from(JSON.stringify(amd64))),
        size: JSON.stringify(amd64).length,
      },
    });
    const index = indexOf(
      [
        entryOf(other.manifest, { platform: arm64 }),
        entryOf(old.manifest, { mediaType: dockerManifest, platform: amd64 }),
      ],
      "latest",
      dockerList,
    );
    const manifest = { bytes: old.manifest, type: dockerManifest };
    const content = { [`/v2/app/manifests/${digestOf(old.manifest)}`]: manifest };
    assert.equal(await chosen(old.content, index.content, content), digestOf(old.manifest));
  });

  test("takes an artifact, which has no platform", async () => {
    const model = tinyImage("app", {
      change: {
        artifactType: "x/model",
        config: entryOf(Buffer.from("{}"), { mediaType: "x/y" }),
        layers: [],
      },
    });
    const index = indexOf([entryOf(model.manifest)], "latest");
    assert.equal(await chosen(model.content, index.content), digestOf(model.manifest));
  });

  test("reads a bounded number of manifests", async () => {
    const images = Array.from({ length: 40 }, (_, at) => imageFor({ ...arm64, at }, { at }));
    const index = indexOf(
      images.map(({ manifest }) => entryOf(manifest)),
      "latest",
    );
    const content = Object.assign({}, ...images.map((one) => one.content), index.content) as Record<
      string,
      Content
    >;
    const host = await server(serve(content));
    await fails(
      resolve(client(), `${host.host}/app`),
      "failed-precondition",
      /more than 32 manifests without a platform/,
    );
  });
});

describe("a layer that its manifest says to get from elsewhere", () => {
  const other = fixtureOfElsewhere();

  test("is fetched from the registry where it is there", async () => {
    const host = await server(serve(other.content));
    const fetcher = await fetcherFor(`${host.host}/app`);
    const [layer] = fetcher.image.layers;
    assert.ok(layer?.isForeign);
    await using stream = await fetcher.blob(layer, new AbortController().signal);
    assert.equal(stream.sizeBytes, BigInt(other.layer.length));
  });

  test("is never fetched from the addresses in the manifest", async () => {
    const { [`/v2/app/blobs/${digestOf(other.layer)}`]: _missing, ...content } = other.content;
    const host = await server(serve(content));
    const fetcher = await fetcherFor(`${host.host}/app`);
    const [layer] = fetcher.image.layers;
    assert.ok(layer);
    await fails(
      fetcher.blob(layer, new AbortController().signal),
      "not-found",
      /404.*names other places for this layer, which davit never asks: push the image/,
    );
  });
});

function fixtureOfElsewhere(): TinyImage {
  const layer = Buffer.from("layer".repeat(1000));
  return tinyImage("app", {
    layer,
    change: {
      layers: [
        {
          mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
          digest: digestOf(layer),
          size: layer.length,
          urls: ["http://127.0.0.1:1/never"],
        },
      ],
    },
  });
}

function fetcherFor(name: string): Promise<ImageFetcher> {
  return client().resolve(parseReference(name), undefined, new AbortController().signal);
}
