/** The daemon dies or fails at every stage of streaming operations. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { crashPoints } from "../../src/core/operation/index.ts";
import { nameOf, type PodKind, podKinds, spotsOf, turn } from "../support/crash/sites.ts";
import { containerSites } from "../support/crash/containers.ts";
import { killStream, strikeForward, throwStream } from "../support/crash/streams.ts";

const sites = containerSites();
after(() => sites[Symbol.asyncDispose]());

const streams = [...spotsOf("exec"), ...spotsOf("attach")];
const forwards = spotsOf("port-forward");
const recover = spotsOf("recover-containers");
const kindAt = (at: number): PodKind => turn(podKinds, at);

test("every crash point of streaming is tested here", () => {
  const struck = new Set([...streams, ...forwards].map(({ point }) => point));
  const ours = crashPoints.filter((point) => /^(exec|attach|port-forward)\//.test(point));
  assert.deepEqual([...struck].toSorted(), [...ours].toSorted());
});

describe("kill -9 at every stage, and for some again in the recovery", () => {
  for (const [at, spot] of streams.entries()) {
    const again = at % 2 === 0 ? [turn(recover, at)] : [];
    test([spot, ...again].map(nameOf).join(", then "), () =>
      sites.run((site) => killStream(site, spot, kindAt(at), again)),
    );
  }
  for (const [at, spot] of forwards.entries()) {
    test(nameOf(spot), () => sites.run((site) => strikeForward(site, spot, kindAt(at), "kill")));
  }
});

describe("a failure at every stage", () => {
  for (const [at, spot] of streams.entries()) {
    test(nameOf(spot), () => sites.run((site) => throwStream(site, spot, kindAt(at + 1))));
  }
  for (const [at, spot] of forwards.entries()) {
    test(nameOf(spot), () =>
      sites.run((site) => strikeForward(site, spot, kindAt(at + 1), "throw")),
    );
  }
});
