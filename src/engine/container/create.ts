import { RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import {
  type CheckedConfig,
  type ContainerImage,
  containerName,
  type CreateContainerRequest,
  newContainerId,
  placeOf,
} from "../../core/container/index.ts";
import type { Image } from "../../core/image/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import { type DeclaredVolumes, declaredVolumes, stopSignal } from "../../oci-spec/index.ts";
import { buildOrUndo, checkNameIsFree } from "../lifecycle/inflight-creates.ts";
import { type ContainerContext, findTarget, specSubject } from "./context.ts";
import { containerSubject, sandboxSubject } from "../lifecycle/subjects.ts";
import { userOf } from "./user.ts";
import { rootUsers } from "./root-users.ts";
import { findImageVolumes, type FoundVolumes, makeVolumes } from "./volumes.ts";
import { removeContainerById } from "./remove.ts";

interface Plan {
  readonly id: string;
  readonly name: string;
  readonly requestBytes: Uint8Array;
  readonly config: CheckedConfig;
  readonly sandbox: Sandbox;
  readonly image: Image;
  readonly volumes: FoundVolumes;
}

/**
 * Makes a container in a ready sandbox: its root is mounted, its request checked and on record. No
 * process and no cgroup yet, those come with the start. It outlives its caller as a sandbox's
 * creation does.
 */
export async function createContainer(
  context: ContainerContext,
  input: { readonly request: CreateContainerRequest; readonly requestBytes: Uint8Array },
  caller: AbortSignal,
): Promise<string> {
  const { request, requestBytes } = input;
  const sandbox = context.sandboxes.resolve(request.podSandboxId);
  const config = context.specs.check(
    request.config,
    sandbox,
    (id) => findTarget(context, id).config,
  );
  const name = containerName(config.metadata, sandbox.name);
  if (!context.creations.has(name)) {
    const words = { doing: "create container", noun: "container", attempt: "this attempt" };
    checkNameIsFree(context.store, name, words);
    checkSandboxReady(sandbox);
  }
  return context.creations.run(name, requestBytes, caller, () => {
    const image = findImage(context, config.image.image);
    const plan: Plan = {
      id: newContainerId(),
      name,
      requestBytes,
      config,
      sandbox,
      image,
      volumes: {
        images: findImageVolumes(context, config),
        ...declaredUnlessIgnored(context, image, config),
      },
    };
    const operation = context.operations.begin({
      name: "create-container",
      subject: name,
      object: plan.id,
      timeoutMs: context.times.createMs,
      log: context.log.with({
        ...sandboxSubject(sandbox),
        containerName: config.metadata.name,
        container: plan.id,
      }),
    });
    return {
      build: () => build(context, plan, operation),
      stage: () => operation.stage,
      publish: (id) => {
        context.store.list(id);
      },
      discard: (id, reason) => {
        const subject = { ...sandboxSubject(sandbox), container: id };
        context.log.info("removing a finished container", { ...subject, reason });
        context.janitor.adopt(id, () => removeContainerById(context, id));
      },
    };
  });
}

function declaredUnlessIgnored(
  context: ContainerContext,
  image: Image,
  config: CheckedConfig,
): DeclaredVolumes {
  if (context.ignoreVolumes) return { paths: [], passedOver: [] };
  return declaredVolumes(image.config, config);
}

function checkSandboxReady(sandbox: Sandbox): void {
  if (sandbox.state.name === "ready") return;
  const reason = sandbox.state.name === "dead" ? `: ${sandbox.state.reason}` : "";
  throw new RuntimeError(
    "failed-precondition",
    `create container: sandbox "${sandbox.id}" is not ready${reason}; run a new one`,
  );
}

function findImage(context: ContainerContext, name: string): Image {
  const image = context.images.find(name);
  if (image !== undefined) return image;
  throw new RuntimeError(
    "not-found",
    `create container: image "${name}" is not on this node, pull it first`,
  );
}

async function build(
  context: ContainerContext,
  plan: Plan,
  operation: RunningOperation,
): Promise<string> {
  using running = operation;
  // A removal of the sandbox aborts this and waits a moment for it, undoing included.
  using _turn = await context.locks.acquire(plan.id);
  using _abortable = context.starting.add(plan.id, operation, plan.sandbox.id);
  const onStuck = (): void => {
    context.janitor.adopt(plan.id, () => removeContainerById(context, plan.id), 1_000);
  };
  await buildOrUndo(running, onStuck, (undo) => assemble(context, plan, running, undo));
  return plan.id;
}

async function assemble(
  context: ContainerContext,
  plan: Plan,
  operation: RunningOperation,
  undo: Rollback,
): Promise<void> {
  const { store, roots } = context;
  const { id, config, sandbox, image, volumes } = plan;
  await operation.enter("reserve-name");
  const layers = image.layers.map(({ diffId }) => diffId);

  await operation.enter("write-record");
  // What is not on record yet is not ended with its sandbox.
  checkSandboxReady(context.sandboxes.get(sandbox.id));
  undo.defer("forget its record", () => {
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
    image: imageOf(image, config.image.image, layers),
    imageVolumes: volumes.images,
    volumes: volumes.paths,
    user: { uid: 0n, gid: 0n, supplementalGroups: [] },
    stopSignal: stopSignal(config.stopSignal, image.config.stopSignal).name,
    ...placeOf(id, config, sandbox),
    createdAtNs: context.clock.nowNs(),
    bootId: context.bootId,
    state: { name: "creating" },
  });

  undo.defer("remove its root", () => roots.remove(id));
  const label = context.specs.mountLabel(config, sandbox);
  const options = { users: rootUsers(context, sandbox), label };
  const { path } = await roots.mount(id, layers, operation, options);

  await makeVolumes(context, store.get(id), operation, options);
  if (volumes.passedOver.length > 0) {
    context.log.warn("the image declares volumes over the kernel's file systems, passed over", {
      ...containerSubject(store.get(id), context.sandboxes),
      volumes: volumes.passedOver,
    });
  }

  await operation.enter("resolve-user");
  const user = await context.rootFiles.resolveUser(path, userOf(config, image.config.user));
  const resolved = store.update(id, (now) => ({ ...now, user }));

  await operation.enter("prepare-spec");
  // Made again at the start, since resources may change until then; here it shows what is wrong.
  await context.specs.build(specSubject(context, resolved));

  await operation.enter("finish-record");
  store.update(id, (now) => ({ ...now, state: { name: "created" } }));
  await operation.enter("answer");
}

function imageOf(
  image: Image,
  requested: string,
  layers: ContainerImage["layers"],
): ContainerImage {
  return {
    id: image.id,
    requested,
    shown: image.repoTags[0] ?? image.repoDigests[0] ?? image.id,
    ref: image.repoDigests[0] ?? image.id,
    layers,
    config: image.config,
  };
}
