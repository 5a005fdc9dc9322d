import type { DescMessage } from "@bufbuild/protobuf";
import {
  ContainerAdjustmentSchema,
  LinuxContainerAdjustmentSchema,
  LinuxCPUSchema,
  LinuxMemorySchema,
  LinuxRdtSchema,
  LinuxResourcesSchema,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";

/** Messages whose fields count each; every other field counts as one. */
const divided: Readonly<Record<string, DescMessage>> = {
  linux: LinuxContainerAdjustmentSchema,
  "linux.resources": LinuxResourcesSchema,
  "linux.resources.memory": LinuxMemorySchema,
  "linux.resources.cpu": LinuxCPUSchema,
  "linux.rdt": LinuxRdtSchema,
};

/** The paths of all fields of an NRI adjustment, as docs/nri-fields.md has them. */
export function adjustmentFields(): readonly string[] {
  return fieldsOf(ContainerAdjustmentSchema, "");
}

function fieldsOf(message: DescMessage, prefix: string): readonly string[] {
  return message.fields.flatMap(({ name }) => {
    const path = `${prefix}${name}`;
    const part = divided[path];
    return part === undefined ? [path] : fieldsOf(part, `${path}.`);
  });
}
