import type { CniResult } from "../result.ts";

/** A result of version 1.0.0, without a list of routes that is empty, as the plugins print it. */
export function resultOf({ routes = [], ...rest }: Omit<CniResult, "cniVersion">): CniResult {
  return { cniVersion: "1.0.0", ...rest, ...(routes.length > 0 && { routes }) };
}
