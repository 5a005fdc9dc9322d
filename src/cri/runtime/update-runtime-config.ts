import type { UpdateRuntimeConfigRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/** UpdateRuntimeConfig: sets the node's pod CIDR, for network plugins with the capability "ipRanges". */
export function updateRuntimeConfig(
  context: CriContext,
  request: UpdateRuntimeConfigRequest,
): Record<string, never> {
  const cidr = request.runtimeConfig?.networkConfig?.podCidr ?? "";
  if (cidr !== "") context.network.setPodCidr(cidr);
  return {};
}
