import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import { within } from "../../base/wait.ts";
import type { PluginHost } from "../../core/plugin/index.ts";
import type {
  ContainerUpdate,
  UpdateContainersRequest,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { PluginConnection } from "./connection.ts";
import type { Dispatcher } from "./dispatch.ts";
import type { RecentFailures } from "./failures.ts";
import type { FoundPlugin } from "./find.ts";
import { LaunchedPlugin } from "./launch.ts";
import { nameOf } from "./name.ts";
import type { NriOptions, PluginIdentity } from "./options.ts";
import { describeSubject } from "./subject.ts";
import { SyncBackOff } from "./sync-back-off.ts";
import type { SyncGate } from "./sync-gate.ts";
import { synchronizeParts } from "./synchronize.ts";

/** The most connections of plugins, with those that are not synchronized yet. */
const maxPlugins = 64;

/** How long davit waits at its end for plugins that it tells about that. Milliseconds. */
const shutdownMs = 2_000;

/** What brings plugins in. */
export interface MembersParts {
  readonly options: NriOptions;
  readonly dispatcher: Dispatcher;
  readonly gate: SyncGate;
  readonly failures: RecentFailures;
  readonly host: PluginHost;
}

/** The life of plugins: register, configure, synchronize, be asked, and be lost. */
export class Members {
  readonly #parts: MembersParts;
  readonly #log: Logger;
  readonly #tasks: TaskGroup;
  /** Those that are not synchronized yet, too. */
  readonly #connections = new Set<PluginConnection>();
  readonly #launched = new Map<PluginConnection, LaunchedPlugin>();
  readonly #backOff = new SyncBackOff();
  #synchronizing = 0;
  #isStopping = false;

  constructor(parts: MembersParts) {
    this.#parts = parts;
    this.#log = parts.options.log;
    this.#tasks = new TaskGroup(parts.options.log);
  }

  /** True while a plugin waits for its synchronization. */
  get isSynchronizing(): boolean {
    return this.#synchronizing > 0;
  }

  /** Takes a connection of a plugin that was started by others. */
  accept(socket: Socket, pid: number): void {
    if (this.#connections.size >= maxPlugins) {
      this.#log.warn(`closed the connection of process ${pid}: there are ${maxPlugins} plugins`);
      socket.destroy();
      return;
    }
    const connection = this.#connect(socket, pid);
    this.#tasks.spawn("NRI plugin", () => this.#admit(connection, ""));
  }

  /** Starts a plugin and waits until it is synchronized, or has failed, which is logged. */
  async launch(found: FoundPlugin): Promise<void> {
    let launched: LaunchedPlugin;
    try {
      launched = await LaunchedPlugin.start(found, this.#log);
    } catch (error) {
      this.#failed(nameOf(found.name), error, { external: false });
      return;
    }
    if (this.#isStopping) {
      await launched.end();
      return;
    }
    const connection = this.#connect(launched.socket, launched.pid, found);
    this.#launched.set(connection, launched);
    await this.#admit(connection, found.config);
  }

  /** Tells all plugins that davit ends, closes their connections and ends those that it started. */
  async stop(): Promise<void> {
    const { plugins } = this.#parts.dispatcher;
    this.#isStopping = true;
    // Requests may take up to an hour (plugin_request_timeout), and kubelet waits for the next daemon.
    await within(Promise.allSettled(plugins.map((plugin) => plugin.shutdown())), shutdownMs);
    for (const connection of this.#connections) connection.close("davit stops");
    await Promise.all([...this.#launched.values()].map((launched) => launched.end()));
    await this.#tasks[Symbol.asyncDispose]();
  }

  #connect(socket: Socket, pid: number, found?: FoundPlugin): PluginConnection {
    const connection = new PluginConnection({
      socket,
      pid,
      name: found?.name,
      timeouts: this.#parts.options.timeouts,
      log: this.#log,
      onUpdate: (request, from) => this.#update(request, from),
    });
    this.#connections.add(connection);
    void connection.closed.then((reason) => this.#lost(connection, reason));
    return connection;
  }

  async #admit(connection: PluginConnection, config: string): Promise<void> {
    try {
      await connection.register();
      await connection.configure(config, this.#parts.options.version);
      await this.#synchronize(connection);
    } catch (error) {
      connection.close(messageOf(error));
      const { name, pid, isExternal } = connection;
      this.#failed(name, error, { pid, external: isExternal });
    }
  }

  async #synchronize(connection: PluginConnection): Promise<void> {
    const { gate, dispatcher } = this.#parts;
    const waitMs = this.#backOff.delayMs(connection.name);
    if (waitMs > 0) await sleep(waitMs, undefined, { signal: connection.signal });
    this.#synchronizing += 1;
    try {
      await gate.alone(async () => {
        const state = await this.#state();
        const parts = synchronizeParts(state, (why) => {
          this.#log.error(
            `NRI plugin "${connection.name}" is not told about a part of the node: ${why}`,
          );
        });
        const updates = await connection.synchronize(parts);
        await this.#apply(updates, connection);
        connection.signal.throwIfAborted();
        connection.ready();
        dispatcher.add(connection);
      }, connection.signal);
      this.#backOff.succeeded(connection.name);
    } catch (error) {
      this.#backOff.failed(connection.name);
      throw error;
    } finally {
      this.#synchronizing -= 1;
    }
    const { name, version, pid } = connection;
    const order = dispatcher.plugins.map((plugin) => plugin.name);
    this.#log.info(`NRI plugin "${name}" is synchronized`, { plugin: name, version, pid, order });
    this.#parts.options.onConnected?.(identityOf(connection));
  }

  async #state() {
    const { host, options } = this.#parts;
    const { pods, containers } = host.list();
    const described = [];
    for (const container of containers) {
      described.push(await options.describe.container(container));
    }
    return { pods: pods.map((pod) => options.describe.pod(pod)), containers: described };
  }

  /** Applies the updates that a plugin asks for in its answer to Synchronize. */
  async #apply(updates: readonly ContainerUpdate[], { name }: PluginConnection): Promise<void> {
    if (updates.length === 0) return;
    const doing = `update containers for NRI plugin "${name}"`;
    try {
      const failed = await this.#parts.host.update(updates);
      if (failed.length > 0) this.#log.warn(`${doing}: ${failed.length} were not updated`);
    } catch (error) {
      this.#log.warn(`${doing}: ${messageOf(error)}`, { plugin: name });
    }
  }

  /** Serves what a plugin asks for by itself, not while another one is synchronized. */
  async #update(
    { update, evict }: UpdateContainersRequest,
    { name, signal }: PluginConnection,
  ): Promise<readonly ContainerUpdate[]> {
    const { gate, host } = this.#parts;
    this.#log.debug(`NRI plugin "${name}" asks for changes`, {
      plugin: name,
      updates: update.length,
      evictions: evict.length,
    });
    try {
      using _held = await gate.hold(signal);
      const failed = update.length === 0 ? [] : await host.update(update);
      if (evict.length > 0) await host.evict(evict, name);
      return failed;
    } catch (error) {
      throw wrap("update containers", error);
    }
  }

  #lost(connection: PluginConnection, reason: string): void {
    const { dispatcher, options, failures } = this.#parts;
    const wasMember = dispatcher.plugins.includes(connection);
    this.#connections.delete(connection);
    dispatcher.remove(connection);
    // stop() ends those that davit started.
    if (this.#isStopping) return;
    const launched = this.#launched.get(connection);
    this.#launched.delete(connection);
    if (launched !== undefined) this.#tasks.spawn("end NRI plugin", () => launched.end());
    if (!wasMember) return;
    const { name: plugin, unanswered, isExternal } = connection;
    const { event, subject } = unanswered ?? {};
    failures.add({ plugin, event, reason, dropped: true, external: isExternal }, subject);
    const at = subject === undefined ? "" : ` at ${event ?? ""} of ${describeSubject(subject)}`;
    const next =
      launched === undefined ? "" : "; davit starts it again when davit itself is restarted";
    // A plugin that connects may go when it is asked nothing, as at each update of its DaemonSet.
    const level = launched === undefined && unanswered === undefined ? "warn" : "error";
    this.#log[level](`lost NRI plugin "${plugin}"${at}: ${reason}${next}`, {
      plugin,
      event,
      ...subject,
    });
    options.onLost?.(identityOf(connection), `${reason}${at}`);
  }

  #failed(
    plugin: string,
    error: unknown,
    { pid, external }: { readonly pid?: number; readonly external: boolean },
  ): void {
    if (this.#isStopping) return;
    const reason = messageOf(error);
    this.#parts.failures.add({ plugin, reason, dropped: true, external });
    const who = plugin === "unknown" ? `process ${pid ?? 0}` : `"${plugin}"`;
    this.#log.error(`NRI plugin ${who} is not used: ${reason}`, { plugin, pid });
  }
}

function identityOf({ base: name, index }: PluginConnection): PluginIdentity {
  return { name, index };
}
