import type { Clock } from "../../base/time.ts";

/**
 * The time of a sample, in nanoseconds since 1970. Not Clock.nowNs(), which stands still after the machine's clock was
 * set back: Prometheus refuses other values for a time that it has.
 */
export function wallNs({ nowMs }: Pick<Clock, "nowMs">): bigint {
  return BigInt(nowMs()) * 1_000_000n;
}
