import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, describe, test } from "node:test";

import { testOperation } from "../../../core/operation/testing/operation.ts";
import { until } from "../../../linux/testing/leaks.ts";
import { captureRequest, restoring, withoutCriu } from "../testing/criu.ts";
import { processSpec, TestHost } from "../testing/sandbox.ts";

const host = await TestHost.open();
const runtime = await host.runtime();

after(async () => {
  await host[Symbol.asyncDispose]();
});

const counting = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done";

/** The numbers in the log of a container that counts. */
function numbers(id: string): readonly number[] {
  return host.log(id).map(([, , text]) => Number(text));
}

async function end(id: string): Promise<void> {
  await runtime.killAll(id);
  await host.end(runtime, id);
}

for (const runtimePath of ["crun", "runc"]) {
  describe(`OciRuntime.captures with ${runtimePath}`, { skip: withoutCriu }, () => {
    test("captures a container that runs on, and restores it where it was", async () => {
      const args = ["sh", "-c", counting];
      const { id } = await host.start(runtime, { args, runtimePath });
      await host.logWith(id, / 10\n/);
      const request = captureRequest(host.directory);
      await runtime.captures.capture(id, request, testOperation());
      const captured = numbers(id).at(-1) ?? 0;
      await until("it counts on", () => (numbers(id).at(-1) ?? 0) > captured + 5);
      assert.ok(readdirSync(request.images).some((name) => /^pages-\d+\.img$/.test(name)));
      assert.ok(readFileSync(`${request.work}/dump.log`, "utf8").includes("finished successfully"));
      await end(id);

      const bundle = restoring(host.bundle({ args, runtimePath }), request);
      await runtime.start(bundle, testOperation());
      await until("it counts on", () => numbers(bundle.id).length > 5);
      const restored = numbers(bundle.id);
      assert.ok(Math.abs((restored[0] ?? 0) - captured) <= 2, `${captured}: ${restored.join(" ")}`);
      assert.deepEqual(
        restored,
        restored.map((_, at) => (restored[0] ?? 0) + at),
      );
      const result = await runtime.execSync(
        bundle.id,
        processSpec(["sh", "-c", "cat /proc/sys/kernel/hostname"]),
        testOperation(),
      );
      assert.equal(Buffer.from(result.stdout).toString(), "restored\n");
      await end(bundle.id);
    });
  });
}
