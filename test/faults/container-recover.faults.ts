/** The daemon dies, fails or hangs at every stage of the recovery of containers, and dies in the next recovery. */
import { after, test } from "node:test";
import { podKinds } from "../support/crash/sites.ts";
import { nameOf, spotsOf } from "../support/crash/spots.ts";
import { killRecoverContainers } from "../support/crash/container-kills.ts";
import { containerSites } from "../support/crash/containers.ts";
import { hangRecover, throwRecover } from "../support/crash/pod-scenarios.ts";

const sites = containerSites();
after(() => sites[Symbol.asyncDispose]());

const recover = spotsOf("recover-containers");

for (const [at, spot] of recover.entries()) {
  for (const [turn, again] of [[], ...recover.map((each) => [each]), recover].entries()) {
    const kind = podKinds[(at + turn) % podKinds.length] ?? "with a holder";
    test(`${nameOf(spot)}, then ${again.map(nameOf).join(", ") || "a restart"}, ${kind}`, () =>
      sites.run((site) => killRecoverContainers(site, spot, kind, again)));
  }
  for (const kind of podKinds) {
    test(`${nameOf(spot)}, ${kind}, fails`, () =>
      sites.run((site) => throwRecover(site, spot, kind)));
    test(`${nameOf(spot)}, ${kind}, hangs`, () =>
      sites.run((site) => hangRecover(site, spot, kind)));
  }
}
