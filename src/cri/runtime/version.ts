import type { CriContext } from "../context.ts";

/** The name and the versions of the runtime. kubelet requires all four fields. */
export function version(context: Pick<CriContext, "version">): {
  version: string;
  runtimeName: string;
  runtimeVersion: string;
  runtimeApiVersion: string;
} {
  return {
    // The version of kubelet's runtime API, frozen at this since Kubernetes 1.5.
    version: "0.1.0",
    runtimeName: "davit",
    runtimeVersion: context.version,
    runtimeApiVersion: "v1",
  };
}
