import type { Logger } from "../../base/logger.ts";
import type { Clock } from "../../base/time.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import { captureBy, endCriu, prepareRestore, updateLimits } from "../../drivers/oci/index.ts";
import { PodFiles } from "../../drivers/podsandbox/index.ts";
import { ShimController, ShimRuntime } from "../../drivers/shim/index.ts";
import { usageReader } from "../../drivers/stats/index.ts";
import type { CgroupLayout } from "../../linux/cgroup/index.ts";
import type { NamespaceWatch } from "../../linux/namespace/index.ts";
import { publishProgram } from "../process/publish-program.ts";

export {
  encodeOptions,
  isRuncType,
  obstacleToRestores,
  runtimeOfOptions,
  shimProgram,
} from "../../drivers/shim/index.ts";

// Only build.ts loads this file, and only where a shim may be needed: the shims' protocols are a fifth of
// the code that a start has to read.

/** Builds the runtime and the controller of containerd's shims. `undo` collects what is closed with the daemon. */
export async function buildShims(
  parts: {
    readonly state: string;
    readonly cgroups: CgroupLayout;
    readonly namespaces: NamespaceWatch;
    readonly isAlone: (sandbox: Sandbox) => boolean;
    readonly clock: Clock;
    readonly log: Logger;
    readonly logRoots: readonly string[];
  },
  undo: AsyncDisposableStack,
): Promise<{ readonly runtime: ShimRuntime; readonly controller: ShimController }> {
  const runtime = await ShimRuntime.open({
    ...parts,
    usage: usageReader(parts.cgroups, parts.clock),
    publishBinary: publishProgram(),
    updateLimits,
    captureBy,
    endCriu,
    prepareRestore,
  });
  undo.defer(() => runtime.close());
  const files = new PodFiles(parts.state);
  const controller = new ShimController({ ...parts, shims: runtime.shims, files });
  undo.defer(() => {
    controller.close();
  });
  return { runtime, controller };
}
