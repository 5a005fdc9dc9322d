/** Every stage of the container operations fails, and hangs while the daemon is stopped, in each kind of pod. */
import { after, test } from "node:test";
import { podKinds } from "../support/crash/sites.ts";
import { nameOf, spotsOf } from "../support/crash/spots.ts";
import {
  throwCreate,
  throwExec,
  throwRemove,
  throwStart,
  throwStop,
} from "../support/crash/container-failures.ts";
import { containerSites } from "../support/crash/containers.ts";
import { hangAtShutdown } from "../support/crash/hangs.ts";
import { throwUpdate } from "../support/crash/updates.ts";

const sites = containerSites();
after(() => sites[Symbol.asyncDispose]());

const cases = [
  ["create-container", "fails", throwCreate],
  ["create-container", "hangs at the daemon's end", hangAtShutdown],
  ["start-container", "fails", throwStart],
  ["start-container", "hangs at the daemon's end", hangAtShutdown],
  ["stop-container", "fails", throwStop],
  ["stop-container", "hangs at the daemon's end", hangAtShutdown],
  ["remove-container", "fails", throwRemove],
  ["update-container-resources", "fails", throwUpdate],
  ["exec-sync", "fails", throwExec],
  ["exec-sync", "hangs at the daemon's end", hangAtShutdown],
] as const;

/** A stage of the undo has its own deadline, and its operation has failed already when it hangs. */
const endsByItself = "exec-sync/kill-command";

for (const kind of podKinds) {
  for (const [operation, what, strike] of cases) {
    for (const spot of spotsOf(operation)) {
      if (strike === hangAtShutdown && spot.point === endsByItself) continue;
      test(`${nameOf(spot)}, ${kind}, ${what}`, () =>
        sites.run((site) => strike(site, spot, kind)));
    }
  }
}
