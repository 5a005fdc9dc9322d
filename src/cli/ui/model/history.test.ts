import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ContainerSchema, PodSandboxSchema } from "../../../gen/runtime/v1/api_pb.ts";
import { joinPods } from "../../objects/find.ts";
import { readHistory, readInflight } from "../../../client/operations.ts";
import { StartHistory, timelineMs } from "./history.ts";
import { parseSubject, reasonIn, toOperationView } from "./operations.ts";
import { pullsOf } from "./pulls.ts";
import { subjectFinder } from "./subjects.ts";

const pods = [
  create(PodSandboxSchema, { id: "p1", metadata: { name: "web", namespace: "shop", uid: "u1" } }),
];
const containers = [
  create(ContainerSchema, { id: "c1", podSandboxId: "p1", metadata: { name: "nginx" } }),
];
const find = subjectFinder(pods, joinPods(containers, pods));
const web = { podId: "p1", namespace: "shop", pod: "web", container: "" };

function past(operation: string, subject: string, startedMs: number, error?: string) {
  const stages = [{ stage: "add-network", atMs: 1 }];
  const told = {
    operation,
    subject,
    startedMs,
    tookMs: 5,
    stages,
    ...(error === undefined ? {} : { error }),
  };
  return readHistory([told]) ?? [];
}

test("parseSubject() reads davit's names of pods and containers", () => {
  const names = { namespace: "shop", pod: "web", uid: "u1" };
  assert.deepEqual(parseSubject("web_shop_u1_0"), { ...names, container: "" });
  assert.deepEqual(parseSubject("nginx_web_shop_u1_2"), { ...names, container: "nginx" });
  for (const other of ["", "0a1b", "docker.io/library/busybox:1", "a_b_c", "a_b_c_d_e_f"]) {
    assert.equal(parseSubject(other), undefined, other);
  }
});

test("toOperationView() has a kind for each phase, and names the plugin after a finished one", () => {
  const marks = [
    ["write-record", "record"],
    ["prepare-cgroup", "cgroup"],
    ["pin-namespaces", "namespace"],
    ["add-network", "network"],
    ["make-files", "files"],
    ["resolve-user", "spec"],
    ["build-spec", "spec"],
    ["start-holder", "process"],
    ["create-process", "process"],
    ["mount-root", "files"],
    ["fetch-layers", "pull"],
    ["verify-image", "pull"],
    ["something-new", "other"],
  ] as const;
  const stages = marks.map(([stage], atMs) => ({ stage, atMs }));
  const [operation] = readHistory([{ operation: "x", startedMs: 0, tookMs: 20, stages }]) ?? [];
  assert.ok(operation !== undefined);
  const view = toOperationView(operation, "c");
  assert.deepEqual(
    view.phases.map(({ kind }) => kind),
    marks.map(([, kind]) => kind),
  );
  assert.deepEqual([view.container, view.running], ["c", false]);
});

test("reasonIn() leaves the reason of an error", () => {
  const id = "0123456789ab".padEnd(64, "0");
  assert.equal(
    reasonIn(`start container "${id}" (stage create-process, 37 ms): no "x" in ${id}: y`),
    'no "x" in 0123456789ab: y',
  );
  for (const other of ["", "anything else: x", `stop "x": ${"a".repeat(63)}`]) {
    assert.equal(reasonIn(other), other);
  }
});

test("subjectFinder() finds objects by id and by name", () => {
  assert.deepEqual(find("p1"), web);
  assert.deepEqual(find("c1"), { ...web, container: "nginx" });
  assert.deepEqual(find("web_shop_u1_0"), web);
  assert.deepEqual(find("sidecar_web_shop_u1_0"), { ...web, container: "sidecar" });
  assert.deepEqual(find("web_shop_other_0")?.podId, "");
  assert.equal(find("docker.io/library/busybox:1"), undefined);
});

test("StartHistory keeps what removed pods did, for an hour", () => {
  const history = new StartHistory();
  history.add(web, past("run-pod-sandbox", "web_shop_u1_0", 1_000));
  history.add(web, past("run-pod-sandbox", "web_shop_u1_0", 1_000));
  history.add({ ...web, container: "nginx" }, past("start-container", "c1", 1_010));
  history.add(web, past("stop-pod-sandbox", "p1", 1_020));
  const gone = subjectFinder([], []);
  const [start, ...more] = history.starts([], gone, 2_000);
  assert.deepEqual(
    [start?.name, start?.operations.map(({ operation, container }) => operation + container)],
    ["web", ["run-pod-sandbox", "start-containernginx"]],
  );
  assert.equal(more.length, 0);
  assert.deepEqual(history.starts([], gone, 1_005 + timelineMs).length, 1, "the container's");
  assert.deepEqual(history.starts([], gone, 2_000 + timelineMs), []);
});

test("StartHistory shows failed creates once, and operations in progress", () => {
  const history = new StartHistory();
  const failures = [
    ...past("run-pod-sandbox", "web_shop_u1_0", 500, "no network"),
    ...past("create-container", "bad_web_shop_u1_0", 1_015, "no image"),
    ...past("pull-image", "busybox", 600, "no registry"),
  ];
  for (let round = 0; round < 3; round++) history.addFailures(failures, find);
  history.add(web, past("run-pod-sandbox", "web_shop_u1_0", 1_000));
  const running = readInflight(
    [
      { operation: "run-pod-sandbox", subject: "new_shop_u2_0", ageMs: 700, stages: [] },
      { operation: "start-container", subject: "c1", ageMs: 100, stages: [] },
      { operation: "pull-image", subject: "x", ageMs: 100, stages: [] },
    ],
    2_000,
  );
  const starts = history.starts(running, find, 2_000);
  assert.deepEqual(
    starts.map(({ name, podId, state, startedMs }) => [name, podId, state, startedMs]),
    [
      ["new", "", "running", 1_300],
      ["web", "p1", "failed", 1_000],
      ["web", "", "failed", 500],
    ],
  );
  assert.deepEqual(
    starts[1]?.operations.map(({ operation, running: now, error }) => [operation, now, error]),
    [
      ["run-pod-sandbox", false, undefined],
      ["create-container", false, "no image"],
      ["start-container", true, undefined],
    ],
  );
});

test("StartHistory is bounded", () => {
  const history = new StartHistory();
  for (let at = 0; at < 2_000; at++) {
    history.add({ ...web, podId: `p${at}` }, past("run-pod-sandbox", "x", at));
  }
  const starts = history.starts([], find, 3_000);
  assert.equal(starts.length, 300);
  assert.equal(starts[0]?.podId, "p1999");
});

const shop = { namespace: "shop", name: "web", uid: "u1" };
const pullOf = (startedMs: number, tookMs: number, pods = [shop]) =>
  readHistory([
    { operation: "pull-image", subject: "x.test/web:1", startedMs, tookMs, stages: [], pods },
    ...Array.from({ length: 20 }, (_, at) => ({
      operation: "pull-layer",
      subject: `sha256:${String(at)}`,
      startedMs: startedMs + 1,
      tookMs: at,
      stages: [],
      transfer: { image: "x.test/web:1", bytes: 10, tookMs: 1 },
    })),
  ]) ?? [];

test("StartHistory has a pull, with its longest layers, in the start of the pod that it was for", () => {
  const history = new StartHistory();
  const pulls = pullOf(1_010, 90_000);
  history.addPulls(pulls, find);
  assert.deepEqual(history.starts([], find, 2_000), [], "a pull alone is not a start");
  history.add(web, past("run-pod-sandbox", "web_shop_u1_0", 1_000));
  const created = past("create-container", "c1", 91_020);
  history.add({ ...web, container: "nginx" }, created);
  history.addPulls(pulls, find);
  history.addPulls(pulls, find);
  const [start, ...more] = history.starts([], subjectFinder([], []), 92_000);
  assert.deepEqual(more, [], "a start that waits for its pull is one start");
  const operations = start?.operations.map(({ operation }) => operation) ?? [];
  assert.equal(operations.filter((operation) => operation === "pull-layer").length, 8);
  assert.deepEqual(
    operations.filter((operation) => operation !== "pull-layer"),
    ["run-pod-sandbox", "pull-image", "create-container"],
  );
  assert.equal(start?.tookMs, 90_025);
  const shown = pullsOf(pulls, [], find, { sinceMs: 0, starts: [start] });
  assert.deepEqual(shown, [], "and not a row of its own");
});

test("StartHistory has a pull in progress, and pods that have gone keep theirs", () => {
  const history = new StartHistory();
  history.add(web, past("run-pod-sandbox", "web_shop_u1_0", 1_000));
  const inflight = { operation: "pull-image", subject: "x.test/web:1", ageMs: 500, stages: [] };
  const running = readInflight([{ ...inflight, pods: [shop] }], 2_000);
  const [start] = history.starts(running, find, 2_000);
  assert.equal(start?.state, "running");
  assert.deepEqual(
    start.operations.map(({ operation, container, running: is }) => [operation, container, is]),
    [
      ["run-pod-sandbox", "", false],
      ["pull-image", "x.test/web:1", true],
    ],
  );
  const other = readInflight([{ ...inflight, pods: [{ ...shop, uid: "u9" }] }], 2_000);
  assert.equal(history.starts(other, find, 2_000)[0]?.operations.length, 1);
  assert.equal(history.starts([...readInflight([inflight], 2_000)], find, 2_000).length, 1);
});
