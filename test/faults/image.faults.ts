/** The daemon dies, fails or hangs at every stage of PullImage and RemoveImage, and of the recovery. */
import { after, test } from "node:test";
import { nameOf, spotsOf } from "../support/crash/sites.ts";
import { containerSites } from "../support/crash/containers.ts";
import { hangPull, hangRemoveImage } from "../support/crash/hangs.ts";
import {
  killPull,
  killRemoveImage,
  throwPull,
  throwRemoveImage,
} from "../support/crash/image-scenarios.ts";

const sites = containerSites();
after(() => sites[Symbol.asyncDispose]());

const recover = spotsOf("recover-containers");
const kind = "without a holder";

const cases = [
  ["pull-image", killPull, throwPull, hangPull],
  ["pull-layer", killPull, throwPull, hangPull],
  ["remove-image", killRemoveImage, throwRemoveImage, hangRemoveImage],
] as const;

for (const [operation, kill, fail, hang] of cases) {
  for (const spot of spotsOf(operation)) {
    for (const again of [[], ...recover.map((each) => [each]), recover]) {
      test(`${nameOf(spot)}, then ${again.map(nameOf).join(", ") || "a restart"}`, () =>
        sites.run((site) => kill(site, spot, kind, again)));
    }
    test(`${nameOf(spot)}, fails`, () => sites.run((site) => fail(site, spot, kind)));
    test(`${nameOf(spot)}, hangs`, () => sites.run((site) => hang(site, spot, kind)));
  }
}
