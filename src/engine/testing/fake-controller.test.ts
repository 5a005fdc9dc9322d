import assert from "node:assert/strict";
import { systemClock } from "../../base/time.ts";
import { describeController } from "../../core/sandbox/testing/controller-contract.ts";
import { FakeController } from "./fake-controller.ts";
import { FakeHost } from "./fake-host.ts";

describeController("FakeController", () => {
  const host = new FakeHost();
  return Promise.resolve({
    open: () => Promise.resolve(new FakeController({ host, clock: systemClock })),
    assertGone: (id: string) => {
      for (const thing of ["files", "namespaces", "holder"] as const)
        assert.ok(!host.has(thing, id), thing);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
});
