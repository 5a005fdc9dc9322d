import { messageOf } from "../../base/errors.ts";
import type { Container } from "../../core/container/index.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import { holdPlugins } from "../plugins/index.ts";
import type { ContainerContext } from "./context.ts";
import { ofPlugins } from "./of-plugins.ts";
import { updateOthers } from "./update-others.ts";

/**
 * Tells the plugins that a container has ended (StopContainer), in the background, and applies their
 * updates of others. Call it in the same turn as the change of the state, so that a plugin that is
 * synchronized later sees the container ended.
 */
export function tellEnd(context: ContainerContext, container: Container): void {
  const { plugins, tasks, log } = context;
  if (plugins?.active !== true) return;
  const telling = plugins.tellingEnd(container.id);
  tasks.spawn(`tell plugins of the end of container "${container.id}"`, async (signal) => {
    using _told = telling;
    const subject = containerSubject(container, context.sandboxes);
    try {
      await tell(context, container, signal);
    } catch (error) {
      log.warn("a plugin failed at StopContainer", { ...subject, error: messageOf(error) });
    }
  });
}

async function tell(
  context: ContainerContext,
  container: Container,
  signal: AbortSignal,
): Promise<void> {
  const of = ofPlugins(context, container);
  if (of === undefined || context.plugins === undefined) return;
  using _hold = await holdPlugins(context, signal);
  // A start in progress tells the plugins of itself first.
  (await context.locks.acquire(container.id, signal))[Symbol.dispose]();
  const { updates } = await context.plugins.port.stopContainer(of, signal);
  await updateOthers(context, updates, signal);
}
