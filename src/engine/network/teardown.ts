import { messageOf, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Clock } from "../../base/time.ts";
import type { Attachment, PluginListeners, PodNetwork } from "../../core/network/index.ts";
import type { Attachments } from "./attachments.ts";

/** How often and how long the removal of a network is retried. */
export interface TeardownPatience {
  /** After so many failed tries, a stop leaves the removal to the background and succeeds. */
  readonly tries: number;
  /** A stop also does so when the first failed try is this long ago. Milliseconds. */
  readonly totalMs: number;
  /** The first pause between two tries in the background. It doubles up to `maxPauseMs`. */
  readonly firstPauseMs: number;
  readonly maxPauseMs: number;
}

/** StopPodSandbox reports a failing DEL for 3 tries or 5 minutes; then the DEL is queued. */
export const defaultPatience: TeardownPatience = {
  tries: 3,
  totalMs: 300_000,
  firstPauseMs: 2_000,
  maxPauseMs: 300_000,
};

interface Deps {
  readonly network: PodNetwork;
  readonly attachments: Attachments;
  readonly tasks: TaskGroup;
  readonly clock: Clock;
  readonly log: Logger;
  readonly patience: TeardownPatience;
}

/** A removal that is still pending, as the verbose Status shows it. */
export interface PendingTeardown {
  readonly sandboxId: string;
  readonly tries: number;
  readonly lastError: string;
  readonly since: string;
}

/**
 * Removes pod networks, and retries the removals that fail.
 *
 * A failing plugin must not prevent the removal of a pod, and the pod's addresses must not leak. So the
 * client retries a failed DEL first. After some tries the DEL is queued on disk and retried with
 * growing pauses, and at each start, until it succeeds.
 */
export class NetworkTeardown {
  readonly #deps: Deps;
  readonly #queue = new Map<string, NodeJS.Timeout | undefined>();
  #emptied: PromiseWithResolvers<undefined> | undefined;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /**
   * Removes the network of the sandbox, if it has one. Rejects while the client should retry; resolves
   * when the network is removed or its removal is queued.
   */
  async remove(sandboxId: string, signal: AbortSignal, listeners?: PluginListeners): Promise<void> {
    const attachment = this.#deps.attachments.find(sandboxId);
    if (attachment === undefined || attachment.removal?.queued === true) return;
    try {
      await this.#removeNow(attachment, signal, listeners);
    } catch (error) {
      const failed = this.#recordFailure(attachment, error);
      const { tries, firstTriedAtMs } = failed;
      const age = this.#deps.clock.nowMs() - firstTriedAtMs;
      if (tries < this.#deps.patience.tries && age < this.#deps.patience.totalMs) {
        throw wrap(`remove network of sandbox "${sandboxId}" (try ${String(tries)})`, error);
      }
      this.enqueue(sandboxId);
    }
  }

  /** Queues the removal. It is tried soon in the background, and then until it succeeds. */
  enqueue(sandboxId: string): void {
    const attachment = this.#deps.attachments.find(sandboxId);
    if (attachment === undefined) return;
    const removal = attachment.removal ?? {
      tries: 0,
      firstTriedAtMs: this.#deps.clock.nowMs(),
      lastError: "",
      queued: true,
    };
    this.#deps.attachments.put({ ...attachment, removal: { ...removal, queued: true } });
    this.#schedule(sandboxId, removal.tries === 0 ? 0 : this.#pause(removal.tries));
  }

  /** Continues the queued removals after a restart. */
  resume(): void {
    for (const { sandboxId, removal } of this.#deps.attachments.all()) {
      if (removal?.queued === true) this.#schedule(sandboxId, 0);
    }
  }

  /** Resolves when the queue is empty; rejects when the signal is aborted before that. */
  async untilEmpty(signal: AbortSignal): Promise<void> {
    while (this.#queue.size > 0) {
      this.#emptied ??= Promise.withResolvers<undefined>();
      await beforeAbort(this.#emptied.promise, signal);
    }
  }

  /** The removals that are still pending. */
  pending(): readonly PendingTeardown[] {
    return this.#deps.attachments.all().flatMap(({ sandboxId, removal }) =>
      removal === undefined
        ? []
        : [
            {
              sandboxId,
              tries: removal.tries,
              lastError: removal.lastError,
              since: new Date(removal.firstTriedAtMs).toISOString(),
            },
          ],
    );
  }

  /** Stops retrying, when the daemon exits. The queue stays in the database. */
  [Symbol.dispose](): void {
    for (const timer of this.#queue.values()) clearTimeout(timer);
    this.#queue.clear();
  }

  async #removeNow(
    attachment: Attachment,
    signal: AbortSignal,
    listeners?: PluginListeners,
  ): Promise<void> {
    await this.#deps.network.remove(attachment, { signal, ...listeners });
    await this.#deps.attachments.delete(attachment.sandboxId);
  }

  #recordFailure(
    attachment: Attachment,
    error: unknown,
  ): { tries: number; firstTriedAtMs: number } {
    const before = this.#deps.attachments.find(attachment.sandboxId)?.removal ?? attachment.removal;
    const removal = {
      tries: (before?.tries ?? 0) + 1,
      firstTriedAtMs: before?.firstTriedAtMs ?? this.#deps.clock.nowMs(),
      lastError: messageOf(error),
      queued: before?.queued ?? false,
    };
    this.#deps.attachments.put({ ...attachment, removal });
    return removal;
  }

  /** The tries so far, including this one. A full disk, where they cannot be recorded, must not end the retries. */
  #countFailure(attachment: Attachment, error: unknown): number {
    try {
      return this.#recordFailure(attachment, error).tries;
    } catch (cause) {
      this.#deps.log.error("failed to record a failed network removal", {
        sandboxId: attachment.sandboxId,
        error: messageOf(cause),
      });
      return attachment.removal?.tries ?? 0;
    }
  }

  #pause(tries: number): number {
    const { firstPauseMs, maxPauseMs, tries: reported } = this.#deps.patience;
    // The tries that a stop reported do not make the pause longer.
    const doublings = Math.min(Math.max(tries - reported, 0), 20);
    return Math.min(firstPauseMs * 2 ** doublings, maxPauseMs);
  }

  #schedule(sandboxId: string, delayMs: number): void {
    if (this.#queue.has(sandboxId)) return;
    const timer = setTimeout(() => {
      this.#deps.tasks.spawn(`remove network of sandbox "${sandboxId}"`, (signal) =>
        this.#retry(sandboxId, signal),
      );
    }, delayMs);
    timer.unref();
    this.#queue.set(sandboxId, timer);
  }

  #leaveQueue(sandboxId: string): void {
    this.#queue.delete(sandboxId);
    if (this.#queue.size > 0) return;
    this.#emptied?.resolve(undefined);
    this.#emptied = undefined;
  }

  async #retry(sandboxId: string, signal: AbortSignal): Promise<void> {
    const attachment = this.#deps.attachments.find(sandboxId);
    if (attachment === undefined) {
      this.#leaveQueue(sandboxId);
      return;
    }
    try {
      await this.#removeNow(attachment, signal);
      this.#leaveQueue(sandboxId);
      this.#deps.log.info("removed the network of a sandbox after earlier failures", {
        sandboxId,
      });
    } catch (error) {
      this.#queue.delete(sandboxId);
      if (signal.aborted) return;
      const tries = this.#countFailure(attachment, error);
      const pauseMs = this.#pause(tries);
      this.#deps.log.warn("failed to remove the network of a sandbox, its address stays in use", {
        sandboxId,
        tries,
        nextTryInMs: pauseMs,
        error: messageOf(error),
      });
      this.#schedule(sandboxId, pauseMs);
    }
  }
}
