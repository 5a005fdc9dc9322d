import { RuntimeError } from "../../base/errors.ts";
import type { PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";

/** The annotation of a pod with the maximum size of the writable layer of each of its containers. */
export const layerLimitAnnotation = "davit.writable-layer-limit";
const powers = new Map([
  ["", 1],
  ["k", 1000],
  ["M", 1000 ** 2],
  ["G", 1000 ** 3],
  ["T", 1000 ** 4],
  ["Ki", 1024],
  ["Mi", 1024 ** 2],
  ["Gi", 1024 ** 3],
  ["Ti", 1024 ** 4],
]);

/**
 * The limit that a pod asks for, in bytes; `undefined` for none. `invalid-argument` for a value that is not a whole
 * number of bytes, with or without a unit as in Kubernetes' quantities.
 */
export function askedLayerLimit({
  annotations,
}: Pick<PodSandboxConfig, "annotations">): number | undefined {
  const text = annotations[layerLimitAnnotation];
  if (text === undefined) return undefined;
  const [, digits = "", unit = ""] = /^([0-9]{1,16})([kMGT]?|[KMGT]i)$/.exec(text) ?? [];
  const bytes = Number(digits) * (powers.get(unit) ?? 0);
  if (bytes > 0 && Number.isSafeInteger(bytes)) return bytes;
  throw new RuntimeError(
    "invalid-argument",
    `check sandbox config: annotation "${layerLimitAnnotation}" must be a number of bytes above 0, such as 1073741824 or 1Gi, got "${text.slice(0, 100)}"`,
  );
}

/** Whether containers of the pod have a limit, whatever it is by now. */
export function hasLayerLimit(
  { annotations }: Pick<PodSandboxConfig, "annotations">,
  { limit }: Pick<NodeLayerLimits, "limit">,
): boolean {
  return limit > 0 || annotations[layerLimitAnnotation] !== undefined;
}

/** The limits of a node for the writable layers of a handler's containers. Bytes, 0 for none. */
interface NodeLayerLimits {
  /** Without an annotation. */
  readonly limit: number;
  /** The most that an annotation may ask for, if that is more than `limit`. */
  readonly most: number;
}

/**
 * The limit of a pod's containers in bytes, 0 for none: that of the node, or the lower one that the pod asks for.
 * `invalid-argument` for a higher one than the node allows.
 */
export function layerLimitOf(
  config: Pick<PodSandboxConfig, "annotations">,
  { limit, most }: NodeLayerLimits,
): number {
  const asked = askedLayerLimit(config);
  if (asked === undefined) return limit;
  if (limit === 0 || asked <= Math.max(limit, most)) return asked;
  throw new RuntimeError(
    "invalid-argument",
    `create container: annotation "${layerLimitAnnotation}" of its pod asks for ${asked} bytes, and this node allows ` +
      `${Math.max(limit, most)}; lower it, or raise runtime.writable_layer_limit_max`,
  );
}
