/** Manifests of Pods in YAML, of which davit makes the requests that kubelet would send. */
import assert from "node:assert/strict";

import { toBinary } from "@bufbuild/protobuf";

import { PodSandboxConfigSchema } from "../../../src/gen/runtime/v1/api_pb.ts";
import {
  ManifestError,
  type NodeInfo,
  parsePodManifests,
  parsePodNames,
  type PodManifest,
} from "../../../src/manifest/index.ts";
import { parseQuantity } from "../../../src/manifest/quantity.ts";
import { subordinateIds } from "../../../src/manifest/ids.ts";
import { attempt, type FuzzTarget, textSeeds } from "../target.ts";

const node: NodeInfo = {
  podsRoot: "/var/lib/pods",
  resolvConf: "nameserver 10.0.0.1\nsearch a b\n",
  nodeName: "node",
  memoryBytes: 2 ** 33,
};

const pods = [
  "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: [{name: c, image: b}]}\n",
  `apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  uid: 1b4e28ba-2fa1-11d2-883f-0016d3cca427
  labels: {app: web}
  annotations: {a.example/b: "1"}
spec:
  hostNetwork: false
  hostname: web-0
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 5
  dnsConfig: {nameservers: [1.2.3.4], searches: [x.y], options: [{name: ndots, value: "2"}]}
  securityContext: {runAsUser: 1000, fsGroup: 2000, supplementalGroups: [1], sysctls: [{name: net.a, value: "1"}]}
  initContainers: [{name: i, image: b, command: [sh, -c, "exit 0"]}]
  containers:
  - name: c
    image: b:1
    args: ["$(A)", "$$(A)"]
    env: [{name: A, value: x}, {name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    ports: [{containerPort: 80, hostPort: 8080, protocol: TCP}]
    resources: {limits: {cpu: 250m, memory: 64Mi}, requests: {cpu: 1e2m}}
    volumeMounts: [{name: v, mountPath: /v, readOnly: true, subPath: a/b}]
    securityContext: {capabilities: {add: [NET_ADMIN]}, readOnlyRootFilesystem: true, seccompProfile: {type: RuntimeDefault}}
    livenessProbe: {exec: {command: ["true"]}}
  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}, {name: h, hostPath: {path: /x, type: Directory}}]
`,
  "kind: Pod\nmetadata: &m {name: a}\nspec: {containers: &c [{name: c, image: b, env: []}], initContainers: *c}\n---\nkind: Pod\nmetadata: *m\n",
];

function checkPod(pod: PodManifest): void {
  assert.ok(
    pod.directory.startsWith(`${node.podsRoot}/`) && !/\/\.\.?(\/|$)/.test(pod.directory),
    pod.directory,
  );
  toBinary(PodSandboxConfigSchema, pod.sandbox);
  assert.equal(pod.sandbox.metadata?.name, pod.name);
  const names = [...pod.containers, ...pod.initContainers].map(({ name }) => name);
  assert.equal(new Set(names).size, names.length, "two containers of one name");
}

export const target: FuzzTarget = {
  name: "pod",
  seeds: () => [...textSeeds(...pods), ...textSeeds("1.5Gi", "100000:65536\nroot:231072:65536\n")],
  words: [
    "containers:",
    "- ",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "? ",
    "|2-\n",
    "---\n",
    "__proto__: x",
    "hostPath:",
    "emptyDir: {}",
    "valueFrom:",
    "{",
    "[",
  ],
  maxBytes: 8 * 1024,
  // The parser of YAML takes 5 us for a byte.
  limitMs: (bytes) => 300 + bytes / 10,
  check: (input) => {
    const text = input.toString("utf8");
    // The file is the user's own: each of its errors is shown.
    const anyLength = Number.POSITIVE_INFINITY;
    const found = attempt(
      ["invalid-argument"],
      () => parsePodManifests(text, "pod.yaml", node),
      anyLength,
    );
    const names = attempt(["invalid-argument"], () => parsePodNames(text, "pod.yaml"), anyLength);
    for (const pod of found ?? []) checkPod(pod);
    if (found !== undefined) {
      assert.deepEqual(
        names?.map(({ name, namespace }) => ({ name, namespace })),
        found.map(({ name, namespace }) => ({ name, namespace })),
      );
    } else {
      try {
        parsePodManifests(text, "pod.yaml", node);
      } catch (error) {
        assert.ok(error instanceof ManifestError);
        for (const line of error.message.split("\n").slice(0, 1))
          assert.match(line, /^pod\.yaml:\d+: /);
      }
    }
    const quantity = parseQuantity(text);
    if (quantity !== undefined) assert.ok(quantity >= 0);
    for (const { first, length } of subordinateIds(text)) assert.ok(first >= 0 && length >= 0);
  },
};
