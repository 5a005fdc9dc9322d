import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../base/time.ts";
import { describeController } from "../../core/sandbox/testing/controller-contract.ts";
import { detectCgroups } from "../../linux/cgroup/index.ts";
import { NamespaceWatch } from "../../linux/namespace/index.ts";
import { PodSandboxController } from "./index.ts";

describeController("podsandbox", () => {
  const state = mkdtempSync(join(tmpdir(), "davit-podsandbox-"));
  const opened: { readonly controller: PodSandboxController; readonly watch: NamespaceWatch }[] =
    [];
  return Promise.resolve({
    open: async () => {
      const watch = new NamespaceWatch();
      const deps = { state, cgroups: detectCgroups(), namespaces: watch, clock: systemClock };
      const controller = await PodSandboxController.open(deps);
      opened.push({ controller, watch });
      return controller;
    },
    assertGone: (id: string) => {
      for (const kind of ["net", "ipc", "uts", "user"])
        assert.ok(!existsSync(join(state, "ns", kind, id)), kind);
      assert.ok(!existsSync(join(state, "sandboxes", id)), "its directory");
    },
    [Symbol.asyncDispose]: async () => {
      for (const { controller, watch } of opened) {
        await controller.close();
        watch[Symbol.dispose]();
      }
      rmSync(state, { recursive: true });
    },
  });
});
