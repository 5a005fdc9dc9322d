// The runtime's side of NRI, as far as tests of plugins need it: it accepts plugins and calls them as it is told.
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import type {
  DescMessage,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { silentLogger } from "../../base/logger.ts";
import {
  type ConfigureRequestSchema,
  Plugin,
  type RegisterPluginRequest,
  Runtime,
  type UpdateContainersRequest,
  type UpdateContainersResponseSchema,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { Multiplexer, TtrpcClient, TtrpcConnection, unaryMethod } from "../../wire/ttrpc/index.ts";

type UpdatesHandler = (
  request: UpdateContainersRequest,
) => MessageInitShape<typeof UpdateContainersResponseSchema>;

/** A plugin that has registered. */
export class RegisteredPlugin {
  readonly registration: RegisterPluginRequest;
  /** Resolves when the connection has ended. */
  readonly closed: Promise<unknown>;
  readonly #client: TtrpcClient;

  constructor(registration: RegisterPluginRequest, client: TtrpcClient) {
    this.registration = registration;
    this.#client = client;
    this.closed = client.closed;
  }

  /** Calls a method of the plugin; without a timeout, unless the options have one. */
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: { readonly timeoutMs?: number } = {},
  ): Promise<MessageShape<O>> {
    return this.#client.call(method, request, options);
  }

  /** Configures the plugin as a runtime of the newest NRI does; the result is its subscription. */
  async configure(
    request: MessageInitShape<typeof ConfigureRequestSchema> = {
      runtimeName: "fake",
      runtimeVersion: "1.0.0",
      NRIVersion: "v0.12.2",
      requestTimeout: 60_000n,
    },
  ): Promise<number> {
    return (await this.call(Plugin.method.configure, request)).events;
  }

  /** Ends the connection, as a runtime does with a plugin that it drops. */
  close(): void {
    this.#client.close();
  }
}

/** Serves plugins on a unix socket. */
export class FakeRuntime implements AsyncDisposable {
  /** Answers UpdateContainers. */
  onUpdate: UpdatesHandler = () => ({});
  /** What RegisterPlugin fails with, if anything. */
  refusal: Error | undefined;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #registered: RegisteredPlugin[] = [];
  readonly #waiting: ((plugin: RegisteredPlugin) => void)[] = [];

  private constructor() {
    this.#server = createServer((socket) => this.adopt(socket));
  }

  static async listen(path: string): Promise<FakeRuntime> {
    const runtime = new FakeRuntime();
    runtime.#server.listen(path);
    await once(runtime.#server, "listening");
    return runtime;
  }

  /** A runtime without a socket of its own, for connections that are given to it. */
  static withoutSocket(): FakeRuntime {
    return new FakeRuntime();
  }

  /** Serves a connection. */
  adopt(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    const multiplexer = new Multiplexer(socket);
    const client = new TtrpcClient(multiplexer.open(1), "plugin");
    new TtrpcConnection(multiplexer.open(2), {
      methods: new Map([
        unaryMethod(Runtime.method.registerPlugin, async (request) => {
          if (this.refusal !== undefined) throw this.refusal;
          const plugin = new RegisteredPlugin(request, client);
          const waiting = this.#waiting.shift();
          if (waiting === undefined) this.#registered.push(plugin);
          else waiting(plugin);
          return {};
        }),
        unaryMethod(Runtime.method.updateContainers, async (request) => this.onUpdate(request)),
      ]),
      log: silentLogger,
    });
  }

  /** The next plugin that registers, or has done so. */
  registered(): Promise<RegisteredPlugin> {
    const [plugin] = this.#registered.splice(0, 1);
    if (plugin !== undefined) return Promise.resolve(plugin);
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** Ends all connections and removes the socket. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    await closed;
  }
}
