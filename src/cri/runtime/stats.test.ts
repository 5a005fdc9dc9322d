import assert from "node:assert/strict";
import { create, fromBinary } from "@bufbuild/protobuf";
import { test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { type Container, ContainerStore } from "../../core/container/index.ts";
import { type Sandbox, SandboxStore } from "../../core/sandbox/index.ts";
import type { StatsReader } from "../../core/stats/index.ts";
import {
  ContainerConfigSchema,
  ContainerStatsRequestSchema,
  ContainerStatsResponseSchema,
  ListContainerStatsRequestSchema,
  ListContainerStatsResponseSchema,
  ListPodSandboxStatsRequestSchema,
  ListPodSandboxStatsResponseSchema,
  PodSandboxConfigSchema,
  PodSandboxStatsRequestSchema,
  PodSandboxStatsResponseSchema,
  StreamContainerStatsRequestSchema,
  StreamContainerStatsResponseSchema,
  StreamPodSandboxStatsRequestSchema,
  StreamPodSandboxStatsResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { containerStats } from "./container-stats.ts";
import { listContainerStats } from "./list-container-stats.ts";
import { listPodSandboxStats } from "./list-pod-sandbox-stats.ts";
import { podSandboxStats } from "./pod-sandbox-stats.ts";
import { streamContainerStats } from "./stream-container-stats.ts";
import { streamPodSandboxStats } from "./stream-pod-sandbox-stats.ts";

const none = { resources: undefined, writableLayer: undefined };

/** Answers for everything but what is stuck. */
function reader(stuck: readonly string[]): StatsReader {
  const answer = <T>(objects: readonly { readonly id: string }[], make: () => T): Map<string, T> =>
    new Map(objects.filter(({ id }) => !stuck.includes(id)).map(({ id }) => [id, make()]));
  return {
    containers: (containers) => Promise.resolve(answer(containers, () => ({ ...none }))),
    pods: (sandboxes) =>
      Promise.resolve(answer(sandboxes, () => ({ resources: undefined, network: undefined }))),
    figures: () => Promise.reject(new Error("no metrics here")),
  };
}

/** Pods p1 and p2 with two containers each, c1a c1b c2a c2b; p3 is stopped and has c3a. */
function contextWith(stuck: readonly string[] = []): CriContext {
  const nothing = { put: () => undefined, delete: () => undefined };
  const sandboxes = new SandboxStore(nothing);
  const containers = new ContainerStore(nothing);
  for (const [id, own] of Object.entries({ p1: ["c1a", "c1b"], p2: ["c2a", "c2b"], p3: ["c3a"] })) {
    const state = id === "p3" ? { name: "stopped", atNs: 1n } : { name: "ready" };
    const config = create(PodSandboxConfigSchema, { labels: { pod: id } });
    sandboxes.add({ id, name: id, config, state } as Sandbox);
    sandboxes.list(id);
    for (const name of own) {
      containers.add({
        id: name,
        name,
        sandboxId: id,
        config: create(ContainerConfigSchema, { labels: { own: name } }),
        state: { name: "created" },
      } as Container);
      containers.list(name);
    }
  }
  return {
    sandboxes: { store: sandboxes },
    containers: { store: containers },
    stats: reader(stuck),
  } as CriContext;
}

async function listed(
  context: CriContext,
  filter?: { id?: string; podSandboxId?: string; labelSelector?: Record<string, string> },
): Promise<readonly (string | undefined)[]> {
  const request = create(ListContainerStatsRequestSchema, filter === undefined ? {} : { filter });
  const bytes = await listContainerStats(context, request);
  return fromBinary(ListContainerStatsResponseSchema, bytes).stats.map((s) => s.attributes?.id);
}

test("listContainerStats() lists created containers, too, and follows its filter", async () => {
  const context = contextWith();
  assert.deepEqual(await listed(context), ["c1a", "c1b", "c2a", "c2b", "c3a"]);
  assert.deepEqual(await listed(context, { id: "c1" }), ["c1a", "c1b"]);
  assert.deepEqual(await listed(context, { podSandboxId: "p2" }), ["c2a", "c2b"]);
  assert.deepEqual(await listed(context, { labelSelector: { own: "c3a" } }), ["c3a"]);
  assert.deepEqual(await listed(context, { id: "x" }), []);
});

test("listContainerStats() leaves out what does not answer", async () => {
  assert.deepEqual(await listed(contextWith(["c1b"])), ["c1a", "c2a", "c2b", "c3a"]);
});

test("containerStats() answers by a unique beginning, and says not-found and unavailable", async () => {
  const ask = async (context: CriContext, containerId: string): Promise<string | undefined> => {
    const request = create(ContainerStatsRequestSchema, { containerId });
    const bytes = await containerStats(context, request);
    return fromBinary(ContainerStatsResponseSchema, bytes).stats?.attributes?.id;
  };
  assert.equal(await ask(contextWith(), "c3"), "c3a");
  await assert.rejects(ask(contextWith(), "gone"), (error) => isKind(error, "not-found"));
  await assert.rejects(ask(contextWith(["c3a"]), "c3a"), (error) => isKind(error, "unavailable"));
});

test("podSandboxStats() has the pod's containers, and refuses a pod that is not ready", async () => {
  const ask = async (context: CriContext, podSandboxId: string): Promise<readonly unknown[]> => {
    const request = create(PodSandboxStatsRequestSchema, { podSandboxId });
    const { stats } = fromBinary(
      PodSandboxStatsResponseSchema,
      await podSandboxStats(context, request),
    );
    return [
      stats?.attributes?.id,
      ...(stats?.linux?.containers ?? []).map((c) => c.attributes?.id),
    ];
  };
  assert.deepEqual(await ask(contextWith(), "p1"), ["p1", "c1a", "c1b"]);
  assert.deepEqual(await ask(contextWith(["c1a"]), "p1"), ["p1", "c1b"]);
  await assert.rejects(ask(contextWith(), "gone"), (error) => isKind(error, "not-found"));
  await assert.rejects(ask(contextWith(), "p3"), (error) => isKind(error, "unavailable"));
  await assert.rejects(ask(contextWith(["p1"]), "p1"), (error) => isKind(error, "unavailable"));
});

test("listPodSandboxStats() lists ready pods, with their own containers", async () => {
  const list = async (context: CriContext, filter?: { id: string }): Promise<unknown> => {
    const request = create(
      ListPodSandboxStatsRequestSchema,
      filter === undefined ? {} : { filter },
    );
    const bytes = await listPodSandboxStats(context, request);
    return fromBinary(ListPodSandboxStatsResponseSchema, bytes).stats.map(
      ({ attributes, linux }) => [
        attributes?.id,
        ...(linux?.containers ?? []).map((c) => c.attributes?.id),
      ],
    );
  };
  const p1 = ["p1", "c1a", "c1b"];
  const p2 = ["p2", "c2a", "c2b"];
  assert.deepEqual(await list(contextWith()), [p1, p2]);
  assert.deepEqual(await list(contextWith(), { id: "p2" }), [p2]);
  assert.deepEqual(await list(contextWith(["p1"])), [p2]);
});

test("the streams give what the lists give", async () => {
  const context = contextWith();
  const containers: unknown[] = [];
  for await (const bytes of streamContainerStats(
    context,
    create(StreamContainerStatsRequestSchema, { filter: { podSandboxId: "p1" } }),
  )) {
    const message = fromBinary(StreamContainerStatsResponseSchema, bytes);
    containers.push(...message.containerStats.map((s) => s.attributes?.id));
  }
  assert.deepEqual(containers, ["c1a", "c1b"]);
  const pods: unknown[] = [];
  for await (const bytes of streamPodSandboxStats(
    context,
    create(StreamPodSandboxStatsRequestSchema),
  )) {
    const message = fromBinary(StreamPodSandboxStatsResponseSchema, bytes);
    pods.push(...message.podSandboxStats.map((s) => s.attributes?.id));
  }
  assert.deepEqual(pods, ["p1", "p2"]);
});
