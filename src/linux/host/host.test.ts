import assert from "node:assert/strict";
import { test } from "node:test";

import { hostBootId, kernelRelease } from "./host.ts";

test("hostBootId() and kernelRelease() are those of the host", () => {
  assert.match(hostBootId(), /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  assert.match(kernelRelease(), /^\d+\.\d+/);
});
