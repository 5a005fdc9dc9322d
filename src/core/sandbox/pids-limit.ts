import { RuntimeError } from "../../base/errors.ts";
import type { PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";

/** The annotation of a pod with the maximum number of processes and threads of each of its containers. */
export const pidsLimitAnnotation = "davit.pids-limit";

// The kernel's own maximum, PID_MAX_LIMIT (include/linux/threads.h).
const maxPids = 4_194_304;

/**
 * The maximum number of processes and threads that a pod asks for; `undefined` for none. `invalid-argument` for a value
 * that is not a whole number from 1 to 4194304.
 */
export function askedPidsLimit({
  annotations,
}: Pick<PodSandboxConfig, "annotations">): bigint | undefined {
  const text = annotations[pidsLimitAnnotation];
  if (text === undefined) return undefined;
  const limit = /^[1-9][0-9]{0,6}$/.test(text) ? Number(text) : 0;
  if (limit > 0 && limit <= maxPids) return BigInt(limit);
  throw new RuntimeError(
    "invalid-argument",
    `check sandbox config: annotation "${pidsLimitAnnotation}" must be a whole number from 1 to ${maxPids}, got "${text.slice(0, 100)}"`,
  );
}
