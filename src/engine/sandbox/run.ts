import type { BoundHandler } from "../../core/handler/index.ts";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import { type NetworkRequest, podPortForwardings } from "../../core/network/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import {
  type CheckedSandboxConfig,
  checkSandboxConfig,
  cgroupResourcesOf,
  hasNoNetwork,
  newSandboxId,
  podUsers,
  type RunPodSandboxRequest,
  type Sandbox,
  type SandboxController,
  sandboxName,
  withOwnIds,
} from "../../core/sandbox/index.ts";
import {
  buildOrUndo,
  checkNameIsFree,
  type CreateRequest,
  type DiscardReason,
} from "../lifecycle/inflight-creates.ts";
import type { PodLease } from "../lifecycle/leases.ts";
import { sandboxSubject } from "../lifecycle/subjects.ts";
import { askPlugins, holdPlugins } from "../plugins/index.ts";
import { otherCgroups, type SandboxContext } from "./context.ts";
import { checkEgressHandler, limitEgress } from "./egress.ts";
import { chooseOwnIds, type OwnIdsPlan, planOwnIds } from "./own-ids.ts";
import { removeSandbox } from "./remove.ts";
import { watchSandbox } from "./watch.ts";

/** A checked request. */
interface Plan {
  readonly id: string;
  readonly name: string;
  /** The request's config, checked. */
  readonly config: CheckedSandboxConfig;
  readonly requestBytes: Uint8Array;
  readonly handler: BoundHandler;
  readonly controller: SandboxController;
  readonly ownIds: OwnIdsPlan;
  /** Undefined for a pod without one. */
  readonly lease: PodLease | undefined;
  /** The sandbox is a part of what is being created; see {@link Sandbox.unfinished}. */
  readonly isPart: boolean;
}

/**
 * Creates a pod sandbox with its network and returns its id.
 *
 * The create continues when its caller disconnects (see {@link InflightCreates}). `already-exists`,
 * with the id, for an attempt of a pod whose sandbox a client already knows. `failed-precondition` for the
 * label of a lease that nobody holds. A failure, a plugin that refuses the pod, or the end of its lease
 * undoes every step. If that takes longer than 5 s, the sandbox is listed as dead, and
 * the janitor or the client removes it.
 */
export async function runPodSandbox(
  context: SandboxContext,
  input: { readonly request: RunPodSandboxRequest; readonly requestBytes: Uint8Array },
  caller: AbortSignal,
): Promise<string> {
  const { name, begin } = await preparePodSandbox(context, input);
  return context.inflightCreates.run(name, input.requestBytes, caller, () => begin());
}

/** A checked request for a sandbox. */
export interface PreparedSandbox {
  /** The unique name of the sandbox. */
  readonly name: string;
  readonly handler: BoundHandler;
  /**
   * Begins the create, as {@link InflightCreates} requests it. As a part of a restore, the sandbox has the id of that, is
   * `unfinished`, and the end of `signal` aborts it.
   */
  readonly begin: (part?: { readonly id: string; readonly signal: AbortSignal }) => CreateRequest;
}

/** Checks a request for a sandbox. Errors as those of {@link runPodSandbox} that come before anything is made. */
export async function preparePodSandbox(
  context: SandboxContext,
  input: { readonly request: RunPodSandboxRequest; readonly requestBytes: Uint8Array },
): Promise<PreparedSandbox> {
  const config = checkSandboxConfig(input.request.config);
  const lease = context.leases.neededBy(config);
  const handler = context.handlers.bind(input.request.runtimeHandler);
  const controller = context.controllers.get(handler.controller);
  if (controller === undefined) {
    throw new RuntimeError(
      "unimplemented",
      `run pod sandbox: handler "${handler.name}" requires controller "${handler.controller}", which this version does not have; set controller = "podsandbox" in [runtime.handlers.${handler.name}]`,
    );
  }
  checkEgressHandler(config, handler);
  if (podUsers(config) !== undefined) await context.handlers.checkUserNamespaces(handler);
  const ownIds = await planOwnIds(context, config, handler);
  const name = sandboxName(config.metadata);
  if (!context.inflightCreates.has(name)) {
    const words = { doing: "run pod sandbox", noun: "sandbox", attempt: "this attempt of the pod" };
    checkNameIsFree(context.store, name, words);
  }
  const { requestBytes } = input;
  const checked = { name, config, requestBytes, handler, controller, ownIds, lease };
  return {
    name,
    handler,
    begin: (part) => {
      const plan = { ...checked, id: part?.id ?? newSandboxId(), isPart: part !== undefined };
      return beginRun(context, plan, part?.signal);
    },
  };
}

function beginRun(
  context: SandboxContext,
  plan: Plan,
  parent: AbortSignal | undefined,
): CreateRequest {
  const operation = context.operations.begin({
    name: "run-pod-sandbox",
    subject: plan.name,
    object: plan.id,
    timeoutMs: context.createMsOf?.(plan.handler) ?? context.times.createMs,
    log: context.log.with(sandboxSubject(plan)),
  });
  return {
    build: () => build(context, plan, operation, parent),
    stage: () => operation.stage,
    publish: (id) => {
      context.store.list(id);
    },
    discard: (id, reason) => {
      discardSandbox(context, id, reason);
    },
  };
}

async function build(
  context: SandboxContext,
  plan: Plan,
  operation: RunningOperation,
  parent: AbortSignal | undefined,
): Promise<string> {
  using running = operation;
  using _parent = parent && running.follow(parent);
  using _create = plan.lease?.addCreate(plan.id, running);
  const onStuck = (what: string, error: unknown): void => {
    const reason = `its create failed, and davit could not ${what}: ${messageOf(error)}`;
    leaveBehind(context, plan.id, reason);
  };
  const sandbox = await buildOrUndo(running, onStuck, (undo) =>
    assemble(context, plan, running, undo),
  );
  watchSandbox(context, sandbox);
  return sandbox.id;
}

async function assemble(
  context: SandboxContext,
  plan: Plan,
  operation: RunningOperation,
  undo: Rollback,
): Promise<Sandbox> {
  const { store } = context;
  const { id, config, controller } = plan;
  await operation.enter("write-record");
  // There is no await between these choices and the record, so no other pod can make the same ones.
  const parent = config.linux?.cgroupParent ?? "";
  const cgroup = context.cgroups.plan(parent, id, otherCgroups(context, id));
  const selinux = context.labels?.choose(config, store.all());
  const ownIds = chooseOwnIds(context, plan.ownIds, config);
  undo.defer("delete its record", () => {
    store.remove(id);
    context.plugins?.forget(id);
  });
  store.add({
    id,
    name: plan.name,
    requestBytes: plan.requestBytes,
    config: ownIds?.range === undefined ? config : withOwnIds(config, ownIds.range),
    handler: plan.handler,
    createdAtNs: context.clock.nowNs(),
    bootId: context.bootId,
    state: { name: "creating" },
    cgroup,
    ...(selinux && { selinux }),
    ...(ownIds && { ownIds }),
    ...(plan.isPart && { unfinished: true }),
  });
  if (ownIds?.reason !== undefined) {
    const subject = sandboxSubject(store.get(id));
    context.log.info("a pod has the ids of the node", { ...subject, reason: ownIds.reason });
  }

  await operation.enter("prepare-cgroup");
  undo.defer("remove its cgroup", (signal) =>
    context.cgroups.remove(cgroup, () => otherCgroups(context, id), signal),
  );
  await context.cgroups.prepare(cgroup, cgroupResourcesOf(config));

  undo.defer("remove its namespaces and files", (signal) =>
    controller.shutdown(store.get(id), signal),
  );
  const { netnsPath } = await controller.create(store.get(id), operation);
  const created =
    netnsPath === undefined ? store.get(id) : store.update(id, (now) => ({ ...now, netnsPath }));

  const networked = await addNetwork(context, created, operation, undo);
  const { process, createdAtNs } = await controller.start(networked, operation);
  const started = process === undefined ? networked : { ...networked, process };
  // Before plugins and clients know the pod, and any container is in it.
  await limitEgress(context, started, controller, operation);
  // Until the record says that it is finished: a plugin that comes meanwhile is told one way or the other.
  using _hold = await holdPlugins(context, operation.signal);
  await askPlugins(context, operation, (plugins, signal) => {
    undo.defer("tell plugins that it is gone", (undoing) => tellGone(context, started, undoing));
    return plugins.runPodSandbox(started, signal);
  });

  await operation.enter("finish-record");
  const ready = store.update(id, () => ({
    ...started,
    state: { name: "ready" },
    // A sandboxer may report 0, or the zero time of its language (year 1).
    createdAtNs:
      createdAtNs !== undefined && createdAtNs > 0n ? createdAtNs : networked.createdAtNs,
  }));
  await operation.enter("answer");
  return ready;
}

/** The pod is undone: the plugins are told that it is stopped and removed, as by containerd. */
async function tellGone(
  context: SandboxContext,
  sandbox: Sandbox,
  signal: AbortSignal,
): Promise<void> {
  const { plugins } = context;
  if (plugins?.active !== true) return;
  plugins.isFirst("stop", sandbox.id);
  plugins.isFirst("remove", sandbox.id);
  try {
    using _hold = await holdPlugins(context, signal);
    await plugins.port.stopPodSandbox(sandbox, signal);
    await plugins.port.removePodSandbox(sandbox, signal);
  } catch (error) {
    const subject = sandboxSubject(sandbox);
    const failure = { ...subject, error: messageOf(error) };
    context.log.warn("a plugin failed at the undo of RunPodSandbox", failure);
  }
}

async function addNetwork(
  context: SandboxContext,
  sandbox: Sandbox,
  operation: RunningOperation,
  undo: Rollback,
): Promise<Sandbox> {
  if (sandbox.netnsPath === undefined || hasNoNetwork(sandbox.config)) return sandbox;
  await operation.enter("write-network-record");
  undo.defer("remove its network", (signal) => context.teardown.remove(sandbox.id, signal));
  const network = await context
    .networkOf(sandbox.handler)
    .add(networkRequest(sandbox, sandbox.netnsPath), operation, async (attachment) => {
      await context.attachments.putNoted(attachment);
      // This is the first record, before any plugin runs.
      if (attachment.result === undefined) await operation.enter("add-network");
    });
  await operation.enter("network-added");
  return { ...sandbox, network };
}

function networkRequest(sandbox: Sandbox, netnsPath: string): NetworkRequest {
  const { metadata, annotations, dnsConfig } = sandbox.config;
  return {
    sandboxId: sandbox.id,
    netnsPath,
    podName: metadata?.name ?? "",
    podNamespace: metadata?.namespace ?? "",
    podUid: metadata?.uid ?? "",
    annotations,
    portMappings: podPortForwardings(sandbox.config),
    dns: {
      servers: dnsConfig?.servers ?? [],
      searches: dnsConfig?.searches ?? [],
      options: dnsConfig?.options ?? [],
    },
    cgroupPath: sandbox.cgroup?.parent ?? "",
  };
}

/** Lists a sandbox whose create could not be undone as dead, so that clients can see and remove it. */
export function leaveBehind(context: SandboxContext, id: string, reason: string): void {
  const sandbox = context.store.peek(id);
  if (sandbox === undefined) return;
  const subject = sandboxSubject(sandbox);
  context.log.error("failed to clean up an unfinished sandbox; will retry", { ...subject, reason });
  // Before the record is written: on a full disk the write fails, and nothing would remove the sandbox.
  context.janitor.adopt(id, () => removeSandbox(context, id), 1_000);
  context.store.update(id, (now) => ({
    ...now,
    state: { name: "dead", reason, atNs: context.clock.nowNs() },
  }));
  context.store.list(id);
}

/** Removes a sandbox that no caller claims. */
export function discardSandbox(context: SandboxContext, id: string, reason: DiscardReason): void {
  const sandbox = context.store.peek(id);
  const subject = sandbox === undefined ? { sandbox: id } : sandboxSubject(sandbox);
  context.log.info("removing an unclaimed sandbox", { ...subject, reason });
  context.janitor.adopt(id, () => removeSandbox(context, id));
}
