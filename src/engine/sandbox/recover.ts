import { messageOf } from "../../base/errors.ts";
import { beforeAbort } from "../../base/wait.ts";
import { Semaphore } from "../../base/semaphore.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { Sandbox, SandboxController } from "../../core/sandbox/index.ts";
import type { RecordTable, SetAsideRecord } from "../../core/store/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import { runWithTimeoutThenBackground } from "../lifecycle/run-with-timeout.ts";
import { sandboxSubject } from "../lifecycle/subjects.ts";
import { controllerOf, type SandboxContext } from "./context.ts";
import { removeSandbox } from "./remove.ts";
import { markDead, watchSandbox } from "./watch.ts";

// A sandboxer that hangs must not delay the others.
const parallelLoads = 64;
const loadMs = 2_000;
const sweepMs = 2_000;
// Only for injected faults: every wait below has its own limit.
const recoverMs = 60_000;

/** The records that the recovery of sandboxes reads. */
export interface RecordedSandboxes {
  readonly sandboxes: Pick<RecordTable<Sandbox>, "load">;
  setAside(): readonly SetAsideRecord[];
}

/**
 * Restores the sandboxes of the previous daemon. The records are a hint; the kernel has the truth.
 *
 * - A finished sandbox is listed: ready when its controller finds it alive, else dead. If the
 *   controller does not answer, the last known state applies and the controller is asked again.
 * - A sandbox that was still being created, or whose pod was being restored, is removed in the background. It is unlisted and keeps its
 *   name until then.
 * - A sandbox of an earlier boot is dead. Its network is removed without its namespace.
 * - Objects without a record are removed.
 *
 * A problem with one sandbox neither stops nor delays the others. Rejects only when the records cannot
 * be read at all.
 */
export async function recoverSandboxes(
  context: SandboxContext,
  records: RecordedSandboxes,
): Promise<void> {
  await context.operations.run(
    {
      name: "recover",
      subject: "sandboxes of the previous daemon",
      timeoutMs: recoverMs,
      log: context.log,
    },
    (operation) => restore(context, records, operation),
  );
}

async function restore(
  context: SandboxContext,
  records: RecordedSandboxes,
  operation: RunningOperation,
): Promise<void> {
  await operation.enter("read-records");
  context.attachments.load();
  const sandboxes = inOrderOfClaim(context, records.sandboxes.load());
  const seen = new Set<string>();
  for (const sandbox of sandboxes) {
    context.store.load(sandbox);
    if (seen.has(sandbox.name)) loseName(context, sandbox);
    seen.add(sandbox.name);
  }

  await operation.enter("load-sandboxes");
  await loadAll(context, operation);

  await operation.enter("tear-down-half-built");
  for (const sandbox of [...context.store.all()]) {
    if (sandbox.state.name === "creating" || sandbox.unfinished === true) {
      const subject = sandboxSubject(sandbox);
      context.log.info("removing a sandbox that the previous daemon did not finish", subject);
      context.janitor.adopt(sandbox.id, () => removeSandbox(context, sandbox.id));
    } else {
      context.store.list(sandbox.id);
    }
  }

  await operation.enter("sweep-orphans");
  // The objects of a record that cannot be read may still be in use. They are kept.
  const setAside = new Set(records.setAside().map(({ id }) => id));
  await sweepAll(context, {
    has: (id) => setAside.has(id) || context.store.peek(id) !== undefined,
  });

  await operation.enter("resume-network-teardown");
  for (const { sandboxId, bootId } of context.attachments.all()) {
    // A pod whose record cannot be read may be alive, and needs its network then.
    const isOrphan = context.store.peek(sandboxId) === undefined && !setAside.has(sandboxId);
    if (isOrphan || bootId !== context.bootId) context.teardown.enqueue(sandboxId);
  }
  context.teardown.resume();
  await operation.enter("ready");
}

/** The sandboxes in loading order. Of two with the same name, the one more likely alive loads first and keeps it. */
function inOrderOfClaim(
  context: SandboxContext,
  sandboxes: readonly Sandbox[],
): readonly Sandbox[] {
  const rank = (sandbox: Sandbox): number =>
    (sandbox.bootId === context.bootId ? 2 : 0) + (sandbox.state.name === "ready" ? 1 : 0);
  const order = new Map(sandboxes.map((sandbox, at) => [sandbox.id, at]));
  const best = new Map<string, Sandbox>();
  for (const sandbox of sandboxes) {
    const rival = best.get(sandbox.name);
    // The records are sorted oldest first. Of two equals the newer one wins.
    if (rival === undefined || rank(sandbox) >= rank(rival)) best.set(sandbox.name, sandbox);
  }
  const place = (sandbox: Sandbox): number =>
    (best.get(sandbox.name) === sandbox ? 0 : sandboxes.length) + (order.get(sandbox.id) ?? 0);
  const claimed = sandboxes.toSorted((a, b) => place(a) - place(b));
  return claimed;
}

function loseName(context: SandboxContext, sandbox: Sandbox): void {
  context.log.error("duplicate sandbox name in the database; marking the stale one NOTREADY", {
    ...sandboxSubject(sandbox),
    name: sandbox.name,
  });
  if (sandbox.state.name === "ready")
    die(context, sandbox, `another sandbox in the database has its name, "${sandbox.name}"`);
}

function die(context: SandboxContext, sandbox: Sandbox, reason: string): void {
  context.log.info("a sandbox died", { ...sandboxSubject(sandbox), reason });
  context.store.update(sandbox.id, (now) => {
    // A process of another boot must not be signalled: its pid may belong to any process now.
    const { process, ...rest } = now;
    const keepsProcess = process !== undefined && now.bootId === context.bootId;
    return {
      ...rest,
      ...(keepsProcess ? { process } : {}),
      state: { name: "dead", reason, atNs: context.clock.nowNs() },
    };
  });
}

async function loadAll(context: SandboxContext, operation: RunningOperation): Promise<void> {
  const turns = new Semaphore(parallelLoads);
  const alive = [...context.store.all()].filter(
    ({ state }) => state.name === "ready" || state.name === "dead",
  );
  await Promise.all(
    alive.map(async (sandbox) => {
      using _turn = await turns.acquire(operation.signal);
      await loadFirst(context, sandbox);
    }),
  );
}

/** Loads a sandbox for the first time. Never rejects: a failure is logged and retried. */
async function loadFirst(context: SandboxContext, sandbox: Sandbox): Promise<void> {
  const { id } = sandbox;
  try {
    if (sandbox.bootId === context.bootId) {
      await load(context, id);
    } else if (sandbox.state.name === "ready") {
      die(context, sandbox, "the machine has been rebooted");
    }
  } catch (error) {
    // It may be alive. The last known state applies until its controller answers.
    context.log.warn("failed to reattach to a sandbox; will retry", {
      ...sandboxSubject(sandbox),
      error: messageOf(error),
    });
    context.janitor.adopt(`reattach to sandbox ${id}`, () => load(context, id), loadMs);
  }
}

/** Asks the controller about a sandbox of this boot and acts on the answer; rejects without an answer. */
async function load(context: SandboxContext, id: string): Promise<void> {
  const sandbox = context.store.peek(id);
  if (sandbox === undefined) return;
  const controller = controllerOf(context, sandbox);
  // This daemon has no controller of that name. The recorded state applies.
  if (controller === undefined) return;
  const deadline = AbortSignal.timeout(loadMs);
  const reason = await beforeAbort(controller.load(sandbox, deadline), deadline);
  if (context.store.peek(id)?.state.name !== "ready") return;
  if (reason === undefined) watchSandbox(context, sandbox);
  else markDead(context, id, reason);
}

/** Sweeps each controller separately, so that one that hangs delays neither the others nor the start. */
async function sweepAll(context: SandboxContext, known: KnownIds): Promise<void> {
  await Promise.all(
    [...context.controllers.values()].map((controller) =>
      runWithTimeoutThenBackground(
        context,
        `remove orphans of controller ${controller.name}`,
        sweepMs,
        () => sweep(context, controller, known),
      ),
    ),
  );
}

async function sweep(
  context: SandboxContext,
  controller: SandboxController,
  known: KnownIds,
): Promise<void> {
  // The cgroups are removed first. The controller's objects show that the cgroups belong to davit.
  const cgroups = await context.cgroups.sweep(await controller.orphans(known));
  const swept = await controller.sweep(known, context.tasks.signal);
  for (const line of [...cgroups, ...swept]) context.log.warn(`removed an orphan: ${line}`);
}
