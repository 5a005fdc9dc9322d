import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { kindOf } from "../base/errors.ts";
import { NamespaceMode, Protocol } from "../gen/runtime/v1/api_pb.ts";
import { parsePodManifests, parsePodNames } from "./parse.ts";
import type { PodManifest, NodeInfo } from "./pod.ts";

const NODE: NodeInfo = {
  podsRoot: "/pods",
  resolvConf: "domain old\nsearch a b\nnameserver 1.1.1.1\noptions ndots:5 edns0\n",
  nodeName: "node-1",
  memoryBytes: 8 * 2 ** 30,
};

/** One Pod with these lines in its spec (indented by two) and a container. */
function pod(...specLines: string[]): string {
  return [
    "apiVersion: v1",
    "kind: Pod",
    "metadata: {name: p}",
    "spec:",
    "  containers: [{name: c, image: i}]",
    ...specLines.map((line) => `  ${line}`),
  ].join("\n");
}

function parseOne(yaml: string): PodManifest {
  const [first, ...more] = parsePodManifests(yaml, "pod.yaml", NODE);
  assert.ok(first);
  assert.equal(more.length, 0);
  return first;
}

function errorsOf(yaml: string): string {
  let message = "";
  assert.throws(
    () => parsePodManifests(yaml, "pod.yaml", NODE),
    (error: Error) => {
      message = error.message;
      return kindOf(error) === "invalid-argument";
    },
  );
  return message.replace(/^pod\.yaml:/gm, "");
}

test("parsePodManifests() turns examples/hello.yaml into the request of kubelet", () => {
  const file = new URL("../../examples/hello.yaml", import.meta.url);
  const { sandbox, containers, runtimeHandler, uid } = parseOne(readFileSync(file, "utf8"));
  assert.match(uid, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual(
    { ...sandbox.metadata, $typeName: undefined },
    { $typeName: undefined, name: "hello", namespace: "default", uid, attempt: 0 },
  );
  assert.equal(sandbox.hostname, "hello");
  assert.equal(sandbox.logDirectory, `/pods/default_hello_${uid}/logs`);
  assert.equal(sandbox.labels["app.kubernetes.io/name"], "hello");
  assert.equal(sandbox.labels["io.kubernetes.pod.uid"], uid);
  assert.equal(sandbox.dnsConfig, undefined);
  const [port] = sandbox.portMappings;
  assert.equal(port?.protocol, Protocol.TCP);
  assert.equal(port.containerPort, 8080);
  assert.ok(port.hostPort > 0);
  const options = sandbox.linux?.securityContext?.namespaceOptions;
  assert.equal(options?.network, NamespaceMode.POD);
  assert.equal(options.pid, NamespaceMode.CONTAINER);
  assert.equal(options.ipc, NamespaceMode.POD);
  assert.equal(sandbox.linux?.cgroupParent, "");
  assert.equal(runtimeHandler, "");
  assert.equal(containers[0]?.name, "web");
  assert.match(containers[0].image, /busybox/);
  assert.equal(containers[0].imagePullPolicy, "IfNotPresent");
  assert.equal(containers[0].limits.memoryBytes, 64 * 2 ** 20);
});

test("parsePodManifests() maps the namespaces that a pod shares with its host", () => {
  const modes = (...lines: string[]): readonly unknown[] => {
    const { linux } = parseOne(pod(...lines)).sandbox;
    const options = linux?.securityContext?.namespaceOptions;
    return [options?.network, options?.pid, options?.ipc];
  };
  const { POD, NODE: HOST, CONTAINER } = NamespaceMode;
  assert.deepEqual(modes(), [POD, CONTAINER, POD]);
  assert.deepEqual(modes("hostNetwork: true"), [HOST, CONTAINER, POD]);
  assert.deepEqual(modes("hostPID: true", "hostIPC: true"), [POD, HOST, HOST]);
  assert.deepEqual(modes("shareProcessNamespace: true"), [POD, POD, POD]);
});

test("parsePodManifests() sets the hostname from hostname, else from the pod's name", () => {
  assert.equal(parseOne(pod("hostname: h")).sandbox.hostname, "h");
  assert.equal(parseOne(pod()).sandbox.hostname, "p");
  assert.equal(parseOne(pod("hostNetwork: true")).sandbox.hostname, "");
  const long = parseOne(pod().replace("name: p", `name: ${"a".repeat(62)}.${"b".repeat(9)}`));
  assert.equal(long.sandbox.hostname, "a".repeat(62));
  assert.match(
    errorsOf(pod("hostNetwork: true", "hostname: h")),
    /^7: spec\.hostname: must not be combined with hostNetwork/,
  );
});

test("parsePodManifests() adds dnsConfig to the node's, or replaces it", () => {
  const config = [
    "dnsConfig:",
    "  nameservers: [9.9.9.9, 1.1.1.1]",
    "  searches: [c]",
    "  options: [{name: ndots, value: '2'}, {name: rotate}]",
  ];
  const merged = parseOne(pod(...config)).sandbox.dnsConfig;
  assert.deepEqual(merged?.servers, ["1.1.1.1", "9.9.9.9"]);
  assert.deepEqual(merged.searches, ["a", "b", "c"]);
  assert.deepEqual(merged.options, ["edns0", "ndots:2", "rotate"]);
  const own = parseOne(pod("dnsPolicy: None", ...config)).sandbox.dnsConfig;
  assert.deepEqual(own?.servers, ["9.9.9.9", "1.1.1.1"]);
  assert.deepEqual(own.options, ["ndots:2", "rotate"]);
  assert.match(errorsOf(pod("dnsPolicy: None")), /requires dnsConfig\.nameservers/);
});

test("parsePodManifests() reads sysctls, the handler, the uid and several Pods", () => {
  const sysctls = ["securityContext:", "  sysctls: [{name: net.core.somaxconn, value: '9'}]"];
  const first = pod(...sysctls, "runtimeClassName: kata");
  const second = pod().replace("{name: p}", "{name: q, namespace: n, uid: u-2, labels: {a: ''}}");
  const [a, b] = parsePodManifests(`${first}\n---\n${second}\n---\n`, "pod.yaml", NODE);
  assert.deepEqual(a?.sandbox.linux?.sysctls, { "net.core.somaxconn": "9" });
  assert.equal(a.runtimeHandler, "kata");
  assert.equal(b?.sandbox.metadata?.uid, "u-2");
  assert.equal(b.sandbox.labels["a"], "");
  assert.equal(b.sandbox.labels["io.kubernetes.pod.namespace"], "n");
});

test("parsePodManifests() resolves anchors, and treats null and empty values as absent", () => {
  const yaml = pod("volumes: []", "hostname: null")
    .replace("metadata: {name: p}", "metadata: {name: p, labels: &l {x: y}, annotations: *l}")
    .concat("\nstatus: {}");
  const { sandbox } = parseOne(yaml);
  assert.deepEqual(sandbox.annotations, { x: "y" });
  assert.equal(sandbox.hostname, "p");
});

test("parsePodManifests() rejects unsupported fields with file, line and reason", () => {
  const errors = errorsOf(pod("volumes:", "  - {name: v, nfs: {server: x}}", "hostnam: x"));
  assert.equal(
    errors,
    "7: spec.volumes[0].nfs: not supported by davit run: davit run does not mount storage; mount it on " +
      "the host and use hostPath\n" +
      "8: spec.hostnam: not supported by davit run, did you mean spec.hostname?",
  );
  const container = "\n  - {name: d, image: i, livenessProbe: {exec: {}}}";
  const withProbe = pod().replace("[{name: c, image: i}]", container);
  assert.match(
    errorsOf(withProbe),
    /^6: spec\.containers\[0\]\.livenessProbe: not supported by davit run: probes are run by kubelet$/,
  );
  assert.match(errorsOf(pod("nodeSelector: {a: b}")), /davit run does not schedule pods$/);
  assert.match(
    errorsOf(pod().replace("{name: p}", "{name: p, resourceVersion: '1'}")),
    /remove it from the file/,
  );
});

test("parsePodManifests() reports all errors in the order of the file", () => {
  assert.equal(
    errorsOf("apiVersion: v2\nkind: Job\nmetadata: {name: X_}\nspec:\n  containers: [{}]\n"),
    '2: kind: is "Job": must be Pod (the Pod of a Deployment or Job is its spec.template)\n' +
      '3: metadata.name: is "X_": must be lower-case letters, digits and "-"\n' +
      "5: spec.containers[0].name: is missing\n5: spec.containers[0].image: is missing",
  );
  const one = (fields: string): string => pod().replace("image: i", `image: i, ${fields}`);
  const mount = (fields: string): string =>
    pod("volumes: [{name: v, emptyDir: {}}]").replace(
      "image: i",
      `image: i, volumeMounts: [{name: v, mountPath: /v, ${fields}}]`,
    );
  const cases: readonly (readonly [string, RegExp])[] = [
    ["", /^1: no Pod found; add/],
    ["- a", /^1: the document: must be an object/],
    ["kind: [", /^1: not YAML: /],
    [pod("hostname: 1"), /^6: spec\.hostname: must be a string \(quote it\)$/],
    [pod("hostPID: 'yes'"), /spec\.hostPID: must be true or false/],
    [
      pod("hostPID: true", "shareProcessNamespace: true"),
      /spec\.shareProcessNamespace: must not be combined with hostPID/,
    ],
    [pod("hostUsers: false", "hostPID: true"), /spec\.hostUsers: is false: .* with hostPID/],
    [pod("hostUsers: false", "hostIPC: true"), /spec\.hostUsers: is false: .* with hostIPC/],
    [pod("automountServiceAccountToken: true"), /is true: a token requires an API server/],
    [pod("restartPolicy: Often"), /must be one of Always, OnFailure, Never/],
    [pod("terminationGracePeriodSeconds: -1"), /must be an integer from 0/],
    [
      pod("securityContext: {sysctls: [{name: a.b, value: '1'}, {name: a.b, value: '2'}]}"),
      /sysctls\[1\]\.name: duplicate sysctl "a\.b"/,
    ],
    [
      pod("securityContext: {runAsNonRoot: true, runAsUser: 0}"),
      /runAsUser: is 0: must not be combined/,
    ],
    [pod("securityContext: {seccompProfile: {type: Localhost}}"), /localhostProfile: is missing/],
    [pod("securityContext: {supplementalGroups: [1, -1]}"), /must contain only integers from 0/],
    [one("ports: [{containerPort: 0}]"), /from 1 to 65535/],
    [one("command: [1]"), /must contain only strings/],
    [one("resources: {limits: {cpu: x}}"), /must be a quantity/],
    [one("resources: {limits: {example.com/gpu: 1}}"), /gpu: not supported/],
    [one("env: [{name: A, valueFrom: {secretKeyRef: {name: a}}}]"), /secretKeyRef: not supported/],
    [one("env: [{name: A, valueFrom: {fieldRef: {fieldPath: a}}}]"), /fieldPath: is "a": must be/],
    [
      one("securityContext: {privileged: true, allowPrivilegeEscalation: false}"),
      /must not be combined with/,
    ],
    [one("volumeMounts: [{name: w, mountPath: /v}]"), /volume "w" not found in spec\.volumes/],
    [mount("subPath: ../x"), /subPath: is "\.\.\/x": must be a relative path/],
    [mount("mountPropagation: All"), /must be one of None, HostToContainer, Bidirectional/],
    [pod("volumes: [{name: v, hostPath: {path: a}}]"), /path: is "a": must be an absolute path/],
    [
      pod("volumes: [{name: v, hostPath: {path: /a/../b}}]"),
      /must be an absolute path without \.\./,
    ],
    [pod("volumes: [{name: v}, {name: v}]"), /duplicate volume name "v"/],
    [
      pod("volumes: [{name: v, emptyDir: {}, hostPath: {path: /x}}]"),
      /must have only one volume type/,
    ],
    [pod("volumes: [{name: v, emptyDir: {sizeLimit: 1Gi}}]"), /requires medium Memory/],
    [pod("initContainers: [{name: c, image: i}]"), /duplicate container name "c"/],
    [
      pod("initContainers: [{name: s, image: i, restartPolicy: Always}]"),
      /sidecar init containers are not supported/,
    ],
    [`${pod()}\n---\n${pod()}`, /duplicate pod "default\/p"/],
  ];
  for (const [yaml, expected] of cases) assert.match(errorsOf(yaml), expected);
});

test("parsePodNames() reads only the names of Pods", () => {
  const names = parsePodNames(`${pod("nodeName: x", "nonsense: 1")}\n---\n`, "pod.yaml");
  assert.deepEqual(
    names.map(({ name, namespace }) => [name, namespace]),
    [["p", "default"]],
  );
  assert.equal(names[0]?.uid, parseOne(pod()).uid, "the same uid as davit run gives it");
  assert.throws(() => parsePodNames("kind: Pod", "pod.yaml"), /apiVersion: is missing/);
});

test("parsePodManifests() rejects what is nested too deeply for the parser", () => {
  assert.throws(() => parseOne("[".repeat(20_000)), /pod\.yaml:1: not YAML/);
});

test("a message has at most a hundred errors, and says how many there are more", () => {
  const lines = errorsOf(pod(...Array.from({ length: 150 }, (_, at) => `odd${at}: 1`))).split("\n");
  assert.equal(lines.length, 101);
  assert.match(lines.at(-1) ?? "", /and 50 more$/);
});
