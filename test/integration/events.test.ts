// variants: shim
/** GetContainerEvents on a real socket: what a kubelet with evented PLEG and any number of readers see. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { isKind } from "../../src/base/errors.ts";
import { CriClient } from "../../src/client/cri-client.ts";
import {
  type ContainerEventResponse,
  ContainerEventType,
  ContainerState,
} from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  byShim,
  countDescriptors,
  createIn,
  EXITED,
  exited,
  inPod,
  Node,
  openPod,
  type Pod,
  remove,
  runIn,
  RUNNING,
  script,
  start,
} from "../support/suites/containers.ts";
import {
  code,
  failsWith,
  holderOf,
  launchDaemon,
  NOTREADY,
  pod,
  POD,
  READY,
  removePod,
  stopPod,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
before(async () => {
  node = await Node.startWithBusybox();
  ({ daemon } = node);
});
after(() => node[Symbol.asyncDispose]());

const words = new Map<ContainerEventType, string>([
  [ContainerEventType.CONTAINER_CREATED_EVENT, "created"],
  [ContainerEventType.CONTAINER_STARTED_EVENT, "started"],
  [ContainerEventType.CONTAINER_STOPPED_EVENT, "stopped"],
  [ContainerEventType.CONTAINER_DELETED_EVENT, "deleted"],
]);

/** A reader of the events with a connection of its own. */
class Reader implements Disposable {
  readonly events: ContainerEventResponse[] = [];
  /** Resolves with the error that ended the stream. */
  readonly ended: Promise<unknown>;
  readonly #client: CriClient;

  private constructor(client: CriClient, onOpen: () => void, onEvent: OnEvent) {
    this.#client = client;
    this.ended = this.#read(onOpen, onEvent);
  }

  /** Resolves when the stream is open. */
  static async open(from: TestDaemon, onEvent: OnEvent = () => undefined): Promise<Reader> {
    const opened = Promise.withResolvers<undefined>();
    const client = new CriClient(from.paths.socket);
    const reader = new Reader(client, () => opened.resolve(undefined), onEvent);
    await Promise.race([opened.promise, reader.ended]);
    return reader;
  }

  async #read(onOpen: () => void, onEvent: OnEvent): Promise<unknown> {
    try {
      for await (const event of this.#client.runtime.getContainerEvents({}, { onOpen })) {
        await onEvent(event);
        this.events.push(event);
      }
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** The events of these objects in words, such as "pod created", once there are `count`. */
  async said(names: ReadonlyMap<string, string>, count: number): Promise<readonly string[]> {
    const own = (): readonly ContainerEventResponse[] =>
      this.events.filter(({ containerId }) => names.has(containerId));
    await until(`${count} events`, () => own().length >= count);
    return own().map(
      ({ containerId, containerEventType: type }) => `${names.get(containerId)} ${words.get(type)}`,
    );
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

type OnEvent = (event: ContainerEventResponse) => Promise<void> | undefined;

/** How far an object is in its life, by the numbers of ContainerState; 3 is removed. */
function stateTold({ containerId, containerEventType, ...event }: ContainerEventResponse): number {
  if (containerEventType === ContainerEventType.CONTAINER_DELETED_EVENT) return 3;
  const status = event.containersStatuses.find(({ id }) => id === containerId);
  if (status !== undefined) return status.state;
  return event.podSandboxStatus?.state === READY ? 1 : 2;
}

/** The same, from the status of the object now. */
async function stateFound(id: string): Promise<number> {
  const { runtime } = daemon.client;
  const orGone = (error: unknown): undefined => {
    if (!isKind(error, "not-found")) throw error;
  };
  const asked = await runtime.containerStatus({ containerId: id }).catch(orGone);
  if (asked?.status !== undefined) return asked.status.state;
  const sandbox = await runtime.podSandboxStatus({ podSandboxId: id }).catch(orGone);
  if (sandbox?.status === undefined) return 3;
  return sandbox.status.state === READY ? 1 : 2;
}

const whole = [
  "pod created",
  "pod started",
  "container created",
  "container started",
  "container stopped",
  "container deleted",
  "pod stopped",
  "pod deleted",
];

/** Checks the statuses in the events of `whole`, whose container exits with 7. */
function checkStatuses(own: Pod, events: readonly ContainerEventResponse[]): void {
  const pods = events.map(({ podSandboxStatus }) => podSandboxStatus);
  const ready = [READY, READY, READY, READY, READY, READY, NOTREADY, NOTREADY];
  assert.deepEqual(
    pods.map((each) => each?.state),
    ready,
  );
  // kubelet ignores an event without these, and needs the last one to forget the pod.
  for (const each of pods) {
    assert.deepEqual([each?.id, each?.metadata?.uid], [own.id, own.config.metadata?.uid]);
  }
  assert.match(pods[1]?.network?.ip ?? "", /^10\./);
  const containers = events.map(({ containersStatuses }) =>
    containersStatuses.map(({ state, exitCode, reason }) => [state, exitCode, reason]),
  );
  const [none, created] = [[], [[ContainerState.CONTAINER_CREATED, 0, ""]]];
  const [running, over] = [[[RUNNING, 0, ""]], [[EXITED, 7, "Error"]]];
  assert.deepEqual(containers, [none, none, created, running, over, none, none, none]);
}

describe("GetContainerEvents", () => {
  test("tells the life of a pod, with its statuses, and never before they hold", async () => {
    const wrong: string[] = [];
    using reader = await Reader.open(daemon, async (event) => {
      const told = stateTold(event);
      const found = await stateFound(event.containerId);
      if (found < told) wrong.push(`${event.containerId}: told ${told}, found ${found}`);
    });
    const own = await openPod(daemon, pod());
    const id = await createIn(own, script("exit 7"));
    await start(daemon, id);
    await exited(daemon, id);
    await remove(daemon, id);
    await stopPod(daemon, own.id);
    await removePod(daemon, own.id);
    const names = new Map([
      [own.id, "pod"],
      [id, "container"],
    ]);
    assert.deepEqual(await reader.said(names, whole.length), whole);

    checkStatuses(own, reader.events);
    const times = reader.events.map(({ createdAt }) => createdAt);
    assert.ok(times.every((time, at) => at === 0 || time > (times[at - 1] ?? 0n)));
    assert.deepEqual(wrong, [], "a status was older than the event");
  });

  test("tells that a container was killed by its memory limit", async () => {
    using reader = await Reader.open(daemon);
    await inPod(daemon, pod(), async (own) => {
      const linux = { resources: { memoryLimitInBytes: 32n << 20n } };
      const id = await runIn(own, script("tail /dev/zero", { linux }));
      const names = new Map([[id, "container"]]);
      assert.deepEqual(await reader.said(names, 3), whole.slice(2, 5));
      const stopped = reader.events.find(
        (event) => event.containerEventType === ContainerEventType.CONTAINER_STOPPED_EVENT,
      );
      const status = stopped?.containersStatuses[0];
      assert.deepEqual([status?.exitCode, status?.reason], [137, "OOMKilled"]);
    });
  });

  test("tells that a sandbox died", { skip: byShim && "a shim has no holder" }, async () => {
    using reader = await Reader.open(daemon);
    await inPod(daemon, pod({ pid: POD }), async (own) => {
      process.kill(await holderOf(daemon, own.id), "SIGKILL");
      const said = await reader.said(new Map([[own.id, "pod"]]), 3);
      assert.deepEqual(said, ["pod created", "pod started", "pod stopped"]);
      assert.equal(reader.events.at(-1)?.podSandboxStatus?.state, NOTREADY);
    });
  });

  test("serves 50 readers, and begins for each with its call", async () => {
    const descriptors = countDescriptors(daemon);
    const early = await Promise.all(Array.from({ length: 50 }, () => Reader.open(daemon)));
    const own = await openPod(daemon, pod());
    using late = await Reader.open(daemon);
    await removePod(daemon, own.id);
    const names = new Map([[own.id, "pod"]]);
    for (const reader of early) {
      const want = ["pod created", "pod started", "pod stopped", "pod deleted"];
      assert.deepEqual(await reader.said(names, 4), want);
    }
    assert.deepEqual(await late.said(names, 2), ["pod stopped", "pod deleted"]);
    for (const reader of early) reader[Symbol.dispose]();
    late[Symbol.dispose]();
    await until("the daemon has closed their connections", () => {
      return countDescriptors(daemon) <= descriptors;
    });
  });

  test("drops a reader that does not read, while pods run and others read", async () => {
    using stalled = new CriClient(daemon.paths.socket);
    const opened = Promise.withResolvers<undefined>();
    const onOpen = (): void => opened.resolve(undefined);
    const events = stalled.runtime.getContainerEvents({}, { onOpen })[Symbol.asyncIterator]();
    const first = events.next();
    await opened.promise;
    using reader = await Reader.open(daemon);
    const from = daemon.lines.length;
    // Each event has about 1 MiB: more than the windows of HTTP/2, the socket's buffers and the queue.
    const annotations = { large: "x".repeat(1 << 20) };
    const names = new Map<string, string>();
    for (let n = 0; n < 12; n++) {
      const own = await openPod(daemon, pod({}, { annotations }));
      names.set(own.id, "pod");
      await removePod(daemon, own.id);
    }
    await daemon.waitForLine(/its client does not keep up/, from);
    assert.equal((await reader.said(names, 48)).length, 48, "the other reader has all");
    let read = (await first).done === true ? 0 : 1;
    await assert.rejects(
      async () => {
        for (;;) {
          if ((await events.next()).done === true) return;
          read += 1;
        }
      },
      failsWith(code.resourceExhausted, /open a new stream, list the objects again/),
    );
    assert.ok(read > 0 && read < 20, `it got ${read} events that were sent before`);
    using again = await Reader.open(daemon);
    await removePod(daemon, (await openPod(daemon, pod())).id);
    await until("a new stream works", () => again.events.length === 4);
  });

  test("ends with the daemon, and the next one tells nothing of the past", async () => {
    const own = await openPod(daemon, pod());
    const left = await runIn(own);
    const ends = await runIn(own, script("sleep 1; exit 3"));
    using reader = await Reader.open(daemon);
    await daemon.stop();
    const error = await reader.ended;
    assert.ok(failsWith(code.unavailable, /shutting down/)(error));
    await launchDaemon(daemon);
    using next = await Reader.open(daemon);
    await exited(daemon, ends);
    await remove(daemon, left);
    const names = new Map([
      [left, "left"],
      [ends, "ends"],
      [own.id, "pod"],
    ]);
    const said = await next.said(names, 2);
    // Its end was recorded at the start, unless it came later.
    const tail = said.filter((each) => each !== "ends stopped");
    assert.deepEqual(tail, ["left stopped", "left deleted"]);
    await removePod(daemon, own.id);
  });

  test("does not count as work of the daemon", async () => {
    using _reader = await Reader.open(daemon);
    const { info } = await daemon.client.runtime.status({ verbose: true });
    const calls = JSON.parse(info["calls"] ?? "") as readonly { readonly method: string }[];
    assert.deepEqual(
      calls.map(({ method }) => method),
      ["Status"],
    );
  });
});
