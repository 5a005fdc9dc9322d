// The methods that a runtime calls, as calls of the plugin's handlers.
import type { DescMessage, DescMethodUnary } from "@bufbuild/protobuf";
import { messageOf, RuntimeError, wrap } from "../base/errors.ts";
import { maxTimerMs } from "../base/time.ts";
import { Plugin } from "../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { type TtrpcCall, type TtrpcHandler, unaryMethod } from "../wire/ttrpc/index.ts";
import { type HandlerAnswer, responseOf } from "./answers.ts";
import { toMessage, toPlain } from "./convert.ts";
import {
  checkValidator,
  eventNamed,
  eventNames,
  maskOf,
  type RuntimeVersions,
  unsupportedBy,
} from "./events.ts";
import type { EventName, Handlers } from "./handlers.ts";
import type { Container, PodSandbox } from "./messages.ts";

/** The events whose handlers have no answer. */
const notices = [
  "runPodSandbox",
  "updatePodSandbox",
  "postUpdatePodSandbox",
  "stopPodSandbox",
  "removePodSandbox",
  "postCreateContainer",
  "startContainer",
  "postStartContainer",
  "postUpdateContainer",
  "removeContainer",
] as const satisfies readonly EventName[];

const withAnswer = [
  "createContainer",
  "updateContainer",
  "stopContainer",
] as const satisfies readonly EventName[];

/** A runtime before NRI 0.7 does not say how long it waits; this is its default. */
const defaultRequestTimeoutMs = 2000;
/** More pods and containers than any node has; a runtime that sends more is broken. */
const maxSynchronized = 200_000;

/** A plain request, before its handler gets it. */
type Plain = Record<string, unknown>;
type AnyHandler = (request: Plain) => HandlerAnswer | Promise<HandlerAnswer>;

/** The service of one connection to a runtime. */
export class PluginService {
  /** Resolves when the runtime has configured the plugin; rejects when a handler refused that. */
  readonly configured: Promise<RuntimeVersions>;
  readonly #settle: PromiseWithResolvers<RuntimeVersions>;
  readonly #handlers: Handlers;
  #requestTimeoutMs = defaultRequestTimeoutMs;
  /** A runtime may give the first requests of a plugin more time than others. */
  #startTimeoutMs = defaultRequestTimeoutMs;
  #pods: PodSandbox[] = [];
  #containers: Container[] = [];

  constructor(handlers: Handlers) {
    this.#handlers = handlers;
    this.#settle = Promise.withResolvers();
    this.configured = this.#settle.promise;
    // Whoever closes the connection before it is configured does not wait for this.
    this.configured.catch(() => undefined);
  }

  /** The methods, for a ttrpc connection. */
  methods(): ReadonlyMap<string, TtrpcHandler> {
    const { method } = Plugin;
    const empty = (): object => ({});
    const asIs = (response: object): object => response;
    return new Map([
      this.#method(method.configure, (request, call) => this.#configure(request, call), asIs),
      this.#method(method.synchronize, (request, call) => this.#synchronize(request, call), asIs),
      this.#method(
        method.shutdown,
        (_, call) => this.#run("shutdown", call, async () => this.#handlers.shutdown?.()),
        empty,
      ),
      ...notices.map((name) =>
        this.#method(method[name], (request, call) => this.#notify(name, request, call), empty),
      ),
      ...withAnswer.map((name) =>
        this.#method(
          method[name],
          (request, call) => this.#notify(name, request, call),
          (answer) => responseOf(name, answer),
        ),
      ),
      this.#method(
        method.validateContainerAdjustment,
        (request, call) => this.#validate(request, call),
        asIs,
      ),
      this.#method(method.stateChange, (event, call) => this.#stateChange(event, call), empty),
    ]);
  }

  /** One method with plain values: its handler, and the response for what that returns. */
  #method<T>(
    method: DescMethodUnary,
    handle: (request: Plain, call: TtrpcCall) => Promise<T>,
    respond: (answer: T) => object,
  ): readonly [name: string, handler: TtrpcHandler] {
    return unaryMethod(method, async (message, call) => {
      const answer = await handle(toPlain<DescMessage>(method.input, message) as Plain, call);
      try {
        return toMessage<DescMessage>(method.output, respond(answer));
      } catch (error) {
        this.#handlers.failed?.({ handler: method.localName, error });
        throw error;
      }
    });
  }

  async #configure(request: Plain, call: TtrpcCall): Promise<object> {
    const { registrationTimeout, requestTimeout, ...rest } = request;
    const runtime = rest as unknown as RuntimeVersions & { readonly config: string };
    const timeoutMs = Number(requestTimeout);
    if (timeoutMs > 0) this.#requestTimeoutMs = Math.min(timeoutMs, maxTimerMs);
    const startTimeoutMs = Math.min(Number(registrationTimeout), maxTimerMs);
    this.#startTimeoutMs = Math.max(startTimeoutMs, this.#requestTimeoutMs);
    const handled = eventNames.filter((name) => this.#handlers[name] !== undefined);
    const unsupported = unsupportedBy(runtime, handled);
    try {
      const chosen = await this.#run("configure", call, async (signal) => {
        const requestTimeoutMs = this.#requestTimeoutMs;
        return this.#handlers.configure?.({ ...runtime, requestTimeoutMs, unsupported, signal });
      });
      const events = chosen ?? handled;
      for (const name of events) {
        if (!handled.includes(name))
          throw new TypeError(`configure: "${name}" is not an event that has a handler`);
      }
      checkValidator(runtime, unsupportedBy(runtime, events));
      this.#settle.resolve(runtime);
      return { events: maskOf(events.filter((name) => !unsupported.includes(name))) };
    } catch (error) {
      // After the response with the reason: the connection is closed then.
      setImmediate(() => this.#settle.reject(wrap("configure plugin", error)));
      throw error;
    }
  }

  /** A runtime with many containers sends them in parts; all but the last one say that there are more. */
  async #synchronize(request: Plain, call: TtrpcCall): Promise<object> {
    this.#pods.push(...(request["pods"] as readonly PodSandbox[]));
    this.#containers.push(...(request["containers"] as readonly Container[]));
    const more = request["more"] === true;
    if (this.#handlers.synchronize === undefined) [this.#pods, this.#containers] = [[], []];
    else if (this.#pods.length + this.#containers.length > maxSynchronized) {
      throw new RuntimeError(
        "resource-exhausted",
        `synchronize: more than ${maxSynchronized} pods and containers`,
      );
    }
    if (more) return { more };
    const [pods, containers] = [this.#pods, this.#containers];
    [this.#pods, this.#containers] = [[], []];
    const updates = await this.#run("synchronize", call, async (signal) =>
      this.#handlers.synchronize?.({ pods, containers, signal }),
    );
    return responseOf("synchronize", updates);
  }

  async #notify(name: EventName, request: Plain, call: TtrpcCall): Promise<HandlerAnswer> {
    const handlers = this.#handlers as object as Partial<Record<EventName, AnyHandler>>;
    if (handlers[name] === undefined) return undefined;
    checkObjects(name, request);
    return this.#run(name, call, async (signal) => handlers[name]?.({ ...request, signal }));
  }

  async #validate(request: Plain, call: TtrpcCall): Promise<object> {
    try {
      await this.#notify("validateContainerAdjustment", request, call);
      return {};
    } catch (error) {
      return { reject: true, reason: messageOf(error) };
    }
  }

  /** How runtimes before NRI 0.12 report the events without an answer. */
  async #stateChange(request: Plain, call: TtrpcCall): Promise<void> {
    const { event, ...objects } = request;
    // A newer runtime may have events that this version does not know.
    const name = notices.find((each) => each === eventNamed(event as string));
    if (name !== undefined) await this.#notify(name, objects, call);
  }

  /** Runs a handler with a signal that is aborted when the runtime no longer waits. */
  async #run<T>(
    name: string,
    call: TtrpcCall,
    handler: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const late = new AbortController();
    const ms = name === "synchronize" ? this.#startTimeoutMs : this.#requestTimeoutMs;
    const timer = setTimeout(() => {
      const text = `${name}: the runtime waits for ${ms} ms only`;
      late.abort(new RuntimeError("deadline-exceeded", text));
    }, ms);
    try {
      return await handler(AbortSignal.any([call.signal, late.signal]));
    } catch (error) {
      this.#handlers.failed?.({ handler: name, error });
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Every request is about a pod, and those of containers about a container. */
function checkObjects(name: EventName, request: Plain): void {
  const needed = name.includes("Container") ? ["pod", "container"] : ["pod"];
  for (const what of needed) {
    if (request[what] === undefined)
      throw new RuntimeError("invalid-argument", `read ${name}: the request has no ${what}`);
  }
}
