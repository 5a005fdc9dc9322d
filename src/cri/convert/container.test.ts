import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary } from "@bufbuild/protobuf";
import type { Container } from "../../core/container/index.ts";
import {
  ContainerConfigSchema,
  ListContainersResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { encodedContainerItem } from "./container.ts";

test("a container is listed with its image, which belongs to no handler", () => {
  const image = { image: "sha256:aa", runtimeHandler: "kata", userSpecifiedImage: "app:1" };
  const container = {
    id: "c",
    config: create(ContainerConfigSchema, { image }),
    image: { id: "sha256:aa" },
    state: { name: "created" },
  } as unknown as Container;
  const list = fromBinary(ListContainersResponseSchema, encodedContainerItem(container));
  const [listed] = list.containers;
  assert.deepEqual(
    [listed?.image?.image, listed?.image?.userSpecifiedImage, listed?.image?.runtimeHandler],
    ["sha256:aa", "app:1", ""],
  );
});
