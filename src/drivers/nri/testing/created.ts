// The result of plugins' answers about a new container, for tests.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerAdjustmentSchema,
  ContainerSchema,
  CreateContainerRequestSchema,
  CreateContainerResponseSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { CreateResult } from "../merge/index.ts";

/** An adjustment to be made. */
export type Adjustment = MessageInitShape<typeof ContainerAdjustmentSchema>;

/** The container "c1" before plugins are asked about it. */
export function newContainer(init: MessageInitShape<typeof ContainerSchema> = {}): CreateResult {
  const container = create(ContainerSchema, init);
  container.id = "c1";
  return new CreateResult(create(CreateContainerRequestSchema, { container }));
}

/** Merges the answer of a plugin. */
export function apply(result: CreateResult, adjust: Adjustment, plugin = "10-a"): void {
  result.apply(create(CreateContainerResponseSchema, { adjust }), plugin);
}

/** A bind mount. */
export function bind(destination: string): {
  readonly destination: string;
  readonly source: string;
} {
  return { destination, source: "/srv" };
}
