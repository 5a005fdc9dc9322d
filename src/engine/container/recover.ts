import { messageOf } from "../../base/errors.ts";
import { Semaphore } from "../../base/semaphore.ts";
import type { Container, ContainerRecords, ContainerRuntime } from "../../core/container/index.ts";
import type { SandboxRecords } from "../../core/sandbox/index.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";
import { removeContainerById } from "./remove.ts";
import { takeUpProcess, watchContainer } from "./watch.ts";

const parallelLoads = 32;

/**
 * Takes up the containers that an earlier daemon left: those that run go on being watched, with
 * exits that came meanwhile; those of another boot are exited, 255, Unknown; half-built ones are
 * taken down. What is wrong with one of them stops none of the others.
 */
export async function recoverContainers(
  context: ContainerContext,
  records: Pick<ContainerRecords, "loadContainers"> & Pick<SandboxRecords, "setAside">,
): Promise<void> {
  for (const container of records.loadContainers()) context.store.load(container);
  const turns = new Semaphore(parallelLoads);
  await Promise.all(
    [...context.store.all()].map(async (container) => {
      using _turn = await turns.acquire();
      try {
        await takeUp(context, container);
      } catch (error) {
        context.log.error("a container could not be taken up", {
          container: container.id,
          error: messageOf(error),
        });
      }
    }),
  );
  // What belongs to a record that cannot be read is not known to be nobody's: it stays.
  const known = new Set([...context.store.all(), ...records.setAside()].map(({ id }) => id));
  try {
    for (const runtime of context.runtimes) await endOrphans(context, runtime, known);
    for (const line of await context.snapshots.sweep(known))
      context.log.warn(`swept away: ${line}`);
  } catch (error) {
    // Rubbish that stays must not keep the daemon from serving the containers that there are.
    context.log.error("cannot sweep what belongs to no container", { error: messageOf(error) });
  }
}

/** Ends containers that no record knows: a start that a dead daemon left, a record that was lost. */
async function endOrphans(
  context: ContainerContext,
  runtime: ContainerRuntime,
  known: ReadonlySet<string>,
): Promise<void> {
  for (const id of await runtime.orphans(known)) {
    context.log.warn("ending a container that no record knows", { container: id });
    try {
      await runtime.killAll(id);
      await runtime.remove(id);
    } catch (error) {
      context.log.error("a container that no record knows could not be ended", {
        container: id,
        error: messageOf(error),
      });
    }
  }
}

async function takeUp(context: ContainerContext, container: Container): Promise<void> {
  const { id, state } = container;
  const orphaned = context.sandboxes.peek(container.sandboxId) === undefined;
  if (state.name === "creating" || orphaned) {
    context.log.info("taking down a container that the last daemon did not finish", {
      container: id,
    });
    // Nobody watches it, so a stop would wait in vain: the removal ends whatever is left of it.
    if (state.name === "running") endUnknown(context, container, "its sandbox is gone");
    context.janitor.adopt(id, () => removeContainerById(context, id));
    return;
  }
  context.store.list(id);
  if (container.bootId !== context.bootId) {
    if (state.name === "running" || state.name === "created") {
      endUnknown(context, container, "the machine has been rebooted");
    }
    return;
  }
  if (state.name === "created") {
    // A start may have been under way: nothing of it must live on unseen.
    await runtimeOf(context, container).remove(id);
    return;
  }
  if (state.name !== "running") return;
  await takeUpProcess(context, container, state);
  watchContainer(context, id);
}

function endUnknown(context: ContainerContext, container: Container, message: string): void {
  const startedAtNs = container.state.name === "running" ? container.state.startedAtNs : 0n;
  context.store.update(container.id, (now) => ({
    ...now,
    state: {
      name: "exited",
      startedAtNs,
      finishedAtNs: context.clock.nowNs(),
      exitCode: 255,
      reason: "Unknown",
      message,
    },
  }));
}
