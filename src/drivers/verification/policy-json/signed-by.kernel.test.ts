import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { pathToFileURL } from "node:url";

import { silentLogger } from "../../../base/logger.ts";
import { type ImageToVerify, parseReference, type Verdict } from "../../../core/image/index.ts";
import { findProgram } from "../../../linux/process/index.ts";
import { KeptSignatures } from "./kept-signatures.ts";
import { PolicyJsonVerifier } from "./verifier.ts";

const { signal } = new AbortController();
const hex = "a".repeat(64);
const digest = `sha256:${hex}` as const;
const isMissing = ["gpg", "setpriv", "unshare"].filter(
  (name) => findProgram(name, "/usr/bin:/bin") === undefined,
);
const skip = isMissing.length > 0 ? `${isMissing.join(" and ")} not installed` : false;

describe("signedBy", { skip }, () => {
  let dir: string;
  let secrets: string;
  let signatures: string;

  const gpg = (args: readonly string[], input = ""): Buffer =>
    execFileSync("gpg", ["--homedir", secrets, "--batch", "--quiet", "--no-tty", ...args], {
      input,
      stdio: ["pipe", "pipe", "ignore"],
    });

  before(() => {
    // Short: gpg-agent listens on a socket in it.
    dir = mkdtempSync(join(tmpdir(), "davit-gpg-"));
    secrets = join(dir, "secrets");
    mkdirSync(secrets, { mode: 0o700 });
    for (const name of ["team", "other"]) {
      const options = ["--passphrase", "", "--pinentry-mode", "loopback"];
      gpg([...options, "--quick-gen-key", `${name}@x.test`, "ed25519", "sign", "never"]);
      writeFileSync(join(dir, `${name}.asc`), gpg(["--armor", "--export", `${name}@x.test`]));
      writeFileSync(join(dir, `${name}.gpg`), gpg(["--export", `${name}@x.test`]));
    }
    mkdirSync(join(dir, "registries.d"));
    const store = pathToFileURL(join(dir, "store")).href;
    writeFileSync(join(dir, "registries.d/a.yaml"), `default-docker: { lookaside: "${store}" }`);
    signatures = join(dir, `store/app@sha256=${hex}`);
  });
  after(() => {
    execFileSync("gpgconf", ["--homedir", secrets, "--kill", "all"]);
    rmSync(dir, { recursive: true, force: true });
  });
  beforeEach(() => {
    rmSync(signatures, { recursive: true, force: true });
    mkdirSync(signatures, { recursive: true });
  });

  function claim(options: { readonly name?: string; readonly of?: string } = {}): string {
    const { name = "x.test/app:1", of = digest } = options;
    const critical = {
      type: "atomic container signature",
      image: { "docker-manifest-digest": of },
      identity: { "docker-reference": name },
    };
    return JSON.stringify({ critical, optional: {} });
  }

  let number = 0;
  beforeEach(() => void (number = 0));
  /** Adds a signature to the store. */
  function add(bytes: string | Buffer): void {
    writeFileSync(join(signatures, `signature-${++number}`), bytes);
  }
  const sign = (text: string, user = "team", how = "--sign"): Buffer =>
    gpg(["--local-user", `${user}@x.test`, "--output", "-", how], text);

  async function verify(requirement: object = {}): Promise<Verdict> {
    const path = join(dir, "policy.json");
    const whole = {
      type: "signedBy",
      keyType: "GPGKeys",
      keyPath: join(dir, "team.asc"),
      ...requirement,
    };
    writeFileSync(path, JSON.stringify({ default: [whole] }));
    const verifier = new PolicyJsonVerifier({
      path,
      directory: "",
      registriesDirectory: join(dir, "registries.d"),
      workDirectory: join(dir, "work"),
      kept: new KeptSignatures({ directory: join(dir, "kept"), log: silentLogger }),
      env: {},
      checker: { check: () => Promise.reject(new Error("not asked")) },
    });
    const descriptor = { mediaType: "manifest", digest, sizeBytes: 1n };
    const image: ImageToVerify = {
      reference: parseReference("x.test/app:1"),
      target: descriptor,
      manifest: descriptor,
      namespace: "",
    };
    const source = { signatures: () => Promise.reject(new Error("not asked")) };
    const verdict = await verifier.verify(image, source, signal);
    assert.deepEqual(readdirSync(join(dir, "work")), []);
    return verdict;
  }

  async function rejects(why: RegExp, requirement: object = {}): Promise<void> {
    const verdict = await verify(requirement);
    assert.equal(verdict.decision, "rejected");
    assert.match(verdict.reason, why);
  }

  test("accepts a signature by one of the keys", async () => {
    add(sign(claim(), "other"));
    add(sign(claim()));
    const verdict = await verify();
    assert.equal(verdict.decision, "accepted");
    assert.equal(verdict.reason, `signed by "${dir}/team.asc"`);
    assert.deepEqual(
      verdict.signatures.map(({ valid }) => valid),
      [false, true],
    );
    assert.match(verdict.signatures[1]?.signer ?? "", /^[0-9A-F]{40}$/);
    assert.equal((await verify({ keyPath: join(dir, "other.gpg") })).decision, "accepted");
    const keyPaths = [join(dir, "other.gpg"), join(dir, "team.asc")];
    const both = await verify({ keyPath: undefined, keyPaths });
    assert.equal(both.decision, "accepted");
    const keyData = readFileSync(join(dir, "team.gpg")).toString("base64");
    assert.equal((await verify({ keyPath: undefined, keyData })).decision, "accepted");
  });

  test("rejects without a signature, with the store, the key and the digest", async () => {
    mkdirSync(join(dir, "work"), { recursive: true });
    await rejects(
      new RegExp(
        `^${digest} needs a signature by ".*/team.asc"; there is no GPG signature in "file:.*/store/app"; sign`,
      ),
    );
  });

  test("rejects a signature by another key", async () => {
    add(sign(claim(), "other"));
    await rejects(/the signature is by a key that is not trusted/);
  });

  test("rejects a signature of another image and of another name", async () => {
    const other = `sha256:${"b".repeat(64)}`;
    add(sign(claim({ of: other })));
    await rejects(new RegExp(`it signs ${other}`));
    number = 0;
    add(sign(claim({ name: "x.test/app:2" })));
    await rejects(/it signs "x.test\/app:2", not "x.test\/app:1"/);
    const signedIdentity = { type: "matchRepository" };
    assert.equal((await verify({ signedIdentity })).decision, "accepted");
  });

  test("rejects what was changed, is not signed, or is not a claim", async () => {
    const plain = ["--compress-algo=none", "--output", "-", "--local-user", "team@x.test"];
    const changed = gpg([...plain, "--sign"], claim()).toString("latin1");
    add(Buffer.from(changed.replace("x.test/app:1", "x.test/app:3"), "latin1"));
    await rejects(/the signature is wrong \(key [0-9A-F]{16}\)/);
    number = 0;
    add(claim());
    await rejects(/it is not a signed message/);
    number = 0;
    add(sign(claim(), "team", "--detach-sign"));
    await rejects(/it is not one signed message/);
    number = 0;
    add(sign("{}"));
    await rejects(/read the signed claim: it must have the key "critical"/);
    number = 0;
    add(sign("x".repeat(10_000_000)));
    await rejects(/it is not/);
  });

  test("rejects a signed text: only the binary form counts", async () => {
    for (const [how, why] of [
      [["--clearsign"], /not a signed message in the binary form/],
      [["--armor", "--sign"], /not a signed message in the binary form/],
      [["--textmode", "--sign"], /does not sign a binary document/],
    ] as const) {
      number = 0;
      add(gpg(["--local-user", "team@x.test", "--output", "-", ...how], claim()));
      await rejects(why);
    }
  });

  test("rejects several messages in one file, of which one is not signed or of another image", async () => {
    const plain = ["--compress-algo=none", "--output", "-"];
    const signed = gpg([...plain, "--local-user", "team@x.test", "--sign"], claim());
    const wrong = claim({ of: `sha256:${"b".repeat(64)}` });
    const other = gpg([...plain, "--local-user", "team@x.test", "--sign"], wrong);
    const unsigned = gpg([...plain, "--store"], claim());
    add(signed);
    assert.equal((await verify()).decision, "accepted");
    for (const parts of [
      [signed, signed],
      [other, signed],
      [unsigned, signed],
      [signed, unsigned],
      [unsigned, other],
      [other, unsigned],
      [unsigned],
    ]) {
      number = 0;
      add(Buffer.concat(parts));
      await rejects(/no GPG signature counts/);
    }
  });

  test("rejects files without a key, and types of keys that nothing satisfies", async () => {
    add(sign(claim()));
    writeFileSync(join(dir, "empty.asc"), "no key");
    await assert.rejects(verify({ keyPath: join(dir, "empty.asc") }), /gpg: it found no key/);
    assert.deepEqual(readdirSync(join(dir, "work")), []);
    await assert.rejects(
      verify({ keyType: "X509Certificates" }),
      /no signature can satisfy keyType/,
    );
  });
});
