import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerEventResponse,
  ContainerEventResponseSchema,
  ContainerEventType,
  ContainerSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { EventNames, isEventOf } from "./named-event.ts";

const podId = "ab".repeat(32);
const containerId = "cd".repeat(32);
const podSandboxStatus = { id: podId, metadata: { name: "web", namespace: "prod", uid: "1" } };
const { CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT } = ContainerEventType;

function event(
  fields: Exclude<MessageInitShape<typeof ContainerEventResponseSchema>, ContainerEventResponse>,
): ContainerEventResponse {
  return create(ContainerEventResponseSchema, { podSandboxStatus, ...fields });
}

test("EventNames names a deleted container by its earlier events, and then forgets it", () => {
  const names = new EventNames();
  const status = {
    id: containerId,
    metadata: { name: "app" },
    image: { image: "docker.io/library/app:1", userSpecifiedImage: `sha256:${"0".repeat(64)}` },
    exitCode: 3,
  };
  const stopped = names.name(
    event({
      containerId,
      containerEventType: CONTAINER_STOPPED_EVENT,
      containersStatuses: [status],
    }),
  );
  assert.equal(stopped.end?.exitCode, 3);
  const container = { name: "app", image: "docker.io/library/app:1" };
  assert.deepEqual(stopped.container, container);
  const gone = event({ containerId, containerEventType: CONTAINER_DELETED_EVENT });
  const deleted = names.name(gone);
  assert.deepEqual(
    [deleted.kind, deleted.container, deleted.end],
    ["deleted", container, undefined],
  );
  assert.deepEqual(names.name(gone).container, { name: containerId, image: "" });
});

test("EventNames knows the containers that exist, and events without a pod", () => {
  const names = new EventNames();
  const container = create(ContainerSchema, {
    id: containerId,
    podSandboxId: podId,
    metadata: { name: "app" },
    imageId: "sha256:1",
  });
  names.learn([{ container, pod: undefined }], new Map([["sha256:1", "app:1"]]));
  const { podSandboxStatus: _, ...without } = event({ containerId });
  const named = names.name(create(ContainerEventResponseSchema, without));
  assert.deepEqual(named.container, { name: "app", image: "app:1" });
  assert.deepEqual([named.podId, named.podName], [podId, ""]);
  const pod = names.name(event({ containerId: podId }));
  assert.deepEqual([pod.container, pod.podName, pod.namespace], [undefined, "web", "prod"]);
});

test("isEventOf() takes the names and ids of the pod and of the container", () => {
  const names = new EventNames();
  const container = create(ContainerSchema, { id: containerId, metadata: { name: "app" } });
  names.learn([{ container, pod: undefined }], new Map());
  const ofContainer = names.name(event({ containerId }));
  const ofPod = names.name(event({ containerId: podId }));
  for (const word of ["web", "prod/web", podId, "abab"]) {
    assert.deepEqual([isEventOf(ofContainer, word), isEventOf(ofPod, word)], [true, true], word);
  }
  for (const word of ["app", "web/app", "prod/web/app", containerId, "cdcdcdcd"]) {
    assert.deepEqual([isEventOf(ofContainer, word), isEventOf(ofPod, word)], [true, false], word);
  }
  for (const word of ["ab", "we", "prod", "other/web", "app/web"]) {
    assert.deepEqual([isEventOf(ofContainer, word), isEventOf(ofPod, word)], [false, false], word);
  }
});
