import type { MessageInitShape } from "@bufbuild/protobuf";
import type { OptionalField, RuntimeFeatures } from "../../../core/handler/index.ts";
import type { OciSpec } from "../../../core/oci/index.ts";
import type {
  ContainerAdjustmentSchema,
  LinuxContainerAdjustmentSchema,
  LinuxResourcesSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { containerSpec } from "../../generate.ts";
import { specInput, testHost } from "../../testing/spec-input.ts";
import type { AdjustFacts } from "../facts.ts";

type Adjustment = MessageInitShape<typeof ContainerAdjustmentSchema>;
type Linux = MessageInitShape<typeof LinuxContainerAdjustmentSchema>;
type Resources = MessageInitShape<typeof LinuxResourcesSchema>;

const runtime: RuntimeFeatures = {
  mountOptions: ["ro"],
  idMappedMounts: true,
  seccomp: true,
  optionalFields: [
    "process.scheduler",
    "process.ioPriority",
    "linux.netDevices",
    "linux.memoryPolicy",
    "linux.intelRdt",
    "linux.intelRdt.schemata",
    "linux.intelRdt.enableMonitoring",
  ],
};
export const v2: AdjustFacts = {
  host: testHost,
  runtime,
  blockIo: { weight: 4 },
  intelRdt: { closID: "gold" },
};
export const v1: AdjustFacts = { ...v2, host: { cgroupVersion: 1 } };
export const without = (field: OptionalField): AdjustFacts => ({
  ...v2,
  runtime: {
    ...runtime,
    optionalFields: runtime.optionalFields?.filter((one) => one !== field) ?? [],
  },
});

export const plain = containerSpec(specInput());
export const linux = (init: Linux): Adjustment => ({ linux: init });
export const resources = (init: Resources): Adjustment => linux({ resources: init });
export const value = { value: 5000n };

/** An adjustment of one field, and the spec that it gives. */
export interface FieldCase {
  readonly adjust: Adjustment;
  readonly facts?: AdjustFacts;
  readonly spec?: OciSpec;
  /** What of the spec is looked at, and what must be there. */
  readonly look?: (spec: OciSpec) => unknown;
  readonly want?: unknown;
  /** Facts with which the same is refused, and what the message has. */
  readonly refusedBy?: AdjustFacts;
  readonly message?: RegExp;
}

export const lastOf = <Item>(list: readonly Item[] | undefined): Item | undefined => list?.at(-1);

/** Cases by the path of their field. */
export type FieldCases = Readonly<Record<string, readonly FieldCase[]>>;
