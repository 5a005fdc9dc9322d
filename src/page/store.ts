// The live state of the page, and the connection that keeps it current.
import type { Failure, LiveState, PodView, UsageView } from "./view.ts";

/** A sample of a pod's usage. */
export interface UsageSample extends UsageView {
  readonly atMs: number;
}

/** Whether the page is connected: `unauthorized` when the server does not accept its session. */
export type Connection = "connecting" | "open" | "lost" | "unauthorized";

/** Samples kept for each pod: ten minutes. */
const maxSamples = 300;
const retryMs = 2_000;

const sections = ["link", "node", "pods", "timeline", "activity", "images"] as const;

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
  connect(): void {
    const source = new EventSource("/api/live");
    source.addEventListener("open", () => this.#setConnection("open"));
    for (const section of sections) {
      source.addEventListener(section, ({ data }: MessageEvent<string>) => {
        this.#receive({ [section]: JSON.parse(data) as unknown });
      });
    }
    source.addEventListener("error", () => {
      if (this.connection !== "unauthorized") this.#setConnection("lost");
      // The browser has given up: the server responded with an error.
      if (source.readyState !== EventSource.CLOSED) return;
      source.close();
      void this.#retry();
    });
  }

  async #retry(): Promise<void> {
    const { status } = await fetch("/api/pod?id=").catch(() => ({ status: 0 }));
    this.#setConnection(status === 401 ? "unauthorized" : "lost");
    setTimeout(() => this.connect(), retryMs);
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

/** The JSON of a response; throws the server's message if it is an error. */
export async function request<T>(path: string, body?: object): Promise<T> {
  const response = await fetch(path, {
    ...(body === undefined
      ? {}
      : {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        }),
  });
  const value = (await response.json()) as T | Failure;
  if (!response.ok) throw new Error((value as Failure).error);
  return value as T;
}

/** Exchanges the token in the address for a session, and removes it from the address and the history. */
export async function login(): Promise<void> {
  const token = /[#&]token=([\w-]+)/.exec(location.hash)?.[1];
  if (token === undefined) return;
  history.replaceState(null, "", location.pathname);
  // A wrong token shows as a refused connection.
  await request("/api/login", { token }).catch(() => undefined);
}
