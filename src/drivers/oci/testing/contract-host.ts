import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { ContainerBundle } from "../../../core/container/index.ts";
import {
  containerScripts,
  type ContainerScript,
} from "../../../core/container/testing/container-scripts.ts";
import type { RuntimeHarness } from "../../../core/container/testing/runtime-contract.ts";
import { cgroupDirs } from "../../../linux/cgroup/index.ts";
import { processSpec, type TestHost } from "./sandbox.ts";

/** Runs the contract's containers on a {@link TestHost}. */
export class ContractHost implements RuntimeHarness {
  readonly processSpec = processSpec;
  readonly open: RuntimeHarness["open"];
  readonly assertGone: RuntimeHarness["assertGone"];
  readonly #host: TestHost;

  constructor(host: TestHost, runtime: Pick<RuntimeHarness, "open" | "assertGone">) {
    this.#host = host;
    this.open = runtime.open;
    this.assertGone = runtime.assertGone;
  }

  bundle(script: ContainerScript): ContainerBundle {
    const args = ["sh", "-c", containerScripts[script]];
    return this.#host.bundle({ args, stdin: script === "echoes" });
  }

  memoryLimit(id: string): string {
    const { cgroups } = this.#host;
    const file = cgroups.version === "v1" ? "memory.limit_in_bytes" : "memory.max";
    const dirs = cgroupDirs(cgroups, this.#host.cgroupPath(id));
    const dir = dirs.find((path) => cgroups.version === "v2" || path.includes("/memory/")) ?? "";
    return readFileSync(join(dir, file), "utf8").trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#host[Symbol.asyncDispose]();
  }
}
