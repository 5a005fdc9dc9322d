/** Every stage of the containers' operations hangs, in each kind of pod, and is ended from outside. */
import { after, test } from "node:test";
import { nameOf, podKinds, spotsOf } from "../support/crash/sites.ts";
import { containerSites } from "../support/crash/containers.ts";
import {
  endHungCreate,
  endHungStart,
  hangCreate,
  hangExec,
  hangRemove,
  hangStart,
  hangStop,
} from "../support/crash/hangs.ts";
import { hangUpdate } from "../support/crash/updates.ts";

const sites = containerSites();
after(() => sites[Symbol.asyncDispose]());

const cases = [
  ["create-container", "hangs", hangCreate],
  ["start-container", "hangs", hangStart],
  ["stop-container", "hangs", hangStop],
  ["remove-container", "hangs", hangRemove],
  ["update-container-resources", "hangs", hangUpdate],
  ["exec-sync", "hangs", hangExec],
] as const;

for (const kind of podKinds) {
  for (const [operation, what, strike] of cases) {
    for (const spot of spotsOf(operation)) {
      test(`${nameOf(spot)}, ${kind}, ${what}`, () =>
        sites.run((site) => strike(site, spot, kind)));
    }
  }
  for (const spot of spotsOf("create-container")) {
    for (const by of ["StopPodSandbox", "RemovePodSandbox"] as const) {
      test(`${nameOf(spot)}, ${kind}, hangs, and then ${by}`, () =>
        sites.run((site) => endHungCreate(site, spot, kind, by)));
    }
  }
  for (const spot of spotsOf("start-container")) {
    for (const by of [
      "StopContainer",
      "RemoveContainer",
      "StopPodSandbox",
      "RemovePodSandbox",
    ] as const) {
      test(`${nameOf(spot)}, ${kind}, hangs, and then ${by}`, () =>
        sites.run((site) => endHungStart(site, spot, kind, by)));
    }
  }
}
