import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";

import { kindOf } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import type { Descriptor, LayerCipher } from "../../core/image/index.ts";
import { NodeKeys } from "./node-keys.ts";
import { encryptLayer, jweOf, type TestRecipient } from "./testing/encrypt-layer.ts";

const never = new AbortController().signal;
const digest = `sha256:${"a".repeat(64)}` as const;
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ec = generateKeyPairSync("ec", { namedCurve: "P-384" });
const other = generateKeyPairSync("rsa", { modulusLength: 2048 });
const blob = Buffer.from("the blob of a layer");
const prefix = "org.opencontainers.image.enc.";

const base = mkdtempSync(join(tmpdir(), "davit-node-keys-"));
let directory: string;
let keys: NodeKeys;
let count = 0;

beforeEach(() => {
  directory = join(base, String(count++));
  mkdirSync(directory);
  keys = new NodeKeys({ directory, log: silentLogger });
});
after(() => {
  rmSync(base, { recursive: true });
});

function put(name: string, key: KeyObject): void {
  const text = key.export({ format: "pem", type: "pkcs8" });
  writeFileSync(join(directory, name), text, { mode: 0o600 });
}

const plain: Descriptor = { mediaType: "tar", digest, sizeBytes: 1n };

function layerOf(annotations: Readonly<Record<string, string>>): Descriptor {
  const names = Object.keys(annotations).filter((name) => name.startsWith(`${prefix}keys.`));
  const wrapped = names.map((name) => [name.slice(prefix.length + 5), annotations[name]] as const);
  const wrappedKeys = new Map(wrapped.map(([name, text]) => [name, text ?? ""]));
  const encryption = { wrappedKeys, publicOptions: annotations[`${prefix}pubopts`] ?? "" };
  return { ...plain, encryption };
}

async function encrypted(...recipients: readonly TestRecipient[]): Promise<Descriptor> {
  return layerOf((await encryptLayer(blob, recipients)).annotations);
}

async function unlock(layer: Descriptor): Promise<LayerCipher> {
  const [cipher] = await keys.ciphersOf([layer], never);
  return cipher ?? assert.fail("no cipher");
}

async function fails(layer: Descriptor, kind: string, text: RegExp): Promise<void> {
  await assert.rejects(keys.ciphersOf([plain, layer], never), (error: Error) => {
    assert.equal(kindOf(error), kind, error.message);
    assert.ok(error.message.startsWith(`decrypt layer 2 of 2, blob "${digest}": `), error.message);
    assert.match(error.message, text);
    return true;
  });
}

describe("NodeKeys.ciphersOf()", () => {
  test("finds the key of a layer with the private key of a recipient", async () => {
    put("other.pem", other.privateKey);
    put("rsa.pem", rsa.privateKey);
    const secrets = { key: randomBytes(32), nonce: randomBytes(16) };
    const { annotations } = await encryptLayer(blob, [{ key: rsa.publicKey }], secrets);
    const layer = layerOf(annotations);
    const ciphers = await keys.ciphersOf([plain, layer, layer], never);
    assert.equal(ciphers[0], undefined);
    assert.deepEqual(ciphers[1]?.key, secrets.key);
    assert.deepEqual(ciphers[1].nonce, secrets.nonce);
    assert.equal(ciphers[1].mac.length, 32);
    assert.deepEqual(ciphers[2], ciphers[1]);
  });

  test("knows the algorithms of ocicrypt, and no others", async () => {
    put("rsa.pem", rsa.privateKey);
    put("ec.pem", ec.privateKey);
    for (const algorithm of ["RSA-OAEP", "RSA-OAEP-256"]) {
      await unlock(await encrypted({ key: rsa.publicKey, algorithm }));
    }
    for (const algorithm of ["ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW"]) {
      await unlock(await encrypted({ key: ec.publicKey, algorithm }));
    }
    const layer = await encrypted({ key: rsa.publicKey, algorithm: "RSA-OAEP-512" });
    await fails(layer, "failed-precondition", /"RSA-OAEP-512"/);
  });

  test("is one of several recipients, also of one that was added later", async () => {
    put("ec.pem", ec.privateKey);
    const strangers = [{ key: other.publicKey }, { key: rsa.publicKey }];
    const both = await encrypted(...strangers, { key: ec.publicKey });
    const { id } = await unlock(both);
    assert.notEqual(id, (await unlock(await encrypted({ key: ec.publicKey }))).id);
    const first = both.encryption?.wrappedKeys.get("jwe") ?? "";
    const text = JSON.stringify({ symkey: randomBytes(32).toString("base64") });
    const stranger = Buffer.from(await jweOf(text, strangers)).toString("base64");
    const wrappedKeys = new Map([["jwe", `${stranger},${first}`]]);
    const { publicOptions = "" } = both.encryption ?? {};
    const added = await unlock({ ...both, encryption: { wrappedKeys, publicOptions } });
    assert.equal(added.id, id);
  });

  test("reads the keys each time", async () => {
    const layer = await encrypted({ key: rsa.publicKey });
    await fails(layer, "failed-precondition", /and there is no private key in "/);
    put("rsa.pem", rsa.privateKey);
    await unlock(layer);
    rmSync(join(directory, "rsa.pem"));
    await fails(layer, "failed-precondition", /there is no private key in/);
    rmSync(directory, { recursive: true });
    await fails(layer, "failed-precondition", /not used: read ".*": /);
  });

  test("names recipients, keys that are not used, and what to do", async () => {
    put("other.pem", other.privateKey);
    writeFileSync(
      join(directory, "open.pem"),
      rsa.privateKey.export({ format: "pem", type: "pkcs8" }),
      {
        mode: 0o644,
      },
    );
    const layer = await encrypted({ key: rsa.publicKey, id: "node-7" }, { key: ec.publicKey });
    const expected = [
      /for 2 recipients of jwe \("RSA-OAEP" with the key ID "node-7", "ECDH-ES\+A256KW"\)/,
      /and the private key in ".*" is another one: add/,
      /add the private key of a recipient there \(images\.decryption_keys_path\)/,
      /open\.pem" has mode 0644/,
    ];
    for (const text of expected) await fails(layer, "failed-precondition", text);
  });

  test("says which key protocols are supported", async () => {
    const some = { wrappedKeys: new Map([["pkcs7", "eA=="]]), publicOptions: "" };
    const text = /encrypted with "pkcs7", and jwe is supported/;
    await fails({ ...plain, encryption: some }, "unimplemented", text);
    const none = { wrappedKeys: new Map<string, string>(), publicOptions: "" };
    await fails({ ...plain, encryption: none }, "data-loss", /no key for any recipient/);
  });

  test("refuses annotations that cannot be read or are too large", async () => {
    put("rsa.pem", rsa.privateKey);
    const good = await encryptLayer(blob, [{ key: rsa.publicKey }]);
    const base64 = (value: unknown): string =>
      Buffer.from(JSON.stringify(value)).toString("base64");
    const withKeys = (text: string): Descriptor =>
      layerOf({ ...good.annotations, [`${prefix}keys.jwe`]: text });
    await fails(withKeys("eA=="), "data-loss", /it is not JSON/);
    await fails(withKeys(base64([])), "data-loss", /it is not an object/);
    await fails(withKeys(base64({ recipients: 1 })), "data-loss", /not a list/);
    const many = base64({ recipients: Array.from({ length: 101 }, () => ({})) });
    await fails(withKeys(many), "data-loss", /more than 100 recipients/);
    const long = base64({ ciphertext: "A".repeat(64 * 1024 + 1) });
    await fails(withKeys(long), "data-loss", /its "ciphertext" has more than 65536 characters/);
    await fails(withKeys("eA==,".repeat(101)), "data-loss", /more than 100 keys/);
    await fails(withKeys("A".repeat(1024 * 1024 + 1)), "data-loss", /too large/);
    await fails(
      withKeys(base64({})),
      "failed-precondition",
      /the private key in ".*" is another one/,
    );
  });

  test("refuses options that are not those of the cipher", async () => {
    put("rsa.pem", rsa.privateKey);
    const open = { cipher: "AES_256_CTR_HMAC_SHA256", hmac: randomBytes(32).toString("base64") };
    const nonce = randomBytes(16).toString("base64");
    const secret = { symkey: randomBytes(32).toString("base64"), cipheroptions: { nonce } };
    const locked = async (publicOptions: unknown, hidden: unknown): Promise<Descriptor> => {
      const packet = await jweOf(JSON.stringify(hidden), [{ key: rsa.publicKey }]);
      const wrappedKeys = new Map([["jwe", Buffer.from(packet).toString("base64")]]);
      const text = Buffer.from(JSON.stringify(publicOptions)).toString("base64");
      return { ...plain, encryption: { wrappedKeys, publicOptions: text } };
    };
    await unlock(await locked(open, secret));
    // As ocicrypt: the public options come first.
    const public16 = { ...open, cipheroptions: { nonce: randomBytes(16).toString("base64") } };
    const { nonce: used } = await unlock(await locked(public16, secret));
    assert.equal(Buffer.from(used).toString("base64"), public16.cipheroptions.nonce);
    const cases: readonly (readonly [unknown, unknown, string, RegExp])[] = [
      [{ ...open, cipher: "AES_512" }, secret, "unimplemented", /has the cipher "AES_512"/],
      [{}, secret, "unimplemented", /has the cipher nothing/],
      [null, secret, "data-loss", /public options is not JSON/],
      [open, "text", "data-loss", /was encrypted for its recipients is not JSON/],
      [open, { ...secret, symkey: "eA==" }, "data-loss", /key does not have 32 bytes/],
      [{ ...open, hmac: "" }, secret, "data-loss", /HMAC does not have 32 bytes/],
      [open, { symkey: secret.symkey }, "data-loss", /nonce does not have 16 bytes/],
    ];
    for (const [publicOptions, hidden, kind, text] of cases) {
      await fails(await locked(publicOptions, hidden), kind, text);
    }
  });

  test("tries a bounded number of recipients for an image, its own first", async () => {
    put("other.pem", other.privateKey);
    put("rsa.pem", rsa.privateKey);
    const layer = await encrypted({ key: rsa.publicKey });
    const strangers = await encrypted({ key: ec.publicKey }, { key: ec.publicKey });
    const bounded = new NodeKeys({ directory, log: silentLogger, maxTries: 4 });
    // The first layer needs two tries, the others one.
    const ciphers = await bounded.ciphersOf([layer, layer, layer], never);
    assert.equal(ciphers.length, 3);
    const text = /4 tries with private keys in ".*" did not find one/;
    await assert.rejects(bounded.ciphersOf([layer, layer, layer, layer], never), text);
    // No key of the node can be theirs: they need no tries.
    await assert.rejects(bounded.ciphersOf([layer, strangers], never), /is another one/);
  });

  test("shows no secret in its id", async () => {
    put("rsa.pem", rsa.privateKey);
    const secrets = { key: randomBytes(32), nonce: randomBytes(16) };
    const { annotations } = await encryptLayer(blob, [{ key: rsa.publicKey }], secrets);
    const { id } = await unlock(layerOf(annotations));
    assert.match(id, /^[0-9a-f]{64}$/);
    assert.ok(!id.includes(secrets.key.toString("hex").slice(0, 8)));
  });

  test("stops when the pull does", async () => {
    put("rsa.pem", rsa.privateKey);
    const layer = await encrypted({ key: rsa.publicKey });
    const reason = new Error("canceled");
    await assert.rejects(keys.ciphersOf([layer], AbortSignal.abort(reason)), reason);
  });
});
