/** Every stage fails, and every stage hangs, with each kind of pod. */
import { after, test } from "node:test";
import { CrashSites, nameOf, podKinds, spotsOf } from "../support/crash/sites.ts";
import {
  hangEnd,
  hangRecover,
  hangRun,
  throwRecover,
  throwRemove,
  throwRun,
  throwStop,
} from "../support/crash/pod-scenarios.ts";
import { hangUpdatePod, throwUpdatePod } from "../support/crash/updates.ts";

const sites = new CrashSites();
after(() => sites[Symbol.asyncDispose]());

for (const kind of podKinds) {
  for (const spot of spotsOf("run-pod-sandbox")) {
    const name = `${nameOf(spot)}, ${kind}`;
    test(`${name}, fails`, () => sites.run((site) => throwRun(site, spot, kind)));
    test(`${name}, hangs`, () => sites.run((site) => hangRun(site, spot, kind)));
  }
  for (const spot of spotsOf("stop-pod-sandbox")) {
    const name = `${nameOf(spot)}, ${kind}`;
    test(`${name}, fails`, () => sites.run((site) => throwStop(site, spot, kind)));
    test(`${name}, hangs`, () => sites.run((site) => hangEnd(site, spot, kind, "stop")));
    test(`${name}, hangs in a removal`, () =>
      sites.run((site) => hangEnd(site, spot, kind, "remove")));
  }
  for (const spot of spotsOf("remove-pod-sandbox")) {
    const name = `${nameOf(spot)}, ${kind}`;
    test(`${name}, fails`, () => sites.run((site) => throwRemove(site, spot, kind)));
    test(`${name}, hangs`, () => sites.run((site) => hangEnd(site, spot, kind, "remove")));
  }
  for (const spot of spotsOf("update-pod-sandbox-resources")) {
    const name = `${nameOf(spot)}, ${kind}`;
    test(`${name}, fails`, () => sites.run((site) => throwUpdatePod(site, spot, kind)));
    test(`${name}, hangs`, () => sites.run((site) => hangUpdatePod(site, spot, kind)));
  }
  for (const spot of spotsOf("recover")) {
    const name = `${nameOf(spot)}, ${kind}`;
    test(`${name}, fails`, () => sites.run((site) => throwRecover(site, spot, kind)));
    test(`${name}, hangs`, () => sites.run((site) => hangRecover(site, spot, kind)));
  }
}
