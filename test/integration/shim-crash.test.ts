/**
 * The daemon dies, fails or hangs at stages of pods whose sandboxes a sandboxer makes: no shim, socket, bundle, cgroup
 * or mount is left. `npm run test:faults` covers all stages.
 */
import "../support/suites/by-shim.ts";
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { atStages, nameOf, pointsOf, spotsOf, turn } from "../support/crash/sites.ts";
import {
  hangEnd,
  hangRun,
  killRecover,
  killRemove,
  killRun,
  killStop,
  throwRemove,
  throwRun,
  throwStop,
} from "../support/crash/pod-scenarios.ts";
import { shimSites } from "../support/crash/shims.ts";

const sites = shimSites();
after(() => sites[Symbol.asyncDispose]());

const kind = "by a sandboxer";
const run = spotsOf("run-pod-sandbox", "shim");
const stop = spotsOf("stop-pod-sandbox");
const remove = spotsOf("remove-pod-sandbox");
const recover = spotsOf("recover");

const ownStages = ["pin-namespaces", "make-files", "start-shim", "create-sandbox", "start-sandbox"];
const own = atStages(run, ...ownStages);

test("every crash point that only the shim controller has is tested here", () => {
  const others = new Set<string>(pointsOf("podsandbox"));
  const points = pointsOf("shim").filter((point) => !others.has(point));
  const struck = new Set<string>(own.map(({ point }) => point));
  assert.ok(points.length > 0);
  assert.deepEqual(
    points.filter((point) => !struck.has(point)),
    [],
  );
});

describe("kill -9, and for some again in the recovery", () => {
  for (const [index, spot] of [...own, ...atStages(run, "finish-record", "answer")].entries()) {
    const again = index % 2 === 0 ? [turn(recover, index)] : [];
    test([spot, ...again].map(nameOf).join(", then "), () =>
      sites.run((site) => killRun(site, spot, kind, again)),
    );
  }
  for (const spot of atStages(stop, "end-processes", "close-namespaces", "answer")) {
    test(nameOf(spot), () => sites.run((site) => killStop(site, spot, kind)));
  }
  for (const spot of atStages(remove, "shut-down", "delete-record")) {
    test(nameOf(spot), () => sites.run((site) => killRemove(site, spot, kind)));
  }
  for (const spot of atStages(recover, "load-sandboxes")) {
    test(nameOf(spot), () => sites.run((site) => killRecover(site, spot)));
  }
});

describe("a failure", () => {
  for (const spot of own) {
    test(nameOf(spot), () => sites.run((site) => throwRun(site, spot, kind)));
  }
  for (const spot of atStages(stop, "close-namespaces")) {
    test(nameOf(spot), () => sites.run((site) => throwStop(site, spot, kind)));
  }
  for (const spot of atStages(remove, "shut-down")) {
    test(nameOf(spot), () => sites.run((site) => throwRemove(site, spot, kind)));
  }
});

describe("a stage that hangs", () => {
  for (const spot of atStages(run, "create-sandbox", "start-sandbox")) {
    test(nameOf(spot), () => sites.run((site) => hangRun(site, spot, kind)));
  }
  for (const spot of atStages(remove, "shut-down")) {
    test(nameOf(spot), () => sites.run((site) => hangEnd(site, spot, kind, "remove")));
  }
});
