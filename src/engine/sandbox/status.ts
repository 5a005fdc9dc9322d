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

/** Everything that PodSandboxStatus answers with, as one snapshot. */
export interface SandboxStatus {
  readonly sandbox: Sandbox;
  readonly ready: boolean;
  /** Nanoseconds since 1970; always positive. */
  readonly createdAtNs: bigint;
  /** The primary address first; none on host network and when the network namespace is gone. */
  readonly ips: readonly string[];
  /** Its containers, at the moment of `timestampNs`: kubelet's evented PLEG relies on that. */
  readonly containers: readonly Container[];
  /** When the snapshot was taken. Nanoseconds since 1970. */
  readonly timestampNs: bigint;
  /** Verbose facts; undefined when they were not asked for. */
  readonly info: SandboxInfo | undefined;
}

/** The verbose facts, under the names that containerd made known. */
export interface SandboxInfo {
  readonly pid: number;
  readonly processStatus: string;
  readonly netNamespaceClosed: boolean;
  /** Facts of the controller's own. */
  readonly extra: Readonly<Record<string, unknown>>;
  /** Why the controller could not be asked properly. */
  readonly controllerError: string | undefined;
  /** The operations on this sandbox that have ended. */
  readonly history: readonly PastOperation[];
}

type Answer =
  | { readonly kind: "known"; readonly status: ControllerStatus }
  /** The sandboxer does not know the sandbox, or is gone. */
  | { readonly kind: "gone"; readonly error: string }
  /** It did not answer, or not properly: the last known state stands. */
  | { readonly kind: "silent"; readonly error: string };

/**
 * The status of a sandbox with its containers.
 *
 * Never fails for a sandbox that exists: a sandboxer that died makes it not ready, one that does
 * not answer in time leaves the last known state, and a creation time that the sandboxer does not
 * know comes from davit's own record. `not-found` for a missing sandbox, `invalid-argument` for
 * an empty or ambiguous id.
 */
export async function podSandboxStatus(
  context: SandboxContext,
  idOrPrefix: string,
  verbose: boolean,
): Promise<SandboxStatus> {
  const found = context.store.resolve(idOrPrefix);
  const answer = await ask(context, found, verbose);
  // What happened while the controller was asked counts: the answer must not be older than a stop.
  const sandbox = context.store.peek(found.id) ?? found;
  const networkClosed = isNetworkClosed(context, sandbox);
  const status = answer.kind === "known" ? answer.status : undefined;
  return {
    sandbox,
    ready: isReady(sandbox, answer),
    createdAtNs: createdAt(context, sandbox, status),
    ips: hasAddress(context, sandbox, networkClosed) ? (sandbox.network?.ips ?? []) : [],
    containers: [...context.containers.listedOf(sandbox.id)],
    timestampNs: context.clock.nowNs(),
    info: verbose ? infoOf(context, sandbox, answer, networkClosed) : undefined,
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
        "the controller did not report the status of a sandbox; the answer has its last known state",
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
 * A question with a deadline that is made only for a controller that does not answer at once: its
 * timer would cost a third of a status that is answered from memory.
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
  context: SandboxContext,
  sandbox: Sandbox,
  status: ControllerStatus | undefined,
): bigint {
  // A sandboxer may leave the time out, or send the zero time of its language (year 1).
  const fromController = status?.createdAtNs;
  if (fromController !== undefined && fromController > 0n) return fromController;
  const own = sandbox.createdAtNs;
  return own !== undefined && own > 0n ? own : context.clock.nowNs();
}

function hasAddress(context: SandboxContext, sandbox: Sandbox, networkClosed: boolean): boolean {
  if (usesHostNetwork(sandbox.config) || networkClosed) return false;
  // A stop gives the address back before it closes the namespace, and may fail in between: by
  // then the address may be another pod's.
  return sandbox.state.name === "ready" || context.attachments.find(sandbox.id) !== undefined;
}

/** True when the pod has no network namespace of its own any more. */
function isNetworkClosed(context: SandboxContext, sandbox: Sandbox): boolean {
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
