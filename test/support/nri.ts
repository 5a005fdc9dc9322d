/** Plugins of the node (NRI) for tests: they run in the process of the test and connect to a daemon's socket. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Answers, TestPlugin } from "../../src/drivers/nri/testing/plugin.ts";
import type { Container, PodSandbox } from "../../src/gen/nri/pkg/api/v1alpha1/api_pb.ts";
import type { TestDaemon } from "./daemon.ts";
import { patient } from "./patience.ts";
import { runtimeFact, until } from "./suites/pods.ts";

/** The configuration of a daemon that plugins can connect to. */
export const withPlugins = { nri: { enable: true } } as const;

/** An event that a plugin got. */
export interface PluginEvent {
  readonly name: string;
  readonly pod: PodSandbox | undefined;
  readonly container: Container | undefined;
}

/** A connected plugin, and what it was told. */
export interface NotingPlugin extends Disposable {
  readonly plugin: TestPlugin;
  readonly events: readonly PluginEvent[];
  /** What it was told at its synchronization. */
  readonly pods: readonly PodSandbox[];
  readonly containers: readonly Container[];
  /** The names of the events about a container, or about a pod, in order. */
  namesOf(id: string): readonly string[];
  /** Waits for an event about a container or a pod. */
  untilTold(name: string, id: string): Promise<PluginEvent>;
}

const eventNames = [
  "runPodSandbox",
  "updatePodSandbox",
  "postUpdatePodSandbox",
  "stopPodSandbox",
  "removePodSandbox",
  "createContainer",
  "postCreateContainer",
  "startContainer",
  "postStartContainer",
  "updateContainer",
  "postUpdateContainer",
  "stopContainer",
  "removeContainer",
] as const;

/** Connects a plugin that gets all events, and waits until it is synchronized. */
export async function connectPlugin(
  daemon: TestDaemon,
  options: { readonly name?: string; readonly index?: string; readonly answers?: Answers } = {},
): Promise<NotingPlugin> {
  const events: PluginEvent[] = [];
  const pods: PodSandbox[] = [];
  const containers: Container[] = [];
  const synchronized = Promise.withResolvers<undefined>();
  const { answers = {}, ...names } = options;
  const noting = Object.fromEntries(
    eventNames.map((name) => [
      name,
      async (request: { readonly pod?: PodSandbox; readonly container?: Container }) => {
        events.push({ name, pod: request.pod, container: request.container });
        return (await answers[name]?.(request as never)) ?? {};
      },
    ]),
  ) as Answers;
  const plugin = await registered(daemon, {
    ...names,
    answers: {
      ...noting,
      synchronize: (request) => {
        pods.push(...request.pods);
        containers.push(...request.containers);
        if (!request.more) synchronized.resolve(undefined);
        return answers.synchronize?.(request) ?? { more: request.more };
      },
    },
  });
  await synchronized.promise;
  const name = `${names.index ?? "10"}-${names.name ?? "test"}`;
  await until(`plugin ${name} is connected`, async () =>
    (await pluginNames(daemon)).includes(name),
  );
  const isAbout = (event: PluginEvent, id: string): boolean =>
    (event.container?.id ?? event.pod?.id) === id;
  return {
    plugin,
    events,
    pods,
    containers,
    namesOf: (id) => events.filter((event) => isAbout(event, id)).map((event) => event.name),
    untilTold: (event, id) =>
      until(`the plugin gets ${event}`, () =>
        events.find((each) => each.name === event && isAbout(each, id)),
      ),
    [Symbol.dispose]: () => {
      plugin[Symbol.dispose]();
    },
  };
}

/** The socket is there when pods and containers are restored. */
async function registered(
  daemon: TestDaemon,
  options: Parameters<typeof TestPlugin.register>[1],
): Promise<TestPlugin> {
  const endMs = Date.now() + patient(10_000);
  for (;;) {
    try {
      return await TestPlugin.register(daemon.paths.nriSocket, options);
    } catch (error) {
      if (Date.now() > endMs) throw error;
      await sleep(20);
    }
  }
}

/** The names of the connected plugins, as the verbose Status shows them. */
export async function pluginNames(daemon: TestDaemon): Promise<readonly string[]> {
  const { plugins } = await nriStatus(daemon);
  return plugins.map(({ name }) => name);
}

interface NriFacts {
  readonly plugins: readonly { readonly name: string; readonly pid: number }[];
  readonly failures: readonly { readonly plugin: string; readonly reason: string }[];
}

/** What the verbose Status shows of plugins. */
export async function nriStatus(daemon: TestDaemon): Promise<NriFacts> {
  return (await runtimeFact(daemon, "nri")) as NriFacts;
}
