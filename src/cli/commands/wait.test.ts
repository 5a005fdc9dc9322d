import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import {
  ContainerEventResponseSchema,
  ContainerEventType,
  ContainerState,
  ContainerStatusRequestSchema,
  ContainerStatusResponseSchema,
  ListContainersResponseSchema,
  ListPodSandboxResponseSchema,
  PodSandboxState,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Method } from "../../wire/grpc/call.ts";
import { serve } from "../../wire/grpc/testing/serving.ts";
import { decodeMessage } from "../../wire/protobuf.ts";
import { main } from "../main.ts";
import { recordedTerminal } from "../output/testing/recorded-terminal.ts";

interface FakeContainer {
  state: ContainerState;
  exitCode?: number;
}

/** A CRI server with one pod "web", whose containers a test changes. */
class FakeServer {
  isReady = true;
  hasPod = true;
  readonly containers = new Map<string, FakeContainer>();
  /** Called at each ListContainers, with its number, before it is answered. */
  onList: (turn: number) => void = () => undefined;
  /** Undefined: the server does not have the method. */
  events: Method | undefined;
  lists = 0;

  methods(): Map<string, Method> {
    const unary = <Desc extends DescMessage>(
      schema: Desc,
      answer: (request: Uint8Array) => MessageInitShape<Desc>,
    ): Method => ({
      kind: "unary",
      handle: async (request) => toBinary(schema, create(schema, answer(request))),
    });
    const table: Record<string, Method> = {
      ListPodSandbox: unary(ListPodSandboxResponseSchema, () => ({ items: this.#pods() })),
      ListContainers: unary(ListContainersResponseSchema, () => {
        this.lists += 1;
        this.onList(this.lists);
        return { containers: [...this.containers].map(([id, each]) => this.#listed(id, each)) };
      }),
      ContainerStatus: unary(ContainerStatusResponseSchema, (bytes) => {
        const { containerId } = decodeMessage(ContainerStatusRequestSchema, bytes);
        const found = this.containers.get(containerId);
        if (found === undefined) throw new RuntimeError("not-found", "no such container");
        return { status: this.status(containerId, found) };
      }),
      ...(this.events && { GetContainerEvents: this.events }),
    };
    const named = Object.entries(table);
    return new Map(named.map(([name, method]) => [`/runtime.v1.RuntimeService/${name}`, method]));
  }

  status(id: string, { state, exitCode = 0 }: FakeContainer) {
    const metadata = { name: id, attempt: 0 };
    return { id, metadata, state, exitCode, createdAt: BigInt(id.length) };
  }

  /** An encoded event of a container, with the current statuses. */
  event(containerId: string, containerEventType: ContainerEventType): Uint8Array {
    const statuses = [...this.containers].map(([id, each]) => this.status(id, each));
    const message = create(ContainerEventResponseSchema, {
      containerId,
      containerEventType,
      podSandboxStatus: this.#pods()[0] ?? {},
      containersStatuses: statuses,
    });
    return toBinary(ContainerEventResponseSchema, message);
  }

  #pods() {
    const state = this.isReady ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
    const metadata = { name: "web", namespace: "default", uid: "1", attempt: 0 };
    return this.hasPod ? [{ id: "pod-id", metadata, state, createdAt: 1n }] : [];
  }

  #listed(id: string, { state }: FakeContainer) {
    const { metadata, createdAt } = this.status(id, { state });
    return { id, podSandboxId: "pod-id", metadata, createdAt, state };
  }
}

/** Runs davit wait with a server. */
async function waitWith(
  server: FakeServer,
  ...args: string[]
): Promise<{ code: number; out: string; err: string }> {
  await using serving = await serve({}, { methods: server.methods() });
  const terminal = recordedTerminal();
  const code = await main(["wait", "--endpoint", serving.path, ...args], terminal);
  return { code, ...terminal.written };
}

const { CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_EXITED } = ContainerState;

/** Ends at once without an error, as CRI-O without enable_pod_events. */
const disabled: Method = {
  kind: "server-stream",
  async *handle() {
    // Nothing.
  },
};

describe("davit wait", () => {
  for (const [name, events] of [
    ["does not have events", undefined],
    ["ends the stream of events at once", disabled],
  ] as const) {
    test(`polls a server that ${name}`, async () => {
      const server = new FakeServer();
      server.events = events;
      server.containers.set("app", { state: CONTAINER_RUNNING });
      server.onList = (turn) => {
        if (turn === 4) server.containers.set("app", { state: CONTAINER_EXITED, exitCode: 9 });
      };
      assert.deepEqual(await waitWith(server, "app"), { code: 0, out: "9\n", err: "" });
      assert.equal(server.lists, 4);
    });
  }

  test("does not poll while a stream is open, and sees what happened before it was", async () => {
    const server = new FakeServer();
    const opened = Promise.withResolvers<undefined>();
    server.events = {
      kind: "server-stream",
      async *handle(_request, call) {
        call.sendHeaders();
        await opened.promise;
        server.containers.set("app", { state: CONTAINER_EXITED, exitCode: 3 });
        yield server.event("app", ContainerEventType.CONTAINER_STOPPED_EVENT);
        server.containers.delete("app");
        yield server.event("app", ContainerEventType.CONTAINER_DELETED_EVENT);
      },
    };
    server.containers.set("app", { state: CONTAINER_RUNNING });
    server.onList = (turn) => {
      // For the operands, at the beginning, when the stream is open.
      if (turn === 3) setImmediate(() => opened.resolve(undefined));
    };
    assert.deepEqual(await waitWith(server, "app"), { code: 0, out: "3\n", err: "" });
    assert.equal(server.lists, 3);
  });

  test("takes the exit code of a removed container from an event that comes after the list", async () => {
    const server = new FakeServer();
    const listed = Promise.withResolvers<undefined>();
    const app = { state: CONTAINER_EXITED, exitCode: 4 };
    server.events = {
      kind: "server-stream",
      async *handle(_request, call) {
        call.sendHeaders();
        await listed.promise;
        server.containers.set("app", app);
        const stopped = server.event("app", ContainerEventType.CONTAINER_STOPPED_EVENT);
        server.containers.delete("app");
        yield stopped;
        yield server.event("app", ContainerEventType.CONTAINER_DELETED_EVENT);
      },
    };
    server.containers.set("app", { state: CONTAINER_RUNNING });
    server.onList = (turn) => {
      if (turn !== 3) return;
      server.containers.delete("app");
      setImmediate(() => listed.resolve(undefined));
    };
    assert.deepEqual(await waitWith(server, "app"), { code: 0, out: "4\n", err: "" });
  });

  test("says that an exit code is lost if a container was removed between two looks", async () => {
    const server = new FakeServer();
    server.containers.set("app", { state: CONTAINER_RUNNING });
    server.onList = (turn) => {
      if (turn === 3) server.containers.delete("app");
    };
    const { code, out, err } = await waitWith(server, "app");
    assert.deepEqual([code, out], [1, "unknown\n"]);
    assert.match(err, /read the exit code of "default\/web\/app": removed before it was known/);
  });

  test("waits for the containers of a pod that is being stopped", async () => {
    const server = new FakeServer();
    server.containers.set("app", { state: CONTAINER_RUNNING });
    server.containers.set("b", { state: CONTAINER_EXITED, exitCode: 1 });
    server.onList = (turn) => {
      if (turn === 2) server.isReady = false;
      if (turn === 3) server.containers.set("app", { state: CONTAINER_EXITED, exitCode: 143 });
    };
    const want = "1 default/web/b\n143 default/web/app\n";
    assert.deepEqual(await waitWith(server, "web"), { code: 0, out: want, err: "" });
    assert.equal(server.lists, 3);
  });

  test("--for running waits for all containers of a pod, and for each target once", async () => {
    const server = new FakeServer();
    server.containers.set("i", { state: CONTAINER_EXITED, exitCode: 0 });
    server.containers.set("app", { state: CONTAINER_CREATED });
    server.containers.set("other", { state: CONTAINER_RUNNING });
    server.onList = (turn) => {
      if (turn === 3) server.containers.set("other", { state: CONTAINER_EXITED, exitCode: 0 });
      if (turn === 4) server.containers.set("app", { state: CONTAINER_RUNNING });
    };
    const { code, err } = await waitWith(server, "--for", "running", "other", "app");
    assert.deepEqual([code, err], [0, ""]);
    const again = new FakeServer();
    again.containers.set("i", { state: CONTAINER_EXITED, exitCode: 0 });
    again.containers.set("app", { state: CONTAINER_RUNNING });
    assert.equal((await waitWith(again, "--for", "running", "web")).code, 0);
  });

  test("ends with 1 if the condition cannot hold any more", async () => {
    const server = new FakeServer();
    server.containers.set("app", { state: CONTAINER_EXITED, exitCode: 0 });
    const exited = await waitWith(server, "--for", "running", "app");
    assert.equal(exited.code, 1);
    assert.match(exited.err, /wait for container "default\/web\/app" to run: it has exited/);
    server.isReady = false;
    for (const condition of ["ready", "running"]) {
      const { code, err } = await waitWith(server, "--for", condition, "web");
      assert.equal(code, 1);
      assert.match(err, /wait for pod "default\/web" to (be ready|run): it is not ready any more/);
    }
  });

  test("--for removed ends when the object is gone, also if it never was", async () => {
    const server = new FakeServer();
    server.containers.set("app", { state: CONTAINER_RUNNING });
    server.onList = (turn) => {
      if (turn === 3) {
        server.hasPod = false;
        server.containers.clear();
      }
    };
    const gone = await waitWith(server, "--for", "removed", "web", "app", "nothing");
    assert.deepEqual(gone, { code: 0, out: "", err: "" });
    const missing = await waitWith(server, "nothing");
    assert.equal(missing.code, 3);
  });

  test("ends with 124 at the timeout and names what it still waits for", async () => {
    const server = new FakeServer();
    server.containers.set("app", { state: CONTAINER_RUNNING });
    server.containers.set("b", { state: CONTAINER_EXITED, exitCode: 0 });
    const { code, err } = await waitWith(server, "--timeout", "1s", "b", "app");
    assert.equal(code, 124);
    assert.match(err, /^davit: wait for container "default\/web\/app" to end: timeout after 1s/);
  });

  test("rejects --for ready with containers, and fails at once without a server", async () => {
    const usage = await waitWith(new FakeServer(), "--for", "ready", "--type", "container", "app");
    assert.equal(usage.code, 2);
    assert.match(usage.err, /only pods have it/);
    const terminal = recordedTerminal();
    assert.equal(await main(["wait", "--endpoint", "/nowhere.sock", "app"], terminal), 4);
  });
});
