/**
 * The daemon dies, fails or hangs at every stage of pod operations, each with one kind of pod and one repeated kill.
 * `npm run test:faults` runs all combinations.
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import {
  CrashSites,
  nameOf,
  type PodKind,
  podKinds,
  pointsOf,
  type Spot,
  spotsOf,
  turn,
} from "../support/crash/sites.ts";
import {
  hangEnd,
  hangRecover,
  hangRun,
  killRecover,
  killRemove,
  killRun,
  killStop,
  leavesHalfBuilt,
  teardownSpots,
  throwRecover,
  throwRemove,
  throwRun,
  throwStop,
} from "../support/crash/pod-scenarios.ts";
import { hangUpdatePod, killUpdatePod, throwUpdatePod } from "../support/crash/updates.ts";

const sites = new CrashSites();
after(() => sites[Symbol.asyncDispose]());

const run = spotsOf("run-pod-sandbox");
const stop = spotsOf("stop-pod-sandbox");
const remove = spotsOf("remove-pod-sandbox");
const update = spotsOf("update-pod-sandbox-resources");
const recover = spotsOf("recover");

const kindAt = (at: number): PodKind => turn(podKinds, at);

test("every crash point of the sandboxes' operations is tested here", () => {
  const all = [run, stop, remove, update, recover].flat();
  const struck = new Set(all.map(({ point }) => point));
  const ours = pointsOf("podsandbox").filter((point) =>
    /^(recover|.*-sandbox(-resources)?)\//.test(point),
  );
  assert.deepEqual([...struck].toSorted(), [...ours].toSorted());
});

describe("kill -9 at every stage, and again in the recovery", () => {
  for (const [at, spot] of run.entries()) {
    const again = turn(recover, at);
    test(`${nameOf(spot)}, then ${nameOf(again)}, ${kindAt(at)}`, () =>
      sites.run((site) => killRun(site, spot, kindAt(at), [again])));
  }
  for (const [at, spot] of stop.entries()) {
    const again = turn(recover, at);
    const by = at % 3 === 2 ? "remove" : "stop";
    test(`${nameOf(spot)} of a ${by}, then ${nameOf(again)}, ${kindAt(at + 1)}`, () =>
      sites.run((site) => killStop(site, spot, kindAt(at + 1), [again], by)));
  }
  for (const [at, spot] of remove.entries()) {
    const again = turn(recover, at + 1);
    test(`${nameOf(spot)}, then ${nameOf(again)}, ${kindAt(at)}`, () =>
      sites.run((site) => killRemove(site, spot, kindAt(at), [again])));
  }
  for (const [at, spot] of update.entries()) {
    const again = turn(recover, at);
    test(`${nameOf(spot)}, then ${nameOf(again)}, ${kindAt(at)}`, () =>
      sites.run((site) => killUpdatePod(site, spot, kindAt(at), [again])));
  }
  for (const [at, spot] of recover.entries()) {
    const again = turn(recover, at + 1);
    test(`${nameOf(spot)}, then ${nameOf(again)}, with pods in every state`, () =>
      sites.run((site) => killRecover(site, spot, [again])));
  }
});

test("kill -9 at every stage of taking a half-built sandbox down", () =>
  sites.run(async (site) => {
    const halves = run.filter(leavesHalfBuilt);
    for (const [at, spot] of teardownSpots.entries()) {
      await killRun(site, turn(halves, at * 3 + 2), kindAt(at), [spot]);
    }
  }));

describe("a failure at every stage", () => {
  for (const [at, spot] of run.entries()) {
    test(`${nameOf(spot)}, ${kindAt(at + 1)}`, () =>
      sites.run((site) => throwRun(site, spot, kindAt(at + 1))));
  }
  for (const [at, spot] of stop.entries()) {
    test(`${nameOf(spot)}, ${kindAt(at)}`, () =>
      sites.run((site) => throwStop(site, spot, kindAt(at))));
  }
  for (const [at, spot] of remove.entries()) {
    test(`${nameOf(spot)}, ${kindAt(at + 1)}`, () =>
      sites.run((site) => throwRemove(site, spot, kindAt(at + 1))));
  }
  for (const [at, spot] of update.entries()) {
    test(`${nameOf(spot)}, ${kindAt(at)}`, () =>
      sites.run((site) => throwUpdatePod(site, spot, kindAt(at))));
  }
  for (const [at, spot] of recover.entries()) {
    test(`${nameOf(spot)}, ${kindAt(at)}`, () =>
      sites.run((site) => throwRecover(site, spot, kindAt(at))));
  }
});

describe("a stage that hangs", () => {
  const sample = (spots: readonly Spot[], ...stages: readonly string[]): readonly Spot[] =>
    spots.filter(({ point }) => stages.some((stage) => point.endsWith(`/${stage}`)));

  for (const spot of sample(run, "prepare-cgroup", "network-added", "finish-record")) {
    test(nameOf(spot), () => sites.run((site) => hangRun(site, spot, "with a holder")));
  }
  for (const spot of sample(stop, "end-processes", "network-removed")) {
    test(nameOf(spot), () => sites.run((site) => hangEnd(site, spot, "with a holder", "stop")));
  }
  for (const spot of sample(remove, "shut-down")) {
    test(nameOf(spot), () => sites.run((site) => hangEnd(site, spot, "with a holder", "remove")));
  }
  for (const spot of sample(update, "update-controller")) {
    test(nameOf(spot), () => sites.run((site) => hangUpdatePod(site, spot, "with a holder")));
  }
  for (const spot of sample(recover, "load-sandboxes", "resume-network-teardown")) {
    test(nameOf(spot), () => sites.run((site) => hangRecover(site, spot, "with a holder")));
  }
});
