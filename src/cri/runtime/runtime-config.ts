import type { MessageInitShape } from "@bufbuild/protobuf";
import { CgroupDriver, type RuntimeConfigResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/** RuntimeConfig: the cgroup driver. kubelet 1.28 and newer uses it instead of its own setting. */
export function runtimeConfig(
  context: Pick<CriContext, "cgroupDriver">,
): MessageInitShape<typeof RuntimeConfigResponseSchema> {
  const { SYSTEMD, CGROUPFS } = CgroupDriver;
  return { linux: { cgroupDriver: context.cgroupDriver === "systemd" ? SYSTEMD : CGROUPFS } };
}
