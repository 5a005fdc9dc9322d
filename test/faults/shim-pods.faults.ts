/** The daemon dies, fails or hangs at every stage of pods whose sandboxes a sandboxer makes. */
import "../support/suites/by-shim.ts";
import { after, test } from "node:test";
import { nameOf, spotsOf } from "../support/crash/sites.ts";
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
import { shimSites } from "../support/crash/shims.ts";
import { hangUpdatePod, killUpdatePod, throwUpdatePod } from "../support/crash/updates.ts";

const sites = shimSites();
after(() => sites[Symbol.asyncDispose]());

const kind = "by a sandboxer";
const recover = spotsOf("recover");

for (const spot of spotsOf("run-pod-sandbox", "shim")) {
  const name = nameOf(spot);
  for (const again of [[], ...recover.map((each) => [each]), recover]) {
    test(`${name}, then ${again.map(nameOf).join(", ") || "a restart"}`, () =>
      sites.run((site) => killRun(site, spot, kind, again)));
  }
  for (const again of leavesHalfBuilt(spot) ? teardownSpots : []) {
    test(`${name}, then ${nameOf(again)}`, () =>
      sites.run((site) => killRun(site, spot, kind, [again])));
  }
  test(`${name}, fails`, () => sites.run((site) => throwRun(site, spot, kind)));
  test(`${name}, hangs`, () => sites.run((site) => hangRun(site, spot, kind)));
}
for (const spot of spotsOf("stop-pod-sandbox")) {
  const name = nameOf(spot);
  for (const by of ["stop", "remove"] as const) {
    test(`${name} of a ${by}`, () => sites.run((site) => killStop(site, spot, kind, [], by)));
    test(`${name} of a ${by}, hangs`, () => sites.run((site) => hangEnd(site, spot, kind, by)));
  }
  test(`${name}, fails`, () => sites.run((site) => throwStop(site, spot, kind)));
}
for (const spot of spotsOf("remove-pod-sandbox")) {
  const name = nameOf(spot);
  test(name, () => sites.run((site) => killRemove(site, spot, kind)));
  test(`${name}, fails`, () => sites.run((site) => throwRemove(site, spot, kind)));
  test(`${name}, hangs`, () => sites.run((site) => hangEnd(site, spot, kind, "remove")));
}
for (const spot of spotsOf("update-pod-sandbox-resources")) {
  const name = nameOf(spot);
  test(name, () => sites.run((site) => killUpdatePod(site, spot, kind)));
  test(`${name}, fails`, () => sites.run((site) => throwUpdatePod(site, spot, kind)));
  test(`${name}, hangs`, () => sites.run((site) => hangUpdatePod(site, spot, kind)));
}
for (const spot of recover) {
  const name = nameOf(spot);
  for (const again of [[], ...recover.map((each) => [each])]) {
    test(`${name}, then ${again.map(nameOf).join(", ") || "a restart"}`, () =>
      sites.run((site) => killRecover(site, spot, again)));
  }
  test(`${name}, fails`, () => sites.run((site) => throwRecover(site, spot, kind)));
  test(`${name}, hangs`, () => sites.run((site) => hangRecover(site, spot, kind)));
}
