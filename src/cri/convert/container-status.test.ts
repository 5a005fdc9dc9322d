import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import type { Container } from "../../core/container/index.ts";
import { ContainerConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { criContainerStatus } from "./container-status.ts";

function containerOf(userSpecifiedImage: string): Container {
  return {
    config: create(ContainerConfigSchema, { image: { image: "sha256:aa", userSpecifiedImage } }),
    image: { shown: "docker.io/library/app:1", requested: "sha256:aa" },
    imageVolumes: [],
    user: { uid: 0n, gid: 0n, supplementalGroups: [] },
    stopSignal: "SIGTERM",
    state: { name: "created" },
  } as unknown as Container;
}

test("the status has the name in the pod's spec, else that of the request", () => {
  for (const [given, expected] of [
    ["app:1", "app:1"],
    ["", "sha256:aa"],
  ] as const) {
    const { image } = criContainerStatus(containerOf(given));
    assert.deepEqual(
      [image?.image, image?.userSpecifiedImage],
      ["docker.io/library/app:1", expected],
    );
  }
});
