import { create, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import type {
  ChangesOfOthers,
  ContainerOfPlugins,
  CreatedWithPlugins,
  PluginHost,
  Plugins,
  UpdatedWithPlugins,
} from "../../core/plugin/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import {
  CreateContainerRequestSchema,
  type LinuxResources,
  type PluginInstance,
  UpdateContainerRequestSchema,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { Dispatcher, encode } from "./dispatch.ts";
import { events, type PluginEvent } from "./event.ts";
import { type PluginFailure, RecentFailures } from "./failures.ts";
import { findPlugins } from "./find.ts";
import { PluginListener } from "./listen.ts";
import { Members } from "./members.ts";
import { CreateResult, StopResult, UpdateResult } from "./merge/index.ts";
import type { NriOptions } from "./options.ts";
import { describeSubject, type Subject } from "./subject.ts";
import { SyncGate } from "./sync-gate.ts";

/** A connected plugin, for people. */
export interface PluginStatus {
  /** Index and name. */
  readonly name: string;
  /** The version of NRI that it says it was built with. */
  readonly version: string;
  /** False: davit started it. */
  readonly external: boolean;
  readonly pid: number;
  readonly connectedAtMs: number;
  /** The names of the events that it gets. */
  readonly events: readonly string[];
  /** It knows some events only as the StateChange of old plugins. */
  readonly isOld: boolean;
}

/** The state of the plugins, for `davit doctor` and the verbose Status. */
export interface NriStatus {
  /** In the order in which they are asked. */
  readonly plugins: readonly PluginStatus[];
  /** The latest failures, the oldest first. */
  readonly failures: readonly PluginFailure[];
  /** Why plugins cannot connect, if they should be able to. */
  readonly notListening?: string | undefined;
}

/** The answers of plugins to one event, merged: each plugin is shown what those before it changed. */
interface MergedAnswers<I extends DescMessage, O extends DescMessage> {
  readonly request: MessageShape<I>;
  apply(answer: MessageShape<O>, plugin: string): void;
}

/** Plugins that speak NRI: those that connect to davit's socket, and those that davit starts. */
export class NriPlugins implements Plugins {
  readonly #options: NriOptions;
  readonly #failures = new RecentFailures();
  readonly #dispatcher: Dispatcher;
  readonly #gate: SyncGate;
  #members: Members | undefined;
  #listener: PluginListener | undefined;
  #notListening: string | undefined;

  constructor(options: NriOptions) {
    this.#options = options;
    this.#gate = new SyncGate(options.gateTimes);
    this.#dispatcher = new Dispatcher(options, this.#failures);
  }

  /**
   * Starts the plugins of the plugin directory and waits for them, each at most for the registration timeout and
   * its requests; then accepts connections. Failures are logged, and in the status. The pods and containers
   * that `host` knows must be recovered before.
   */
  async start(host: PluginHost): Promise<void> {
    const { log, socketPath } = this.#options;
    const [dispatcher, gate, failures] = [this.#dispatcher, this.#gate, this.#failures];
    const members = new Members({ options: this.#options, dispatcher, gate, failures, host });
    this.#members = members;
    const { found, refused } = await findPlugins(this.#options);
    for (const { file, reason } of refused) {
      this.#failures.add({ plugin: file, reason, dropped: true, external: false });
      log.error(`NRI plugin "${file}" is not started: ${reason}`, { plugin: file });
    }
    await Promise.all(found.map((plugin) => members.launch(plugin)));
    if (socketPath === undefined || this.#members !== members) return;
    try {
      const listener = await PluginListener.open(socketPath, {
        accept: (socket, pid) => members.accept(socket, pid),
      });
      // stop() may have been called meanwhile.
      if (this.#members === members) this.#listener = listener;
      else await listener.close();
    } catch (error) {
      this.#notListening = messageOf(error);
      log.warn(`NRI plugins cannot connect: ${this.#notListening}; then restart davit`);
    }
  }

  /** Tells the plugins that davit stops, disconnects them, and ends those that it started. Idempotent. */
  async stop(): Promise<void> {
    const [listener, members] = [this.#listener, this.#members];
    this.#listener = undefined;
    this.#members = undefined;
    const closed = listener?.close();
    await members?.stop();
    await closed;
  }

  get status(): NriStatus {
    const plugins = this.#dispatcher.plugins.map((plugin) => ({
      name: plugin.name,
      version: plugin.version,
      external: plugin.isExternal,
      pid: plugin.pid,
      connectedAtMs: plugin.connectedAtMs,
      events: Object.values(events)
        .filter((event) => plugin.subscribes(event))
        .map(({ method }) => method.name),
      isOld: plugin.isOld,
    }));
    return { plugins, failures: this.#failures.list, notListening: this.#notListening };
  }

  hold(signal: AbortSignal): Promise<Disposable> {
    return this.#gate.hold(signal);
  }

  /** Always true with a built-in validator: it can require plugins that are not connected. */
  get active(): boolean {
    return (
      this.#dispatcher.plugins.length > 0 ||
      this.#members?.isSynchronizing === true ||
      this.#options.validate !== undefined
    );
  }

  async runPodSandbox(pod: Sandbox, signal: AbortSignal): Promise<void> {
    await this.#tellPod(events.runPodSandbox, pod, signal);
  }

  async updatePodSandbox(
    pod: Sandbox,
    wanted: { readonly overhead?: LinuxResources; readonly resources?: LinuxResources },
    signal: AbortSignal,
  ): Promise<void> {
    const event = events.updatePodSandbox;
    if (!this.#dispatcher.subscribes(event)) return;
    const request = {
      pod: this.#options.describe.pod(pod),
      ...(wanted.overhead === undefined ? {} : { overheadLinuxResources: wanted.overhead }),
      ...(wanted.resources === undefined ? {} : { linuxResources: wanted.resources }),
    };
    await this.#dispatcher.tell(event, { sandbox: pod.id }, request, signal);
  }

  async postUpdatePodSandbox(pod: Sandbox, signal: AbortSignal): Promise<void> {
    await this.#tellPod(events.postUpdatePodSandbox, pod, signal);
  }

  async stopPodSandbox(pod: Sandbox, signal: AbortSignal): Promise<void> {
    await this.#tellPod(events.stopPodSandbox, pod, signal);
  }

  async removePodSandbox(pod: Sandbox, signal: AbortSignal): Promise<void> {
    await this.#tellPod(events.removePodSandbox, pod, signal);
  }

  async createContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<CreatedWithPlugins> {
    const event = events.createContainer;
    const { validate } = this.#options;
    const validates = validate !== undefined || this.#dispatcher.subscribes(events.validate);
    if (!validates && !this.#dispatcher.subscribes(event)) {
      return { adjustment: undefined, updates: [], evictions: [] };
    }
    const subject = subjectOf(of);
    const request = create(CreateContainerRequestSchema, await this.#describe(of));
    const result = new CreateResult(request);
    const shown = await this.#collect(event, subject, result, signal);
    if (validates) {
      const validation = result.validation(shown);
      const reason = validate?.(validation);
      if (reason !== undefined) throw rejected(subject, reason);
      await this.#dispatcher.validate(validation, subject, signal);
    }
    const { adjustment, updates, evictions } = result;
    return { adjustment, updates, evictions };
  }

  async postCreateContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void> {
    await this.#tellContainer(events.postCreateContainer, of, signal);
  }

  async startContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void> {
    await this.#tellContainer(events.startContainer, of, signal);
  }

  async postStartContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void> {
    await this.#tellContainer(events.postStartContainer, of, signal);
  }

  async updateContainer(
    of: ContainerOfPlugins,
    wanted: LinuxResources,
    signal: AbortSignal,
  ): Promise<UpdatedWithPlugins> {
    const event = events.updateContainer;
    if (!this.#dispatcher.subscribes(event))
      return { resources: wanted, updates: [], evictions: [] };
    const described = await this.#describe(of);
    const request = create(UpdateContainerRequestSchema, { ...described, linuxResources: wanted });
    const result = new UpdateResult(request);
    await this.#collect(event, subjectOf(of), result, signal);
    const { resources, updates, evictions } = result;
    return { resources, updates, evictions };
  }

  async postUpdateContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void> {
    await this.#tellContainer(events.postUpdateContainer, of, signal);
  }

  async stopContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<ChangesOfOthers> {
    const event = events.stopContainer;
    if (!this.#dispatcher.subscribes(event)) return { updates: [], evictions: [] };
    const message = create(event.method.input, await this.#describe(of));
    const request = encode(event.method.input, message);
    const result = new StopResult();
    await this.#dispatcher.ask(
      {
        event,
        subject: subjectOf(of),
        request: () => request,
        take: (answer, plugin) => result.apply(answer, plugin),
      },
      signal,
    );
    return { updates: result.updates, evictions: [] };
  }

  async removeContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void> {
    await this.#tellContainer(events.removeContainer, of, signal);
  }

  /** Asks the plugins, each with what those before it changed; returns those that were shown it. */
  async #collect<I extends DescMessage, O extends DescMessage>(
    event: PluginEvent<I, O>,
    subject: Subject,
    result: MergedAnswers<I, O>,
    signal: AbortSignal,
  ): Promise<PluginInstance[]> {
    const request = () => encode(event.method.input, result.request);
    const take = (answer: MessageShape<O>, plugin: string) => result.apply(answer, plugin);
    return await this.#dispatcher.ask({ event, subject, request, take }, signal);
  }

  async #tellPod(event: PluginEvent, pod: Sandbox, signal: AbortSignal): Promise<void> {
    if (!this.#dispatcher.subscribes(event)) return;
    const request = { pod: this.#options.describe.pod(pod) };
    await this.#dispatcher.tell(event, { sandbox: pod.id }, request, signal);
  }

  async #tellContainer(
    event: PluginEvent,
    of: ContainerOfPlugins,
    signal: AbortSignal,
  ): Promise<void> {
    if (!this.#dispatcher.subscribes(event)) return;
    await this.#dispatcher.tell(event, subjectOf(of), await this.#describe(of), signal);
  }

  async #describe(of: ContainerOfPlugins) {
    const { describe } = this.#options;
    return { pod: describe.pod(of.sandbox), container: await describe.container(of) };
  }
}

function subjectOf({ sandbox, container }: ContainerOfPlugins): Subject {
  return { sandbox: sandbox.id, container: container.id };
}

function rejected(subject: Subject, reason: string): RuntimeError {
  return new RuntimeError(
    "failed-precondition",
    `the default validator of NRI rejected the adjustments of ${describeSubject(subject)}: ${reason}`,
  );
}
