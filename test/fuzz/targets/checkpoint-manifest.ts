/** Manifests of checkpoints, for bytes that anyone may have written: davit.json, pod.json, and those of other runtimes. */
import assert from "node:assert/strict";

import fc from "fast-check";

import { checkpointEntry, isCheckpointFile } from "../../../src/base/checkpoint-names.ts";
import { isDigest } from "../../../src/base/digest.ts";
import type { CheckpointFacts } from "../../../src/core/checkpoint/index.ts";
import { foreignFacts } from "../../../src/drivers/checkpoint/facts.ts";
import {
  formatManifest,
  formatPodManifest,
  parseManifest,
  parsePodManifest,
  sealedText,
  sealOf,
} from "../../../src/drivers/checkpoint/manifest.ts";
import { attempt, type FuzzTarget, jsonSeeds } from "../target.ts";

const digits = "b".repeat(64);
const file = { size: 3, sha256: digits };
const facts = {
  name: "c",
  containerId: "1",
  podName: "p",
  podNamespace: "default",
  imageName: "busybox",
  imageDigests: [`sha256:${digits}`],
  runtime: "crun",
  terminal: false,
  hostname: "h",
  capturedAtNs: "1764000000123456789",
  config: "CgNhYmM=",
  podConfig: "",
  runtimeHandler: "",
};
const manifest = {
  version: 1,
  facts,
  files: { "checkpoint/inventory.img": file, "spec.dump": file },
  hmac: digits,
};
const pod = {
  version: 1,
  podName: "p",
  podNamespace: "default",
  capturedAtNs: "1",
  config: "",
  containers: [{ name: "a", manifest: digits }],
  hmac: digits,
};
const dump = {
  id: digits,
  name: "c",
  rootfsImageName: "quay.io/a:1",
  rootfsImageRef: `quay.io/a@sha256:${digits}`,
  runtime: "/usr/bin/runc",
  checkpointedTime: "2026-01-02T03:04:05Z",
  hostname: "h",
  process: { terminal: true },
  annotations: { "io.kubernetes.pod.name": "p", "io.kubernetes.cri.container-name": "c" },
};

const text = fc.oneof(
  fc.constantFrom("", "a", "a\n", "\u001b[2J", "é".repeat(5000), "\ud800", "../x", "__proto__"),
  fc.integer(),
  fc.constant(null),
);
const names = fc.constantFrom(
  "checkpoint/core-1.img",
  "spec.dump",
  "davit.json",
  "checkpoint/../x",
  "/etc/passwd",
  "checkpoint/",
  "./spec.dump",
  "__proto__",
);
const anyFile = fc.record({
  size: fc.oneof(fc.nat(), fc.constantFrom(-1, 2 ** 53, 1.5, "1")),
  sha256: fc.constantFrom(digits, digits.toUpperCase(), "", "b"),
});
const structured = fc
  .oneof(
    fc.record({
      version: fc.constantFrom(1, 1, 1, 2),
      facts: fc.record(
        Object.fromEntries(
          Object.entries(facts).map(([name, value]) => [name, fc.oneof(fc.constant(value), text)]),
        ),
      ),
      files: fc.dictionary(names, anyFile, { maxKeys: 4 }),
      hmac: fc.constantFrom(digits, "", 1),
    }),
    fc.record({
      ...Object.fromEntries(Object.entries(pod).map(([name, value]) => [name, fc.constant(value)])),
      podName: fc.oneof(fc.constant("p"), text),
      containers: fc.array(fc.record({ name: text, manifest: fc.constantFrom(digits, "x") }), {
        maxLength: 3,
      }),
    }),
  )
  .map((value) => Buffer.from(JSON.stringify(value)));

const control = /[\u0000-\u001f\u007f-\u009f]/;

function checkFacts(found: CheckpointFacts): void {
  const { name, containerId, podName, podNamespace, imageName, runtime, hostname } = found;
  for (const each of [name, containerId, podName, podNamespace, imageName, runtime, hostname]) {
    assert.ok(each.length <= 4096 && !control.test(each) && each.isWellFormed(), each);
  }
  assert.ok(found.imageDigests.every((each) => isDigest(each)));
  assert.ok(found.capturedAtNs >= 0n);
}

export const target: FuzzTarget = {
  name: "checkpoint-manifest",
  seeds: () => jsonSeeds(manifest, pod, dump),
  words: ['"files":{', '"hmac":"', `"${digits}"`, '"checkpoint/core-1.img":', '"containers":['],
  structured,
  check: (input) => {
    const given = input.toString("utf8");
    const read = attempt(["invalid-argument"], () => parseManifest(given));
    if (read !== undefined) {
      const { facts: said, files } = read;
      checkFacts(said);
      for (const [name, { size, digest }] of files) {
        assert.ok(isCheckpointFile(name) && name !== "davit.json" && !name.includes(".."));
        assert.ok(Number.isSafeInteger(size) && size >= 0 && isDigest(digest));
      }
      const again = formatManifest(read, digits);
      assert.deepEqual(parseManifest(again), read);
      assert.deepEqual(sealOf("container", again), { code: digits, sealed: sealedText(read) });
    }
    const readPod = attempt(["invalid-argument"], () => parsePodManifest(given));
    if (readPod !== undefined) {
      for (const name of readPod.containers.keys()) assert.match(name, /^[\w][\w.-]*$/);
      const text = formatPodManifest(readPod, digits);
      assert.deepEqual(parsePodManifest(text), readPod);
    }
    // A code belongs to the rest of the text, byte by byte.
    const { code, sealed } = sealOf("pod", given);
    const text = `{\n "hmac": "${code}",\n${sealed.slice(sealed.indexOf("\n") + 1)}`;
    if (code !== "") assert.equal(text, given);
    const foreign = attempt(["invalid-argument"], () => foreignFacts(given, given));
    if (foreign !== undefined) checkFacts(foreign);
    const entry = checkpointEntry(given);
    if (entry?.use === "keep") {
      assert.ok(isCheckpointFile(entry.name));
      assert.ok(!entry.name.startsWith("/") && !entry.name.split("/").includes(".."));
    }
  },
};
