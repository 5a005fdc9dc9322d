import { watchEvents } from "../../client/events.ts";
import type { CriClient } from "../../client/cri-client.ts";

/** The shortest time between two samples. A pod that starts sends several events at once. */
const leastMs = 250;

/** How soon a lost stream of events is opened again. */
const retryMs = 1_000;

/** The pauses between samples, which end early when there is something new to show. */
export class SamplePace {
  #isHurried = false;
  /** Changes the length of the pause in progress. */
  #end: ((ms: number) => void) | undefined;
  #isOver = false;

  /** Waits for this time. After hurry() it waits 250 ms at most, from its begin. */
  async pause(ms: number): Promise<void> {
    const startedAt = performance.now();
    const { promise, resolve } = Promise.withResolvers<undefined>();
    let timer: NodeJS.Timeout | undefined;
    this.#end = (after) => {
      clearTimeout(timer);
      timer = setTimeout(resolve, Math.max(0, startedAt + after - performance.now()), undefined);
    };
    this.#end(this.#isOver ? 0 : this.#isHurried ? Math.min(leastMs, ms) : ms);
    await promise;
    this.#end = undefined;
    this.#isHurried = false;
  }

  /** Takes the next sample soon: what has happened may be too late for one that is being taken. */
  hurry(): void {
    if (this.#isHurried) return;
    this.#isHurried = true;
    this.#end?.(leastMs);
  }

  /** Ends this pause and all later ones at once. */
  over(): void {
    this.#isOver = true;
    this.#end?.(0);
  }
}

/**
 * Calls `onChange` when a pod or a container was created, started, stopped or removed, until `signal` is aborted.
 * Returns if the server does not send events. Never rejects: without events, samples show the changes later.
 */
export async function followChanges(
  client: Pick<CriClient, "runtime">,
  onChange: () => void,
  signal: AbortSignal,
): Promise<void> {
  let isLost = false;
  try {
    for await (const { kind } of watchEvents(client, { signal, intervalMs: retryMs })) {
      if (kind === "event" || (kind === "open" && isLost)) onChange();
      isLost = kind === "lost";
    }
  } catch {
    // The signal was aborted.
  }
}
