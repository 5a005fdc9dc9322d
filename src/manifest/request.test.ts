import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "../gen/runtime/v1/api_pb.ts";
import { messageToJson } from "../cli/output/cri-message.ts";
import { withIdMapping } from "./ids.ts";
import { parsePodManifests } from "./parse.ts";
import type { PodManifest, NodeInfo } from "./pod.ts";
import { containerConfig, runAsNonRootViolation, type RuntimeState } from "./request.ts";

const node: NodeInfo = {
  podsRoot: "/pods",
  resolvConf: "nameserver 1.1.1.1\n",
  nodeName: "node-1",
  memoryBytes: 8 * 2 ** 30,
};

function podOf(yaml: string): PodManifest {
  const [pod] = parsePodManifests(yaml, "pod.yaml", node);
  return pod ?? assert.fail("no pod");
}

function stateFor(container: PodManifest["containers"][number] | undefined): RuntimeState {
  return {
    imageId: "sha256:1234",
    imageUser: { username: "app" },
    podIps: ["10.0.0.2", "fd00::2"],
    hostPaths: (container?.volumeMounts ?? []).map(({ name }) => `/host/${name}`),
    node,
  };
}

/** All supported fields in one manifest. DAVIT_UPDATE_GOLDEN=1 writes the file; then run npm run format. */
test("a manifest with all fields gives the requests of its golden file", () => {
  const directory = new URL("testing/", import.meta.url);
  const pod = podOf(readFileSync(new URL("all-fields.yaml", directory), "utf8"));
  const configOf = (container: PodManifest["containers"][number]) =>
    messageToJson(
      ContainerConfigSchema,
      create(ContainerConfigSchema, containerConfig(container, pod, stateFor(container))),
    );
  const made = {
    handler: pod.runtimeHandler,
    sandbox: messageToJson(PodSandboxConfigSchema, pod.sandbox),
    initContainers: pod.initContainers.map(configOf),
    containers: pod.containers.map(configOf),
  };
  const golden = new URL("all-fields.json", directory);
  if (process.env["DAVIT_UPDATE_GOLDEN"] === "1") writeFileSync(golden, JSON.stringify(made));
  assert.deepEqual(made, JSON.parse(readFileSync(golden, "utf8")));
});

describe("containerConfig()", () => {
  const pod = (container: string, spec = ""): PodManifest =>
    podOf(
      `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {${spec} containers: [{name: c, image: i, ${container}}]}}`,
    );
  const config = (manifest: PodManifest, state: Partial<RuntimeState> = {}) => {
    const [container] = manifest.containers;
    assert.ok(container);
    const made = containerConfig(container, manifest, { ...stateFor(container), ...state });
    return create(ContainerConfigSchema, made);
  };

  test("expands variables in command, args and later variables", () => {
    const { command, args, envs } = config(
      pod(
        "command: [$(A)], args: [$$(A), $(B), $(C)], " +
          "env: [{name: A, value: x}, {name: B, value: $(A)y}, {name: A, value: z}]",
      ),
    );
    assert.deepEqual([...command, ...args], ["z", "$(A)", "xy", "$(C)"]);
    assert.deepEqual(
      envs.map(({ key, value }) => `${key}=${Buffer.from(value).toString()}`),
      ["A=z", "B=xy"],
    );
  });

  test("maps the ids of volumes like those of the pod", () => {
    const manifest = podOf(
      "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {hostUsers: false, volumes: [{name: v, emptyDir: {}}], containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}]}]}}",
    );
    const { mounts, linux } = config(withIdMapping(manifest, 131_072));
    const users = linux?.securityContext?.namespaceOptions?.usernsOptions;
    assert.ok(users);
    assert.equal(users.uids[0]?.hostId, 131_072);
    const [mount] = mounts;
    assert.deepEqual([mount?.uidMappings, mount?.gidMappings], [users.uids, users.gids]);
    assert.deepEqual(config(manifest).mounts[0]?.uidMappings, []);
  });

  test("mounts the hosts file of a pod with hostAliases, unless a volume is there", () => {
    const plain = pod("");
    assert.deepEqual(config(plain).mounts, []);
    const [hosts] = config(plain, { hostsFile: "/d/etc-hosts" }).mounts;
    assert.deepEqual([hosts?.containerPath, hosts?.hostPath], ["/etc/hosts", "/d/etc-hosts"]);
    const own = podOf(
      "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {hostAliases: [{ip: 10.0.0.1, hostnames: [a, b.c]}], volumes: [{name: v, emptyDir: {}}], containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /etc/hosts}]}]}}",
    );
    assert.deepEqual(own.hostAliases, [{ ip: "10.0.0.1", hostnames: ["a", "b.c"] }]);
    assert.equal(config(own, { hostsFile: "/d/etc-hosts" }).mounts.length, 1);
  });

  test("gives volumes in memory the size of sizeLimit, within the limit of the pod and the node", () => {
    const size = (emptyDir: string, ...limits: string[]): number | undefined => {
      const containers = limits.map(
        (limit, at) => `{name: c${at}, image: i, resources: {limits: {${limit}}}}`,
      );
      const [volume] = podOf(
        `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {volumes: [{name: v, emptyDir: {medium: Memory${emptyDir}}}], containers: [${containers.join()}]}}`,
      ).volumes;
      return volume?.kind === "emptyDir" ? volume.memoryBytes : undefined;
    };
    const nodeBytes = size(", sizeLimit: 1Ei", "") ?? 0;
    assert.ok(nodeBytes > 0);
    assert.equal(size("", ""), Math.floor(nodeBytes / 2));
    assert.equal(size(", sizeLimit: 16Mi", ""), 2 ** 24);
    assert.equal(size(", sizeLimit: 16Mi", "memory: 1Mi", "memory: 2Mi"), 3 * 2 ** 20);
    assert.equal(size(", sizeLimit: 1Mi", "memory: 4Mi"), 2 ** 20);
    assert.equal(size(", sizeLimit: 16Mi", "memory: 1Mi", ""), 2 ** 24);
  });

  test("takes a user by name and limits, which a Pod has no fields for", () => {
    const plain = pod("");
    const ulimits = [{ name: "nofile", soft: 10n, hard: -1n }];
    const containers = plain.containers.map((each) => ({ ...each, username: "node:www", ulimits }));
    const { securityContext } = config({ ...plain, containers }).linux ?? {};
    assert.equal(securityContext?.runAsUsername, "node:www");
    assert.equal(securityContext.runAsUser, undefined);
    assert.deepEqual(
      securityContext.ulimits.map(({ name, soft, hard }) => ({ name, soft, hard })),
      ulimits,
    );
  });

  test("sets the OOM score by QoS class", () => {
    const score = (container: string): number =>
      Number(config(pod(container)).linux?.resources?.oomScoreAdj ?? 0n);
    assert.equal(score(""), 1000);
    assert.equal(score("resources: {limits: {cpu: 1, memory: 1Gi}}"), -997);
    assert.equal(score("resources: {requests: {memory: 4Gi}}"), 500);
    assert.equal(score("resources: {requests: {cpu: 1}}"), 999);
    assert.equal(score("resources: {requests: {memory: 80Gi}}"), 3);
  });

  test("converts CPUs to shares and a quota as kubelet does", () => {
    const cpu = (resources: string): readonly bigint[] => {
      const made = config(pod(`resources: ${resources}`)).linux?.resources;
      return [made?.cpuShares ?? -1n, made?.cpuPeriod ?? -1n, made?.cpuQuota ?? -1n];
    };
    assert.deepEqual(cpu("{requests: {cpu: 250m}}"), [256n, 0n, 0n]);
    assert.deepEqual(cpu("{limits: {cpu: 1.5}}"), [1536n, 100_000n, 150_000n]);
    assert.deepEqual(cpu("{limits: {cpu: 1m}}"), [2n, 100_000n, 1000n]);
  });

  test("uses the user of the image if the manifest has none", () => {
    const user = (state: RuntimeState["imageUser"], spec = "") => {
      const context = config(pod("", spec), { imageUser: state }).linux?.securityContext;
      return [context?.runAsUser?.value, context?.runAsUsername, context?.runAsGroup?.value];
    };
    assert.deepEqual(user({ username: "" }), [undefined, "", undefined]);
    assert.deepEqual(user({ username: "app" }), [undefined, "app", undefined]);
    assert.deepEqual(user({ username: "", uid: 7n }), [7n, "", undefined]);
    const group = "securityContext: {runAsGroup: 9},";
    assert.deepEqual(user({ username: "" }, group), [0n, "", 9n]);
    assert.deepEqual(user({ username: "app" }, group), [undefined, "app", 9n]);
    const both = "securityContext: {runAsUser: 5, runAsGroup: 9},";
    assert.deepEqual(user({ username: "app" }, both), [5n, "", 9n]);
  });

  test("masks no path in a privileged container, and makes its pod privileged", () => {
    const manifest = pod("securityContext: {privileged: true}");
    const context = config(manifest).linux?.securityContext;
    assert.equal(context?.privileged, true);
    assert.deepEqual([context.maskedPaths, context.readonlyPaths], [[], []]);
    assert.equal(manifest.sandbox.linux?.securityContext?.privileged, true);
  });
});

test("runAsNonRootViolation() matches kubelet's check", () => {
  const check = (context: string, user: RuntimeState["imageUser"]): string | undefined => {
    const pod = podOf(
      `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i, securityContext: ${context}}]}}`,
    );
    const [container] = pod.containers;
    return container && runAsNonRootViolation(container, pod, user);
  };
  const nonRoot = "{runAsNonRoot: true}";
  assert.equal(check("{}", { username: "" }), undefined);
  assert.match(check(nonRoot, { username: "" }) ?? "", /its image runs as root/);
  assert.match(check(nonRoot, { username: "", uid: 0n }) ?? "", /its image runs as root/);
  assert.match(
    check(nonRoot, { username: "app" }) ?? "",
    /runs as "app", which is not a numeric uid/,
  );
  assert.equal(check(nonRoot, { username: "", uid: 5n }), undefined);
  assert.equal(check("{runAsNonRoot: true, runAsUser: 5}", { username: "" }), undefined);
});
