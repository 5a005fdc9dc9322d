/**
 * The daemon dies, fails or hangs at stages of containers that a containerd shim runs, in pods of both controllers.
 * `npm run test:faults` covers all stages.
 */
import "../support/suites/by-shim.ts";
import { after, describe, test } from "node:test";
import type { PodKind } from "../support/crash/sites.ts";
import { atStages, nameOf, type Spot, spotsOf, turn } from "../support/crash/spots.ts";
import {
  killExec,
  killRecoverContainers,
  killRemove,
  killStart,
  killStop,
} from "../support/crash/container-kills.ts";
import { throwExec, throwStart } from "../support/crash/container-failures.ts";
import { endHungStart, hangExec } from "../support/crash/hangs.ts";
import { shimKinds, shimSites } from "../support/crash/shims.ts";

const sites = shimSites();
after(() => sites[Symbol.asyncDispose]());

const recover = spotsOf("recover-containers");
const kindAt = (at: number): PodKind => turn(shimKinds, at);

/** The spots of an operation at which a shim works. */
const at = (operation: string, ...stages: readonly string[]): readonly Spot[] =>
  atStages(spotsOf(operation), ...stages);

const start = at(
  "start-container",
  ...["make-bundle", "start-monitor", "create-process", "mark-start", "start-process"],
);

describe("kill -9, and for some again in the recovery", () => {
  for (const [index, spot] of [...start, ...at("start-container", "finish-record")].entries()) {
    const again = index % 2 === 0 ? [turn(recover, index)] : [];
    test([spot, ...again].map(nameOf).join(", then "), () =>
      sites.run((site) => killStart(site, spot, kindAt(index), again)),
    );
  }
  for (const [index, spot] of at("stop-container", "wait-for-end", "kill-all").entries()) {
    test(nameOf(spot), () => sites.run((site) => killStop(site, spot, kindAt(index))));
  }
  for (const [index, spot] of at("remove-container", "remove-files").entries()) {
    test(nameOf(spot), () => sites.run((site) => killRemove(site, spot, kindAt(index))));
  }
  for (const [index, spot] of at("exec-sync", "start-process", "wait-for-end").entries()) {
    test(nameOf(spot), () => sites.run((site) => killExec(site, spot, kindAt(index))));
  }
  for (const [index, spot] of at("recover-containers", "reattach").entries()) {
    test(nameOf(spot), () =>
      sites.run((site) => killRecoverContainers(site, spot, kindAt(index + 1))),
    );
  }
});

describe("a failure", () => {
  for (const [index, spot] of start.entries()) {
    test(nameOf(spot), () => sites.run((site) => throwStart(site, spot, kindAt(index + 1))));
  }
  for (const [index, spot] of at(
    "exec-sync",
    ...["start-process", "wait-for-end", "kill-command"],
  ).entries()) {
    test(nameOf(spot), () => sites.run((site) => throwExec(site, spot, kindAt(index))));
  }
});

describe("a stage that hangs", () => {
  for (const [index, spot] of at("start-container", "create-process").entries()) {
    test(`${nameOf(spot)}, and then StopContainer`, () =>
      sites.run((site) => endHungStart(site, spot, kindAt(index), "StopContainer")));
  }
  for (const [index, spot] of at("exec-sync", "start-process").entries()) {
    test(nameOf(spot), () => sites.run((site) => hangExec(site, spot, kindAt(index + 1))));
  }
});
