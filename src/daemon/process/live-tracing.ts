import { isDeepStrictEqual } from "node:util";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { TracingConfig } from "../../config/config.ts";
import type { OperationObserver, Operations } from "../../core/operation/index.ts";
import type { Method } from "../../wire/grpc/call.ts";
import type { Tracing } from "../build/tracing.ts";
import type { CallLog } from "./call-log.ts";
import type { ReloadPart } from "./live-config.ts";

interface Deps {
  readonly version: string;
  readonly callLog: CallLog;
  readonly log: Logger;
  /** The methods of the server, which are replaced by traced ones. */
  readonly methods: Map<string, Method>;
}

/** Tracing, which a reload turns on, off or changes. Its code is loaded when it is first turned on. */
export class LiveTracing implements ReloadPart, AsyncDisposable {
  readonly #deps: Deps;
  readonly #plain: ReadonlyMap<string, Method>;
  #tracing: Tracing | undefined;
  #operations: Pick<Operations, "observe"> | undefined;
  #isObserved = false;

  private constructor(deps: Deps) {
    this.#deps = deps;
    this.#plain = new Map(deps.methods);
  }

  static async open(config: TracingConfig, deps: Deps): Promise<LiveTracing> {
    const live = new LiveTracing(deps);
    live.#use(await live.#build(config));
    return live;
  }

  /** The operations of the daemon, when it is built. */
  watch(operations: Pick<Operations, "observe">): void {
    this.#operations = operations;
    this.#observe();
  }

  async prepare({
    current,
    next,
    undo,
  }: Parameters<ReloadPart["prepare"]>[0]): Promise<() => void> {
    if (isDeepStrictEqual(current.tracing, next.tracing)) return () => undefined;
    const tracing = await this.#build(next.tracing);
    if (tracing !== undefined) undo.use(tracing);
    return () => {
      const before = this.#tracing;
      this.#use(tracing);
      // Spans of calls that began before are sent as far as they have ended.
      if (before !== undefined) void this.#end(before);
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tracing?.[Symbol.asyncDispose]();
  }

  async #build(config: TracingConfig): Promise<Tracing | undefined> {
    if (config.endpoint === "") return undefined;
    const { buildTracing } = await import("../build/tracing.ts");
    return buildTracing(config, this.#deps);
  }

  async #end(tracing: Tracing): Promise<void> {
    try {
      await tracing[Symbol.asyncDispose]();
    } catch (error) {
      this.#deps.log.warn(`failed to send the last spans: ${messageOf(error)}`);
    }
  }

  #use(tracing: Tracing | undefined): void {
    this.#tracing = tracing;
    const methods = tracing?.wrap(this.#plain) ?? this.#plain;
    for (const [path, method] of methods) this.#deps.methods.set(path, method);
    this.#observe();
  }

  /** Without tracing, operations are not slowed down by an observer. */
  #observe(): void {
    if (this.#isObserved || this.#tracing === undefined || this.#operations === undefined) return;
    this.#isObserved = true;
    this.#operations.observe(this.#observer);
  }

  readonly #observer: OperationObserver = {
    began: (operation) => this.#tracing?.observer.began?.(operation),
    within: (operation, work) => this.#tracing?.observer.within?.(operation, work) ?? work(),
    ended: (operation, past) => this.#tracing?.observer.ended?.(operation, past),
    step: (step) => this.#tracing?.observer.step?.(step),
  };
}
