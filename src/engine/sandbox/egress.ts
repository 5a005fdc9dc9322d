import { RuntimeError } from "../../base/errors.ts";
import type { BoundHandler } from "../../core/handler/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { askedEgress, type Sandbox, type SandboxController } from "../../core/sandbox/index.ts";
import type { SandboxContext } from "./context.ts";

/** OCI runtimes whose containers send by the sockets of the pod's network namespace. */
const ofSockets: readonly unknown[] = ["crun", "runc"];

/**
 * Refuses limits of egress, with `failed-precondition`, for a handler whose pods may pass them: a virtual machine, or a
 * network stack of its own such as gVisor's, sends frames where no rule of the namespace applies.
 */
export function checkEgressHandler(config: Sandbox["config"], handler: BoundHandler): void {
  if (askedEgress(config) === undefined) return;
  const { name, controller } = handler;
  if (controller === "podsandbox" && ofSockets.includes(runtimeOf(handler))) return;
  throw new RuntimeError(
    "failed-precondition",
    `check sandbox config: annotation "davit.egress" is set, but davit does not know that the rules hold for handler "${name}"; use a handler of crun or runc, or remove the annotation`,
  );
}

/** The name of the OCI runtime; undefined for a shim that davit does not know to have one. */
function runtimeOf({ path, runtimeType, runtimePath, options }: BoundHandler): unknown {
  if (runtimeType === undefined) return nameOf(path);
  const shim = runtimePath === undefined ? "containerd-shim-runc-v2" : nameOf(runtimePath);
  const isKnown = runtimeType === "io.containerd.runc.v2" && shim === "containerd-shim-runc-v2";
  return isKnown ? nameOf(options?.["BinaryName"] ?? "runc") : undefined;
}

function nameOf(path: unknown): string | undefined {
  return typeof path === "string" ? path.replace(/^.*\//, "") : undefined;
}

/** Limits where the pod may open connections to, if its annotation says so. The rules go with its namespace. */
export async function limitEgress(
  context: Pick<SandboxContext, "egress">,
  sandbox: Sandbox,
  controller: Pick<SandboxController, "environment">,
  operation: RunningOperation,
): Promise<void> {
  const rules = askedEgress(sandbox.config);
  const { id: sandboxId, netnsPath } = sandbox;
  if (rules === undefined || netnsPath === undefined) return;
  await operation.enter("limit-egress");
  const { resolvConf } = controller.environment(sandbox).files;
  await context.egress.limit({ sandboxId, netnsPath, rules, resolvConf }, operation.signal);
}
