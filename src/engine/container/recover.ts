import { messageOf } from "../../base/errors.ts";
import { Semaphore } from "../../base/semaphore.ts";
import type { Container, ContainerRuntime } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { KnownIds, RecordTable, SetAsideRecord } from "../../core/store/index.ts";
import { runWithTimeoutThenBackground } from "../lifecycle/run-with-timeout.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import { adoptProcess } from "./adopt.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";
import { pauseAgain } from "./paused.ts";
import { resumeUntilCaptureEnds } from "./paused-for-checkpoint.ts";
import { removeContainerById } from "./remove.ts";
import { afterStart, type ExitedState, logExit, watchContainer } from "./watch.ts";

const parallelLoads = 64;
const clearMs = 2_000;
const sweepMs = 2_000;

/**
 * Restores the containers of the previous daemon.
 *
 * - A running container is watched again, and an exit that happened meanwhile is recorded. The same
 *   holds for one whose start worked but was not recorded. A paused one stays paused; one that a checkpoint
 *   had paused runs on.
 * - A container whose start did not reach its command is created, as before; what the start left is
 *   removed.
 * - A container of an earlier boot is exited, code 255, reason Unknown.
 * - A container that was still being created, or whose pod was being restored, is removed.
 *
 * A problem with one container neither stops nor delays the others.
 */
export async function recoverContainers(
  context: ContainerContext,
  records: {
    readonly containers: Pick<RecordTable<Container>, "load">;
    setAside(): readonly SetAsideRecord[];
  },
  operation: RunningOperation,
): Promise<void> {
  await operation.enter("read-records");
  for (const container of records.containers.load()) context.store.load(container);
  await operation.enter("reattach");
  const turns = new Semaphore(parallelLoads);
  await Promise.all(
    [...context.store.all()].map(async (container) => {
      using _turn = await turns.acquire();
      await restore(context, container);
    }),
  );
  // The objects of a record that cannot be read may still be in use. They are kept.
  const setAside = new Set(records.setAside().map(({ id }) => id));
  const known: KnownIds = {
    has: (id) => setAside.has(id) || context.store.peek(id) !== undefined,
  };
  // Processes are killed before roots are removed, because they keep the roots busy. The root of a
  // container that cannot be killed yet is removed together with it, later.
  const ending = new Set<string>();
  await operation.enter("end-orphans");
  await runWithTimeoutThenBackground(context, "kill orphaned containers", sweepMs, () =>
    endOrphans(context, known, ending),
  );
  await operation.enter("sweep-roots");
  const kept: KnownIds = { has: (id) => known.has(id) || ending.has(id) };
  await runWithTimeoutThenBackground(context, "remove orphaned roots", sweepMs, async () => {
    for (const line of await context.roots.sweep(kept)) {
      context.log.warn(`removed an orphan: ${line}`);
    }
  });
}

async function endOrphans(
  context: ContainerContext,
  known: KnownIds,
  ending: Set<string>,
): Promise<void> {
  const failures: unknown[] = [];
  for (const runtime of context.runtimes) {
    const ids = await runtime.orphans(known);
    for (const id of ids) ending.add(id);
    for (const id of ids) {
      try {
        await endOrphan(context, runtime, id);
        ending.delete(id);
      } catch (error) {
        failures.push(error);
      }
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** Kills and removes a container that has no record. */
async function endOrphan(
  context: ContainerContext,
  runtime: ContainerRuntime,
  id: string,
): Promise<void> {
  context.log.warn("killing a container that has no record", { container: id });
  await runtime.killAll(id);
  await runtime.remove(id);
  await context.roots.remove(id);
}

async function restore(context: ContainerContext, container: Container): Promise<void> {
  const { id, state } = container;
  const sandbox = context.sandboxes.peek(container.sandboxId);
  const orphaned = sandbox === undefined || sandbox.unfinished === true;
  if (state.name === "creating" || orphaned) {
    context.log.info("removing a container that the previous daemon did not finish", {
      ...containerSubject(container, context.sandboxes),
    });
    // Its process is not watched, so a stop would wait in vain. The removal kills what is left of it.
    if (state.name === "running") endUnknown(context, container, "its sandbox is gone");
    context.janitor.adopt(id, () => removeContainerById(context, id));
    return;
  }
  if (container.bootId !== context.bootId) {
    if (state.name === "running" || state.name === "created") {
      endUnknown(context, container, "the machine has been rebooted");
    }
  } else if (state.name === "created") {
    await runWithTimeoutThenBackground(context, `clean up after container ${id}`, clearMs, () =>
      clear(context, id),
    );
  } else if (state.name === "running") {
    await watchAgain(context, container, state);
    if (container.pausedForCheckpoint !== undefined) {
      await runWithTimeoutThenBackground(context, `resume container ${id}`, clearMs, () =>
        resumeUntilCaptureEnds(context, id),
      );
    }
  }
  context.store.list(id);
}

/**
 * A start may have been in progress. Either it worked and is recorded now, or its leftovers are
 * removed, so that no process lives on unseen or disturbs the next start.
 */
async function clear(context: ContainerContext, id: string): Promise<void> {
  using _turn = await context.locks.acquire(id);
  const container = context.store.peek(id);
  if (container?.state.name !== "created") return;
  const started = await runtimeOf(context, container).loadUnrecorded(id);
  if (started === undefined) return;
  const subject = containerSubject(container, context.sandboxes);
  context.log.info("recorded a start that the previous daemon had not recorded", subject);
  try {
    context.store.update(id, (now) => ({ ...now, state: { name: "running", ...started } }));
  } catch (error) {
    // Without a record its processes would live on unseen.
    await runtimeOf(context, container).remove(id);
    throw error;
  }
  watchContainer(context, id);
}

async function watchAgain(
  context: ContainerContext,
  container: Container,
  running: Extract<Container["state"], { readonly name: "running" }>,
): Promise<void> {
  const { id } = container;
  const attempt = async (): Promise<void> => {
    if (context.store.peek(id)?.state.name !== "running") return;
    await adoptProcess(context, container, running);
    watchContainer(context, id);
    await pauseAgain(context, id);
  };
  try {
    await attempt();
  } catch (error) {
    context.log.error("failed to reattach to a container; will retry", {
      ...containerSubject(container, context.sandboxes),
      error: messageOf(error),
    });
    context.janitor.adopt(`reattach to container ${id}`, attempt, clearMs);
  }
}

function endUnknown(context: ContainerContext, container: Container, message: string): void {
  const startedAtNs = container.state.name === "running" ? container.state.startedAtNs : 0n;
  const state: ExitedState = {
    name: "exited",
    startedAtNs,
    finishedAtNs: afterStart(startedAtNs, context.clock.nowNs()),
    exitCode: 255,
    reason: "Unknown",
    message,
  };
  context.store.update(container.id, (now) => ({ ...now, state }));
  logExit(context, container, state);
}
