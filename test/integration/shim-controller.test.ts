/** The promises of SandboxController, kept by the shim controller with a sandboxer, without a daemon. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { silentLogger } from "../../src/base/logger.ts";
import { systemClock } from "../../src/base/time.ts";
import { describeController } from "../../src/core/sandbox/testing/controller-contract.ts";
import { captureBy, endCriu, prepareRestore, updateLimits } from "../../src/drivers/oci/index.ts";
import { processesOf } from "../../src/drivers/oci/testing/sandbox.ts";
import { PodFiles, PodSandboxController } from "../../src/drivers/podsandbox/index.ts";
import { ShimController, ShimRuntime } from "../../src/drivers/shim/index.ts";
import { detectCgroups } from "../../src/linux/cgroup/index.ts";
import { NamespaceWatch } from "../../src/linux/namespace/index.ts";
import { makeSandboxer, removeSandboxer } from "../support/sandboxer.ts";

const cgroups = detectCgroups();
const log = silentLogger;

/** The shim controller on this state, as a daemon builds it: podsandbox makes the directories of both. */
async function openController(
  state: string,
): Promise<{ readonly controller: ShimController; readonly close: () => Promise<void> }> {
  const parts = { state, cgroups, clock: systemClock, log };
  const runtime = await ShimRuntime.open({
    ...parts,
    publishBinary: "/bin/true",
    updateLimits,
    captureBy,
    endCriu,
    prepareRestore,
  });
  const namespaces = new NamespaceWatch();
  const { shims } = runtime;
  const podsandbox = await PodSandboxController.open({ ...parts, namespaces });
  const files = new PodFiles(state);
  const isAlone = (): boolean => false;
  const controller = new ShimController({ ...parts, shims, files, namespaces, isAlone });
  const close = async (): Promise<void> => {
    controller.close();
    await runtime.close();
    await podsandbox.close();
    namespaces[Symbol.dispose]();
  };
  return { controller, close };
}

describeController(
  "ShimController",
  () => {
    const sandboxer = makeSandboxer();
    const state = mkdtempSync(path.join(tmpdir(), "davit-shims-"));
    let close = (): Promise<void> => Promise.resolve();
    return Promise.resolve({
      handler: { runtimeType: sandboxer.program },
      open: async () => {
        await close();
        const opened = await openController(state);
        close = opened.close;
        return opened.controller;
      },
      assertGone: (id: string, { podFiles } = { podFiles: true }) => {
        const directories = ["shims/pods", ...(podFiles ? ["ns/net", "sandboxes"] : [])];
        const left = directories.filter((directory) => existsSync(path.join(state, directory, id)));
        assert.deepEqual(left, []);
        assert.deepEqual(processesOf(id), []);
      },
      [Symbol.asyncDispose]: async () => {
        await close();
        rmSync(state, { recursive: true });
        removeSandboxer(sandboxer.directory);
      },
    });
  },
  { sweepsPodFiles: false },
);
