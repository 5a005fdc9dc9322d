/**
 * The daemon dies, fails or hangs at every stage of image operations. `npm run test:faults` runs all combinations.
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { crashPoints } from "../../src/core/operation/index.ts";
import { nameOf, policyPoints, spotsOf, turn } from "../support/crash/spots.ts";
import {
  killPull,
  killRemoveImage,
  throwPull,
  throwRemoveImage,
} from "../support/crash/image-scenarios.ts";
import { containerSites } from "../support/crash/containers.ts";
import { hangPull, hangRemoveImage } from "../support/crash/hangs.ts";

const sites = containerSites();
after(() => sites[Symbol.asyncDispose]());

const pull = [...spotsOf("pull-image"), ...spotsOf("pull-layer")];
const remove = spotsOf("remove-image");
const recover = spotsOf("recover-containers");
const kind = "without a holder";

test("every crash point of the images' operations is tested here", () => {
  const struck = new Set([...pull, ...remove].map(({ point }) => point));
  const all = crashPoints.filter((point) => /^(pull-.*|remove-image)\//.test(point));
  const ours = all.filter((point) => !policyPoints.includes(point));
  assert.deepEqual([...struck].toSorted(), [...ours].toSorted());
});

describe("kill -9 at every stage, and for some again in the recovery", () => {
  for (const [spots, kill] of [
    [pull, killPull],
    [remove, killRemoveImage],
  ] as const) {
    for (const [at, spot] of spots.entries()) {
      const again = at % 2 === 0 ? [turn(recover, at)] : [];
      test([spot, ...again].map(nameOf).join(", then "), () =>
        sites.run((site) => kill(site, spot, kind, again)),
      );
    }
  }
});

describe("a failure at every stage", () => {
  for (const spot of pull) {
    test(nameOf(spot), () => sites.run((site) => throwPull(site, spot, kind)));
  }
  for (const spot of remove) {
    test(nameOf(spot), () => sites.run((site) => throwRemoveImage(site, spot, kind)));
  }
});

describe("a stage that hangs", () => {
  for (const spot of pull.filter(({ point }) => /(fetch-config|unpack)$/.test(point))) {
    test(nameOf(spot), () => sites.run((site) => hangPull(site, spot, kind)));
  }
  for (const spot of remove.filter(({ point, visit }) => /-layer$/.test(point) && visit === 1)) {
    test(nameOf(spot), () => sites.run((site) => hangRemoveImage(site, spot, kind)));
  }
});
