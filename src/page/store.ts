// The live state of the page, and the connection that keeps it current.
import { readLines } from "./ndjson.ts";
import { send } from "./session.ts";
import type { LiveState, PodView, UsageView } from "./view.ts";

/** A sample of a pod's usage. */
export interface UsageSample extends UsageView {
  readonly atMs: number;
}

/** Whether the page is connected: `unauthorized` when the server does not accept its session. */
export type Connection = "connecting" | "open" | "lost" | "unauthorized";

/** Samples kept for each pod: ten minutes. */
const maxSamples = 300;
const retryMs = 2_000;

/** What the page shows. Listeners are told after each change, once per turn. */
export class Store {
  state: Partial<LiveState> = {};
  connection: Connection = "connecting";
  #samples = new Map<string, readonly UsageSample[]>();
  readonly #listeners = new Set<() => void>();
  #isTelling = false;

  /** Calls `listener` after each change, until the result is called. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The samples of a pod, oldest first. */
  samplesOf(podId: string): readonly UsageSample[] {
    return this.#samples.get(podId) ?? [];
  }

  /** Connects, and again whenever the connection is lost. */
  async connect(): Promise<void> {
    for (;;) {
      this.#setConnection(await this.#receiveAll());
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }

  /** Receives the state until the connection ends. Returns what to show then. */
  async #receiveAll(): Promise<Connection> {
    try {
      const response = await send("/api/live");
      if (response.status === 401) return "unauthorized";
      if (response.ok) this.#setConnection("open");
      for await (const parts of readLines<Partial<LiveState>>(response)) {
        for (const part of parts) this.#receive(part);
      }
    } catch {
      // It is tried again.
    }
    return "lost";
  }

  #setConnection(connection: Connection): void {
    this.connection = connection;
    this.#tell();
  }

  #receive(part: Partial<LiveState>): void {
    this.state = { ...this.state, ...part };
    if (part.pods !== undefined) this.#sample(part.pods);
    this.#tell();
  }

  #sample(pods: readonly PodView[]): void {
    const atMs = Date.now();
    this.#samples = new Map(
      pods.map(({ id, usage }) => [
        id,
        [...this.samplesOf(id), { atMs, ...usage }].slice(-maxSamples),
      ]),
    );
  }

  #tell(): void {
    if (this.#isTelling) return;
    this.#isTelling = true;
    queueMicrotask(() => {
      this.#isTelling = false;
      for (const listener of this.#listeners) listener();
    });
  }
}
