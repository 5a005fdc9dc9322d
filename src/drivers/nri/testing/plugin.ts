// A plugin in this process, for tests: it speaks NRI over a real unix socket and answers as the test says.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { silentLogger } from "../../../base/logger.ts";
import { Plugin, Runtime } from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import {
  Multiplexer,
  TtrpcClient,
  TtrpcConnection,
  type TtrpcHandler,
  unaryMethod,
} from "../../../wire/ttrpc/index.ts";

type Methods = typeof Plugin.method;

/** What a plugin answers, by method; a method that is not there is unimplemented. */
export type Answers = {
  readonly [M in keyof Methods]?: (
    request: MessageShape<Methods[M]["input"]>,
  ) => MessageInitShape<Methods[M]["output"]> | Promise<MessageInitShape<Methods[M]["output"]>>;
};

/** Options of a test's plugin. */
export interface TestPluginOptions {
  readonly name?: string;
  readonly index?: string;
  /** The events to subscribe to; 0 if not given, which is all. */
  readonly mask?: number;
  readonly answers?: Answers;
}

/** A plugin that has connected. */
export class TestPlugin implements Disposable {
  readonly socket: Socket;
  readonly runtime: TtrpcClient;
  /** The names of the methods that were called, in order. */
  readonly calls: string[] = [];

  constructor(socket: Socket, options: TestPluginOptions) {
    this.socket = socket;
    const mux = new Multiplexer(socket);
    const answers: Answers = {
      configure: () => ({ events: options.mask ?? 0 }),
      synchronize: ({ more }) => ({ more }),
      shutdown: () => ({}),
      ...options.answers,
    };
    new TtrpcConnection(mux.open(1), {
      methods: new Map(
        Object.entries(answers).map(([name, answer]) =>
          this.#handler(
            name as keyof Methods,
            answer as (request: unknown) => Promise<Record<string, unknown>>,
          ),
        ),
      ),
      log: silentLogger,
    });
    this.runtime = new TtrpcClient(mux.open(2), "davit");
  }

  /** Connects without registering. */
  static async connect(path: string, options: TestPluginOptions = {}): Promise<TestPlugin> {
    const socket = connect(path);
    const plugin = new TestPlugin(socket, options);
    await once(socket, "connect");
    return plugin;
  }

  /** Connects and registers. */
  static async register(path: string, options: TestPluginOptions = {}): Promise<TestPlugin> {
    const plugin = await TestPlugin.connect(path, options);
    await plugin.register(options);
    return plugin;
  }

  async register(options: TestPluginOptions = {}): Promise<void> {
    await this.runtime.call(Runtime.method.registerPlugin, {
      pluginName: options.name ?? "test",
      pluginIdx: options.index ?? "10",
      NRIVersion: "v0.12.0",
    });
  }

  /** Asks for updates by itself. */
  async update(
    request: MessageInitShape<typeof Runtime.method.updateContainers.input>,
  ): Promise<MessageShape<typeof Runtime.method.updateContainers.output>> {
    return await this.runtime.call(Runtime.method.updateContainers, request);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #handler(
    name: keyof Methods,
    answer: (request: unknown) => Promise<Record<string, unknown>>,
  ): readonly [string, TtrpcHandler] {
    const method: DescMethodUnary = Plugin.method[name];
    return unaryMethod(method, async (request) => {
      this.calls.push(method.name);
      return await answer(request);
    });
  }
}
