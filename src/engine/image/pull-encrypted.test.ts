import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";

import { kindOf } from "../../base/errors.ts";
import type { ImageFetcher, ImageSource } from "../../core/image/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { fakeDecryption } from "../testing/fake-source.ts";
import type { ImageContext } from "./context.ts";
import { explainPull } from "./explain.ts";
import { loadImages } from "./load.ts";
import { pullImage } from "./pull.ts";

/** An engine, and its context on a node with these keys. */
function nodeWith(t: TestContext, ...names: readonly string[]) {
  const engine = new FakeEngine(t);
  const keys = new Set(names);
  const images: ImageContext = { ...engine.images, decryption: fakeDecryption(keys) };
  const { source, layers, archives } = engine.world;
  return { engine, keys, images, source, layers, archives };
}

const pull = (images: ImageContext, name: string) =>
  pullImage(images, { name, auth: undefined }, never);

/** A source whose images are all this one. */
function answering(source: ImageSource, fetcher: ImageFetcher): ImageSource {
  return { hosts: (...asked) => source.hosts(...asked), resolve: async () => fetcher };
}

/** How often the image's blob was fetched. */
function fetchedOf({ source }: ReturnType<typeof nodeWith>): number {
  return [...source.opened.values()].reduce((sum, times) => sum + times, 0);
}

describe("pullImage() of an image with encrypted layers", () => {
  test("decrypts the layers, and uses them for the next pull that can", async (t) => {
    const node = nodeWith(t, "secret");
    const { images, source, layers } = node;
    const { diffIds, id } = source.publish("app", { layers: ["base", "app"], key: "secret" });
    assert.equal(await pull(images, "app"), id);
    assert.equal(layers.lacking(diffIds), undefined);
    await pull(images, "app");
    assert.equal(fetchedOf(node), 2);
  });

  test("fails without a key before it fetches a layer, also when the layers are here", async (t) => {
    const node = nodeWith(t, "secret");
    const { images, source, keys, engine } = node;
    source.publish("app", { layers: ["base"], key: "secret" });
    const fails = async (context: ImageContext, text: RegExp): Promise<void> => {
      await assert.rejects(pull(context, "app"), (error: Error) => {
        assert.equal(kindOf(error), "failed-precondition");
        assert.match(error.message, text);
        return true;
      });
    };
    const unset =
      /decrypt layer 1 of 1, blob "sha256:[0-9a-f]+": it is encrypted \(for "test"\).*images\.decryption_keys_path/;
    await fails(engine.images, unset);
    assert.equal(fetchedOf(node), 0);
    await pull(images, "app");
    await fails(engine.images, unset);
    keys.clear();
    await fails(images, /no key/);
    assert.equal(fetchedOf(node), 1);
  });

  test("does not give a decrypted layer to an image that calls its blob plain", async (t) => {
    const { images, source } = nodeWith(t, "secret");
    const { resolved } = source.publish("app", { layers: ["base"], key: "secret" });
    await pull(images, "app");
    source.publish("evil", { layers: ["base"] });
    const fetcher = await source.resolve(images.store.referenceOf("evil"), undefined, never);
    const [blob] = resolved.layers;
    assert.ok(blob !== undefined);
    const { encryption: _, ...plain } = blob;
    const image = { ...fetcher.image, layers: [plain] };
    const stripped = { ...fetcher, image, hasBlob: async () => true };
    const own = { ...images, source: answering(source, stripped) };
    await assert.rejects(pull(own, "evil"), (error: Error) => {
      assert.equal(kindOf(error), "data-loss");
      return true;
    });
  });

  test("does not give a decrypted layer to an image with another key for its blob", async (t) => {
    const { images, source } = nodeWith(t, "secret", "attacker");
    const { resolved } = source.publish("app", { layers: ["base"], key: "secret" });
    await pull(images, "app");
    const other = source.publish("evil", { layers: ["base"], key: "attacker" });
    const fetcher = await source.resolve(images.store.referenceOf("evil"), undefined, never);
    const [blob, forged] = [resolved.layers[0], other.resolved.layers[0]];
    assert.ok(blob !== undefined && forged?.encryption !== undefined);
    const image = { ...fetcher.image, layers: [{ ...blob, encryption: forged.encryption }] };
    const rewrapped = { ...fetcher, image, hasBlob: async () => true };
    const own = { ...images, source: answering(source, rewrapped) };
    await assert.rejects(pull(own, "evil"), (error: Error) => {
      assert.equal(kindOf(error), "data-loss");
      return true;
    });
  });

  test("fetches a plain layer again that was here as an encrypted one, and the reverse", async (t) => {
    const node = nodeWith(t, "secret");
    const { images, source } = node;
    source.publish("open", { layers: ["base"] });
    source.publish("locked", { layers: ["base"], key: "secret" });
    for (const name of ["open", "locked", "open", "locked"]) await pull(images, name);
    assert.equal(fetchedOf(node), 2);
  });

  test("explains which key is missing", async (t) => {
    const { images, source, engine } = nodeWith(t, "secret");
    source.publish("app", { layers: ["base"], key: "secret" });
    const request = { name: "app", auth: undefined };
    const without = await explainPull(engine.images, request, never);
    assert.equal(without.error?.kind, "failed-precondition");
    assert.match(without.error.message, /it is encrypted/);
    const { layers, error } = await explainPull(images, request, never);
    assert.equal(error, undefined);
    assert.deepEqual(
      layers.map(({ decision, cipher }) => [decision, cipher !== undefined]),
      [["missing", true]],
    );
  });
});

describe("loadImages() of an archive with encrypted layers", () => {
  async function load(images: ImageContext): Promise<void> {
    async function* bytes(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("archive");
    }
    for await (const _ of loadImages(images, bytes(), {}, never));
  }

  test("decrypts them with the keys of the node, and needs the keys each time", async (t) => {
    const { images, archives, layers, keys } = nodeWith(t, "secret");
    archives.images = [{ names: ["app:1"], layers: ["base"], key: "secret" }];
    await load(images);
    await load(images);
    assert.deepEqual([...layers.unpacked.values()], [1]);
    assert.notEqual(images.store.find("app:1"), undefined);
    keys.clear();
    await assert.rejects(load(images), /no key/);
  });
});
