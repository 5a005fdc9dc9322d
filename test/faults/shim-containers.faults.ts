/** The daemon dies, fails or hangs at every stage of containers of a containerd shim, in pods of both controllers. */
import "../support/suites/by-shim.ts";
import { after, test } from "node:test";
import { nameOf, spotsOf } from "../support/crash/spots.ts";
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
import {
  endHungStart,
  hangAtShutdown,
  hangExec,
  hangRemove,
  hangStart,
  hangStop,
} from "../support/crash/hangs.ts";
import { hangRecover, throwRecover } from "../support/crash/pod-scenarios.ts";
import { shimKinds, shimSites } from "../support/crash/shims.ts";
import { hangUpdate, killUpdate, throwUpdate } from "../support/crash/updates.ts";

const sites = shimSites();
after(() => sites[Symbol.asyncDispose]());

const recover = spotsOf("recover-containers");

const cases = [
  ["create-container", "dies", killCreate],
  ["create-container", "fails", throwCreate],
  ["start-container", "fails", throwStart],
  ["start-container", "hangs", hangStart],
  ["start-container", "hangs at the daemon's end", hangAtShutdown],
  ["stop-container", "dies", killStop],
  ["stop-container", "fails", throwStop],
  ["stop-container", "hangs", hangStop],
  ["remove-container", "dies", killRemove],
  ["remove-container", "fails", throwRemove],
  ["remove-container", "hangs", hangRemove],
  ["update-container-resources", "dies", killUpdate],
  ["update-container-resources", "fails", throwUpdate],
  ["update-container-resources", "hangs", hangUpdate],
  ["exec-sync", "dies", killExec],
  ["exec-sync", "fails", throwExec],
  ["exec-sync", "hangs", hangExec],
  ["recover-containers", "dies", killRecoverContainers],
  ["recover-containers", "fails", throwRecover],
  ["recover-containers", "hangs", hangRecover],
] as const;

for (const kind of shimKinds) {
  for (const [operation, what, strike] of cases) {
    for (const spot of spotsOf(operation)) {
      test(`${nameOf(spot)}, ${kind}, ${what}`, () =>
        sites.run((site) => strike(site, spot, kind)));
    }
  }
  for (const spot of spotsOf("start-container")) {
    for (const again of [[], ...recover.map((each) => [each])]) {
      test(`${nameOf(spot)}, ${kind}, dies, then ${again.map(nameOf).join(", ") || "a restart"}`, () =>
        sites.run((site) => killStart(site, spot, kind, again)));
    }
    for (const by of ["StopContainer", "RemoveContainer", "RemovePodSandbox"] as const) {
      test(`${nameOf(spot)}, ${kind}, hangs, and then ${by}`, () =>
        sites.run((site) => endHungStart(site, spot, kind, by)));
    }
  }
}
