import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { maskOf, unsupportedBy } from "./events.ts";
import type { EventName } from "./handlers.ts";

const events: readonly EventName[] = ["createContainer", "validateContainerAdjustment"];
const newOnes = ["validateContainerAdjustment"];

describe("unsupportedBy()", () => {
  const runtimes: readonly (readonly [
    name: string,
    version: string,
    nri: string,
    unsupported: readonly string[],
  ])[] = [
    ["containerd", "v1.7.24", "", newOnes],
    ["containerd", "2.1.7", "", newOnes],
    ["containerd", "v2.2.0-rc.1", "", []],
    ["containerd", "10.0.0", "", []],
    ["cri-o", "1.33.8", "", newOnes],
    ["CRI-O", "1.34.0", "", []],
    // What the runtime says about NRI counts more than its own version.
    ["containerd", "1.7.99", "v0.12.0", []],
    ["anything", "9.0.0", "v0.9.1-0.20250219030224-e597e7849f24", newOnes],
    ["anything", "0.1.0", "v1.0.0", []],
    ["containerd", "2.1.0", "unknown", newOnes],
    ["containerd", "2.3.4", "(devel)", []],
    // It would refuse events that it does not know, with a reason.
    ["anything", "", "", []],
  ];
  for (const [runtimeName, runtimeVersion, nriVersion, unsupported] of runtimes) {
    it(`knows ${runtimeName} ${runtimeVersion} with NRI "${nriVersion}"`, () => {
      const runtime = { runtimeName, runtimeVersion, nriVersion };
      assert.deepEqual(unsupportedBy(runtime, events), unsupported);
    });
  }
});

describe("maskOf()", () => {
  it("has the bits of the protocol", () => {
    assert.equal(maskOf(["runPodSandbox"]), 1);
    assert.equal(maskOf(["removeContainer", "updatePodSandbox", "runPodSandbox"]), 0xc01);
    assert.notEqual(maskOf([]), 0);
  });
});
