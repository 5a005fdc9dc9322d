import { connect, Socket } from "node:net";
import { messageOf, RuntimeError, wrap } from "../base/errors.ts";
import { silentLogger } from "../base/logger.ts";
import { Runtime } from "../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { Multiplexer, TtrpcClient, TtrpcConnection } from "../wire/ttrpc/index.ts";
import { plainUpdates } from "./answers.ts";
import type { ContainerEviction, ContainerUpdate } from "./changes.ts";
import { toMessage, toPlain } from "./convert.ts";
import type { RuntimeVersions } from "./events.ts";
import type { Handlers, Updates } from "./handlers.ts";
import type { Identity } from "./identity.ts";
import { PluginService } from "./service.ts";

/** The logical connections on the socket: of the plugin's service, and of the runtime's. */
const connections = { plugin: 1, runtime: 2 } as const;
/** The version of NRI's protocol that this code has. */
const nriVersion = "v0.12.2";
/**
 * How long the runtime may take to configure the plugin. Long, because some runtimes accept plugins one after the other,
 * and a plugin is of no use without one.
 */
const registrationTimeoutMs = 60_000;

/** Opens the socket of a runtime. `unavailable` when there is none, or no runtime serves it. */
export function openSocket(path: string, signal: AbortSignal): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = connect(path);
  const abandon = (): void => {
    socket.destroy();
    reject(new RuntimeError("canceled", `connect to NRI at "${path}": the plugin was closed`));
  };
  signal.addEventListener("abort", abandon, { once: true });
  socket.once("error", (cause) => {
    signal.removeEventListener("abort", abandon);
    reject(connectFailure(path, cause));
  });
  socket.once("connect", () => {
    signal.removeEventListener("abort", abandon);
    socket.removeAllListeners("error");
    resolve(socket);
  });
  if (signal.aborted) abandon();
  return promise;
}

/** The connection that a runtime gave to this process when it started it. */
export function adoptSocket(descriptor: number): Socket {
  try {
    return new Socket({ fd: descriptor, readable: true, writable: true });
  } catch (cause) {
    const advice = "NRI_PLUGIN_SOCKET is for runtimes that start plugins: unset it";
    throw new RuntimeError(
      "invalid-argument",
      `use descriptor ${descriptor} as the connection to NRI: ${messageOf(cause)}: ${advice}`,
      { cause },
    );
  }
}

/** A connection to a runtime, which has registered and configured the plugin. */
export class Session {
  readonly runtime: RuntimeVersions;
  /** Resolves with the reason when the connection has ended. */
  readonly closed: Promise<string>;
  readonly #client: TtrpcClient;
  readonly #multiplexer: Multiplexer;

  private constructor(client: TtrpcClient, multiplexer: Multiplexer, runtime: RuntimeVersions) {
    this.#client = client;
    this.#multiplexer = multiplexer;
    this.runtime = runtime;
    this.closed = client.closed.then(messageOf);
  }

  /**
   * Registers the plugin over a new connection and waits until the runtime has configured it. Closes the
   * connection when that fails.
   *
   * @throws RuntimeError `unavailable` when the connection is lost; else what the runtime or a handler says.
   */
  static async open(socket: Socket, identity: Identity, handlers: Handlers): Promise<Session> {
    const doing = `register plugin "${identity.index}-${identity.name}"`;
    const service = new PluginService(handlers);
    const multiplexer = new Multiplexer(socket);
    // The connection serves until the multiplexer ends.
    new TtrpcConnection(multiplexer.open(connections.plugin), {
      methods: service.methods(),
      log: silentLogger,
    });
    const client = new TtrpcClient(multiplexer.open(connections.runtime), "NRI");
    const lost = client.closed.then((reason) => {
      throw reason;
    });
    // Nobody waits for it once the plugin is configured.
    lost.catch(() => undefined);
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => late.reject(new RuntimeError("deadline-exceeded", "the runtime did not configure it")),
      registrationTimeoutMs,
    );
    try {
      // A runtime may configure the plugin before its response to the registration arrives.
      const registered = client.call(
        Runtime.method.registerPlugin,
        { pluginName: identity.name, pluginIdx: identity.index, NRIVersion: nriVersion },
        { timeoutMs: registrationTimeoutMs },
      );
      const both = Promise.all([registered, service.configured]);
      const [, runtime] = await Promise.race([both, lost, late.promise]);
      return new Session(client, multiplexer, runtime);
    } catch (error) {
      multiplexer[Symbol.dispose]();
      throw wrap(doing, error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Asks the runtime for updates and evictions; the result has the updates that failed. */
  async updateContainers(
    updates: Updates,
    evict: readonly ContainerEviction[],
  ): Promise<readonly ContainerUpdate[]> {
    const { input, output } = Runtime.method.updateContainers;
    const request = toMessage(input, { update: plainUpdates(updates), evict });
    const response = await this.#client.call(Runtime.method.updateContainers, request);
    return (toPlain(output, response) as { readonly failed: readonly ContainerUpdate[] }).failed;
  }

  /** Closes the connection. Idempotent. */
  close(): void {
    this.#client.close();
    this.#multiplexer[Symbol.dispose]();
  }
}

function connectFailure(path: string, cause: NodeJS.ErrnoException): RuntimeError {
  const isDenied = cause.code === "EACCES" || cause.code === "EPERM";
  const kind = isDenied ? "permission-denied" : "unavailable";
  const advice = isDenied
    ? "run the plugin as root"
    : "is the runtime running, with NRI enabled? start it, or name its socket with the option socket";
  return new RuntimeError(kind, `connect to NRI at "${path}": ${messageOf(cause)}: ${advice}`, {
    cause,
  });
}
