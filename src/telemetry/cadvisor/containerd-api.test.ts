import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import type { Container, ContainerState } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import {
  Containers,
  type Container as ContainerMessage,
} from "../../gen/containerd/services/containers/v1/containers_pb.ts";
import { Tasks } from "../../gen/containerd/services/tasks/v1/tasks_pb.ts";
import { Version } from "../../gen/containerd/services/version/v1/version_pb.ts";
import { NamespaceMode, PodSandboxConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { type Process, Status } from "../../gen/containerd/v1/types/task_pb.ts";
import type { Call } from "../../wire/grpc/call.ts";
import { containerdMethods } from "./containerd-api.ts";

const podId = "a".repeat(64);
const metadata = { name: "web-0", namespace: "shop", uid: "u-1", attempt: 0 };
const sandbox = { id: podId, config: { metadata }, createdAtNs: 1_700_000_000_123n } as Sandbox;

function container(id: string, state: ContainerState): Container {
  return {
    id,
    sandboxId: podId,
    config: { metadata: { name: "app", attempt: 0 }, envs: [{ key: "PASSWORD", value: "secret" }] },
    image: { shown: "docker.io/library/nginx:1.27" },
    createdAtNs: 1_700_000_000_123n,
    state,
  } as unknown as Container;
}

const running = {
  name: "running",
  startedAtNs: 1n,
  process: { pid: 4711, startTime: "1" },
  monitor: undefined,
} as const;
const exited = {
  name: "exited",
  startedAtNs: 1n,
  finishedAtNs: 2n,
  exitCode: 3,
  reason: "Error",
  message: "",
} as const;

const objects = new Map([
  ["b".repeat(64), container("b".repeat(64), running)],
  ["c".repeat(64), container("c".repeat(64), { name: "created" })],
  ["d".repeat(64), container("d".repeat(64), exited)],
]);

let networkPid: number | undefined;
const methods = containerdMethods({
  version: "1.2.3",
  sandboxes: { peek: (id) => (id === podId ? sandbox : undefined) },
  containers: { peek: (id) => objects.get(id) },
  networkPid: () => networkPid,
});

async function ask(path: string, request: Uint8Array): Promise<Uint8Array> {
  const method = methods.get(path);
  assert.ok(method?.kind === "unary");
  return method.handle(request, {} as Call);
}

async function getContainer(id: string): Promise<ContainerMessage> {
  const { input, output } = Containers.method.get;
  const request = toBinary(input, create(input, { id }));
  const bytes = await ask("/containerd.services.containers.v1.Containers/Get", request);
  const { container: found } = fromBinary(output, bytes);
  assert.ok(found !== undefined);
  return found;
}

async function getTask(containerId: string, execId = ""): Promise<Process> {
  const { input, output } = Tasks.method.get;
  const request = toBinary(input, create(input, { containerId, execId }));
  const bytes = await ask("/containerd.services.tasks.v1.Tasks/Get", request);
  const { process } = fromBinary(output, bytes);
  assert.ok(process !== undefined);
  return process;
}

const isNotFound = (error: unknown): boolean => isKind(error, "not-found");

test("Version names davit", async () => {
  const bytes = await ask("/containerd.services.version.v1.Version/Version", new Uint8Array());
  assert.equal(fromBinary(Version.method.version.output, bytes).version, "davit 1.2.3");
});

test("Containers.Get has the names of pod and container, and nothing that could be secret", async () => {
  const found = await getContainer("b".repeat(64));
  assert.equal(found.id, "b".repeat(64));
  assert.equal(found.image, "docker.io/library/nginx:1.27");
  assert.deepEqual(found.labels, {
    "io.kubernetes.pod.name": "web-0",
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.uid": "u-1",
    "io.kubernetes.container.name": "app",
    "io.cri-containerd.kind": "container",
  });
  // cAdvisor parses it as an OCI spec, and fails without one.
  const spec = Buffer.from(found.spec?.value ?? []).toString();
  assert.deepEqual(JSON.parse(spec), { ociVersion: "1.2.0", process: { env: [] } });
});

test("Containers.Get answers a sandbox without a container's name", async () => {
  const found = await getContainer(podId);
  assert.equal(found.labels["io.cri-containerd.kind"], "sandbox");
  assert.equal(found.labels["io.kubernetes.pod.name"], "web-0");
  assert.ok(!("io.kubernetes.container.name" in found.labels));
});

test("Containers.Get answers a sandbox on the host's network as one without a network", async () => {
  const namespaceOptions = { network: NamespaceMode.NODE };
  const config = create(PodSandboxConfigSchema, {
    linux: { securityContext: { namespaceOptions } },
  });
  const onHost = { ...sandbox, config } as Sandbox;
  const hostMethods = containerdMethods({
    version: "1.2.3",
    sandboxes: { peek: () => onHost },
    containers: { peek: () => undefined },
    networkPid: () => 99,
  });
  const method = hostMethods.get("/containerd.services.containers.v1.Containers/Get");
  assert.ok(method?.kind === "unary");
  const { input, output } = Containers.method.get;
  const request = toBinary(input, create(input, { id: podId }));
  const { container } = fromBinary(output, await method.handle(request, {} as Call));
  assert.equal(container?.labels["io.cri-containerd.kind"], "container");
});

test("Tasks.Get has the pid of a running container, and NotFound before that", async () => {
  const process = await getTask("b".repeat(64));
  assert.equal(process.pid, 4711);
  assert.equal(process.status, Status.RUNNING);
  await assert.rejects(getTask("c".repeat(64)), isNotFound);
  const ended = await getTask("d".repeat(64));
  assert.equal(ended.status, Status.STOPPED);
  assert.equal(ended.pid, 0);
  assert.equal(ended.exitStatus, 3);
});

test("Tasks.Get of a sandbox has the process of its network", async () => {
  networkPid = undefined;
  await assert.rejects(getTask(podId), isNotFound);
  networkPid = 99;
  assert.equal((await getTask(podId)).pid, 99);
});

test("unknown ids are NotFound, whatever they are", async () => {
  for (const id of ["", "a", "e".repeat(64), "../../etc/passwd", "\n".repeat(10_000)]) {
    await assert.rejects(getContainer(id), isNotFound);
    await assert.rejects(getTask(id), (error: unknown) => {
      assert.ok(isNotFound(error) && error instanceof Error);
      assert.ok(error.message.length < 300 && !error.message.includes("\n"), error.message);
      return true;
    });
  }
  await assert.rejects(getTask("b".repeat(64), "exec"), isNotFound);
});
