/** Annotations of encrypted layers, the JWE in them, and what is decrypted of it. */
import assert from "node:assert/strict";
import { createSecretKey } from "node:crypto";

import fc from "fast-check";

import { mayBeFor, nameOf, recipientsOf } from "../../../src/drivers/decryption/jwe.ts";
import { cipherOf } from "../../../src/drivers/decryption/layer-options.ts";
import { encryptionOf } from "../../../src/drivers/registry/encryption.ts";
import { attempt, type FuzzTarget, jsonSeeds } from "../target.ts";

const prefix = "org.opencontainers.image.enc.";
const base64 = (bytes: number): string => Buffer.alloc(bytes, 7).toString("base64");
const header = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const key = { key: createSecretKey(Buffer.alloc(32)), id: "node" };

const own = fc.record(
  {
    header: fc.record(
      {
        alg: fc.constantFrom("RSA-OAEP", "ECDH-ES+A256KW", "RSA1_5", "dir", 1, "x".repeat(1000)),
        kid: fc.constantFrom("node", "", "\n\0", 2, "y".repeat(1000)),
      },
      { requiredKeys: [] },
    ),
    encrypted_key: fc.constantFrom("AAAA", "", 1),
  },
  { requiredKeys: [] },
);
const jwe = fc.record(
  {
    protected: fc.constantFrom(header({ enc: "A256GCM" }), header({ alg: "RSA-OAEP" }), "e", 1),
    recipients: fc.oneof(fc.array(own, { maxLength: 3 }), fc.constantFrom(null, 1, {})),
    ciphertext: fc.constant("AAAA"),
  },
  { requiredKeys: [] },
);
const options = fc.record(
  {
    cipher: fc.constantFrom("AES_256_CTR_HMAC_SHA256", "other", 1),
    symkey: fc.constantFrom(base64(32), base64(31), "", 1),
    hmac: fc.constantFrom(base64(32), base64(33), null),
    cipheroptions: fc.constantFrom(null, {}, { nonce: base64(16) }, { nonce: base64(15) }, "x"),
  },
  { requiredKeys: [] },
);
const annotations = fc.dictionary(
  fc.constantFrom(`${prefix}keys.jwe`, `${prefix}keys.pkcs7`, `${prefix}pubopts`, `${prefix}keys.`),
  fc.constantFrom("eA==", "", "a,b", 1),
);

function jsonOf(input: Buffer): unknown {
  try {
    return JSON.parse(input.toString());
  } catch {
    return undefined;
  }
}

export const target: FuzzTarget = {
  name: "encrypted-layer",
  seeds: () =>
    jsonSeeds(
      { protected: header({ enc: "A256GCM" }), recipients: [{ header: { alg: "RSA-OAEP" } }] },
      { protected: header({ alg: "ECDH-ES+A256KW", kid: "k" }), encrypted_key: "AAAA" },
      { symkey: base64(32), cipheroptions: { nonce: base64(16) } },
      { cipher: "AES_256_CTR_HMAC_SHA256", hmac: base64(32), cipheroptions: {} },
      { [`${prefix}keys.jwe`]: "eA==", [`${prefix}pubopts`]: "e30=" },
    ),
  words: ['"recipients":[', '"header":{', '"alg":"RSA-OAEP"', '"symkey":"', '"nonce":"', prefix],
  structured: fc
    .oneof(jwe, options, annotations)
    .map((value) => Buffer.from(JSON.stringify(value))),
  check: (input) => {
    const recipients = recipientsOf(input);
    if (typeof recipients !== "string") {
      assert.ok(recipients.length <= 100);
      for (const each of recipients) {
        assert.ok(!mayBeFor(each, key) || each.algorithm.startsWith("ECDH"));
        const name = nameOf(each);
        assert.ok(name.length <= 700 && !/[\0-\x1f]/.test(name));
      }
    }
    const found = cipherOf(input.toString("base64"), input);
    if ("cipher" in found) {
      const { nonce, mac, id, ...secret } = found.cipher;
      assert.deepEqual([secret.key.length, nonce.length, mac.length, id.length], [32, 16, 32, 64]);
    } else assert.ok(found.reason.length <= 1000);
    const encryption = attempt(["data-loss"], () => encryptionOf(jsonOf(input)));
    assert.ok((encryption?.wrappedKeys.size ?? 0) <= 16);
  },
};
