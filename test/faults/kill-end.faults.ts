/** The daemon dies at every stage of StopPodSandbox and RemovePodSandbox, and of the recovery after it. */
import { after, describe, test } from "node:test";
import { CrashSites, nameOf, podKinds, spotsOf } from "../support/crash/sites.ts";
import { killRemove, killStop } from "../support/crash/pod-scenarios.ts";
import { killUpdatePod } from "../support/crash/updates.ts";

const sites = new CrashSites();
after(() => sites[Symbol.asyncDispose]());

const recover = spotsOf("recover");
/** The kills after the first one: none, one at each stage of recovery, all stages in turn. */
const repeats = [[], ...recover.map((spot) => [spot]), recover];

for (const kind of podKinds) {
  for (const by of ["stop", "remove"] as const) {
    for (const spot of spotsOf("stop-pod-sandbox")) {
      describe(`${nameOf(spot)} of a ${by}, ${kind}`, () => {
        for (const again of repeats) {
          test(`then ${again.map(nameOf).join(", ") || "a restart"}`, () =>
            sites.run((site) => killStop(site, spot, kind, again, by)));
        }
      });
    }
  }
  for (const spot of spotsOf("update-pod-sandbox-resources")) {
    describe(`${nameOf(spot)}, ${kind}`, () => {
      for (const again of repeats) {
        test(`then ${again.map(nameOf).join(", ") || "a restart"}`, () =>
          sites.run((site) => killUpdatePod(site, spot, kind, again)));
      }
    });
  }
  for (const spot of spotsOf("remove-pod-sandbox")) {
    describe(`${nameOf(spot)}, ${kind}`, () => {
      for (const again of repeats) {
        test(`then ${again.map(nameOf).join(", ") || "a restart"}`, () =>
          sites.run((site) => killRemove(site, spot, kind, again)));
      }
    });
  }
}
