import { messageOf } from "../../base/errors.ts";
import { Semaphore } from "../../base/semaphore.ts";
import type { Container, ContainerRuntime } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { KnownIds, RecordTable, SetAsideRecord } from "../../core/store/index.ts";
import { runWithTimeoutThenBackground } from "../lifecycle/run-with-timeout.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";
import { removeContainerById } from "./remove.ts";
import { type ExitedState, adoptProcess, logExit, watchContainer } from "./watch.ts";

const parallelLoads = 64;
const clearMs = 2_000;
const sweepMs = 2_000;

/**
 * Takes up the containers that an earlier daemon left: those that run go on being watched, with
 * exits that came meanwhile, also where the start itself was not recorded yet; one whose start did
 * not get as far as its command is created as before, and nothing runs of it; those of another boot are exited, 255, Unknown; half-built ones are
 * taken down. What is wrong with one of them neither stops nor delays the others.
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
  await operation.enter("take-up");
  const turns = new Semaphore(parallelLoads);
  await Promise.all(
    [...context.store.all()].map(async (container) => {
      using _turn = await turns.acquire();
      await takeUp(context, container);
    }),
  );
  // What belongs to a record that cannot be read is not known to be nobody's: it stays.
  const setAside = new Set(records.setAside().map(({ id }) => id));
  const known: KnownIds = {
    has: (id) => setAside.has(id) || context.store.peek(id) !== undefined,
  };
  // Processes before roots, which they keep busy; the root of one that hangs goes with it.
  const ending = new Set<string>();
  await operation.enter("end-orphans");
  await runWithTimeoutThenBackground(context, "end what belongs to no container", sweepMs, () =>
    endOrphans(context, known, ending),
  );
  await operation.enter("sweep-roots");
  const kept: KnownIds = { has: (id) => known.has(id) || ending.has(id) };
  await runWithTimeoutThenBackground(
    context,
    "sweep what belongs to no container",
    sweepMs,
    async () => {
      for (const line of await context.roots.sweep(kept)) context.log.warn(`swept away: ${line}`);
    },
  );
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

/** Ends a container that no record knows: one whose record was lost. */
async function endOrphan(
  context: ContainerContext,
  runtime: ContainerRuntime,
  id: string,
): Promise<void> {
  context.log.warn("ending a container that no record knows", { container: id });
  await runtime.killAll(id);
  await runtime.remove(id);
  await context.roots.remove(id);
}

async function takeUp(context: ContainerContext, container: Container): Promise<void> {
  const { id, state } = container;
  const orphaned = context.sandboxes.peek(container.sandboxId) === undefined;
  if (state.name === "creating" || orphaned) {
    context.log.info("taking down a container that the last daemon did not finish", {
      ...containerSubject(container, context.sandboxes),
    });
    // Nobody watches it, so a stop would wait in vain: the removal ends whatever is left of it.
    if (state.name === "running") endUnknown(context, container, "its sandbox is gone");
    context.janitor.adopt(id, () => removeContainerById(context, id));
    return;
  }
  if (container.bootId !== context.bootId) {
    if (state.name === "running" || state.name === "created") {
      endUnknown(context, container, "the machine has been rebooted");
    }
  } else if (state.name === "created") {
    await runWithTimeoutThenBackground(context, `clear up for container ${id}`, clearMs, () =>
      clear(context, id),
    );
  } else if (state.name === "running") {
    await watchAgain(context, container, state);
  }
  context.store.list(id);
}

/**
 * A start may have been under way: it has worked and is put on record, or nothing of it must live
 * on unseen, nor meet the next one.
 */
async function clear(context: ContainerContext, id: string): Promise<void> {
  using _turn = await context.locks.acquire(id);
  const container = context.store.peek(id);
  if (container?.state.name !== "created") return;
  const started = await runtimeOf(context, container).loadUnrecorded(id);
  if (started === undefined) return;
  const subject = containerSubject(container, context.sandboxes);
  context.log.info("a start that the last daemon did not record has worked", subject);
  try {
    context.store.update(id, (now) => ({ ...now, state: { name: "running", ...started } }));
  } catch (error) {
    // As when a start cannot be recorded: nothing of it must live on unseen.
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
    if (context.store.peek(id)?.state !== running) return;
    await adoptProcess(context, container, running);
    watchContainer(context, id);
  };
  try {
    await attempt();
  } catch (error) {
    context.log.error("a container could not be taken up; it is tried again", {
      ...containerSubject(container, context.sandboxes),
      error: messageOf(error),
    });
    context.janitor.adopt(`take up container ${id}`, attempt, clearMs);
  }
}

function endUnknown(context: ContainerContext, container: Container, message: string): void {
  const state: ExitedState = {
    name: "exited",
    startedAtNs: container.state.name === "running" ? container.state.startedAtNs : 0n,
    finishedAtNs: context.clock.nowNs(),
    exitCode: 255,
    reason: "Unknown",
    message,
  };
  context.store.update(container.id, (now) => ({ ...now, state }));
  logExit(context, container, state);
}
