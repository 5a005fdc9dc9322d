import type { MessageInitShape } from "@bufbuild/protobuf";
import { CgroupDriver, type RuntimeConfigResponseSchema } from "../../gen/runtime/v1/api_pb.ts";

/** The cgroup driver, which kubelet 1.28 and newer takes from here instead of its own settings. */
export function runtimeConfig(): MessageInitShape<typeof RuntimeConfigResponseSchema> {
  return { linux: { cgroupDriver: CgroupDriver.CGROUPFS } };
}
