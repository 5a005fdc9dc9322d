import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { PluginMessages, Plugins } from "../../core/plugin/index.ts";

interface Driver {
  readonly port: Plugins;
  readonly messages: PluginMessages;
}

/** The plugins of the node, as the verbs use them, and what was told to them already. */
export class EnginePlugins {
  #driver: Driver | undefined;
  /** Why a plugin evicted a container, until its end is recorded. */
  readonly evicted = new Map<string, string>();
  readonly #ends = new Map<string, Promise<undefined>>();
  readonly #told = new Set<string>();

  /** Gives it its driver, before the first call of a client. Without one, no plugin is connected. */
  open(port: Plugins, messages: PluginMessages): void {
    this.#driver = { port, messages };
  }

  /** False when no plugin is connected. */
  get active(): boolean {
    return this.#driver?.port.active === true;
  }

  get port(): Plugins {
    return this.#opened().port;
  }

  get messages(): PluginMessages {
    return this.#opened().messages;
  }

  #opened(): Driver {
    if (this.#driver !== undefined) return this.#driver;
    throw new RuntimeError("internal", "ask plugins: they have no driver yet");
  }

  /** See {@link holdPlugins}. */
  async hold(signal: AbortSignal): Promise<Disposable> {
    return this.#driver?.port.hold(signal) ?? nothing;
  }

  /** Notes that plugins are being told about the end of a container, until the result is disposed of. */
  tellingEnd(id: string): Disposable {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#ends.set(id, promise);
    return {
      [Symbol.dispose]: () => {
        this.#ends.delete(id);
        resolve(undefined);
      },
    };
  }

  /** Waits until the plugins know the end of a container, if they are being told. Takes no hold. */
  async endTold(id: string): Promise<void> {
    await this.#ends.get(id);
  }

  /**
   * True the first time, until forget(): a stop or a removal that is repeated after a failure does not
   * tell the plugins again.
   */
  isFirst(event: "stop" | "remove", id: string): boolean {
    const key = `${event} ${id}`;
    if (this.#told.has(key)) return false;
    this.#told.add(key);
    return true;
  }

  /** Forgets a pod or a container that is removed. */
  forget(id: string): void {
    this.#told.delete(`stop ${id}`);
    this.#told.delete(`remove ${id}`);
    this.evicted.delete(id);
  }
}

/** A context with or without plugins. */
export interface WithPlugins {
  /** Undefined where NRI is off. */
  readonly plugins?: EnginePlugins | undefined;
}

const nothing: Disposable = { [Symbol.dispose]: () => undefined };

/**
 * Keeps plugins from being synchronized until the result is disposed of. See {@link Plugins.hold}.
 *
 * Whoever waits for the lock of a container takes the hold before the lock, because a plugin that is being
 * synchronized may update containers. A hold is taken after the lock of a sandbox. Nobody waits for a
 * second hold while it has one: the synchronization that waits for the first would never begin.
 */
export async function holdPlugins(
  { plugins }: WithPlugins,
  signal: AbortSignal,
): Promise<Disposable> {
  return plugins?.hold(signal) ?? nothing;
}

/**
 * Asks the plugins before a change, as a stage of its operation. Rejects when one refuses it. Undefined
 * without plugins: then nothing was done.
 */
export async function askPlugins<T>(
  { plugins }: WithPlugins,
  operation: RunningOperation,
  ask: (port: Plugins, signal: AbortSignal) => Promise<T>,
): Promise<T | undefined> {
  if (plugins?.active !== true) return undefined;
  await operation.enter("ask-plugins");
  return ask(plugins.port, operation.signal);
}

/**
 * Tells the plugins about a change that was made, as a stage of its operation. What they answer changes
 * nothing, so a failure is logged.
 */
export async function tellPlugins(
  { plugins }: WithPlugins,
  operation: RunningOperation,
  event: string,
  tell: (port: Plugins, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  if (plugins?.active !== true) return;
  await operation.enter("tell-plugins");
  try {
    await tell(plugins.port, operation.signal);
  } catch (error) {
    operation.log.warn(`a plugin failed at ${event}`, { error: messageOf(error) });
  }
}
