import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { CheckpointFacts } from "../../core/checkpoint/index.ts";
import { foreignFacts } from "./facts.ts";
import {
  containerDirectory,
  formatManifest,
  formatPodManifest,
  type Manifest,
  parseManifest,
  parsePodManifest,
  type PodManifest,
  sealedPodText,
  sealedText,
  sealOf,
} from "./manifest.ts";

const code = "a".repeat(64);
const digest = `sha256:${"b".repeat(64)}` as const;
const facts: CheckpointFacts = {
  name: "c",
  containerId: "id",
  podName: "pod",
  podNamespace: "default",
  imageName: "busybox",
  imageDigests: [digest],
  runtime: "crun",
  terminal: true,
  hostname: "h",
  capturedAtNs: 1_764_000_000_123_456_789n,
  config: Buffer.from([0, 255]),
  podConfig: Buffer.from([1]),
  runtimeHandler: "crun",
};
const manifest: Manifest = {
  facts,
  files: new Map([
    ["spec.dump", { size: 3, digest }],
    ["checkpoint/core-1.img", { size: 0, digest }],
  ]),
};

type Fields = Record<string, unknown>;

/** The text of the manifest after a change of its JSON. */
function changed(change: (fields: Fields & { facts: Fields; files: Fields }) => void): string {
  const fields = JSON.parse(formatManifest(manifest, code)) as Fields & {
    facts: Fields;
    files: Fields;
  };
  change(fields);
  return JSON.stringify(fields);
}

describe("parseManifest()", () => {
  test("reads what was written, and the code of the same text", () => {
    const text = formatManifest(manifest, code);
    const read = parseManifest(text);
    assert.deepEqual(read.facts, facts);
    assert.deepEqual([...read.files].toSorted(), [...manifest.files].toSorted());
    assert.deepEqual(sealOf("container", text), { code, sealed: sealedText(manifest) });
    assert.equal((JSON.parse(text) as Fields)["hmac"], code);
  });

  test("every byte of what is read is sealed", () => {
    const text = formatManifest(manifest, code);
    const at = text.indexOf("\n", 2) + 1;
    for (let byte = at; byte < text.length; byte++) {
      const other = `${text.slice(0, byte)}~${text.slice(byte + 1)}`;
      assert.notEqual(sealOf("container", other).sealed, sealedText(manifest));
    }
    // Before the code nothing else is possible.
    for (const other of [` ${text}`, text.replace("hmac", "Hmac"), `{${text.slice(2)}`, "{", ""]) {
      assert.equal(sealOf("container", other).code, "");
    }
  });

  const wrong: readonly (readonly [string, string, RegExp])[] = [
    ["text", "x", /it is not JSON/],
    ["a list", "[]", /it must be an object/],
    [
      "a later version",
      changed((fields) => {
        fields["version"] = 2;
      }),
      /it has the version 2, and this davit knows 1: restore it on a node/,
    ],
    [
      "a control character",
      changed((fields) => {
        fields.facts["name"] = "a\u001b[31m";
      }),
      /name must be a text of at most 4096 characters without control/,
    ],
    [
      "a long text",
      changed((fields) => {
        fields.facts["hostname"] = "x".repeat(4097);
      }),
      /hostname must be a text/,
    ],
    [
      "a file elsewhere",
      changed((fields) => {
        fields.files["checkpoint/../../etc/passwd"] = { size: 1, sha256: "b".repeat(64) };
      }),
      /etc\/passwd" is not a file of a checkpoint/,
    ],
    [
      "itself as a file",
      changed((fields) => {
        fields.files["davit.json"] = { size: 1, sha256: "b".repeat(64) };
      }),
      /"davit.json" is not a file/,
    ],
    [
      "a negative size",
      changed((fields) => {
        fields.files["spec.dump"] = { size: -1, sha256: "b".repeat(64) };
      }),
      /the size of "spec.dump" must be a number/,
    ],
    [
      "no digest",
      changed((fields) => {
        fields.files["spec.dump"] = { size: 1 };
      }),
      /the digest of "spec.dump"/,
    ],
  ];
  for (const [name, text, message] of wrong) {
    test(`refuses ${name}`, () => {
      assert.throws(() => parseManifest(text), { kind: "invalid-argument", message });
    });
  }
});

test("parsePodManifest() reads what was written, and no container twice or with another name", () => {
  const pod: PodManifest = {
    podName: "pod",
    podNamespace: "default",
    runtimeHandler: "crun",
    capturedAtNs: 5n,
    config: Buffer.from("x"),
    containers: new Map([["a", digest]]),
  };
  const text = formatPodManifest(pod, code);
  const read = parsePodManifest(text);
  assert.deepEqual(read, pod);
  assert.deepEqual(sealOf("pod", text), { code, sealed: sealedPodText(pod) });
  const listed = text.replace(/"containers": \[([^\]]*)\]/, '"containers": [$1,$1]');
  assert.throws(() => parsePodManifest(listed), /container "a" is in it twice/);
  const up = text.replace('"name": "a"', '"name": ".."');
  assert.throws(() => parsePodManifest(up), /name directory of container ".."/);
  // The code of a container's manifest is never one of a pod's.
  assert.notEqual(sealOf("container", text).sealed, sealedPodText(pod));
});

test("containerDirectory() takes plain names", () => {
  for (const name of ["a", "main", "a.b-c_d", "_x"]) assert.equal(containerDirectory(name), name);
  for (const name of ["", ".", "..", ".a", "a/b", "-x", "a b", "a\n", "x".repeat(254)]) {
    assert.throws(() => containerDirectory(name), /must be a plain name/, name);
  }
});

test("foreignFacts() reads containerd's form", () => {
  const config = {
    id: "1",
    name: "",
    rootfsImageName: "docker.io/library/busybox:latest",
    rootfsImageRef: digest,
    runtime: "io.containerd.runc.v2",
    checkpointedTime: "not a time",
  };
  const spec = {
    hostname: "node",
    annotations: {
      "io.kubernetes.cri.container-name": "main",
      "io.kubernetes.cri.sandbox-name": "web",
      "io.kubernetes.cri.sandbox-namespace": "shop",
    },
  };
  assert.deepEqual(foreignFacts(JSON.stringify(config), JSON.stringify(spec)), {
    name: "main",
    containerId: "1",
    podName: "web",
    podNamespace: "shop",
    imageName: "docker.io/library/busybox:latest",
    imageDigests: [digest],
    runtime: "io.containerd.runc.v2",
    terminal: false,
    hostname: "node",
    capturedAtNs: 0n,
    config: undefined,
    podConfig: undefined,
    runtimeHandler: "",
  });
});
