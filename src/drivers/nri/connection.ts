import type { Socket } from "node:net";
import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { quote } from "../../base/quote.ts";
import { Semaphore } from "../../base/semaphore.ts";
import { beforeAbort } from "../../base/wait.ts";
import {
  type ContainerUpdate,
  type Event,
  Plugin as PluginService,
  Runtime,
  type SynchronizeResponse,
  SynchronizeResponseSchema,
  type UpdateContainersRequest,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { decodeBounded } from "../../wire/protobuf.ts";
import {
  Multiplexer,
  TtrpcClient,
  TtrpcConnection,
  TtrpcStatusError,
  unaryMethod,
} from "../../wire/ttrpc/index.ts";
import { allEvents, bitOf, type PluginEvent } from "./event.ts";
import { checkName, nameOf, type PluginName } from "./name.ts";
import type { Subject } from "./subject.ts";
import { maxRequestBytes, type SynchronizePart } from "./synchronize.ts";

/** The logical connections of NRI: of the plugin's service, and of the runtime's. */
const connectionIds = { plugin: 1, runtime: 2 } as const;
/** Requests of one plugin that are served at a time. */
const maxCalls = 8;
/** The version of NRI's interface that this driver has, as a Go module's. */
const nriVersion = "v0.12.2";
const longestVersion = 100;

/** How long plugins may take, in milliseconds. */
export interface PluginTimeouts {
  readonly registrationMs: number;
  readonly requestMs: number;
}

/** What a connection needs. */
export interface ConnectionOptions {
  readonly socket: Socket;
  /** The name of a plugin that davit started; others say theirs when they register. */
  readonly name?: PluginName | undefined;
  /** The process at the other end; 0 where it is not known. */
  readonly pid: number;
  readonly timeouts: PluginTimeouts;
  readonly log: Logger;
  /** Serves what the plugin asks for by itself; the result has the updates that failed. */
  readonly onUpdate: (
    request: UpdateContainersRequest,
    from: PluginConnection,
  ) => Promise<readonly ContainerUpdate[]>;
}

/** A plugin's own error. Any other failure means that the plugin cannot be used any more. */
export class PluginRefusal extends RuntimeError {
  /** The plugin does not have the method. */
  readonly isUnimplemented: boolean;

  constructor(message: string, isUnimplemented: boolean) {
    super("failed-precondition", message);
    this.isUnimplemented = isUnimplemented;
  }
}

/** An encoded message for {@link PluginConnection.ask}. */
export interface EncodedRequest<I extends DescMessage> {
  readonly message: MessageShape<I>;
  readonly bytes: Uint8Array;
}

/** An event that a plugin was sent. */
export interface Asked {
  readonly event: string;
  readonly subject: Subject;
}

/** A connection to one plugin: two ttrpc connections on one socket, one for each direction. */
export class PluginConnection {
  readonly pid: number;
  readonly connectedAtMs = Date.now();
  /** The reason why the connection ended. */
  readonly closed: Promise<string>;
  /** False when davit started the plugin. */
  readonly isExternal: boolean;
  readonly #options: ConnectionOptions;
  readonly #mux: Multiplexer;
  readonly #client: TtrpcClient;
  readonly #registered = Promise.withResolvers<undefined>();
  readonly #ended = new AbortController();
  /** A plugin is asked one thing at a time, in the order of the requests, as by other runtimes. */
  readonly #turns = new Semaphore(1);
  /** The events that the plugin knows only as a StateChange. */
  readonly #asStateChange = new Set<number>();
  #name: PluginName | undefined;
  #version = "";
  #events = 0;
  #subscribedToAll = false;
  #isReady = false;
  #closeReason: string | undefined;
  #asked: Asked | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.pid = options.pid;
    this.#name = options.name;
    this.isExternal = options.name === undefined;
    this.#mux = new Multiplexer(options.socket);
    const peer = options.name === undefined ? `process ${options.pid}` : nameOf(options.name);
    this.#client = new TtrpcClient(this.#mux.open(connectionIds.plugin), peer);
    // The connection serves for as long as the socket is open.
    new TtrpcConnection(this.#mux.open(connectionIds.runtime), {
      methods: new Map([
        unaryMethod(Runtime.method.registerPlugin, (request) => {
          this.#register(request.pluginName, request.pluginIdx, request.NRIVersion);
          return Promise.resolve({});
        }),
        unaryMethod(Runtime.method.updateContainers, async (request) => {
          const failed = await this.#updateContainers(request);
          return { failed: [...failed] };
        }),
      ]),
      log: options.log,
      maxCalls,
    });
    this.closed = this.#client.closed.then((reason) => {
      this.#closeReason ??= messageOf(reason);
      this.#ended.abort(new RuntimeError("unavailable", this.#closeReason));
      return this.#closeReason;
    });
  }

  /** Index and name; of an external plugin only after its registration. */
  get name(): string {
    return this.#name === undefined ? "unknown" : nameOf(this.#name);
  }

  /** Two digits; "" before the registration. */
  get index(): string {
    return this.#name?.index ?? "";
  }

  /** The name without the index; "" before the registration. */
  get base(): string {
    return this.#name?.base ?? "";
  }

  /** The version of NRI that the plugin was built with, as it says itself; "" where it does not. */
  get version(): string {
    return this.#version;
  }

  /** The mask of the events that it subscribed to. */
  get events(): number {
    return this.#events;
  }

  /** The plugin is older than NRI 0.12: some events reach it as StateChange. */
  get isOld(): boolean {
    return this.#asStateChange.size > 0;
  }

  /** Aborted when the connection ends. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  get isClosed(): boolean {
    return this.#closeReason !== undefined;
  }

  subscribes(event: Pick<PluginEvent, "number">): boolean {
    return (this.#events & bitOf(event)) !== 0 && !this.isClosed;
  }

  /** Closes the connection. Only the first reason counts. */
  close(reason: string): void {
    this.#closeReason ??= reason;
    this.#mux[Symbol.dispose]();
  }

  /** Waits until the plugin has registered, as its first request. `deadline-exceeded` when it does not in time. */
  async register(): Promise<void> {
    const { registrationMs } = this.#options.timeouts;
    const timer = AbortSignal.timeout(registrationMs);
    try {
      const ends = AbortSignal.any([timer, this.signal]);
      await beforeAbort(this.#registered.promise, ends);
    } catch (error) {
      if (!timer.aborted || this.isClosed) throw error;
      throw new RuntimeError(
        "deadline-exceeded",
        `it did not register within ${registrationMs} ms (registration_timeout)`,
      );
    }
  }

  /** Configures the plugin and reads what it subscribes to. */
  async configure(config: string, runtimeVersion: string): Promise<void> {
    const { registrationMs, requestMs } = this.#options.timeouts;
    const { events } = await this.#call(PluginService.method.configure, {
      config,
      runtimeName: "davit",
      runtimeVersion,
      registrationTimeout: BigInt(registrationMs),
      requestTimeout: BigInt(requestMs),
      NRIVersion: nriVersion,
    });
    // The field is signed.
    const unknown = (events & ~allEvents) >>> 0;
    if (unknown !== 0) {
      throw new RuntimeError(
        "invalid-argument",
        `it subscribes to events that NRI ${nriVersion} does not have: 0x${unknown.toString(16)}`,
      );
    }
    this.#subscribedToAll = events === 0;
    this.#events = events === 0 ? allEvents : events;
  }

  /**
   * Tells the plugin what there is, and returns the updates that it asks for. As a part of the registration, this may
   * take longer than other requests.
   */
  async synchronize(parts: readonly SynchronizePart[]): Promise<readonly ContainerUpdate[]> {
    const { registrationMs, requestMs } = this.#options.timeouts;
    let answer: SynchronizeResponse | undefined;
    for (const { bytes, more } of parts) {
      const { name } = PluginService.method.synchronize;
      const response = await this.#callBytes(name, bytes, Math.max(registrationMs, requestMs));
      answer = decodeBounded(SynchronizeResponseSchema, response);
      if (more && (!answer.more || answer.update.length > 0)) {
        throw new RuntimeError(
          "failed-precondition",
          `it cannot be told about ${parts.length} messages of pods and containers: it is too old for that`,
        );
      }
    }
    return answer?.update ?? [];
  }

  /** The plugin is synchronized: it may ask for updates by itself. */
  ready(): void {
    this.#isReady = true;
  }

  /** Asks the plugin to end its work. */
  async shutdown(): Promise<void> {
    await this.#call(PluginService.method.shutdown, {});
  }

  /** What the plugin was asked when the connection ended. */
  get unanswered(): Asked | undefined {
    return this.#asked;
  }

  /**
   * Sends an event when the ones before it are answered, and waits for the answer; undefined from a plugin that
   * does not have the event, or was lost before. Rejects with a {@link PluginRefusal} when the plugin answers with an error, with the
   * signal's reason when it is aborted, and with another error when the plugin does not answer as it should: then the
   * connection is closed.
   */
  async ask<I extends DescMessage, O extends DescMessage>(
    event: PluginEvent<I, O>,
    request: EncodedRequest<I>,
    subject: Subject,
    signal: AbortSignal,
  ): Promise<MessageShape<O> | undefined> {
    const turn = await this.#turns.acquire(signal);
    // The turn ends with the answer, also when nobody waits for it any more.
    const answer = this.#inTurn(event, request, subject).finally(() => turn[Symbol.dispose]());
    return await beforeAbort(answer, signal);
  }

  async #inTurn<I extends DescMessage, O extends DescMessage>(
    event: PluginEvent<I, O>,
    request: EncodedRequest<I>,
    subject: Subject,
  ): Promise<MessageShape<O> | undefined> {
    if (this.isClosed) return undefined;
    this.#asked = { event: event.method.name, subject };
    try {
      const answer = await this.#exchange(event, request);
      this.#asked = undefined;
      return answer;
    } catch (error) {
      if (error instanceof PluginRefusal) this.#asked = undefined;
      else this.close(messageOf(error));
      throw error;
    }
  }

  async #exchange<I extends DescMessage, O extends DescMessage>(
    event: PluginEvent<I, O>,
    { message, bytes }: EncodedRequest<I>,
  ): Promise<MessageShape<O> | undefined> {
    const { method, number, isStateChange } = event;
    if (this.#asStateChange.has(number)) {
      await this.#stateChange(number, message);
      return undefined;
    }
    try {
      return decodeBounded(method.output, await this.#callBytes(method.name, bytes));
    } catch (error) {
      if (!(error instanceof PluginRefusal && error.isUnimplemented)) throw error;
      if (!isStateChange) {
        if (!this.#subscribedToAll) throw error;
        // It gets all events because it named none, so it did not ask for this one.
        this.#events &= ~bitOf(event);
        return undefined;
      }
    }
    await this.#stateChange(number, message);
    this.#asStateChange.add(number);
    return undefined;
  }

  /** Sends an event as plugins before NRI 0.12 know it. */
  async #stateChange(event: Event, message: object): Promise<void> {
    const { pod, container } = message as MessageInitShape<
      typeof PluginService.method.stateChange.input
    >;
    await this.#call(PluginService.method.stateChange, {
      event,
      ...(pod === undefined ? {} : { pod }),
      ...(container === undefined ? {} : { container }),
    });
  }

  async #call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    const bytes = toBinary(method.input, create(method.input, request));
    return decodeBounded(method.output, await this.#callBytes(method.name, bytes));
  }

  async #callBytes(
    method: string,
    bytes: Uint8Array,
    timeoutMs: number = this.#options.timeouts.requestMs,
  ): Promise<Uint8Array> {
    if (bytes.length > maxRequestBytes) {
      const text = `the request has ${bytes.length} bytes, the limit of NRI is ${maxRequestBytes}`;
      throw new PluginRefusal(text, false);
    }
    try {
      return await this.#client.unary({ service: PluginService.typeName, method }, bytes, {
        timeoutMs,
      });
    } catch (error) {
      if (!(error instanceof TtrpcStatusError)) throw error;
      throw new PluginRefusal(quote(error.message), error.kind === "unimplemented");
    }
  }

  #register(base: string, index: string, version: string): void {
    if (this.#isReady || this.#version !== "") {
      throw new RuntimeError("failed-precondition", "register plugin: it is registered already");
    }
    try {
      this.#name ??= checkName({ base, index });
    } catch (error) {
      this.#registered.promise.catch(() => undefined);
      this.#registered.reject(error);
      throw error;
    }
    this.#version = version === "" ? "unknown" : version.slice(0, longestVersion);
    this.#registered.resolve(undefined);
  }

  async #updateContainers(request: UpdateContainersRequest): Promise<readonly ContainerUpdate[]> {
    if (!this.#isReady) {
      throw new RuntimeError(
        "failed-precondition",
        "update containers: the plugin is not synchronized yet; return the updates from Synchronize",
      );
    }
    return await this.#options.onUpdate(request, this);
  }
}
