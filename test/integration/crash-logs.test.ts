/** The daemon dies or fails at every stage of a rotation of a container's log: no line is lost or doubled. */
// variants: conmon
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { crashPoints } from "../../src/core/operation/index.ts";
import { containerSites } from "../support/crash/containers.ts";
import { killReopen, throwReopen } from "../support/crash/logs.ts";
import { type PodKind, podKinds } from "../support/crash/sites.ts";
import { nameOf, spotsOf, turn } from "../support/crash/spots.ts";

const sites = containerSites();
after(() => sites[Symbol.asyncDispose]());

const reopen = spotsOf("reopen-log");
const recover = spotsOf("recover-containers");
const kindAt = (at: number): PodKind => turn(podKinds, at);

test("every crash point of rotations is tested here", () => {
  const ours = crashPoints.filter((point) => point.startsWith("reopen-log/"));
  assert.deepEqual(
    reopen.map(({ point }) => point),
    ours,
  );
});

describe("kill -9 at every stage, and for some again in the recovery", () => {
  for (const [at, spot] of reopen.entries()) {
    for (const old of ["renamed back", "left"] as const) {
      for (const ends of [false, true]) {
        const again = ends || old === "left" ? [] : [turn(recover, at + 1)];
        const then = ends ? "the container ends" : "it runs on";
        const names = [spot, ...again].map(nameOf).join(", then ");
        test(`${names}, the old file is ${old}, ${then}`, () =>
          sites.run((site) => killReopen(site, spot, kindAt(at), { old, ends }, again)));
      }
    }
  }
});

describe("a failure at every stage", () => {
  for (const [at, spot] of reopen.entries()) {
    test(nameOf(spot), () => sites.run((site) => throwReopen(site, spot, kindAt(at + 1))));
  }
});
