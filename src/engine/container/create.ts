import { RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import type { Rollback } from "../../base/rollback.ts";
import {
  type CheckedConfig,
  containerName,
  type CreateContainerRequest,
  newContainerId,
  pathsOf,
} from "../../core/container/index.ts";
import type { Image } from "../../core/image/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { podUsers, type Sandbox } from "../../core/sandbox/index.ts";
import { type DeclaredVolumes, declaredVolumes, stopSignal } from "../../oci-spec/index.ts";
import { buildOrUndo, checkNameIsFree, type CreateRequest } from "../lifecycle/inflight-creates.ts";
import { type ContainerContext, findTarget } from "./context.ts";
import { containerSubject, sandboxSubject } from "../lifecycle/subjects.ts";
import { holdPlugins, tellPlugins } from "../plugins/index.ts";
import { adjustByPlugins } from "./adjust.ts";
import { ofPlugins } from "./of-plugins.ts";
import { prepareEarly, prepareSpec } from "./prepare-spec.ts";
import { imageNames } from "./image-names.ts";
import { checkMayRestore, type ContainerBase, isArchive } from "./may-restore.ts";
import { beginLog, HeldLayers } from "./restore-source.ts";
import { rootUsers } from "./root-users.ts";
import { findImageVolumes, type FoundVolumes, makeVolumes } from "./volumes.ts";
import { verifyImages } from "./verify-images.ts";
import { removeContainerById } from "./remove.ts";

/** Finds what a container is made of, as a step of its create, which undoes it. */
type FindBase = (
  operation: RunningOperation,
  made: Made,
  containerId: string,
) => Promise<ContainerBase>;

/** What a create has made. */
interface Made {
  readonly undo: Rollback;
  /** The layers of changes of a checkpoint. */
  readonly held: HeldLayers;
}

interface Request {
  readonly id: string;
  readonly name: string;
  readonly requestBytes: Uint8Array;
  readonly config: CheckedConfig;
  readonly sandbox: Sandbox;
  readonly base: ContainerBase | FindBase;
  readonly volumeImages: FoundVolumes["images"];
}

interface Plan extends Request {
  readonly base: ContainerBase;
  readonly image: Image;
  readonly volumes: FoundVolumes;
}

/**
 * Creates a container in a ready sandbox: checks the request, records it and mounts the root. The
 * start creates the cgroup and the process. The create continues when its caller disconnects, like
 * that of a sandbox (see {@link InflightCreates}). One whose image is a checkpoint continues from it when it starts.
 */
export async function createContainer(
  context: ContainerContext,
  input: { readonly request: CreateContainerRequest; readonly requestBytes: Uint8Array },
  caller: AbortSignal,
): Promise<string> {
  const sandbox = context.sandboxes.resolve(input.request.podSandboxId);
  const { name, begin } = prepareContainer(context, input, sandbox);
  return context.inflightCreates.run(name, input.requestBytes, caller, () => begin());
}

/** A checked request for a container. */
interface PreparedContainer {
  /** The unique name of the container. */
  readonly name: string;
  /**
   * Begins the create, as {@link InflightCreates} requests it: of what is given, else of the image of the request.
   * The end of `parent` aborts it.
   */
  readonly begin: (base?: ContainerBase, parent?: AbortSignal) => CreateRequest;
}

/** Checks a request for a container. Errors as those of {@link createContainer} that come before anything is made. */
export function prepareContainer(
  context: ContainerContext,
  input: { readonly request: CreateContainerRequest; readonly requestBytes: Uint8Array },
  sandbox: Sandbox,
): PreparedContainer {
  const { request, requestBytes } = input;
  const config = context.specs.check(
    request.config,
    sandbox,
    (id) => findTarget(context, id).config,
  );
  const name = containerName(config.metadata, sandbox.name);
  if (!context.inflightCreates.has(name)) {
    const words = { doing: "create container", noun: "container", attempt: "this attempt" };
    checkNameIsFree(context.store, name, words);
    checkSandboxReady(sandbox);
  }
  return {
    name,
    begin: (given, parent) => {
      const base = given ?? baseOf(context, config, sandbox);
      const volumeImages = findImageVolumes(context, config);
      if (typeof base !== "function") noteImages(context, base, volumeImages);
      const id = newContainerId();
      const plan = { id, name, requestBytes, config, sandbox, base, volumeImages };
      return beginCreate(context, plan, parent);
    },
  };
}

/** The image of the request; for a checkpoint, how it is opened. */
function baseOf(
  context: ContainerContext,
  config: CheckedConfig,
  sandbox: Sandbox,
): ContainerBase | FindBase {
  const { image: name } = config.image;
  const image = isArchive(name) ? undefined : findImage(context, name);
  if (image !== undefined && image.checkpointOf === undefined) return { image };
  checkMayRestore(context.checkpoints, name);
  return async (operation, { undo, held }, id) => {
    const { openArchive } = await import("./restore-archive.ts");
    const archive = { name, image, id, sandbox, config, held };
    return openArchive(context, archive, operation, undo);
  };
}

/** Notes that the images are in use, before the container is recorded. */
function noteImages(
  { onImageUsed }: Pick<ContainerContext, "onImageUsed">,
  { image }: ContainerBase,
  volumes: FoundVolumes["images"],
): void {
  for (const id of [image.id, ...volumes.map((each) => each.image)]) onImageUsed(id);
}

function beginCreate(
  context: ContainerContext,
  plan: Request,
  parent: AbortSignal | undefined,
): CreateRequest {
  const { config, sandbox } = plan;
  const operation = context.operations.begin({
    name: "create-container",
    subject: plan.name,
    object: plan.id,
    timeoutMs: context.createMsOf?.(sandbox.handler) ?? context.times.createMs,
    log: context.log.with({
      ...sandboxSubject(sandbox),
      containerName: config.metadata.name,
      container: plan.id,
    }),
  });
  return {
    build: () => build(context, plan, operation, parent),
    stage: () => operation.stage,
    publish: (id) => {
      context.store.list(id);
    },
    discard: (id, reason) => {
      const subject = { ...sandboxSubject(sandbox), container: id };
      context.log.info("removing an unclaimed container", { ...subject, reason });
      context.janitor.adopt(id, () => removeContainerById(context, id));
    },
  };
}

function declaredUnlessIgnored(
  context: Pick<ContainerContext, "ignoreVolumes">,
  image: Image,
  config: CheckedConfig,
): DeclaredVolumes {
  if (context.ignoreVolumes) return { paths: [], skipped: [] };
  return declaredVolumes(image.config, config);
}

function stopSignalOf({ log }: Pick<ContainerContext, "log">, plan: Plan): string {
  const { id, config, image, sandbox } = plan;
  const onUnknown = (text: string): void => {
    log.warn("ignored the stop signal of an image, which is not a signal", {
      ...sandboxSubject(sandbox),
      container: id,
      stopSignal: quote(text),
    });
  };
  return stopSignal(config.stopSignal, image.config.stopSignal, onUnknown).name;
}

function checkSandboxReady(sandbox: Sandbox): void {
  if (sandbox.state.name === "ready") return;
  const reason = sandbox.state.name === "dead" ? `: ${sandbox.state.reason}` : "";
  throw new RuntimeError(
    "failed-precondition",
    `create container: sandbox "${sandbox.id}" is not ready${reason}; run a new one`,
  );
}

/**
 * NOTE(criu): it makes the user namespace of what it restores, and a process in that may not enter the network namespace
 * of the pod, which the pod's own user namespace owns.
 */
function checkCanRestoreInto({ id, config }: Sandbox): void {
  if (podUsers(config) === undefined) return;
  throw new RuntimeError(
    "failed-precondition",
    `restore a container into sandbox "${id}": it has a user namespace, into which CRIU cannot restore; run the pod with hostUsers: true`,
  );
}

function findImage(context: Pick<ContainerContext, "images">, name: string): Image {
  const image = context.images.find(name);
  if (image === undefined) {
    throw new RuntimeError(
      "not-found",
      `create container: image "${name}" is not present on this node; pull it first`,
    );
  }
  if (image.artifactType === undefined) return image;
  throw new RuntimeError(
    "failed-precondition",
    `create container: "${name}" is an OCI artifact of type ${JSON.stringify(image.artifactType)}, which has no program to run; mount it as an image volume`,
  );
}

async function build(
  context: ContainerContext,
  plan: Request,
  operation: RunningOperation,
  parent: AbortSignal | undefined,
): Promise<string> {
  using running = operation;
  using _parent = parent && running.follow(parent);
  // A removal of the sandbox aborts this operation and waits for it, including the undo.
  using _turn = await context.locks.acquire(plan.id);
  using _abortable = context.cancellable.add(plan.id, operation, plan.sandbox.id);
  const onStuck = (): void => {
    context.janitor.adopt(plan.id, () => removeContainerById(context, plan.id), 1_000);
  };
  const { base } = plan;
  await buildOrUndo(running, onStuck, (undo) =>
    typeof base === "function"
      ? findAndAssemble(context, { ...plan, base }, running, undo)
      : assemble(context, planOf(context, plan, base), running, undo),
  );
  return plan.id;
}

async function findAndAssemble(
  context: ContainerContext,
  request: Request & { readonly base: FindBase },
  operation: RunningOperation,
  undo: Rollback,
): Promise<void> {
  using held = new HeldLayers(context.checkpoints.layers);
  const base = await request.base(operation, { undo, held }, request.id);
  noteImages(context, base, request.volumeImages);
  await assemble(context, planOf(context, request, base), operation, undo);
}

function planOf(context: ContainerContext, request: Request, base: ContainerBase): Plan {
  const { config, volumeImages: images } = request;
  const { image } = base;
  const volumes = { images, ...declaredUnlessIgnored(context, image, config) };
  return { ...request, base, image, volumes };
}

async function assemble(
  context: ContainerContext,
  plan: Plan,
  operation: RunningOperation,
  undo: Rollback,
): Promise<void> {
  const { store, roots } = context;
  const { id, config, sandbox, image, volumes } = plan;
  const { restore } = plan.base;
  if (restore !== undefined) checkCanRestoreInto(sandbox);
  const changes = restore?.changes;
  const ofImage = image.layers.map(({ diffId }) => diffId);
  const layers = changes === undefined ? ofImage : [...ofImage, changes];
  using _held = changes && context.checkpoints.layers.hold(layers);

  await verifyImages(context, plan, operation);
  await operation.enter("write-record");
  // A stop of the sandbox does not end a container that is not recorded yet.
  checkSandboxReady(context.sandboxes.get(sandbox.id));
  undo.defer("delete its record", () => {
    const gone = store.peek(id);
    store.remove(id);
    // Its image may have been removed meanwhile.
    if (gone !== undefined) context.onRemoved(gone);
  });
  store.add({
    id,
    name: plan.name,
    sandboxId: sandbox.id,
    requestBytes: plan.requestBytes,
    config,
    resources: config.linux?.resources,
    image: { ...imageNames(context.images, image, config.image), layers, config: image.config },
    imageVolumes: volumes.images,
    volumes: volumes.paths,
    user: { uid: 0n, gid: 0n, supplementalGroups: [] },
    stopSignal: stopSignalOf(context, plan),
    ...pathsOf(id, config, sandbox),
    ...(restore && { restore }),
    createdAtNs: context.clock.nowNs(),
    bootId: context.bootId,
    state: { name: "creating" },
  });

  undo.defer("remove its root", () => roots.remove(id));
  const label = context.specs.mountLabel(config, sandbox);
  const limitBytes = context.layerLimitOf(sandbox);
  const options = { users: rootUsers(context, sandbox), label, limitBytes };
  using _hold = await holdPlugins(context, operation.signal);
  await using early = await prepareEarly(context, plan, { label, operation, undo });
  if (changes !== undefined) await context.checkpoints.layers.complete(layers, operation.signal);
  const { path } = await roots.mount(id, layers, operation, options);

  await makeVolumes(context, store.get(id), operation, options);
  if (volumes.skipped.length > 0) {
    context.log.warn("ignored image volumes that would hide kernel file systems", {
      ...containerSubject(store.get(id), context.sandboxes),
      volumes: volumes.skipped,
    });
  }
  const spec = early?.spec ?? (await prepareSpec(context, plan, operation, path));
  await adjustByPlugins(context, store.get(id), { spec, asked: early?.asked, operation, undo });

  if (plan.base.log !== undefined) {
    await beginLog(context, store.get(id), plan.base.log, { operation, undo });
  }

  await operation.enter("finish-record");
  const created = store.update(id, (now) => ({ ...now, state: { name: "created" } }));
  await tellPlugins(context, operation, "PostCreateContainer", async (plugins, signal) => {
    const of = ofPlugins(context, created);
    if (of !== undefined) await plugins.postCreateContainer(of, signal);
  });
  await operation.enter("answer");
}
