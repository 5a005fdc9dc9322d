import {
  create,
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { RuntimeError, wrap } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import type { Logger } from "../../base/logger.ts";
import { quote } from "../../base/quote.ts";
import {
  type PluginInstance,
  PluginInstanceSchema,
  type ValidateContainerAdjustmentRequest,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { type EncodedRequest, type PluginConnection, PluginRefusal } from "./connection.ts";
import { events, type PluginEvent } from "./event.ts";
import type { RecentFailures } from "./failures.ts";
import type { NriOptions, PluginCall } from "./options.ts";
import { describeSubject, type Subject } from "./subject.ts";

/** What the plugins are asked one after the other. */
export interface Question<I extends DescMessage, O extends DescMessage> {
  readonly event: PluginEvent<I, O>;
  readonly subject: Subject;
  /** The request for the next plugin. */
  request(): EncodedRequest<I>;
  /** Takes an answer. What it throws is treated as an error of the plugin. */
  take?(answer: MessageShape<O>, plugin: string): void;
}

/**
 * The connected plugins, in the order in which they are asked: by index, then by name, then as they connected.
 *
 * Order: the plugins are asked one after the other. Events of one pod never overlap. Events of different pods do, but a
 * plugin gets one event at a time, in the order in which it was their turn. A plugin that is slow for one pod delays
 * other pods only while they wait for the same plugin.
 */
export class Dispatcher {
  readonly #log: Logger;
  readonly #observe: NriOptions["observe"];
  readonly #failures: RecentFailures;
  readonly #pods = new KeyedLock();
  #plugins: readonly PluginConnection[] = [];

  constructor(options: Pick<NriOptions, "log" | "observe">, failures: RecentFailures) {
    this.#log = options.log;
    this.#observe = options.observe;
    this.#failures = failures;
  }

  /** All connected plugins, in order. */
  get plugins(): readonly PluginConnection[] {
    return this.#plugins;
  }

  add(plugin: PluginConnection): void {
    const after = this.#plugins.findIndex(({ name }) => name > plugin.name);
    const at = after < 0 ? this.#plugins.length : after;
    this.#plugins = this.#plugins.toSpliced(at, 0, plugin);
  }

  remove(plugin: PluginConnection): void {
    this.#plugins = this.#plugins.filter((other) => other !== plugin);
  }

  /** A plugin has subscribed to the event. */
  subscribes(event: Pick<PluginEvent, "number">): boolean {
    return this.#plugins.some((plugin) => plugin.subscribes(event));
  }

  /** Tells all plugins the same. */
  async tell<I extends DescMessage, O extends DescMessage>(
    event: PluginEvent<I, O>,
    subject: Subject,
    message: MessageInitShape<I>,
    signal: AbortSignal,
  ): Promise<void> {
    const request = encode(event.method.input, create(event.method.input, message));
    await this.ask({ event, subject, request: () => request }, signal);
  }

  /** Asks all plugins, and returns those that the subject was shown to and that are still connected. */
  async ask<I extends DescMessage, O extends DescMessage>(
    question: Question<I, O>,
    signal: AbortSignal,
  ): Promise<PluginInstance[]> {
    const { event, subject } = question;
    using _turn = await this.#pods.acquire(subject.sandbox, signal);
    const plugins = this.#plugins;
    for (const plugin of plugins) {
      if (!plugin.subscribes(event)) continue;
      const answer = await this.#askOne(plugin, question, signal);
      if (answer === undefined) continue;
      try {
        question.take?.(answer, plugin.name);
      } catch (error) {
        this.#refused(plugin, event, subject, wrap(event.method.name, error));
      }
    }
    return plugins
      .filter(({ isClosed }) => !isClosed)
      .map(({ base: name, index }) => create(PluginInstanceSchema, { name, index }));
  }

  /**
   * Asks the validating plugins at the same time. `failed-precondition` when one rejects, and also when one does not
   * answer: a check that was not made has not been passed.
   */
  async validate(
    message: ValidateContainerAdjustmentRequest,
    subject: Subject,
    signal: AbortSignal,
  ): Promise<void> {
    const event = events.validate;
    const validators = this.#plugins.filter((plugin) => plugin.subscribes(event));
    if (validators.length === 0) return;
    const request = encode(event.method.input, message);
    const question = { event, subject, request: () => request };
    await Promise.all(
      validators.map(async (plugin) => {
        const answer = await this.#askOne(plugin, question, signal);
        if (answer?.reject === true) {
          const text = `rejected the adjustments: ${quote(answer.reason)}`;
          this.#refused(plugin, event, subject, new RuntimeError("failed-precondition", text));
        }
        if (answer === undefined && plugin.isClosed) {
          throw new RuntimeError(
            "failed-precondition",
            `validate ${describeSubject(subject)}: NRI plugin "${plugin.name}" was lost while it checked the adjustments`,
          );
        }
      }),
    );
  }

  /** Undefined when there is no answer: the plugin has none, is lost, or failed where that is only logged. */
  async #askOne<I extends DescMessage, O extends DescMessage>(
    plugin: PluginConnection,
    question: Question<I, O>,
    signal: AbortSignal,
  ): Promise<MessageShape<O> | undefined> {
    const { event, subject } = question;
    const startedAt = performance.now();
    const note = (outcome: PluginCall["outcome"]): void => {
      const tookMs = performance.now() - startedAt;
      this.#observe?.({ plugin: plugin.name, event: event.method.name, tookMs, outcome });
    };
    try {
      const answer = await plugin.ask(event, question.request(), subject, signal);
      note("ok");
      return answer;
    } catch (error) {
      if (error instanceof PluginRefusal) {
        note("refused");
        this.#refused(plugin, event, subject, error);
        return undefined;
      }
      signal.throwIfAborted();
      if (!plugin.isClosed) throw error;
      // Members logs why the connection was lost.
      note("dropped");
      return undefined;
    }
  }

  /** Throws, where the event can be rejected. */
  #refused(plugin: PluginConnection, event: PluginEvent, subject: Subject, error: Error): void {
    const { name } = event.method;
    const reason = error.message;
    const text = `NRI plugin "${plugin.name}" refused ${name} of ${describeSubject(subject)}: ${reason}`;
    const { name: pluginName, isExternal: external } = plugin;
    this.#failures.add(
      { plugin: pluginName, event: name, reason, dropped: false, external },
      subject,
    );
    if (event.canReject) throw new RuntimeError("failed-precondition", text, { cause: error });
    this.#log.warn(text, { plugin: plugin.name, event: name, ...subject });
  }
}

/** A message with its bytes. */
export function encode<I extends DescMessage>(
  schema: I,
  message: MessageShape<I>,
): EncodedRequest<I> {
  return { message, bytes: toBinary(schema, message) };
}
