import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ContainerState } from "../../gen/runtime/v1/api_pb.ts";
import { podRows, type Selection, selectRows, stateText } from "./rows.ts";
import { container, end, nowMs, pod, sample, stats } from "./testing/samples.ts";
import { busyNode, usageOf } from "./testing/scenes.ts";
import { UsageHistory } from "./usage.ts";

function names(selection: Partial<Selection>): readonly string[] {
  const rows = podRows(busyNode, usageOf(busyNode));
  return selectRows(rows, { sort: "name", filter: "", ...selection }).map(({ path }) => path);
}

describe("selectRows()", () => {
  test("sorts by name, usage and age", () => {
    const byName = ["default/job", "default/web", "default/日本語", "kube-system/dns"];
    assert.deepEqual(names({ sort: "name" }), byName);
    assert.deepEqual(names({ sort: "cpu" }), [
      "default/web",
      "kube-system/dns",
      "default/日本語",
      "default/job",
    ]);
    assert.deepEqual(names({ sort: "memory" }).slice(0, 2), ["default/web", "kube-system/dns"]);
    assert.deepEqual(names({ sort: "age" }), byName, "equally old pods are sorted by name");
  });

  test("filters by the names of pods and containers, and by the pods of the command line", () => {
    assert.deepEqual(names({ filter: "KUBE" }), ["kube-system/dns"]);
    assert.deepEqual(names({ filter: "logger" }), ["default/web"]);
    assert.deepEqual(names({ filter: "x" }), ["default/web"], "nginx");
    assert.deepEqual(names({ pods: new Set(["default/web", "default/gone"]) }), ["default/web"]);
  });
});

describe("podRows()", () => {
  test("has the last attempt of each container, with its restarts", () => {
    const node = sample({
      pods: [pod("p", "default/web")],
      containers: [
        { ...container("old", "p"), metadata: container("app", "p").metadata, createdAt: 1n },
        container("app", "p", { attempt: 2 }),
      ].map((each) => ({ ...each })),
    });
    const [row] = podRows(node, new UsageHistory());
    assert.deepEqual(
      row?.containers.map(({ id, restarts }) => [id, restarts]),
      [["app", 2]],
    );
    assert.equal(row.restarts, 2);
  });

  test("sums the use of running containers; there is a limit only if all have one", () => {
    const node = sample({
      pods: [pod("p", "default/web")],
      containers: [container("a", "p"), container("b", "p")],
    });
    const usage = new UsageHistory();
    usage.add(
      [stats("a", { cpuMs: 0, memory: 10, limit: 20 }), stats("b", { cpuMs: 0, memory: 5 })],
      nowMs,
    );
    const [row] = podRows(node, usage);
    assert.deepEqual([row?.memoryBytes, row?.limitBytes, row?.cpu], [15e6, undefined, undefined]);
    usage.add(
      [
        stats("a", { cpuMs: 0, memory: 10, limit: 20 }),
        stats("b", { cpuMs: 0, memory: 5, limit: 6 }),
      ],
      nowMs,
    );
    assert.equal(podRows(node, usage)[0]?.limitBytes, 26e6);
  });

  test("colors pods by their containers", () => {
    const tone = (state: ContainerState, code?: number): string | undefined => {
      const ends = new Map(code === undefined ? [] : [["c", end(code)]]);
      const containers = [container("c", "p", { state })];
      const node = sample({ pods: [pod("p", "default/web")], containers, ends });
      return podRows(node, new UsageHistory())[0]?.tone;
    };
    assert.equal(tone(ContainerState.CONTAINER_RUNNING), "green");
    assert.equal(tone(ContainerState.CONTAINER_EXITED, 0), "yellow");
    assert.equal(tone(ContainerState.CONTAINER_EXITED, 3), "red");
    assert.equal(tone(ContainerState.CONTAINER_CREATED), "yellow");
  });

  test("shows paused containers as paused, and their pod as not quite well", () => {
    const containers = [container("c", "p"), container("d", "p")];
    const node = sample({ pods: [pod("p", "default/web")], containers, paused: new Set(["c"]) });
    const [row] = podRows(node, new UsageHistory());
    assert.equal(row?.tone, "yellow");
    assert.deepEqual(
      row.containers.map(({ state, tone }) => [state, tone]),
      [
        ["paused", "yellow"],
        ["running", "green"],
      ],
    );
  });

  test("computes the rates of the network from two samples", () => {
    const pods = [pod("p", "default/web")];
    const at = (atMs: number, rxBytes: number, txBytes: number) =>
      sample({ pods, atMs, network: new Map([["p", { rxBytes, txBytes }]]) });
    const rate = (before = at(nowMs, 1_000, 50), now = at(nowMs + 2_000, 5_000, 50)) =>
      podRows(now, new UsageHistory(), before)[0]?.network;
    assert.deepEqual(rate(), { rx: 2_000, tx: 0 });
    assert.deepEqual(rate(at(nowMs, 9_000, 50)), { rx: 0, tx: 0 }, "the counter has started again");
    assert.equal(rate(sample({ pods })), undefined);
  });
});

test("stateText() has the time since the state began", () => {
  const rows = podRows(busyNode, new UsageHistory());
  const texts = rows.flatMap((row) => [row, ...row.containers]).map((row) => stateText(row, nowMs));
  assert.ok(texts.includes("running 1 h"), texts.join());
  assert.ok(texts.includes("exited (3) 2 min ago"), texts.join());
  const unknown = podRows({ ...busyNode, ends: new Map() }, new UsageHistory());
  assert.equal(
    stateText(unknown.flatMap(({ containers }) => containers)[3] ?? assert.fail(), nowMs),
    "exited",
  );
});
