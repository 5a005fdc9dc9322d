import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import {
  ContainerSchema,
  ContainerStatsSchema,
  ContainerStatusSchema,
  ImageSchema,
  PodSandboxSchema,
  PodSandboxStatsSchema,
} from "../../../gen/runtime/v1/api_pb.ts";
import { joinPods } from "../../objects/find.ts";
import { readHistory, readInflight } from "../../../client/operations.ts";
import { buildActivity } from "./activity.ts";
import { buildImages, layersIn } from "./images.ts";
import { buildPods } from "./pods.ts";
import { subjectFinder } from "./subjects.ts";
import { Usage } from "./usage.ts";

const ms = 1_000_000n;
const pods = [
  create(PodSandboxSchema, {
    id: "p1",
    metadata: { name: "web", namespace: "shop", uid: "u1" },
    createdAt: 5n * ms,
  }),
  create(PodSandboxSchema, {
    id: "p2",
    metadata: { name: "dns", namespace: "kube-system" },
    state: 1,
  }),
];
const containers = [
  create(ContainerSchema, {
    id: "c1",
    podSandboxId: "p1",
    metadata: { name: "nginx", attempt: 0 },
    image: { image: "sha256:aa", userSpecifiedImage: "nginx:1" },
    imageRef: "sha256:aa",
    state: 2,
    createdAt: 10n * ms,
  }),
  create(ContainerSchema, {
    id: "c2",
    podSandboxId: "p1",
    metadata: { name: "nginx", attempt: 1 },
    image: { image: "sha256:aa" },
    state: 1,
    createdAt: 20n * ms,
  }),
];

function containerStats(id: string, atNs: bigint, cpu: bigint) {
  return create(ContainerStatsSchema, {
    attributes: { id },
    cpu: { timestamp: atNs, usageCoreNanoSeconds: { value: cpu } },
    memory: { workingSetBytes: { value: 1_000n } },
  });
}

test("buildPods() joins lists, statuses and usage", () => {
  const statuses = new Map([
    [
      "c1",
      create(ContainerStatusSchema, {
        id: "c1",
        state: 2,
        startedAt: 11n * ms,
        finishedAt: 15n * ms,
        exitCode: 3,
        reason: "Error",
        message: "<b>boom</b>",
        resources: { linux: { memoryLimitInBytes: 64n } },
      }),
    ],
  ]);
  const usage = new Usage();
  usage.update([containerStats("c2", 0n, 0n)], []);
  usage.update([containerStats("c2", 2_000_000_000n, 1_000_000_000n)], []);
  const addresses = new Map([["p1", "10.0.0.7"]]);
  const [dns, web, ...more] = buildPods({
    pods,
    containers,
    statuses,
    paused: new Set(),
    addresses,
    usage,
  });
  assert.deepEqual(more, []);
  assert.ok(dns !== undefined && web !== undefined);
  assert.deepEqual([dns.name, dns.ready, dns.all], ["dns", false, 0]);
  assert.deepEqual(
    [web.name, web.ready, web.ip, web.running, web.all, web.failed, web.createdMs],
    ["web", true, "10.0.0.7", 1, 1, false, 5],
  );
  assert.deepEqual([web.usage.cpu, web.usage.memory], [0.5, 1_000]);
  assert.deepEqual(
    web.containers.map(({ id, state, image, memoryLimit }) => [id, state, image, memoryLimit]),
    [
      ["c2", "running", "sha256:aa", undefined],
      ["c1", "exited", "nginx:1", 64],
    ],
  );
  assert.deepEqual(
    web.containers.map(({ exit }) => exit),
    [undefined, { code: 3, reason: "Error", message: "<b>boom</b>", atMs: 15 }],
  );
});

test("buildPods() shows paused containers as paused", () => {
  const sources = { statuses: new Map(), addresses: new Map(), usage: new Usage() };
  const views = buildPods({ pods, containers, paused: new Set(["c2"]), ...sources });
  const states = views.flatMap((each) => each.containers.map(({ id, state }) => [id, state]));
  assert.deepEqual(states, [
    ["c2", "paused"],
    ["c1", "exited"],
  ]);
});

test("Usage computes rates from successive samples only", () => {
  const usage = new Usage();
  const pod = (atNs: bigint, rx: bigint) =>
    create(PodSandboxStatsSchema, {
      attributes: { id: "p" },
      linux: { network: { timestamp: atNs, defaultInterface: { rxBytes: { value: rx } } } },
    });
  usage.update([], [pod(0n, 100n)]);
  assert.equal(usage.of("p").rx, undefined);
  usage.update([], [pod(2_000_000_000n, 300n)]);
  assert.equal(usage.of("p").rx, 100);
  usage.update([], [pod(2_000_000_000n, 300n)]);
  assert.equal(usage.of("p").rx, 100, "the same sample again");
  usage.update([], [pod(3_000_000_000n, 5n)]);
  assert.equal(usage.of("p").rx, undefined, "the counter began again");
  usage.update([], []);
  assert.equal(usage.of("p").rx, undefined);
});

test("buildActivity() names objects, and survives anything in the info", () => {
  const find = subjectFinder(pods, joinPods(containers, pods));
  const running = readInflight(
    [{ operation: "stop-container", subject: "c2", ageMs: 9, stages: [{ stage: "x", atMs: 2 }] }],
    100,
  );
  const failures = readHistory([
    { operation: "run-pod-sandbox", subject: "a_b_c_0", startedMs: 1, error: "one" },
    {
      operation: "run-pod-sandbox",
      subject: "odd",
      startedMs: 2,
      error: 'run pod sandbox "odd" (stage add-network, 3 ms): two "x": three',
    },
    { operation: "exec", subject: "c2", startedMs: 3, error: "serve: the client disconnected" },
  ]);
  const pulls = [
    {
      image: "busybox",
      layers: [{ sizeBytes: 10, fetchedBytes: 5, state: "fetching" }, 3, { state: 4 }],
    },
    null,
  ];
  const calls = [{ method: "PullImage", ageMs: 5_000 }, { method: "Version", ageMs: 2 }, "x"];
  const view = buildActivity(
    { running, failures: failures ?? [], pulls, calls, supported: true },
    find,
  );
  assert.deepEqual(
    view.running.map(({ subject, podId, stage, stageMs }) => [subject, podId, stage, stageMs]),
    [["shop/web/nginx", "p1", "x", 7]],
  );
  assert.deepEqual(
    view.failures.map(({ subject, error }) => [subject, error]),
    [
      ["odd", 'two "x": three'],
      ["b/a", "one"],
    ],
  );
  assert.deepEqual(view.calls, [{ method: "PullImage", ageMs: 5_000 }]);
  assert.deepEqual(view.pulls, [
    {
      image: "busybox",
      size: 10,
      fetched: 5,
      layers: [
        { state: "fetching", share: 0.5 },
        { state: "", share: 1 },
      ],
    },
  ]);
  const none = buildActivity(
    { running: [], failures: [], pulls: "x", calls: undefined, supported: false },
    find,
  );
  assert.deepEqual([none.pulls, none.calls], [[], []]);
});

test("buildImages() counts the images of a layer and names the users of an image", () => {
  const images = [
    create(ImageSchema, { id: "sha256:aa", repoTags: ["nginx:1"], size: 10n }),
    create(ImageSchema, { id: "sha256:bb", size: 20n, pinned: true }),
  ];
  const layers = new Map([
    ["sha256:aa", ["l1", "l2"]],
    ["sha256:bb", ["l1", "l1"]],
  ]);
  const views = buildImages(images, (id) => layers.get(id) ?? [], { pods, containers });
  assert.deepEqual(
    views.map(({ id, usedBy, pinned, layers: own }) => [
      id,
      usedBy.length,
      pinned,
      own.map((layer) => layer.images),
    ]),
    [
      ["sha256:bb", 0, true, [2, 2]],
      ["sha256:aa", 2, false, [2, 1]],
    ],
  );
  assert.equal(views[1]?.usedBy[0], "shop/web/nginx");
});

test("layersIn() reads the diff ids of a verbose image status", () => {
  assert.deepEqual(layersIn({ imageSpec: { rootfs: { diff_ids: ["a", 3] } } }), ["a"]);
  for (const other of [undefined, null, "x", { imageSpec: 1 }, { imageSpec: { rootfs: [] } }]) {
    assert.deepEqual(layersIn(other), []);
  }
});
