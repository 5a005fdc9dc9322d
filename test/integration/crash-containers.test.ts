/**
 * The daemon dies, fails or hangs at every stage of container operations, each with one kind of pod and one repeated
 * kill. `npm run test:faults` runs all combinations.
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { type PodKind, podKinds } from "../support/crash/sites.ts";
import { atStages, nameOf, pointsOf, spotsOf, turn } from "../support/crash/spots.ts";
import {
  killCreate,
  killExec,
  killRecoverContainers,
  killRemove,
  killStart,
  killStop,
} from "../support/crash/container-kills.ts";
import {
  throwCreate,
  throwExec,
  throwRemove,
  throwStart,
  throwStop,
} from "../support/crash/container-failures.ts";
import { containerSites } from "../support/crash/containers.ts";
import {
  endHungCreate,
  endHungStart,
  hangAtShutdown,
  hangExec,
  hangRemove,
  hangStop,
} from "../support/crash/hangs.ts";
import { hangRecover, throwRecover } from "../support/crash/pod-scenarios.ts";
import { hangUpdate, killUpdate, throwUpdate } from "../support/crash/updates.ts";

const sites = containerSites();
after(() => sites[Symbol.asyncDispose]());

const create = spotsOf("create-container");
const start = spotsOf("start-container");
const stop = spotsOf("stop-container");
const remove = spotsOf("remove-container");
const update = spotsOf("update-container-resources");
const exec = spotsOf("exec-sync");
const recover = spotsOf("recover-containers");

const kindAt = (at: number): PodKind => turn(podKinds, at);

test("every crash point of the containers' operations is tested here", () => {
  const all = [create, start, stop, remove, update, exec, recover].flat();
  const struck = new Set(all.map(({ point }) => point));
  const ours = pointsOf("podsandbox").filter((point) =>
    /^(.*-containers?(-resources)?|exec-sync)\//.test(point),
  );
  assert.deepEqual([...struck].toSorted(), [...ours].toSorted());
});

describe("kill -9 at every stage, and for some again in the recovery", () => {
  const kills = [
    [create, killCreate],
    [start, killStart],
    [stop, killStop],
    [remove, killRemove],
    [update, killUpdate],
    [exec, killExec],
    [recover, killRecoverContainers],
  ] as const;
  for (const [spots, kill] of kills) {
    for (const [at, spot] of spots.entries()) {
      const again = at % 2 === 0 ? [turn(recover, at)] : [];
      test([spot, ...again].map(nameOf).join(", then "), () =>
        sites.run((site) => kill(site, spot, kindAt(at), again)),
      );
    }
  }
});

describe("a failure at every stage", () => {
  const throws = [
    [create, throwCreate],
    [start, throwStart],
    [stop, throwStop],
    [remove, throwRemove],
    [update, throwUpdate],
    [exec, throwExec],
    [recover, throwRecover],
  ] as const;
  for (const [spots, fail] of throws) {
    for (const [at, spot] of spots.entries()) {
      test(nameOf(spot), () => sites.run((site) => fail(site, spot, kindAt(at + 1))));
    }
  }
});

describe("a stage that hangs", () => {
  for (const spot of atStages(create, "mount-root")) {
    test(`${nameOf(spot)}, and its pod is stopped`, () =>
      sites.run((site) => endHungCreate(site, spot, "with a holder", "StopPodSandbox")));
  }
  for (const spot of atStages(start, "create-process")) {
    for (const by of ["StopContainer", "RemoveContainer", "StopPodSandbox"] as const) {
      test(`${nameOf(spot)}, and then ${by}`, () =>
        sites.run((site) => endHungStart(site, spot, "with a holder", by)));
    }
  }
  for (const spot of atStages(start, "finish-record")) {
    test(`${nameOf(spot)}, and the daemon is stopped`, () =>
      sites.run((site) => hangAtShutdown(site, spot, "without a holder")));
  }
  for (const spot of atStages(stop, "wait-for-end")) {
    test(nameOf(spot), () => sites.run((site) => hangStop(site, spot, "with a holder")));
  }
  for (const spot of atStages(remove, "unmount-root")) {
    test(nameOf(spot), () => sites.run((site) => hangRemove(site, spot, "with a holder")));
  }
  for (const spot of atStages(update, "write-record")) {
    test(`${nameOf(spot)}, and then StopContainer`, () =>
      sites.run((site) => hangUpdate(site, spot, "with a holder")));
  }
  for (const spot of atStages(exec, "start-process", "kill-command")) {
    test(nameOf(spot), () => sites.run((site) => hangExec(site, spot, "with a holder")));
  }
  for (const spot of atStages(recover, "reattach")) {
    test(nameOf(spot), () => sites.run((site) => hangRecover(site, spot, "with a holder")));
  }
});
