import { isKind, kindOf, messageOf } from "../../base/errors.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { Container } from "../../core/container/index.ts";
import type { PastOperation } from "../../core/operation/index.ts";
import {
  type ControllerStatus,
  controllerReady,
  type Sandbox,
  type StatusQuestion,
  usesHostNetwork,
} from "../../core/sandbox/index.ts";
import { controllerOf, type SandboxContext } from "./context.ts";

/** The answer of PodSandboxStatus, as one snapshot. */
export interface SandboxStatus {
  readonly sandbox: Sandbox;
  readonly ready: boolean;
  /** Nanoseconds since 1970; always positive. */
  readonly createdAtNs: bigint;
  /** The primary address first; empty on the host network and when the network namespace is gone. */
  readonly ips: readonly string[];
  /**
   * Its containers at `timestampNs`, newest first. kubelet's evented PLEG relies on both: it does not sort
   * them, and takes the first one with a name for the latest attempt.
   */
  readonly containers: readonly Container[];
  /** When the snapshot was taken. Nanoseconds since 1970. */
  readonly timestampNs: bigint;
  /** Undefined unless the request is verbose. */
  readonly info: SandboxInfo | undefined;
}

/** The verbose information, under containerd's names. */
export interface SandboxInfo {
  readonly pid: number;
  readonly processStatus: string;
  readonly netNamespaceClosed: boolean;
  /** Additional information from the controller. */
  readonly extra: Readonly<Record<string, unknown>>;
  /** Why the controller did not report the status. */
  readonly controllerError: string | undefined;
  /** The finished operations on this sandbox. */
  readonly history: readonly PastOperation[];
}

type Answer =
  | { readonly kind: "known"; readonly status: ControllerStatus }
  /** The sandboxer does not know the sandbox, or is not running. */
  | { readonly kind: "gone"; readonly error: string }
  /** There was no valid answer; the last known state applies. */
  | { readonly kind: "silent"; readonly error: string };

/**
 * The status of a sandbox with its containers.
 *
 * Never fails for a sandbox that exists. A sandbox whose sandboxer died is not ready. If the sandboxer
 * does not answer in time, the last known state is reported. A creation time that the sandboxer does
 * not report comes from davit's record. `not-found` when the sandbox does not exist,
 * `invalid-argument` for an empty or ambiguous id.
 */
export async function podSandboxStatus(
  context: SandboxContext,
  idOrPrefix: string,
  verbose: boolean,
): Promise<SandboxStatus> {
  const found = context.store.resolve(idOrPrefix);
  const answer = await ask(context, found, verbose);
  // Read again: a stop may have happened while the controller was asked.
  const sandbox = context.store.peek(found.id) ?? found;
  const networkClosed = isNetworkClosed(context, sandbox);
  const status = answer.kind === "known" ? answer.status : undefined;
  return {
    ...snapshot(context, sandbox, networkClosed),
    ready: isReady(sandbox, answer),
    createdAtNs: createdAt(context, sandbox, status),
    info: verbose ? infoOf(context, sandbox, answer, networkClosed) : undefined,
  };
}

/**
 * The status of this value of a sandbox from memory, without its controller: for an event, which tells a
 * change at its moment.
 */
export function recordedStatus(context: StatusContext, sandbox: Sandbox): SandboxStatus {
  return {
    ...snapshot(context, sandbox, isNetworkClosed(context, sandbox)),
    ready: sandbox.state.name === "ready",
    createdAtNs: createdAt(context, sandbox, undefined),
    info: undefined,
  };
}

/** What {@link recordedStatus} uses. */
export type StatusContext = Pick<
  SandboxContext,
  "containers" | "namespaces" | "attachments" | "clock"
>;

/** The parts of a status that do not depend on the controller's answer. */
function snapshot(
  context: StatusContext,
  sandbox: Sandbox,
  networkClosed: boolean,
): Pick<SandboxStatus, "sandbox" | "ips" | "containers" | "timestampNs"> {
  return {
    sandbox,
    ips: hasAddress(context, sandbox, networkClosed) ? (sandbox.network?.ips ?? []) : [],
    containers: [...context.containers.listedOf(sandbox.id)].reverse(),
    timestampNs: context.clock.nowNs(),
  };
}

async function ask(context: SandboxContext, sandbox: Sandbox, verbose: boolean): Promise<Answer> {
  const controller = controllerOf(context, sandbox);
  if (controller === undefined) {
    return {
      kind: "silent",
      error: `this daemon has no controller "${sandbox.handler.controller}"`,
    };
  }
  const question = new Question(verbose, context.times.statusMs);
  try {
    const answer = controller.status(sandbox, question);
    const status = answer instanceof Promise ? await beforeAbort(answer, question.signal) : answer;
    return { kind: "known", status };
  } catch (error) {
    const gone =
      isKind(error, "not-found") || (isKind(error, "unavailable") && !question.isOverdue);
    if (!gone) {
      context.log.warn(
        "the controller did not report the status of a sandbox; reporting its last known state",
        {
          sandbox: sandbox.id,
          controller: controller.name,
          error: `${kindOf(error)}: ${messageOf(error)}`,
        },
      );
    }
    return { kind: gone ? "gone" : "silent", error: messageOf(error) };
  }
}

/**
 * A question whose deadline is created on first use, by a controller that does not answer at once. The
 * timer would be a third of the cost of a status that is answered from memory.
 */
class Question implements StatusQuestion {
  readonly verbose: boolean;
  readonly #timeoutMs: number;
  #signal: AbortSignal | undefined;

  constructor(verbose: boolean, timeoutMs: number) {
    this.verbose = verbose;
    this.#timeoutMs = timeoutMs;
  }

  get signal(): AbortSignal {
    this.#signal ??= AbortSignal.timeout(this.#timeoutMs);
    return this.#signal;
  }

  get isOverdue(): boolean {
    return this.#signal?.aborted ?? false;
  }
}

function isReady(sandbox: Sandbox, answer: Answer): boolean {
  if (sandbox.state.name !== "ready") return false;
  switch (answer.kind) {
    case "known":
      return answer.status.state === controllerReady;
    case "gone":
      return false;
    case "silent":
      return true;
  }
}

function createdAt(
  context: StatusContext,
  sandbox: Sandbox,
  status: ControllerStatus | undefined,
): bigint {
  // A sandboxer may omit the time, or send the zero time of its language (year 1).
  const fromController = status?.createdAtNs;
  if (fromController !== undefined && fromController > 0n) return fromController;
  const own = sandbox.createdAtNs;
  return own !== undefined && own > 0n ? own : context.clock.nowNs();
}

function hasAddress(context: StatusContext, sandbox: Sandbox, networkClosed: boolean): boolean {
  if (usesHostNetwork(sandbox.config) || networkClosed) return false;
  // A stop releases the address before it closes the namespace, and may fail in between. The address
  // may then belong to another pod.
  return sandbox.state.name === "ready" || context.attachments.find(sandbox.id) !== undefined;
}

/** True when the pod's own network namespace does not exist any more. */
function isNetworkClosed(context: StatusContext, sandbox: Sandbox): boolean {
  if (sandbox.netnsPath === undefined) return false;
  return sandbox.state.name === "stopped" || !context.namespaces.isOpen(sandbox.netnsPath);
}

function infoOf(
  context: SandboxContext,
  sandbox: Sandbox,
  answer: Answer,
  networkClosed: boolean,
): SandboxInfo {
  const status = answer.kind === "known" ? answer.status : undefined;
  return {
    pid: status?.pid ?? 0,
    processStatus: processStatus(sandbox, answer),
    netNamespaceClosed: networkClosed,
    extra: status?.info ?? {},
    controllerError: answer.kind === "known" ? undefined : answer.error,
    history: context.operations.history.of(sandbox.id),
  };
}

function processStatus(sandbox: Sandbox, answer: Answer): string {
  if (answer.kind === "gone" || sandbox.state.name === "stopped") return "deleted";
  if (answer.kind === "silent") return "unknown";
  if (answer.status.state === controllerReady) return "running";
  return "stopped";
}
