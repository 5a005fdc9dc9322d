import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { TaskGroup } from "../../base/task-group.ts";
import { type Container, ContainerStore } from "../../core/container/index.ts";
import { type Sandbox, SandboxStore } from "../../core/sandbox/index.ts";
import { NamespaceMode, PodSandboxConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { until } from "../../linux/testing/leaks.ts";
import { type NetworkHost, PodNetworks } from "./pod-networks.ts";

const records = { put: () => undefined, delete: () => undefined };
const log = { debug() {}, info() {}, warn() {}, error() {}, with: () => log };

/** The calls of the kernel, and the pids that are in a pod's network. */
class FakeHost implements NetworkHost {
  readonly calls: string[] = [];
  readonly elsewhere = new Set<number>();
  readonly looked = new Set<number>();
  /** What cAdvisor would be told at the moment when the cgroup appears. */
  pidOf: (id: string) => number | undefined = () => undefined;

  /** Until it resolves, no process is looked at. */
  slow: Promise<unknown> = Promise.resolve();

  async isInNetwork(pid: number): Promise<boolean> {
    this.looked.add(pid);
    await this.slow;
    return !this.elsewhere.has(pid);
  }

  remakeCgroup({ id }: Sandbox): Promise<boolean> {
    this.calls.push(`make ${id} for ${String(this.pidOf(id))}`);
    return Promise.resolve(true);
  }

  removeCgroup({ id }: Sandbox): Promise<void> {
    this.calls.push(`remove ${id}`);
    return Promise.resolve();
  }
}

let sandboxes: SandboxStore;
let containers: ContainerStore;
let host: FakeHost;
let tasks: TaskGroup;
let networks: PodNetworks;

beforeEach(() => {
  sandboxes = new SandboxStore(records);
  containers = new ContainerStore(records);
  host = new FakeHost();
  tasks = new TaskGroup(log);
  networks = new PodNetworks({ sandboxes, containers, host, tasks, delayMs: 0 });
  host.pidOf = (id) => networks.pidOf(id);
});

afterEach(async () => {
  networks[Symbol.dispose]();
  await tasks[Symbol.asyncDispose]();
});

function addSandbox(id: string, changes: Partial<Sandbox> = {}): void {
  sandboxes.add({
    id,
    name: id,
    requestBytes: new Uint8Array(),
    config: create(PodSandboxConfigSchema),
    handler: { requested: "", name: "crun", controller: "podsandbox" },
    createdAtNs: 1n,
    bootId: "boot",
    state: { name: "creating" },
    netnsPath: `/ns/${id}`,
    ...changes,
  });
  sandboxes.list(id);
  sandboxes.update(id, (now) => ({ ...now, state: { name: "ready" } }));
}

function run(sandboxId: string, pid: number): void {
  const id = `container-${pid}`;
  containers.add({ id, name: id, sandboxId, state: { name: "creating" } } as Container);
  containers.update(id, (now) => ({ ...now, state: { name: "created" } }));
  containers.list(id);
  const process = { pid, startTime: "1" };
  const state = { name: "running", startedAtNs: 1n, process, monitor: undefined } as const;
  containers.update(id, (now) => ({ ...now, state }));
}

function end(pid: number): void {
  const times = { startedAtNs: 1n, finishedAtNs: 2n };
  const state = { name: "exited", ...times, exitCode: 0, reason: "", message: "" } as const;
  containers.update(`container-${pid}`, (now) => ({ ...now, state }));
}

const calls = async (...want: readonly string[]): Promise<void> => {
  await until(`${want.length} calls`, () => host.calls.length >= want.length);
  assert.deepEqual(host.calls, want);
};

test("PodNetworks shows the first running container, and the next one when it ends", async () => {
  networks.begin();
  addSandbox("p");
  assert.equal(networks.pidOf("p"), undefined);
  run("p", 10);
  await calls("make p for 10");
  run("p", 11);
  end(10);
  await calls("make p for 10", "make p for 11");
  end(11);
  await calls("make p for 10", "make p for 11", "remove p");
  assert.equal(networks.pidOf("p"), undefined);
});

test("PodNetworks removes the cgroup when the pod is stopped, with containers in it", async () => {
  networks.begin();
  addSandbox("p");
  run("p", 10);
  await calls("make p for 10");
  sandboxes.update("p", (now) => ({ ...now, state: { name: "dead", reason: "", atNs: 1n } }));
  await calls("make p for 10", "remove p");
});

test("PodNetworks shows no process of another network", async () => {
  networks.begin();
  host.elsewhere.add(10);
  addSandbox("p");
  run("p", 10);
  run("p", 11);
  await calls("make p for 11");
});

test("PodNetworks makes the cgroups again at its start", async () => {
  addSandbox("p");
  run("p", 10);
  networks.begin();
  await calls("make p for 10");
});

test("PodNetworks leaves pods with a holder and pods of the host's network alone", async () => {
  networks.begin();
  addSandbox("held", { process: { pid: 7, startTime: "1" } });
  const linux = { securityContext: { namespaceOptions: { network: NamespaceMode.NODE } } };
  addSandbox("host", { config: create(PodSandboxConfigSchema, { linux }) });
  run("held", 10);
  run("host", 11);
  addSandbox("p");
  run("p", 12);
  await calls("make p for 12");
  assert.equal(networks.pidOf("held"), 7);
  assert.equal(networks.pidOf("host"), undefined);
});

test("PodNetworks notices a container that ends while its process is looked at", async () => {
  networks.begin();
  const { promise, resolve } = Promise.withResolvers<undefined>();
  host.slow = promise;
  addSandbox("p");
  run("p", 10);
  await until("the process is looked at", () => host.looked.has(10));
  end(10);
  resolve(undefined);
  await calls("make p for 10", "remove p");
  assert.equal(networks.pidOf("p"), undefined);
});

test("PodNetworks can clear what it made", async () => {
  networks.begin();
  addSandbox("p");
  run("p", 10);
  await calls("make p for 10");
  networks[Symbol.dispose]();
  await networks.clear();
  assert.deepEqual(host.calls, ["make p for 10", "remove p"]);
});

test("PodNetworks shows a pod when it has run for a while, and not one that has ended by then", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  networks = new PodNetworks({ sandboxes, containers, host, tasks, delayMs: 1_000 });
  networks.begin();
  addSandbox("short");
  addSandbox("long");
  run("short", 10);
  run("long", 11);
  context.mock.timers.tick(999);
  end(10);
  assert.deepEqual([...host.looked], []);
  context.mock.timers.tick(1);
  context.mock.timers.reset();
  await calls("make long for 11");
});

test("PodNetworks makes no cgroup after clear(), also for a pod that is being looked at", async () => {
  const looked = Promise.withResolvers<undefined>();
  networks.begin();
  addSandbox("shown");
  run("shown", 10);
  await calls("make shown for 10");
  host.slow = looked.promise;
  addSandbox("slow");
  run("slow", 11);
  await until("its process is looked at", () => host.looked.has(11));
  networks[Symbol.dispose]();
  await networks.clear();
  looked.resolve(undefined);
  await tasks[Symbol.asyncDispose]();
  assert.deepEqual(host.calls, ["make shown for 10", "remove shown"]);
});
