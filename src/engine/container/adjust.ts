import { messageOf, RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import type { Rollback } from "../../base/rollback.ts";
import type { Container } from "../../core/container/index.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type {
  ContainerAdjustment,
  CreatedWithPlugins,
  DividedAdjustment,
  Plugins,
} from "../../core/plugin/index.ts";
import { type Sandbox, specCgroup } from "../../core/sandbox/index.ts";
import { askPlugins, holdPlugins } from "../plugins/index.ts";
import { type ContainerContext, specSubject } from "./context.ts";
import { evictContainers } from "./evict.ts";
import { ofPlugins } from "./of-plugins.ts";
import { updateOthers, updateOthersOrFail } from "./update-others.ts";

/** What a question about a new container needs. */
interface Question {
  readonly spec: OciSpec;
  readonly operation: RunningOperation;
  readonly undo: Rollback;
}

/**
 * Asks the plugins about a new container, and keeps in its record what they adjust. Their changes of other
 * containers are made before this returns. Rejects when a plugin refuses the container, when plugins
 * contradict each other, and when an adjustment cannot be carried out. The caller holds the plugins. `asked` is
 * the result of {@link askEarly}, if they were asked before.
 */
export async function adjustByPlugins(
  context: ContainerContext,
  container: Container,
  plan: Question & { readonly asked?: Promise<CreatedWithPlugins> | undefined },
): Promise<void> {
  const { operation, undo } = plan;
  const answer = await answerOf(context, container, plan);
  if (answer === undefined) return;
  await evictContainers(context, answer.evictions);
  await updateOthersOrFail(context, answer.updates, { signal: operation.signal, undo });
  if (answer.adjustment === undefined) return;
  const { adjustment } = answer;
  const divided = context.plugins?.messages.divideAdjustment(adjustment);
  if (divided === undefined) return;
  const adjusted = adjust(context, container, { ...divided, adjustment });
  context.store.update(container.id, () => adjusted);
  // As without plugins: this build reports errors early.
  await context.specs.build(specSubject(context, adjusted));
}

/**
 * Asks the plugins about a new container and does not wait for the answer: adjustByPlugins() enters the stage and
 * applies it. Undefined without plugins. If the create fails before that, the answer is not applied: what it changes in
 * other containers is for a container that does not exist, and would be undone with it. Plugins are told that it is gone.
 */
export function askEarly(
  context: ContainerContext,
  container: Container,
  question: Question,
): Promise<CreatedWithPlugins> | undefined {
  if (context.plugins?.active !== true) return undefined;
  const { port } = context.plugins;
  const asked = ask(context, container, question, port);
  // The create may fail before it waits for the answer.
  asked?.catch(() => undefined);
  return asked;
}

async function answerOf(
  context: ContainerContext,
  container: Container,
  plan: Question & { readonly asked?: Promise<CreatedWithPlugins> | undefined },
): Promise<CreatedWithPlugins | undefined> {
  const { asked, operation } = plan;
  if (asked === undefined) {
    return askPlugins(context, operation, async (port) => ask(context, container, plan, port));
  }
  await operation.enter("ask-plugins");
  return asked;
}

function ask(
  context: ContainerContext,
  container: Container,
  { spec, operation, undo }: Question,
  port: Plugins,
): Promise<CreatedWithPlugins> | undefined {
  const of = ofPlugins(context, container, { spec });
  if (of === undefined) return undefined;
  undo.defer("tell plugins that it is gone", (undoing) =>
    tellGone(context, container.id, spec, undoing),
  );
  return port.createContainer(of, operation.signal);
}

/** Keeps an adjustment: resources of the CRI among those in force, where an update can change them. */
function adjust(
  context: ContainerContext,
  container: Container,
  divided: DividedAdjustment & { readonly adjustment: ContainerAdjustment },
): Container {
  const { adjustment, resources, rest } = divided;
  const inForce =
    resources === undefined
      ? container.resources
      : context.specs.update(container.resources, resources).inForce;
  const cgroupsPath = adjustment.linux?.cgroupsPath ?? "";
  const sandbox = context.sandboxes.get(container.sandboxId);
  return {
    ...container,
    resources: inForce,
    ...(rest === undefined ? {} : { adjustment: rest }),
    ...(cgroupsPath === ""
      ? {}
      : { cgroupPath: adjustedCgroup(container.id, sandbox, cgroupsPath) }),
  };
}

/**
 * The cgroup that a plugin chose. Everything in it is killed at the end of the container, so its name must
 * have the id of the container.
 */
function adjustedCgroup(id: string, sandbox: Sandbox, cgroupsPath: string): string {
  const path = specCgroup(sandbox.cgroup, cgroupsPath);
  const steps = path?.split("/").slice(1) ?? [];
  if (path !== undefined && steps.at(-1)?.includes(id) && !steps.includes("..")) return path;
  throw new RuntimeError(
    "invalid-argument",
    `adjust container "${id}": the cgroups path of a plugin must be as that of its pod and its last part must have the container's id, got ${quote(cgroupsPath)}`,
  );
}

/** The create is undone: plugins are told StopContainer and RemoveContainer, as by containerd. */
async function tellGone(
  context: ContainerContext,
  id: string,
  spec: OciSpec,
  signal: AbortSignal,
): Promise<void> {
  const container = context.store.peek(id);
  const of = container && ofPlugins(context, container, { spec });
  if (of === undefined || context.plugins?.active !== true) return;
  const { port } = context.plugins;
  try {
    using _hold = await holdPlugins(context, signal);
    const { updates } = await port.stopContainer(of, signal);
    await updateOthers(context, updates, signal);
    await port.removeContainer(of, signal);
  } catch (error) {
    context.log.warn("a plugin failed at the undo of CreateContainer", {
      container: id,
      error: messageOf(error),
    });
  }
}
