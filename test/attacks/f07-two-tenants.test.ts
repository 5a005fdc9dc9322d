/**
 * F7: two tenants share a node. Alice has pulled a private image, so its layers are here. Bob may not
 * read it, knows its digests, and makes images whose configs name her layers: he must get from the node
 * nothing that the registry does not give him.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import {
  ScriptedRegistry,
  type Script,
} from "../../src/drivers/registry/testing/scripted-registry.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { type Blob, imageOf, type Layer, layerOf, type TestImage } from "../support/images.ts";
import {
  imageless,
  imageStatus,
  layersThere,
  Node,
  pull,
  removeAllImages,
} from "../support/suites/containers.ts";
import { code, failsWith, launchDaemon, until } from "../support/suites/pods.ts";

const dataLoss = 15;
const unauthenticated = 16;

const alice = { username: "alice", password: "alice-password" };
const bob = { username: "bob", password: "bob-password" };

const secret = layerOf([{ path: "secret.txt", body: randomBytes(200_000) }]);
const privateImage = imageOf([secret]);
const privateName = "images.test/alice/private:1";
/** Bob knows the digests of her layer, but not its content. */
const forged = imageOf([{ ...layerOf([{ path: "bob", body: "bob" }]), diffId: secret.diffId }]);

let node: Node;
let daemon: TestDaemon;
let stack: AsyncDisposableStack;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.start();
  daemon = node.daemon;
  node.registry.guard("alice/private", alice);
  node.registry.guard("bob/own", bob);
  await node.registry.push("alice/private", privateImage, ["1"]);
  await node.registry.push("bob/own", forged, ["forged"]);
  // Bob's copy of her manifest, with a blob that the registry does not serve to him.
  await node.registry.push("bob/own", privateImage, ["copied"]);
  await node.registry.removeBlob("bob/own", secret);
});
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());
after(() => node[Symbol.asyncDispose]());

type Auth = typeof alice;

function pullAs(auth: Auth, image: string): Promise<string> {
  return daemon.client.image.pullImage({ image: { image }, auth }).then(({ imageRef }) => imageRef);
}

const headOf = ({ digest }: Layer): RegExp => new RegExp(`^HEAD .*/blobs/${digest}`);
const getOf = ({ digest }: Layer): RegExp => new RegExp(`^GET .*/blobs/${digest}`);

/** The pull fails, and the image does not become one of this node. */
async function refused(image: string, status: number, message?: RegExp): Promise<void> {
  await assert.rejects(pullAs(bob, image), failsWith(status, message));
  assert.equal(await imageStatus(daemon, image), undefined);
}

/** A registry of Bob, with the name `evil.test`. He controls its answers. */
async function bobsRegistry(image: TestImage, layerAnswer: Script): Promise<ScriptedRegistry> {
  const { manifest, config } = image;
  const serve = (blob: Blob): Script => {
    const headers = { "content-type": blob.mediaType, "content-length": blob.bytes.length };
    return (_, response) => void response.writeHead(200, headers).end(blob.bytes);
  };
  const registry = await ScriptedRegistry.open((seen, response, request) => {
    const isManifest = seen.url.includes("/manifests/");
    const isConfig = seen.url.includes(config.digest);
    const answer = isManifest ? serve(manifest) : isConfig ? serve(config) : layerAnswer;
    return answer(seen, response, request);
  });
  node.registry.mirror("evil.test", `http://${registry.host}`);
  return stack.use(registry);
}

const notThere: Script = (_, response) => void response.writeHead(404).end();

describe("a layer that another tenant has pulled", () => {
  test(
    "is not given for a config that names it next to a blob of its own image",
    imageless(served, async () => {
      await refused("images.test/bob/own:forged", dataLoss, /sha256:/);
      await pullAs(alice, privateName);
      await refused("images.test/bob/own:forged", dataLoss, /sha256:/);
    }),
  );

  test(
    "is not given for a blob that nobody has",
    imageless(served, async () => {
      await pullAs(alice, privateName);
      const nothing = { ...secret, digest: `sha256:${"ab".repeat(32)}`, bytes: Buffer.alloc(123) };
      await bobsRegistry(imageOf([nothing]), notThere);
      await refused("evil.test/x:1", code.notFound, /evil\.test|answered 404/);
    }),
  );

  test(
    "is not given for its own blob where the registry does not grant that",
    imageless(served, async () => {
      await pullAs(alice, privateName);
      await refused("images.test/bob/own:copied", code.notFound, /BLOB_UNKNOWN/);
      assert.ok(node.registry.count(headOf(secret)) > 0, "the registry was asked");
    }),
  );

  test(
    "is not given for its own blob where another registry says that it has that",
    imageless(served, async () => {
      await pullAs(alice, privateName);
      const liar = await bobsRegistry(privateImage, ({ method }, response) => {
        const size = { "content-length": secret.bytes.length };
        if (method === "HEAD") response.writeHead(200, size).end();
        else response.writeHead(200, size).end(randomBytes(secret.bytes.length));
      });
      await refused("evil.test/x:1", dataLoss, /sha256:/);
      assert.ok(liar.asked.some((line) => line.startsWith("GET /v2/x/blobs/")));
    }),
  );

  test(
    "is not given without credentials, or with those of another",
    imageless(served, async () => {
      await pullAs(alice, privateName);
      await assert.rejects(pull(daemon, privateName), failsWith(unauthenticated));
      await assert.rejects(pullAs(bob, privateName), failsWith(unauthenticated));
    }),
  );

  test(
    "is not given when it is left from a cancelled pull",
    imageless(served, async () => {
      const other = layerOf([{ path: "other", body: randomBytes(10_000) }]);
      node.registry.guard("alice/half", alice);
      await node.registry.push("alice/half", imageOf([secret, other]), ["1"]);
      const release = node.registry.hold(getOf(other));
      stack.defer(release);
      const request = { image: { image: "images.test/alice/half:1" }, auth: alice };
      const caller = new AbortController();
      const half = daemon.client.image.pullImage(request, { signal: caller.signal });
      const ended = assert.rejects(half, failsWith(code.canceled));
      const isThere = (): boolean => layersThere(daemon).includes(hexOf(secret));
      await until("her first layer is there", isThere);
      caller.abort();
      await ended;
      await refused("images.test/bob/own:forged", dataLoss);
      await refused("images.test/bob/own:copied", code.notFound);
      assert.ok(isThere());
      // This removes the layer, too.
      await pullAs(alice, privateName);
    }),
  );
});

describe("a layer that another tenant is pulling", () => {
  test(
    "is not given to a pull that would fetch the same blob",
    imageless(served, async () => {
      const release = node.registry.hold(getOf(secret));
      stack.defer(release);
      const asked = node.registry.count(getOf(secret));
      const hers = pullAs(alice, privateName);
      await until("her layer is asked for", () => node.registry.count(getOf(secret)) > asked);
      const his = refused("images.test/bob/own:copied", code.notFound, /BLOB_UNKNOWN/);
      const manifest = /^GET .*\/bob\/own\/blobs\/sha256/;
      await until("his config is asked for", () => node.registry.count(manifest) > 0);
      release();
      await his;
      assert.equal(await hers, privateImage.config.digest);
    }),
  );

  test(
    "is pulled even if the pull of the same blob by another tenant fails",
    imageless(served, async () => {
      // The 404 for him is delayed, so that her pull waits for his download.
      const his = new RegExp(`^GET .*/bob/own/blobs/${secret.digest}`);
      const release = node.registry.hold(his, 0);
      stack.defer(release);
      const asked = node.registry.count(his);
      const failing = refused("images.test/bob/own:copied", code.notFound, /BLOB_UNKNOWN/);
      await until("his layer is asked for", () => node.registry.count(his) > asked);
      const configs = node.registry.count(/^GET .*\/alice\/private\/blobs/);
      const hers = pullAs(alice, privateName);
      await until("her config is there", () => {
        return node.registry.count(/^GET .*\/alice\/private\/blobs/) > configs;
      });
      release();
      await failing;
      assert.equal(await hers, privateImage.config.digest);
    }),
  );
});

describe("a layer that is here", () => {
  test(
    "costs its owner one question for 5 minutes, and no download",
    imageless(served, async () => {
      await pullAs(alice, privateName);
      const [heads, gets] = [
        node.registry.count(headOf(secret)),
        node.registry.count(getOf(secret)),
      ];
      // No other test uses these credentials of hers, so nothing was granted to them before.
      const auth = { auth: Buffer.from(`${alice.username}:${alice.password}`).toString("base64") };
      for (let times = 0; times < 3; times++) {
        await daemon.client.image.pullImage({ image: { image: privateName }, auth });
      }
      assert.equal(node.registry.count(getOf(secret)), gets);
      assert.equal(node.registry.count(headOf(secret)), heads + 1);
    }),
  );

  test(
    "is fetched once from each registry that has it, and stays what it is",
    across(async () => {
      await node.registry.push("team/app", privateImage, ["1"]);
      await pullAs(alice, privateName);
      const gets = (): number => node.registry.count(getOf(secret));
      const before = gets();
      await pull(daemon, "docker.io/team/app:1");
      assert.equal(gets(), before + 1);
      await daemon.stop();
      await launchDaemon(daemon);
      await pull(daemon, "docker.io/team/app:1");
      await pullAs(alice, privateName);
      assert.equal(gets(), before + 1);
      assert.equal(layersThere(daemon).length, 1);
    }),
  );

  test(
    "of an older davit is not fetched again from the registry of its image, nor given to others",
    across(async () => {
      await pullAs(alice, privateName);
      await daemon.stop();
      forgetOrigins(secret);
      await launchDaemon(daemon);
      const gets = node.registry.count(getOf(secret));
      await pullAs(alice, privateName);
      assert.equal(node.registry.count(getOf(secret)), gets);
      await refused("images.test/bob/own:forged", dataLoss);
      await refused("images.test/bob/own:copied", code.notFound);
    }),
  );

  test(
    "is not taken for a manifest that gives it another size (W20)",
    imageless(served, async () => {
      await pullAs(alice, privateName);
      const wrong = imageOf([secret]);
      const text = wrong.manifest.bytes.toString();
      const size = `"size":${secret.bytes.length}`;
      assert.ok(text.includes(size));
      const bytes = Buffer.from(text.replace(size, `"size":${secret.bytes.length + 1}`));
      const manifest = { ...wrong.manifest, bytes };
      const registry = await bobsRegistry({ ...wrong, manifest }, (_, response) => {
        response.writeHead(200, { "content-length": secret.bytes.length }).end(secret.bytes);
      });
      // By the name of the registry that served the layer.
      node.registry.mirror("images.test", `http://${registry.host}`);
      stack.defer(() => {
        node.registry.mirror("images.test");
      });
      await assert.rejects(
        pullAs(alice, "images.test/alice/private:wrong"),
        failsWith(dataLoss, /has 200\d+ bytes for a blob of 200\d+ bytes/),
      );
    }),
  );

  test(
    "is shared by all tenants if the configuration says so",
    across(async () => {
      daemon.changeConfig({ images: { trust_present_layers: true } });
      await daemon.restart();
      try {
        await pullAs(alice, privateName);
        const heads = node.registry.count(headOf(secret));
        await pullAs(bob, "images.test/bob/own:forged");
        await pullAs(alice, privateName);
        assert.equal(node.registry.count(headOf(secret)), heads);
      } finally {
        await removeAllImages(daemon);
        daemon.changeConfig({});
        await daemon.restart();
      }
      await pullAs(alice, privateName);
      await refused("images.test/bob/own:forged", dataLoss);
    }),
  );
});

/** The body of a test in which the daemon starts again. */
function across(run: () => Promise<void>): () => Promise<void> {
  return async () => {
    try {
      await run();
    } finally {
      await removeAllImages(daemon);
    }
  };
}

function hexOf({ diffId }: Pick<Layer, "diffId">): string {
  return diffId.slice("sha256:".length);
}

/** Makes the facts of a layer those that davit wrote before it kept origins. */
function forgetOrigins(layer: Layer): void {
  const file = path.join(daemon.paths.root, "layers", hexOf(layer), "layer.json");
  const { bytes, inodes } = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  writeFileSync(file, JSON.stringify({ version: 1, bytes, inodes, rootOpaque: false }));
}
