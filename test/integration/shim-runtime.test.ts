/** The promises of ContainerRuntime, kept by containerd's shim for runc, which needs no daemon. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { silentLogger } from "../../src/base/logger.ts";
import { systemClock } from "../../src/base/time.ts";
import type { ContainerBundle } from "../../src/core/container/index.ts";
import type { ContainerScript } from "../../src/core/container/testing/container-scripts.ts";
import { describeContainerRuntime } from "../../src/core/container/testing/runtime-contract.ts";
import { captureBy, endCriu, prepareRestore, updateLimits } from "../../src/drivers/oci/index.ts";
import { ContractHost } from "../../src/drivers/oci/testing/contract-host.ts";
import { processesOf, TestHost } from "../../src/drivers/oci/testing/sandbox.ts";
import { ShimRuntime } from "../../src/drivers/shim/index.ts";
import { cgroupDirs } from "../../src/linux/cgroup/index.ts";

/** A host whose containers run by a shim. */
class ShimHost extends ContractHost {
  override bundle(script: ContainerScript): ContainerBundle {
    const bundle = super.bundle(script);
    const shim = { runtimeType: "io.containerd.runc.v2", options: { BinaryName: "crun" } };
    return { ...bundle, sandboxId: `pod-${bundle.id}`, handler: { ...bundle.handler, ...shim } };
  }
}

describeContainerRuntime("ShimRuntime", async () => {
  const host = await TestHost.open();
  const open = (): Promise<ShimRuntime> =>
    ShimRuntime.open({
      state: host.state,
      cgroups: host.cgroups,
      clock: systemClock,
      log: silentLogger,
      publishBinary: "/bin/true",
      updateLimits,
      captureBy,
      endCriu,
      prepareRestore,
    });
  const assertGone = (id: string): void => {
    for (const directory of ["tasks", "pods", "work", "runtime/k8s.io"]) {
      const files = path.join(host.state, "shims", directory);
      const names = existsSync(files) ? readdirSync(files) : [];
      assert.deepEqual(
        names.filter((name) => name.includes(id)),
        [],
        directory,
      );
    }
    const cgroups = cgroupDirs(host.cgroups, host.cgroupPath(id)).filter((dir) => existsSync(dir));
    assert.deepEqual(cgroups, []);
    assert.deepEqual(processesOf(id), []);
  };
  return new ShimHost(host, { open, assertGone });
});
