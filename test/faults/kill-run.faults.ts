/** The daemon dies at every stage of RunPodSandbox, and again at every stage that follows from it. */
import { after, describe, test } from "node:test";
import { CrashSites, nameOf, podKinds, spotsOf } from "../support/crash/sites.ts";
import { killRun, leavesHalfBuilt, teardownSpots } from "../support/crash/pod-scenarios.ts";

const sites = new CrashSites();
after(() => sites[Symbol.asyncDispose]());

const recover = spotsOf("recover");

for (const kind of podKinds) {
  for (const spot of spotsOf("run-pod-sandbox")) {
    describe(`${nameOf(spot)}, ${kind}`, () => {
      test("then a restart", () => sites.run((site) => killRun(site, spot, kind)));
      for (const again of recover) {
        test(`then ${nameOf(again)}`, () =>
          sites.run((site) => killRun(site, spot, kind, [again])));
      }
      test("then every stage of recovery, one after the other", () =>
        sites.run((site) => killRun(site, spot, kind, recover)));
      for (const again of leavesHalfBuilt(spot) ? teardownSpots : []) {
        test(`then ${nameOf(again)}`, () =>
          sites.run((site) => killRun(site, spot, kind, [again])));
      }
    });
  }
}
