import assert from "node:assert/strict";
import { test } from "node:test";

import { type Container, ContainerStore } from "../../../core/container/index.ts";
import { type Sandbox, SandboxStore } from "../../../core/sandbox/index.ts";
import type { Figures } from "../../../core/stats/index.ts";
import type { StatsContext } from "../context.ts";
import { listPodSandboxMetrics } from "./list.ts";
import { collect, container, figures, fileSystem } from "./testing/figures.ts";

test("listPodSandboxMetrics() has ready pods with their running containers that could be read", async () => {
  const nothing = { put: () => undefined, delete: () => undefined };
  const sandboxes = new SandboxStore(nothing);
  const containers = new ContainerStore(nothing);
  for (const [id, name] of [
    ["p1", "ready"],
    ["p2", "ready"],
    ["p3", "stopped"],
  ] as const) {
    sandboxes.add({ id, name: id, config: {}, state: { name, atNs: 1n } } as unknown as Sandbox);
    sandboxes.list(id);
  }
  for (const [id, sandboxId, name] of [
    ["a", "p1", "running"],
    ["stuck", "p1", "running"],
    ["created", "p1", "created"],
    ["b", "p3", "running"],
  ] as const) {
    containers.add({
      ...container,
      id,
      name: id,
      sandboxId,
      config: {},
      state: { ...container.state, name },
    } as unknown as Container);
    containers.list(id);
  }
  const asked: string[] = [];
  const answer = (pods: readonly Sandbox[], running: readonly Container[]): Promise<Figures> => {
    asked.push(...pods.map(({ id }) => id), ...running.map(({ id }) => id));
    const ofPods = new Map([["p1", { network: undefined, reported: undefined }]]);
    return Promise.resolve({ pods: ofPods, containers: new Map([["a", figures]]), fileSystem });
  };
  const context = {
    sandboxes: { store: sandboxes },
    containers: { store: containers },
    stats: { figures: answer },
  } as unknown as StatsContext;
  const found = await listPodSandboxMetrics(context);
  assert.deepEqual(asked, ["p1", "p2", "a", "stuck"]);
  assert.deepEqual(
    found.map(({ sandbox, containers: its }) => [
      sandbox.id,
      ...its.map((one) => one.container.id),
    ]),
    [["p1", "a"], ["p2"]],
  );
  const [measured] = found[0]?.containers ?? [];
  assert.ok(measured !== undefined && found[1] !== undefined);
  assert.equal(collect(measured.addSamples).length, 53);
  assert.equal(collect(measured.addCurrent).length, 1);
  assert.deepEqual(collect(found[1].addSamples), []);
});
