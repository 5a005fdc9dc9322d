import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";

import { readKeyDirectory } from "./key-directory.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const base = mkdtempSync(join(tmpdir(), "davit-keys-"));
let directory: string;
let count = 0;

beforeEach(() => {
  directory = join(base, String(count++));
  mkdirSync(directory);
});
after(() => {
  rmSync(base, { recursive: true });
});

function put(name: string, content: string | Buffer, mode = 0o600): void {
  const path = join(directory, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
}

const pem = (key: KeyObject, type: "pkcs1" | "pkcs8" | "sec1"): string =>
  key.export({ format: "pem", type } as { format: "pem"; type: "pkcs8" }).toString();
const der = (key: KeyObject, type: "pkcs1" | "pkcs8" | "sec1"): Buffer =>
  key.export({ format: "der", type } as { format: "der"; type: "pkcs8" });
const jwk = (key: KeyObject, more: object = {}): string =>
  JSON.stringify({ ...key.export({ format: "jwk" }), ...more });

describe("readKeyDirectory()", () => {
  test("reads PEM, DER and JWK of RSA and EC, also in subdirectories", async () => {
    put("1.pem", pem(rsa, "pkcs8"));
    put("2.pem", pem(rsa, "pkcs1"));
    put("3.pem", pem(ec, "sec1"));
    put("4.der", der(rsa, "pkcs8"), 0o400);
    put("5.der", der(rsa, "pkcs1"));
    put("6.der", der(ec, "sec1"));
    put("7.jwk", jwk(rsa, { kid: "seven" }));
    mkdirSync(join(directory, "8"));
    put("8/key", jwk(ec));
    const { keys, problems } = await readKeyDirectory(directory);
    assert.deepEqual(problems, []);
    const ecs = new Set([2, 5, 7]);
    for (const [at, { key }] of keys.entries()) assert.ok(key.equals(ecs.has(at) ? ec : rsa));
    assert.deepEqual(
      keys.map(({ file, id }) => [file.slice(directory.length + 1), id]),
      [
        ["1.pem", ""],
        ["2.pem", ""],
        ["3.pem", ""],
        ["4.der", ""],
        ["5.der", ""],
        ["6.der", ""],
        ["7.jwk", "seven"],
        ["8/key", ""],
      ],
    );
  });

  test("reads a key after its parameters, as openssl ecparam writes it", async () => {
    const parameters =
      "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    put("key.pem", parameters + pem(ec, "sec1"));
    const { keys } = await readKeyDirectory(directory);
    assert.ok(keys[0]?.key.equals(ec));
  });

  test("does not use a key that others may read", async () => {
    put("a.pem", pem(rsa, "pkcs8"), 0o640);
    put("b.jwk", jwk(ec), 0o604);
    const { keys, problems } = await readKeyDirectory(directory);
    assert.deepEqual(keys, []);
    assert.match(problems[0] ?? "", /a\.pem" has mode 0640: chmod it to 0600$/);
    assert.match(problems[1] ?? "", /b\.jwk" has mode 0604/);
  });

  test("ignores what is not a private key, and says why others are not used", async () => {
    put("cert.pem", "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", 0o644);
    put("public.jwk", JSON.stringify({ kty: "RSA", n: "AQAB", e: "AQAB" }), 0o644);
    put("README", "keys of this node", 0o644);
    put("empty", "");
    put("small.pem", pem(generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey, "pkcs8"));
    put("other.pem", pem(generateKeyPairSync("ed25519").privateKey, "pkcs8"));
    put(
      "curve.pem",
      pem(generateKeyPairSync("ec", { namedCurve: "secp256k1" }).privateKey, "sec1"),
    );
    put("broken.pem", "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n");
    put("large", Buffer.alloc(70_000));
    const cipher = "aes-256-cbc";
    const locked = rsa.export({ format: "pem", type: "pkcs8", cipher, passphrase: "x" });
    put("locked.pem", locked.toString());
    symlinkSync("cert.pem", join(directory, "link"));
    const { keys, problems } = await readKeyDirectory(directory);
    assert.deepEqual(keys, []);
    const expected = {
      "small.pem": /RSA key of 1024 bits/,
      "other.pem": /type ed25519:/,
      "curve.pem": /type ec secp256k1:/,
      "broken.pem": /not a private key that can be read/,
      "locked.pem": /passphrase/,
      large: /more than 65536 bytes/,
      link: /symbolic link/,
    };
    assert.equal(problems.length, Object.keys(expected).length, problems.join("\n"));
    for (const [name, text] of Object.entries(expected)) {
      const problem = problems.find((each) => each.includes(`/${name}"`));
      assert.match(problem ?? "", text);
    }
  });

  test("rejects for a directory that cannot be read", async () => {
    const missing = readKeyDirectory(join(directory, "missing"));
    await assert.rejects(missing, /read ".*missing"/);
  });
});
