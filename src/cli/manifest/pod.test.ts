import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { kindOf } from "../../base/errors.ts";
import { NamespaceMode, Protocol } from "../../gen/runtime/v1/api_pb.ts";
import { type PodManifest, parsePodManifests } from "./pod.ts";

const NODE = {
  logRoot: "/var/log/pods",
  resolvConf: "domain old\nsearch a b\nnameserver 1.1.1.1\noptions ndots:5 edns0\n",
  newUid: () => "uid-1",
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

function refusal(yaml: string): string {
  let message = "";
  assert.throws(
    () => parsePodManifests(yaml, "pod.yaml", NODE),
    (error: Error) => {
      message = error.message;
      return kindOf(error) === "invalid-argument";
    },
  );
  const prefix = 'read pod manifest "pod.yaml": ';
  assert.ok(message.startsWith(prefix), message);
  return message.slice(prefix.length);
}

test("parsePodManifests() makes of examples/hello.yaml what kubelet would ask for", () => {
  const file = new URL("../../../examples/hello.yaml", import.meta.url);
  const { sandbox, containers, runtimeHandler } = parseOne(readFileSync(file, "utf8"));
  assert.deepEqual(
    { ...sandbox.metadata, $typeName: undefined },
    { $typeName: undefined, name: "hello", namespace: "default", uid: "uid-1", attempt: 0 },
  );
  assert.equal(sandbox.hostname, "hello");
  assert.equal(sandbox.logDirectory, "/var/log/pods/default_hello_uid-1");
  assert.equal(sandbox.labels["app.kubernetes.io/name"], "hello");
  assert.equal(sandbox.labels["io.kubernetes.pod.uid"], "uid-1");
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
  assert.deepEqual(containers[0].limits, { memory: "64Mi" });
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

test("parsePodManifests() names the host after hostname, else after the pod, else not at all", () => {
  assert.equal(parseOne(pod("hostname: h")).sandbox.hostname, "h");
  assert.equal(parseOne(pod()).sandbox.hostname, "p");
  assert.equal(parseOne(pod("hostNetwork: true")).sandbox.hostname, "");
  const long = parseOne(pod().replace("name: p", `name: ${"a".repeat(62)}.${"b".repeat(9)}`));
  assert.equal(long.sandbox.hostname, "a".repeat(62));
  assert.match(
    refusal(pod("hostNetwork: true", "hostname: h")),
    /^spec\.hostname cannot be chosen/,
  );
});

test("parsePodManifests() adds dnsConfig to the node's, or puts it in its place", () => {
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
  assert.match(refusal(pod("dnsPolicy: None")), /needs dnsConfig\.nameservers/);
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

test("parsePodManifests() follows anchors, and takes null and empty as absent", () => {
  const yaml = pod("volumes: []", "hostname: null")
    .replace("metadata: {name: p}", "metadata: {name: p, labels: &l {x: y}, annotations: *l}")
    .concat("\nstatus: {}");
  const { sandbox } = parseOne(yaml);
  assert.deepEqual(sandbox.annotations, { x: "y" });
  assert.equal(sandbox.hostname, "p");
});

test("parsePodManifests() refuses each field that davit does not do, by name and line", () => {
  assert.equal(
    refusal(pod("volumes:", "  - name: v", "hostnam: x")),
    "spec.volumes is not something davit does (line 6); " +
      "spec.hostnam is not something davit does, did you mean spec.hostname? (line 8)",
  );
  const container = "\n  - {name: d, image: i, livenessProbe: {exec: {}}}";
  const withProbe = pod().replace("[{name: c, image: i}]", container);
  assert.equal(
    refusal(withProbe),
    "spec.containers[0].livenessProbe is not something davit does (line 6)",
  );
});

test("parsePodManifests() refuses what is wrong, all of it at once", () => {
  assert.equal(
    refusal("apiVersion: v2\nkind: Job\nmetadata: {name: X_}\nspec:\n  containers: [{}]\n"),
    'apiVersion is "v2": must be one of v1 (line 1); kind is "Job": must be one of Pod (line 2); ' +
      'metadata.name is "X_": must be lower-case letters, digits and "-" (line 3); ' +
      "spec.containers[0].name is missing (line 5); spec.containers[0].image is missing (line 5)",
  );
  const cases: readonly (readonly [string, RegExp])[] = [
    ["", /^there is no Pod in it$/],
    ["- a", /^the document must be an object/],
    ["kind: [", /^not YAML: .* \(line 1\)$/],
    [pod("hostname: 1"), /^spec\.hostname must be a string \(quote it\) \(line 6\)$/],
    [pod("hostPID: 'yes'"), /^spec\.hostPID must be true or false/],
    [pod("hostPID: true", "shareProcessNamespace: true"), /^spec\.shareProcessNamespace cannot/],
    [pod("hostUsers: false"), /^spec\.hostUsers is false/],
    [pod("automountServiceAccountToken: true"), /is true: there is no API server/],
    [pod("restartPolicy: Often"), /must be one of Always, OnFailure, Never/],
    [pod("terminationGracePeriodSeconds: -1"), /must be an integer from 0/],
    [
      pod("securityContext: {sysctls: [{name: a.b, value: '1'}, {name: a.b, value: '2'}]}"),
      /sysctls\[1\]\.name is "a\.b": it is there twice/,
    ],
    [pod().replace("image: i", "image: i, ports: [{containerPort: 0}]"), /from 1 to 65535/],
    [pod().replace("image: i", "image: i, command: [1]"), /must hold strings only/],
    [pod().replace("image: i", "image: i, resources: {limits: {cpu: x}}"), /must be a quantity/],
    [
      pod().replace("image: i", "image: i, env: [{name: A, valueFrom: {a: 1}}]"),
      /valueFrom is not/,
    ],
    [pod().replace("c, image: i}", "c, image: i}, {name: c, image: j}"), /two that are named "c"/],
  ];
  for (const [yaml, expected] of cases) assert.match(refusal(yaml), expected);
});
