/** The contract of ContainerRuntime. */
// variants: conmon
import { describeContainerRuntime } from "../../core/container/testing/runtime-contract.ts";
import { ContractHost } from "./testing/contract-host.ts";
import { TestHost } from "./testing/sandbox.ts";

describeContainerRuntime("OciRuntime", async () => {
  const host = await TestHost.open();
  return new ContractHost(host, {
    open: () => host.runtime(),
    assertGone: (id) => host.assertGone(id),
  });
});
