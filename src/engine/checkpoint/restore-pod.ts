import type { Digest } from "../../base/digest.ts";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import type { Rollback } from "../../base/rollback.ts";
import type { CheckpointFacts, OpenedCheckpoint } from "../../core/checkpoint/index.ts";
import type { CreateContainerRequest } from "../../core/container/index.ts";
import type { Image } from "../../core/image/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { newSandboxId, type RunPodSandboxRequest } from "../../core/sandbox/index.ts";
import type { ContainerContext } from "../container/context.ts";
import { prepareContainer } from "../container/create.ts";
import { trustOf } from "../container/may-restore.ts";
import { checkRestorable, imageByDigest, isImageOf, isRunnable } from "../container/restorable.ts";
import { discardOpened, HeldLayers } from "../container/restore-source.ts";
import { buildOrUndo, type CreateRequest } from "../lifecycle/inflight-creates.ts";
import { podName } from "../lifecycle/subjects.ts";
import type { SandboxContext } from "../sandbox/context.ts";
import { removeSandbox } from "../sandbox/remove.ts";
import {
  discardSandbox,
  leaveBehind,
  type PreparedSandbox,
  preparePodSandbox,
} from "../sandbox/run.ts";
import { optionsOf } from "./options.ts";

// The checkpoint of a large pod is copied and checked first.
const restoreMs = 600_000;

/** The contexts of the verb. */
export interface RestoreContext {
  readonly sandboxes: SandboxContext;
  readonly containers: ContainerContext;
}

/** A request, and its bytes. */
interface Input<T> {
  readonly request: T;
  readonly requestBytes: Uint8Array;
}

type Config = NonNullable<CreateContainerRequest["config"]>;

/** A pod's checkpoint, and the pod that continues from it. */
export interface PodRestore {
  /** The absolute path of a directory, which is not changed. */
  readonly checkpointPath: string;
  readonly options: Readonly<Record<string, string>>;
  /** How a client would run the new pod. */
  readonly sandbox: Input<RunPodSandboxRequest>;
  readonly containerConfigs: readonly Config[];
  /** How a client would create a container of it. */
  readonly container: (config: Config, sandboxId: string) => Input<CreateContainerRequest>;
  /** The request of the client: an equal one joins it. */
  readonly requestBytes: Uint8Array;
}

/** The pod that was made. */
export interface RestoredPod {
  readonly sandboxId: string;
  readonly containers: readonly { readonly name: string; readonly id: string }[];
}

/**
 * Makes a pod from a pod's checkpoint: a new sandbox, and containers in state created, which continue when they are
 * started. Everything but their processes and the changes of their roots is as the request says.
 *
 * Containers are matched by name, each with exactly one config. The image of a config must be the one that the
 * checkpoint was made with; nothing is pulled. `invalid-argument` for configs that do not fit, `failed-precondition` for
 * a handler or an image that does not, and where the node restores no checkpoints; `permission-denied` where it does not
 * trust this one. A failure removes everything that was made. The restore continues when its caller disconnects, like
 * that of a sandbox (see {@link InflightCreates}).
 */
export async function restorePod(
  context: RestoreContext,
  request: PodRestore,
  caller: AbortSignal,
): Promise<RestoredPod> {
  const { containers, sandboxes } = context;
  const config = request.sandbox.request.config;
  const doing = `restore pod "${podName(config?.metadata)}"`;
  checkRequest(request, doing);
  const { closeTcp = true } = optionsOf(request.options, doing);
  trustOf(containers.checkpoints, doing);
  const prepared = await preparePodSandbox(sandboxes, request.sandbox);
  const { requestBytes } = request;
  const plan = { ...request, closeTcp, doing };
  const sandboxId = await sandboxes.inflightCreates.run(prepared.name, requestBytes, caller, () =>
    beginRestore(context, plan, prepared),
  );
  return { sandboxId, containers: restoredOf(context, sandboxId, request) };
}

interface Plan extends PodRestore {
  readonly closeTcp: boolean;
  /** The beginning of errors. */
  readonly doing: string;
}

function checkRequest({ checkpointPath, containerConfigs }: PodRestore, doing: string): void {
  const refuse = (why: string): never => {
    throw new RuntimeError("invalid-argument", `${doing}: ${why}`);
  };
  if (!checkpointPath.startsWith("/")) {
    refuse(`checkpoint path ${JSON.stringify(checkpointPath)} is not absolute`);
  }
  if (containerConfigs.length === 0) refuse("the request has no container configs");
  const names = new Set<string>();
  for (const { metadata } of containerConfigs) {
    const name = metadata?.name ?? "";
    if (name === "") refuse("a container config has no name");
    if (names.has(name)) refuse(`two container configs have the name ${JSON.stringify(name)}`);
    names.add(name);
  }
}

/** The containers of the request, in its order. */
function restoredOf(
  { containers }: RestoreContext,
  sandboxId: string,
  { containerConfigs }: PodRestore,
): RestoredPod["containers"] {
  const made = [...containers.store.listedOf(sandboxId)];
  return containerConfigs.flatMap(({ metadata }) => {
    const found = made.find(({ config }) => config.metadata?.name === metadata?.name);
    return found === undefined ? [] : [{ name: metadata?.name ?? "", id: found.id }];
  });
}

function beginRestore(
  context: RestoreContext,
  plan: Plan,
  prepared: PreparedSandbox,
): CreateRequest {
  const { sandboxes, containers } = context;
  const id = newSandboxId();
  const operation = sandboxes.operations.begin({
    name: "restore-pod",
    subject: prepared.name,
    object: id,
    timeoutMs: restoreMs,
    log: sandboxes.log.with({
      pod: podName(plan.sandbox.request.config?.metadata),
      sandbox: id,
    }),
  });
  return {
    build: () => build(context, { ...plan, id, prepared }, operation),
    stage: () => operation.stage,
    publish: () => {
      sandboxes.store.list(id);
      for (const container of [...containers.store.all()]) {
        if (container.sandboxId === id) containers.store.list(container.id);
      }
    },
    discard: (_id, reason) => {
      discardSandbox(sandboxes, id, reason);
    },
  };
}

interface BuildPlan extends Plan {
  /** Of the new sandbox. */
  readonly id: string;
  readonly prepared: PreparedSandbox;
}

async function build(
  context: RestoreContext,
  plan: BuildPlan,
  operation: RunningOperation,
): Promise<string> {
  using running = operation;
  const { id } = plan;
  const onStuck = (what: string, error: unknown): void => {
    const reason = `its restore failed, and davit could not ${what}: ${messageOf(error)}`;
    leaveBehind(context.sandboxes, id, reason);
  };
  await buildOrUndo(running, onStuck, (undo) => assemble(context, plan, running, undo));
  return id;
}

async function assemble(
  context: RestoreContext,
  plan: BuildPlan,
  operation: RunningOperation,
  undo: Rollback,
): Promise<void> {
  const { sandboxes, containers } = context;
  const { id, prepared } = plan;
  await operation.enter("open-checkpoint");
  using held = new HeldLayers(containers.checkpoints.layers);
  const matches = await open(context, plan, operation, { undo, held });

  await operation.enter("run-sandbox");
  undo.defer("remove its sandbox", () => removeSandbox(sandboxes, id));
  await prepared.begin({ id, signal: operation.signal }).build();

  for (const { config, image, opened } of matches) {
    await operation.enter("create-containers", config.metadata?.name ?? "");
    const { directory, owned, changes: layer } = opened;
    const restore = { directory, owned, closeTcp: plan.closeTcp, changes: layer };
    const input = plan.container(config, id);
    const { begin } = prepareContainer(containers, input, sandboxes.store.get(id));
    await begin({ image, restore }, operation.signal).build();
  }
  await operation.enter("finish-record");
  sandboxes.store.update(id, ({ unfinished: _finished, ...now }) => now);
  await operation.enter("answer");
}

/** A container config, the checkpoint of its container, and the image of both. */
interface Match {
  readonly config: Config;
  readonly opened: OpenedCheckpoint;
  readonly image: Image;
}

/** Opens the checkpoint and matches it with the request. */
async function open(
  { containers }: RestoreContext,
  { checkpointPath, containerConfigs, id, prepared, doing }: BuildPlan,
  operation: RunningOperation,
  { undo, held }: { readonly undo: Rollback; readonly held: HeldLayers },
): Promise<readonly Match[]> {
  const { files } = await containers.checkpoints.open();
  const trust = trustOf(containers.checkpoints, doing);
  undo.defer("remove the layers of its changes", () => held.removeUnused());
  const hold = (layer: Digest): void => held.hold(layer);
  const pod = await files.openPod(checkpointPath, { restoreId: id, trust, hold }, operation);
  undo.defer("remove the files of its checkpoint", () => discardOpened(containers, pod.containers));
  const byName = new Map(pod.containers.map((opened) => [opened.facts.name, opened]));
  checkNames(byName, containerConfigs, doing);
  return containerConfigs.flatMap((config) => {
    const opened = byName.get(config.metadata?.name ?? "");
    if (opened === undefined) return [];
    const into = { handler: prepared.handler, terminal: config.tty };
    checkRestorable(containers, opened.facts, into, doing);
    return [{ config, opened, image: imageOf(containers.images, config, opened.facts, doing) }];
  });
}

function checkNames(
  checkpoint: ReadonlyMap<string, unknown>,
  configs: readonly Config[],
  doing: string,
): void {
  const given = new Set(configs.map(({ metadata }) => metadata?.name ?? ""));
  const missing = [...checkpoint.keys()].filter((name) => !given.has(name));
  const extra = [...given].filter((name) => !checkpoint.has(name));
  const list = (names: readonly string[]): string => names.map((name) => quote(name)).join(", ");
  if (missing.length === 0 && extra.length === 0) return;
  throw new RuntimeError(
    "invalid-argument",
    missing.length > 0
      ? `${doing}: the request has no config for ${list(missing)} of the checkpoint`
      : `${doing}: the checkpoint does not have ${list(extra)} of the request`,
  );
}

/**
 * The image of a container: what the request names, if the checkpoint was made with it. A name that has moved to
 * another image since counts for the earlier one where this node knows the name from its own checkpoint.
 */
function imageOf(
  images: ContainerContext["images"],
  { image: spec }: Config,
  facts: CheckpointFacts,
  doing: string,
): Image {
  const name = spec?.image ?? "";
  const named = images.find(name);
  if (named !== undefined && isRunnable(named) && isImageOf(facts, named)) {
    return named;
  }
  const isOwn = facts.config !== undefined;
  const own = isOwn && name === facts.imageName ? imageByDigest(images, facts) : undefined;
  if (own !== undefined) return own;
  const of = `container ${quote(facts.name)}`;
  throw named === undefined
    ? new RuntimeError(
        "not-found",
        `${doing}: image ${quote(name)} of ${of} is not present on this node; pull it first`,
      )
    : new RuntimeError(
        "failed-precondition",
        `${doing}: image ${quote(name)} of ${of} is not the one that the checkpoint was made with, which has ${facts.imageDigests.join(" and ")}; name that one in the request`,
      );
}
