import assert from "node:assert/strict";
import { test } from "node:test";
import { bandwidthPlugin, ifbName, shaper, ticksIn } from "./bandwidth.ts";

const obstacle = (more: object): string | undefined =>
  bandwidthPlugin.obstacle({ name: "pods", type: "bandwidth", cniVersion: "1.0.0", ...more });

test("computes in the kernel's ticks, with 32 bits of each number", () => {
  const ticks = ticksIn("000003e8 00000040 000f4240 3b9aca00\n");
  assert.equal(ticks, 15.625);
  assert.deepEqual(shaper({ rate: 8_000_000, burst: 80_000 }, ticks), {
    rate: 1_000_000n,
    limit: 25_000 + 10_000,
    buffer: 156_250,
  });
  // 2147483640 us, which is 33554431875 ticks.
  assert.equal(shaper({ rate: 1_000_000, burst: 2_147_483_647 }, ticks).buffer, 3_489_660_803);
  assert.equal(shaper({ rate: 1e15, burst: 2_147_483_647 }, ticks).rate, 125_000_000_000_000n);
});

test("takes limits of the list or of the pod", () => {
  const limits = { ingressRate: 8000, ingressBurst: 8000, egressRate: 0, egressBurst: 0 };
  assert.equal(obstacle(limits), undefined);
  assert.equal(obstacle({ runtimeConfig: { bandwidth: limits } }), undefined);
  assert.equal(obstacle({}), undefined);
});

test("leaves what the plugin refuses or davit does not know to the plugin", () => {
  const unknown = [
    { ingressRate: 8000 },
    { egressBurst: 8000 },
    { ingressRate: 7, ingressBurst: 8000 },
    { ingressRate: -8000, ingressBurst: 8000 },
    { ingressRate: 8000.5, ingressBurst: 8000 },
    { ingressRate: "8000", ingressBurst: 8000 },
    { ingressRate: 8000, ingressBurst: 8 * (2 ** 32 - 1) },
    { shapedSubnets: ["10.0.0.0/8"] },
    { runtimeConfig: { bandwidth: { ingressRate: 8000 } } },
    { runtimeConfig: { bandwidth: { rate: 1 } } },
    { runtimeConfig: { other: {} } },
  ];
  for (const more of unknown) assert.ok(obstacle(more), JSON.stringify(more));
});

test("an ifb link has a name of 15 characters, as with the plugin", () => {
  assert.match(ifbName("pods", "c1"), /^bwp[0-9a-f]{12}$/);
});
