import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { SnapshotSchema } from "../../gen/davit/v1/checkpoints_pb.ts";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { makeRestoreDirectories, readSnapshot, restoreConfigs } from "./snapshot.ts";

const former = "/var/lib/davit-run/default_web_1";
const kubeLabels = {
  "io.kubernetes.pod.name": "web",
  "io.kubernetes.pod.namespace": "default",
  "io.kubernetes.pod.uid": "1",
};

function snapshotOf({ hostname = "web", hostPath = `${former}/volumes/cache/sub` } = {}) {
  const sandbox = create(PodSandboxConfigSchema, {
    metadata: { name: "web", namespace: "default", uid: "1", attempt: 2 },
    hostname,
    logDirectory: `${former}/logs`,
    labels: { ...kubeLabels, app: "x" },
    portMappings: [{ hostPort: 80, containerPort: 80 }],
    linux: { cgroupParent: "/kubepods/pod1", sysctls: { a: "1" } },
  });
  const container = create(ContainerConfigSchema, {
    metadata: { name: "nginx", attempt: 3 },
    labels: { ...kubeLabels, "io.kubernetes.container.name": "nginx" },
    mounts: [
      { containerPath: "/cache", hostPath },
      { containerPath: "/etc/x", hostPath: "/etc/x" },
      { containerPath: "/odd", hostPath: `${former}/volumes-of-another` },
    ],
  });
  return readSnapshot(
    create(SnapshotSchema, {
      id: "a",
      path: "/s/a",
      podName: "web",
      podNamespace: "default",
      config: toBinary(PodSandboxConfigSchema, sandbox),
      containers: [{ name: "nginx", config: toBinary(ContainerConfigSchema, container) }],
    }),
  );
}

const changes = {
  names: { name: "web-2", namespace: "test", uid: "2" },
  directory: "/pods/new",
  labels: { ...kubeLabels, app: "y" },
  annotations: { note: "z" },
  portMappings: [],
};

test("a restored pod has names, logs, volumes and a cgroup of its own", () => {
  const { sandbox, containers } = restoreConfigs(snapshotOf(), changes);
  const { name, namespace, uid, attempt } = sandbox.metadata ?? {};
  assert.deepEqual([name, namespace, uid, attempt], ["web-2", "test", "2", 0]);
  assert.equal(sandbox.hostname, "web-2");
  assert.equal(sandbox.logDirectory, "/pods/new/logs");
  assert.equal(sandbox.linux?.cgroupParent, "");
  assert.deepEqual(sandbox.linux.sysctls, { a: "1" });
  assert.deepEqual(sandbox.portMappings, []);
  assert.deepEqual(sandbox.annotations, { note: "z" });
  const own = {
    "io.kubernetes.pod.name": "web-2",
    "io.kubernetes.pod.namespace": "test",
    "io.kubernetes.pod.uid": "2",
  };
  assert.deepEqual(sandbox.labels, { ...own, app: "y" });
  const [container] = containers;
  assert.deepEqual(container?.labels, { ...own, "io.kubernetes.container.name": "nginx" });
  assert.equal(container.metadata?.attempt, 3);
  assert.deepEqual(
    container.mounts.map(({ hostPath }) => hostPath),
    ["/pods/new/volumes/cache/sub", "/etc/x", `${former}/volumes-of-another`],
  );
});

test("a hostname of its own stays, and labels of kubelet are not invented", () => {
  const { sandbox } = restoreConfigs(snapshotOf({ hostname: "db" }), {
    ...changes,
    labels: { app: "y" },
  });
  assert.equal(sandbox.hostname, "db");
  assert.deepEqual(sandbox.labels, { app: "y" });
});

test("the directories of a restored pod are made, and nothing outside of it", async () => {
  const directory = mkdtempSync(join(tmpdir(), "davit-test-restore-"));
  try {
    await makeRestoreDirectories(snapshotOf(), directory);
    assert.ok(existsSync(join(directory, "logs/nginx")));
    assert.equal(statSync(join(directory, "volumes/cache/sub")).mode & 0o777, 0o777);
    assert.ok(!existsSync(former));
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("a path in the snapshot does not lead out of the new pod's directory", async () => {
  const directory = mkdtempSync(join(tmpdir(), "davit-test-restore-"));
  const hostPath = `${former}/volumes/../../../outside`;
  const snapshot = snapshotOf({ hostPath });
  try {
    await makeRestoreDirectories(snapshot, join(directory, "pod"));
    assert.ok(!existsSync(join(directory, "outside")));
    const { containers } = restoreConfigs(snapshot, changes);
    assert.equal(containers[0]?.mounts[0]?.hostPath, hostPath);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("a snapshot without configs is not restored by them", () => {
  const bare = create(SnapshotSchema, { id: "a", path: "/s/a", containers: [{ name: "x" }] });
  assert.throws(() => readSnapshot(bare), { kind: "unimplemented", message: /RestorePod/ });
});
