/** The daemon dies at every stage of CreateContainer and StartContainer, and of the recovery after it. */
import { after, test } from "node:test";
import { podKinds } from "../support/crash/sites.ts";
import { nameOf, spotsOf } from "../support/crash/spots.ts";
import { killCreate, killStart } from "../support/crash/container-kills.ts";
import { containerSites } from "../support/crash/containers.ts";

const sites = containerSites();
after(() => sites[Symbol.asyncDispose]());

const recover = spotsOf("recover-containers");

/** The kills after the first one: none, one at each stage of recovery, all stages in turn. */
const repeats = [[], ...recover.map((spot) => [spot]), recover];

for (const kind of podKinds) {
  for (const again of repeats) {
    const then = again.map(nameOf).join(", ") || "a restart";
    for (const spot of spotsOf("create-container")) {
      test(`${nameOf(spot)}, ${kind}, then ${then}`, () =>
        sites.run((site) => killCreate(site, spot, kind, again)));
    }
    for (const spot of spotsOf("start-container")) {
      test(`${nameOf(spot)}, ${kind}, then ${then}, started again`, () =>
        sites.run((site) => killStart(site, spot, kind, again)));
    }
  }
  for (const spot of spotsOf("start-container")) {
    test(`${nameOf(spot)}, ${kind}, then made again`, () =>
      sites.run((site) => killStart(site, spot, kind, [], "new")));
  }
}
