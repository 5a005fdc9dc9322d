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

// One sandboxer that hangs must not keep the others from being asked.
const parallelLoads = 64;
const loadMs = 2_000;
const sweepMs = 2_000;
// For faults that are injected: nothing below waits without a limit of its own.
const recoverMs = 60_000;

/** The records that the recovery of sandboxes reads. */
export interface RecordedSandboxes {
  readonly sandboxes: Pick<RecordTable<Sandbox>, "load">;
  setAside(): readonly SetAsideRecord[];
}

/**
 * Takes up what an earlier daemon left. The records are a hint, the kernel is asked.
 *
 * - a finished sandbox is listed: ready when its controller finds it alive, dead otherwise, and as
 *   it was known last when the controller does not answer, which is then asked again;
 * - a half-built one is taken down in the background, unlisted, holding its name until it is gone;
 * - one of an earlier boot is dead, and its network is removed without its namespace;
 * - what belongs to no record is swept away.
 *
 * Nothing that is wrong with one sandbox stops or delays the others; it rejects only when the
 * records cannot be read at all.
 */
export async function recoverSandboxes(
  context: SandboxContext,
  records: RecordedSandboxes,
): Promise<void> {
  await context.operations.run(
    {
      name: "recover",
      subject: "the last daemon's sandboxes",
      timeoutMs: recoverMs,
      log: context.log,
    },
    (operation) => takeUp(context, records, operation),
  );
}

async function takeUp(
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
    if (sandbox.state.name === "creating") {
      const subject = sandboxSubject(sandbox);
      context.log.info("taking down a sandbox that the last daemon did not finish", subject);
      context.janitor.adopt(sandbox.id, () => removeSandbox(context, sandbox.id));
    } else {
      context.store.list(sandbox.id);
    }
  }

  await operation.enter("sweep-orphans");
  // What a record that cannot be read belongs to is not known to be nobody's: it stays.
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

/** Where two records have one name, the one that is more alive comes first and keeps it. */
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
    // Records come oldest first: of two equals the newer one wins.
    if (rival === undefined || rank(sandbox) >= rank(rival)) best.set(sandbox.name, sandbox);
  }
  const place = (sandbox: Sandbox): number =>
    (best.get(sandbox.name) === sandbox ? 0 : sandboxes.length) + (order.get(sandbox.id) ?? 0);
  const claimed = sandboxes.toSorted((a, b) => place(a) - place(b));
  return claimed;
}

function loseName(context: SandboxContext, sandbox: Sandbox): void {
  context.log.error("two records have the name of one sandbox, the less alive one is dead", {
    ...sandboxSubject(sandbox),
    name: sandbox.name,
  });
  if (sandbox.state.name === "ready")
    die(context, sandbox, `another record has its name, "${sandbox.name}"`);
}

function die(context: SandboxContext, sandbox: Sandbox, reason: string): void {
  context.log.info("a sandbox died", { ...sandboxSubject(sandbox), reason });
  context.store.update(sandbox.id, (now) => {
    // A process of another boot is nobody's to signal: its pid may be anyone's by now.
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

/** Never rejects: what is wrong with one sandbox is told of that one. */
async function loadFirst(context: SandboxContext, sandbox: Sandbox): Promise<void> {
  const { id } = sandbox;
  try {
    if (sandbox.bootId === context.bootId) {
      await load(context, id);
    } else if (sandbox.state.name === "ready") {
      die(context, sandbox, "the machine has been rebooted");
    }
  } catch (error) {
    // It may well be alive: what was known last stands until its controller says something.
    context.log.warn("a sandbox could not be asked for after the restart; it is asked again", {
      ...sandboxSubject(sandbox),
      error: messageOf(error),
    });
    context.janitor.adopt(`take up sandbox ${id}`, () => load(context, id), loadMs);
  }
}

/** Asks the controller for a sandbox of this boot and acts on what it says; rejects when it says nothing. */
async function load(context: SandboxContext, id: string): Promise<void> {
  const sandbox = context.store.peek(id);
  if (sandbox === undefined) return;
  const controller = controllerOf(context, sandbox);
  // No controller of that name in this daemon: nobody can say, so what is on record stands.
  if (controller === undefined) return;
  const deadline = AbortSignal.timeout(loadMs);
  const reason = await beforeAbort(controller.load(sandbox, deadline), deadline);
  if (context.store.peek(id)?.state.name !== "ready") return;
  if (reason === undefined) watchSandbox(context, sandbox);
  else markDead(context, id, reason);
}

/** Each controller by itself: one that hangs keeps neither the others nor the start. */
async function sweepAll(context: SandboxContext, known: KnownIds): Promise<void> {
  await Promise.all(
    [...context.controllers.values()].map((controller) =>
      runWithTimeoutThenBackground(
        context,
        `sweep what ${controller.name} left behind`,
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
  // Their cgroups first: the controller's things are what says that they are ours.
  const cgroups = await context.cgroups.sweep(await controller.orphans(known));
  const swept = await controller.sweep(known, context.tasks.signal);
  for (const line of [...cgroups, ...swept]) context.log.warn(`swept away: ${line}`);
}
