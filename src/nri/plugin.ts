import { setTimeout as delay } from "node:timers/promises";
import { isKind, messageOf, RuntimeError } from "../base/errors.ts";
import type { ContainerEviction, ContainerUpdate } from "./changes.ts";
import { eventNames } from "./events.ts";
import type { Handlers, Updates } from "./handlers.ts";
import { defaultSocket, type Identity, identityOf, inheritedSocket } from "./identity.ts";
import { adoptSocket, openSocket, Session } from "./session.ts";

/** The times between two attempts to connect. */
export interface ReconnectOptions {
  /** Before the first attempt; doubles with each one that fails. Default 1000. */
  readonly initialDelayMs?: number;
  /** Default 30000. */
  readonly maxDelayMs?: number;
}

/** A plugin: its handlers, and how it registers. */
export interface PluginOptions extends Handlers {
  /** The name; NRI_PLUGIN_NAME replaces it. Default: the name of the program without its index. */
  readonly name?: string;
  /**
   * From 0 to 99: plugins are called in this order. NRI_PLUGIN_IDX replaces it. Default: from the name of the program,
   * `NN-name`.
   */
  readonly index?: number | string;
  /** The runtime's socket. Default: /var/run/nri/nri.sock. Ignored by a plugin that the runtime has started. */
  readonly socket?: string | undefined;
  /**
   * Connect again when the runtime restarts or is not running yet, until `close()`. Without effect for a plugin
   * that the runtime has started, whose connection it inherits. Default: false.
   */
  readonly reconnect?: boolean | ReconnectOptions;
}

/** What a plugin knows about its runtime. */
export interface RuntimeInfo {
  readonly name: string;
  readonly version: string;
  /** Empty before NRI 0.12. */
  readonly nriVersion: string;
}

/** A plugin that can be connected to a runtime. */
export interface NriPlugin {
  readonly name: string;
  /** Two digits. */
  readonly index: string;
  /** The runtime; undefined while the plugin is not connected. */
  readonly runtime: RuntimeInfo | undefined;
  /**
   * Connects and serves events until the connection ends: until the runtime ends, or until `close()` with `reconnect`.
   * Rejects when the plugin cannot connect, or is refused.
   */
  run(): Promise<void>;
  /**
   * Connects once, not after `close()`, and returns when the runtime has configured the plugin. Events are served from then on; `closed`
   * reports the end.
   */
  connect(socket?: string): Promise<void>;
  /**
   * Changes limits of containers, or stops some, outside of an event. The result has the updates that failed.
   * Do not wait for it in a handler: the runtime may answer it only after the request of that handler.
   */
  updateContainers(
    updates: Updates,
    options?: { readonly evict?: readonly ContainerEviction[] },
  ): Promise<readonly ContainerUpdate[]>;
  /** Disconnects and ends `run()`. Idempotent. */
  close(): void;
}

/**
 * A plugin for NRI, the interface by which containerd, CRI-O and davit tell programs about pods and containers.
 *
 * @throws RuntimeError (an Error) when its name or index is missing or malformed, or it has no handler.
 */
export function plugin(options: PluginOptions): NriPlugin {
  return new Plugin(options);
}

class Plugin implements NriPlugin {
  readonly #options: PluginOptions;
  readonly #identity: Identity;
  readonly #closing = new AbortController();
  #session: Session | undefined;

  constructor(options: PluginOptions) {
    const handled = [...eventNames, "synchronize"] as const;
    if (!handled.some((name) => options[name] !== undefined)) {
      const text = "make a plugin: it handles no event: give it a handler such as createContainer";
      throw new RuntimeError("invalid-argument", text);
    }
    this.#options = options;
    this.#identity = identityOf(options, process.env, process.argv[1] ?? "");
  }

  get name(): string {
    return this.#identity.name;
  }

  get index(): string {
    return this.#identity.index;
  }

  get runtime(): RuntimeInfo | undefined {
    if (this.#session === undefined) return undefined;
    const { runtimeName, runtimeVersion, nriVersion } = this.#session.runtime;
    return { name: runtimeName, version: runtimeVersion, nriVersion };
  }

  async run(): Promise<void> {
    const inherited = inheritedSocket(process.env);
    const { reconnect = false } = this.#options;
    if (inherited !== undefined || reconnect === false) {
      const session = await this.#open(inherited, this.#options.socket);
      await session.closed;
      return;
    }
    await this.#keepConnected(reconnect === true ? {} : reconnect);
  }

  async connect(socket?: string): Promise<void> {
    const inherited = socket === undefined ? inheritedSocket(process.env) : undefined;
    await this.#open(inherited, socket ?? this.#options.socket);
  }

  async updateContainers(
    updates: Updates,
    options: { readonly evict?: readonly ContainerEviction[] } = {},
  ): Promise<readonly ContainerUpdate[]> {
    if (this.#session === undefined) {
      const text = "update containers: the plugin is not connected: await connect() before";
      throw new RuntimeError("failed-precondition", text);
    }
    return await this.#session.updateContainers(updates, options.evict ?? []);
  }

  close(): void {
    this.#closing.abort();
    this.#session?.close();
  }

  async #open(
    inherited: number | undefined,
    path: string | undefined,
    reconnects = false,
  ): Promise<Session> {
    const { signal } = this.#closing;
    if (this.#session !== undefined) {
      throw new RuntimeError("failed-precondition", "connect plugin: it is connected already");
    }
    const socket =
      inherited === undefined
        ? await openSocket(path ?? defaultSocket, signal)
        : adoptSocket(inherited);
    const abandon = (): void => {
      socket.destroy();
    };
    signal.addEventListener("abort", abandon, { once: true });
    try {
      const session = await Session.open(socket, this.#identity, this.#options);
      this.#session = session;
      void session.closed.then((reason) => {
        this.#session = undefined;
        this.#ended(reason, reconnects);
      });
      return session;
    } finally {
      signal.removeEventListener("abort", abandon);
    }
  }

  #ended(reason: string, reconnects: boolean): void {
    this.#options.closed?.({ reason, reconnects: reconnects && !this.#closing.signal.aborted });
  }

  async #keepConnected(options: ReconnectOptions): Promise<void> {
    const { initialDelayMs = 1000, maxDelayMs = 30_000 } = options;
    const { signal } = this.#closing;
    let delayMs = initialDelayMs;
    while (!signal.aborted) {
      try {
        const session = await this.#open(undefined, this.#options.socket, true);
        delayMs = initialDelayMs;
        await session.closed;
      } catch (error) {
        // A runtime that is not there, or busy, may come back; one that refuses the plugin will refuse it again.
        if (isKind(error, "canceled")) return;
        if (!isKind(error, "unavailable") && !isKind(error, "deadline-exceeded")) throw error;
        this.#ended(messageOf(error), true);
      }
      await delay(delayMs, undefined, { signal }).catch(() => undefined);
      delayMs = Math.min(delayMs * 2, maxDelayMs);
    }
  }
}
