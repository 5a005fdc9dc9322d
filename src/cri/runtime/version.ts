import type { CriContext } from "../context.ts";

/** Who serves, and by which contract. kubelet wants all four fields filled. */
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
