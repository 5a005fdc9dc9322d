import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ContainerSchema, ContainerState, PodSandboxSchema } from "../../gen/runtime/v1/api_pb.ts";
import { joinPods } from "./find.ts";
import type { Objects } from "./objects.ts";
import { pick, pickContainer } from "./pick.ts";

const pods = [
  create(PodSandboxSchema, { id: "p1", metadata: { namespace: "default", name: "web" } }),
  create(PodSandboxSchema, { id: "p2", metadata: { namespace: "default", name: "pod" } }),
];
const container = (id: string, podSandboxId: string, name: string, createdAt = 1n) =>
  create(ContainerSchema, {
    ...{ id, podSandboxId, createdAt, metadata: { name, attempt: Number(createdAt) } },
    state: ContainerState.CONTAINER_RUNNING,
  });
const containers = joinPods(
  [
    container("c1", "p1", "nginx", 1n),
    container("c2", "p1", "nginx", 2n),
    container("c3", "p1", "side"),
    container("c4", "p2", "only"),
  ],
  pods,
);
const objects = {
  pods: () => Promise.resolve(pods),
  containers: () => Promise.resolve(containers),
} as unknown as Objects;

const idOf = async (word: string, inPod?: string): Promise<string> =>
  (await pickContainer(word, objects, inPod)).container.id;

test("pickContainer() accepts the kind of an object before its name", async () => {
  assert.equal(await idOf("pod"), "c4");
  assert.equal(await idOf("pod/pod"), "c4");
  assert.equal(await idOf("pod/only"), "c4", "a name with its pod is preferred");
  assert.equal(await idOf("container/side"), "c3");
  await assert.rejects(idOf("pod/web"), /the pod has 2 containers; use one of/);
  await assert.rejects(idOf("pod/none"), { exitCode: 3 });
  const found = await pick("pods/web", ["pod", "container"], objects);
  assert.equal(found.kind === "pod" && found.pod.id, "p1");
});

test("pickContainer() finds the container of a name in a pod", async () => {
  assert.equal(await idOf("web", "nginx"), "c2", "the last attempt");
  assert.equal(await idOf("pod/web", "side"), "c3");
  await assert.rejects(
    idOf("web", "none"),
    /find container "none" of pod "default\/web": not found; the pod has nginx, side/,
  );
  await assert.rejects(idOf("nothing", "side"), { exitCode: 3 });
});
