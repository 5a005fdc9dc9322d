import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import type { FoundSignature, KeptVerification } from "../../core/image/index.ts";
import { KeptFiles } from "./kept-files.ts";

const base = mkdtempSync(join(tmpdir(), "davit-kept-"));
after(() => rmSync(base, { recursive: true }));

const image = `sha256:${"1".repeat(64)}` as const;
const other = `sha256:${"2".repeat(64)}` as const;
const descriptor = { mediaType: "m", digest: other, sizeBytes: 5n };
const simple: FoundSignature = {
  kind: "simple-signing",
  of: other,
  digest: image,
  payload: Buffer.from([0, 255, 1]),
  signature: "c2ln",
  certificate: "c",
  chain: "",
  rekorBundle: "{}",
  timestamp: "",
};
const bundle: FoundSignature = {
  kind: "bundle",
  of: other,
  digest: image,
  json: "{}",
  artifact: Buffer.from("manifest"),
};

test("load() returns what save() kept, by image and repository", async () => {
  const directory = join(base, "a");
  const files = new KeptFiles(directory, silentLogger);
  assert.equal(await files.load(image, "r.test/app"), undefined);
  const kept: KeptVerification = {
    target: descriptor,
    manifest: descriptor,
    signatures: [simple, bundle, { kind: "bundle", of: other, digest: image, json: "[]" }],
    isSigned: true,
  };
  await files.save(image, "r.test/app", kept);
  assert.deepEqual(await files.load(image, "r.test/app"), kept);
  assert.equal(await files.load(image, "r.test/other"), undefined);
  assert.equal(await files.load(other, "r.test/app"), undefined);
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  await files.remove(image);
  assert.equal(await files.load(image, "r.test/app"), undefined);
});

test("saves at the same time leave one whole file", async () => {
  const directory = join(base, "d");
  const files = new KeptFiles(directory, silentLogger);
  const kept = (bytes: number): KeptVerification => {
    const signatures = [{ ...simple, payload: Buffer.alloc(bytes) }];
    return { target: descriptor, manifest: descriptor, signatures, isSigned: true };
  };
  const sizes = [1, 400_000, 10, 300_000, 100, 200_000];
  await Promise.all(sizes.map((bytes) => files.save(image, "r.test/app", kept(bytes))));
  assert.ok((await files.load(image, "r.test/app")) !== undefined);
  assert.equal(readdirSync(join(directory, "1".repeat(64))).length, 1);
});

test("what is too large is not kept, and a damaged file is ignored", async () => {
  const directory = join(base, "b");
  const files = new KeptFiles(directory, silentLogger);
  const large: FoundSignature = { ...simple, payload: Buffer.alloc(3 * 1024 * 1024) };
  const kept = {
    target: descriptor,
    manifest: descriptor,
    signatures: [simple, large],
    isSigned: true,
  };
  await files.save(image, "r.test/app", kept);
  assert.deepEqual((await files.load(image, "r.test/app"))?.signatures, [simple]);
  const [file = ""] = readdirSync(join(directory, "1".repeat(64)));
  writeFileSync(join(directory, "1".repeat(64), file), "{");
  assert.equal(await files.load(image, "r.test/app"), undefined);
});

test("sweep() removes what is kept of images that are gone", async () => {
  const files = new KeptFiles(join(base, "c"), silentLogger);
  await files.sweep(new Set());
  const kept = { target: descriptor, manifest: descriptor, signatures: [], isSigned: false };
  await files.save(image, "r.test/app", kept);
  await files.save(other, "r.test/app", kept);
  await files.sweep(new Set([other]));
  assert.equal(await files.load(image, "r.test/app"), undefined);
  assert.deepEqual(await files.load(other, "r.test/app"), kept);
});
