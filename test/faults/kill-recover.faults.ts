/** The daemon dies at every stage of a recovery with all kinds of work, and of the next recovery. */
import { after, test } from "node:test";
import { CrashSites, nameOf, spotsOf } from "../support/crash/sites.ts";
import { killRecover } from "../support/crash/pod-scenarios.ts";

const sites = new CrashSites();
after(() => sites[Symbol.asyncDispose]());

const recover = spotsOf("recover");

for (const spot of recover) {
  for (const again of [[], ...recover.map((each) => [each]), recover]) {
    test(`${nameOf(spot)}, then ${again.map(nameOf).join(", ") || "a restart"}`, () =>
      sites.run((site) => killRecover(site, spot, again)));
  }
}
