import { join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import type { Checkpoints } from "../../core/checkpoint/index.ts";
import type { Container } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { podUsers, type Sandbox } from "../../core/sandbox/index.ts";
import { type ContainerContext, runningContainer } from "../container/context.ts";
import { updateTurn } from "../container/update.ts";
import { buildOrUndo } from "../lifecycle/inflight-creates.ts";
import { sandboxSubject } from "../lifecycle/subjects.ts";
import {
  type Capturable,
  capturable,
  captureFiles,
  captureMemory,
  maxCheckpointMs,
  timeUntil,
} from "./capture.ts";
import { optionsOf } from "./options.ts";
import { PausedContainers } from "./pause-all.ts";

/** Which containers of a pod are captured, and where to. */
export interface PodCapture {
  /** An id, or a unique prefix of one. */
  readonly sandboxId: string;
  /** The same, of running containers of the pod. */
  readonly containerIds: readonly string[];
  /** The absolute path of an empty directory. */
  readonly directory: string;
  /** As in CaptureRequest. */
  readonly closeTcp: boolean;
  /** {@link maxCheckpointMs} at most. */
  readonly timeoutMs?: number;
}

/** A pod's checkpoint as the CRI requests it. */
export interface PodCheckpoint extends Omit<PodCapture, "closeTcp" | "timeoutMs"> {
  readonly options: Readonly<Record<string, string>>;
  /** When the caller gives up, in milliseconds since 1970. */
  readonly deadlineMs: number | undefined;
}

/**
 * Makes a checkpoint of a pod as CheckpointPod of the CRI requires it. The caller must have a deadline. See
 * {@link capturePod}.
 */
export async function checkpointPod(
  context: ContainerContext,
  { options, deadlineMs, ...request }: PodCheckpoint,
  caller: AbortSignal,
): Promise<void> {
  const doing = `checkpoint pod sandbox "${request.sandboxId}"`;
  const { closeTcp = false } = optionsOf(options, doing);
  if (deadlineMs === undefined) {
    throw new RuntimeError(
      "invalid-argument",
      `${doing}: the call has no deadline; set one, since the containers are paused until then at most`,
    );
  }
  const timeoutMs = timeUntil(deadlineMs, context.clock);
  await capturePod(context, { ...request, closeTcp, timeoutMs }, caller);
}

/**
 * Writes a checkpoint of running containers of a ready pod into an empty directory: one consistent cut, since all are
 * paused before the first is captured, and until the last is. They run on before this returns, in any case.
 *
 * `not-found` for an unknown pod or container, `invalid-argument` for containers of other pods or named twice and for a
 * directory that is missing or not empty, `failed-precondition` for what does not run or cannot be captured,
 * `unimplemented` where its runtime cannot do it. A failure leaves the directory empty, except where the daemon ends
 * meanwhile.
 */
export async function capturePod(
  context: ContainerContext,
  request: PodCapture,
  caller: AbortSignal,
): Promise<void> {
  const sandbox = context.sandboxes.resolve(request.sandboxId);
  const doing = `checkpoint pod sandbox "${sandbox.id}"`;
  const { directory, closeTcp, timeoutMs = maxCheckpointMs } = request;
  const containers = checkRequest(context, sandbox, request, doing);
  const { files, outputs } = await context.checkpoints.open();
  await outputs.checkEmptyDirectory(directory);
  for (const container of containers) await capturable(context, container, doing);
  refuseUnrestorable(context, sandbox, doing);
  using operation = context.operations.begin({
    name: "checkpoint-pod",
    subject: sandbox.id,
    timeoutMs: Math.min(timeoutMs, maxCheckpointMs),
    log: context.log.with(sandboxSubject(sandbox)),
  });
  using _caller = operation.follow(caller);
  const onStuck = (what: string, error: unknown): void => {
    operation.log.error(`a failed checkpoint was not removed: cannot ${what}`, { error });
  };
  const plan = { sandbox, containers, directory, closeTcp, operation };
  await buildOrUndo(operation, onStuck, async (undo) => {
    await outputs.claimEmptyDirectory(directory);
    undo.defer("remove its files", () => outputs.clear(directory));
    await write(context, files, { ...plan, undo });
  });
}

/** A checkpoint of a pod is of use only where pods of its handler can be restored. */
function refuseUnrestorable(context: ContainerContext, { handler }: Sandbox, doing: string): void {
  const obstacle = context.runtimeOf(handler).captures.obstacle(handler, "restore");
  if (obstacle === undefined) return;
  throw new RuntimeError(
    "unimplemented",
    `${doing}: ${obstacle}; or checkpoint its containers one by one, for analysis`,
  );
}

/** The containers of a request, in the order of their ids, so that two requests take the locks in the same order. */
function checkRequest(
  context: ContainerContext,
  sandbox: Sandbox,
  { containerIds, directory }: PodCapture,
  doing: string,
): readonly Container[] {
  const refuse = (why: string): never => {
    throw new RuntimeError("invalid-argument", `${doing}: ${why}`);
  };
  if (!directory.startsWith("/") || directory.includes("\0")) {
    refuse(`output path ${JSON.stringify(directory)} is not an absolute path`);
  }
  if (containerIds.length === 0) refuse("the request names no containers");
  checkReady(sandbox, doing);
  if (podUsers(sandbox.config) !== undefined) {
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: it has a user namespace, into which CRIU could not restore it; checkpoint its containers one by one, for analysis`,
    );
  }
  const byId = new Map<string, Container>();
  const names = new Set<string>();
  for (const text of containerIds) {
    const { id, sandboxId } = context.store.resolve(text);
    if (sandboxId !== sandbox.id) refuse(`container "${id}" belongs to another pod`);
    if (byId.has(id)) refuse(`container "${id}" is named twice`);
    const container = runningContainer(context, id, "checkpoint");
    const name = container.config.metadata?.name ?? "";
    if (names.has(name)) refuse(`two of the containers have the name ${JSON.stringify(name)}`);
    if (!isFileName(name)) refuse(`the name ${JSON.stringify(name)} cannot be that of a directory`);
    byId.set(id, container);
    names.add(name);
  }
  return [...byId.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** Names of containers in Kubernetes are labels of DNS; those of other clients may be anything. */
function isFileName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}$/.test(name);
}

function checkReady({ state }: Sandbox, doing: string): void {
  if (state.name === "ready") return;
  throw new RuntimeError("failed-precondition", `${doing}: it is ${state.name}, not ready`);
}

interface Plan {
  readonly sandbox: Sandbox;
  readonly containers: readonly Container[];
  readonly directory: string;
  readonly closeTcp: boolean;
  readonly operation: RunningOperation;
  readonly undo: Rollback;
}

async function write(context: ContainerContext, files: Checkpoints, plan: Plan): Promise<void> {
  const { containers, sandbox, directory, operation } = plan;
  await captureAll(context, files, plan);
  await operation.enter("write-manifest");
  const names = containers.map(nameOf);
  await files.completePod(directory, sandbox, names, operation);
  await operation.enter("answer");
}

/** Captures the containers while all of them are paused. They run again when this returns. */
async function captureAll(
  context: ContainerContext,
  files: Checkpoints,
  { sandbox, containers, directory, closeTcp, operation }: Plan,
): Promise<void> {
  using _locked = await lockAll(context, containers, operation);
  const doing = `checkpoint pod sandbox "${sandbox.id}"`;
  checkReady(context.sandboxes.get(sandbox.id), doing);
  const all: { readonly found: Capturable; readonly directory: string }[] = [];
  await operation.enter("make-directories");
  for (const container of containers) {
    const found = await capturable(context, container, doing);
    const own = await files.begin(nameOf(container), join(directory, "containers"));
    all.push({ found, directory: own });
  }
  await operation.enter("pause");
  const targets = all.map(({ found }) => found.container);
  await using paused = await PausedContainers.pause(context, targets, operation.signal);
  for (const { found, directory: own } of all) {
    await captureMemory(found, { directory: own, closeTcp, paused }, operation);
  }
  for (const { found, directory: own } of all) {
    await captureFiles(files, found, own, operation);
  }
  await operation.enter("resume");
  await paused.resume();
}

/** Takes the locks of all containers. Stop and Remove do not wait for them: they abort the operation. */
async function lockAll(
  context: ContainerContext,
  containers: readonly Container[],
  operation: RunningOperation,
): Promise<DisposableStack> {
  using stack = new DisposableStack();
  // An update of one container that plugins extend to others takes several locks as well.
  using _alone = await updateTurn(context, operation.signal);
  for (const { id } of containers) {
    stack.use(await context.locks.acquire(id, operation.signal));
    stack.use(context.cancellable.add(id, operation));
  }
  return stack.move();
}

function nameOf({ config }: Container): string {
  return config.metadata?.name ?? "";
}
