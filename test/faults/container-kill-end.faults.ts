/**
 * The daemon dies at every stage of StopContainer, RemoveContainer, UpdateContainerResources, ExecSync and
 * ReopenContainerLog, and of the recovery after it.
 */
import { after, test } from "node:test";
import { podKinds } from "../support/crash/sites.ts";
import { nameOf, spotsOf } from "../support/crash/spots.ts";
import { killExec, killRemove, killStop } from "../support/crash/container-kills.ts";
import { containerSites } from "../support/crash/containers.ts";
import { killReopen } from "../support/crash/logs.ts";
import { killUpdate } from "../support/crash/updates.ts";

const sites = containerSites();
after(() => sites[Symbol.asyncDispose]());

const recover = spotsOf("recover-containers");

/** The kills after the first one: none, one at each stage of recovery, all stages in turn. */
const repeats = [[], ...recover.map((spot) => [spot]), recover];

for (const kind of podKinds) {
  for (const again of repeats) {
    const then = again.map(nameOf).join(", ") || "a restart";
    for (const spot of spotsOf("stop-container")) {
      test(`${nameOf(spot)}, ${kind}, then ${then}`, () =>
        sites.run((site) => killStop(site, spot, kind, again)));
    }
    for (const spot of spotsOf("remove-container")) {
      test(`${nameOf(spot)}, ${kind}, then ${then}`, () =>
        sites.run((site) => killRemove(site, spot, kind, again)));
    }
    for (const spot of spotsOf("update-container-resources")) {
      test(`${nameOf(spot)}, ${kind}, then ${then}`, () =>
        sites.run((site) => killUpdate(site, spot, kind, again)));
    }
    for (const spot of spotsOf("exec-sync")) {
      test(`${nameOf(spot)}, ${kind}, then ${then}`, () =>
        sites.run((site) => killExec(site, spot, kind, again)));
    }
    for (const spot of spotsOf("reopen-log")) {
      for (const old of ["renamed back", "left"] as const) {
        test(`${nameOf(spot)}, the old file is ${old}, ${kind}, then ${then}`, () =>
          sites.run((site) => killReopen(site, spot, kind, { old, ends: false }, again)));
      }
    }
  }
  for (const spot of spotsOf("remove-container")) {
    test(`${nameOf(spot)} of one that never ran, ${kind}`, () =>
      sites.run((site) => killRemove(site, spot, kind, [], "created")));
  }
}
