import { messageOf, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Clock } from "../../base/time.ts";
import type { Attachment, PluginListeners, PodNetwork } from "../../core/network/index.ts";
import type { Attachments } from "./attachments.ts";

/** How patient the removal of a network is. */
export interface TeardownPatience {
  /** Failed tries that a Stop reports before it goes on without. */
  readonly tries: number;
  /** Time after the first failed try from which on Stop goes on without. Milliseconds. */
  readonly totalMs: number;
  /** First pause between two tries in the background; it doubles up to `maxPauseMs`. */
  readonly firstPauseMs: number;
  readonly maxPauseMs: number;
}

/** StopPodSandbox reports a failing DEL for 5 minutes or 3 tries, then the queue has it. */
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

/** A removal that is still owed, as the verbose Status shows it. */
export interface PendingTeardown {
  readonly sandboxId: string;
  readonly tries: number;
  readonly lastError: string;
  readonly since: string;
}

/**
 * Takes pod networks away, and owns those that will not go.
 *
 * A plugin that fails must keep neither a pod's processes nor its removal; but its addresses
 * must not be lost either. So a failed DEL is first the client's to retry, and then stays queued
 * on disk, tried with growing pauses and at each start, until it works.
 */
export class NetworkTeardown {
  readonly #deps: Deps;
  readonly #queue = new Map<string, NodeJS.Timeout | undefined>();
  #emptied: PromiseWithResolvers<undefined> | undefined;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /**
   * Removes the sandbox's network; done when there is none. Rejects while the client should try
   * again; resolves when it is removed, or when the queue has taken it over.
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

  /** Leaves the removal to the background: it is tried soon, and again until it works. */
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

  /** Takes the queue up again after a restart. */
  resume(): void {
    for (const { sandboxId, removal } of this.#deps.attachments.all()) {
      if (removal?.queued === true) this.#schedule(sandboxId, 0);
    }
  }

  /** Resolves when the queue is empty; rejects when the signal is aborted before that. */
  async whenNothingIsOwed(signal: AbortSignal): Promise<void> {
    while (this.#queue.size > 0) {
      this.#emptied ??= Promise.withResolvers<undefined>();
      await beforeAbort(this.#emptied.promise, signal);
    }
  }

  /** What is still owed. */
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

  /** Stops trying, as at the daemon's end; the records keep what is owed. */
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

  /** The tries so far. A full disk, which keeps them from the record, must not end them. */
  #countFailure(attachment: Attachment, error: unknown): number {
    try {
      return this.#recordFailure(attachment, error).tries;
    } catch (cause) {
      this.#deps.log.error("a failed removal of a network could not be recorded", {
        sandboxId: attachment.sandboxId,
        error: messageOf(cause),
      });
      return attachment.removal?.tries ?? 0;
    }
  }

  #pause(tries: number): number {
    const { firstPauseMs, maxPauseMs, tries: reported } = this.#deps.patience;
    // The tries that a Stop has reported were the client's, and are no reason to wait longer.
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
      this.#deps.log.info("removed the network of a sandbox that had been waiting for it", {
        sandboxId,
      });
    } catch (error) {
      this.#queue.delete(sandboxId);
      if (signal.aborted) return;
      const tries = this.#countFailure(attachment, error);
      const pauseMs = this.#pause(tries);
      this.#deps.log.warn("network of a sandbox could not be removed, its address is still taken", {
        sandboxId,
        tries,
        nextTryInMs: pauseMs,
        error: messageOf(error),
      });
      this.#schedule(sandboxId, pauseMs);
    }
  }
}
