import { randomBytes } from "node:crypto";
import assert from "node:assert/strict";
import { systemClock } from "../../base/time.ts";
import type { ContainerBundle, StartedContainer } from "../../core/container/index.ts";
import type { ContainerScript } from "../../core/container/testing/container-scripts.ts";
import {
  describeContainerRuntime,
  type RuntimeHarness,
} from "../../core/container/testing/runtime-contract.ts";
import type { OciProcess, OciSpec } from "../../core/oci/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import { FakeHost } from "./fake-host.ts";
import { FakeRuntime } from "./fake-runtime.ts";

/** A runtime whose containers end as their script says: the first argument in their spec. */
class ScriptedRuntime extends FakeRuntime {
  override async start(bundle: ContainerBundle, operation: Operation): Promise<StartedContainer> {
    const started = await super.start(bundle, operation);
    const end = (exitCode: number) => () => this.exit(bundle.id, { exitCode });
    const [script] = bundle.spec.process.args;
    if (script === "exits7") setImmediate(end(7));
    if (script === "exits9Later") setTimeout(end(9), 300);
    return started;
  }
}

class FakeHarness implements RuntimeHarness {
  readonly #host = new FakeHost();
  readonly #runtime = new ScriptedRuntime(this.#host, systemClock);

  open(): ReturnType<RuntimeHarness["open"]> {
    this.#runtime.forgetAll();
    return Promise.resolve(Object.assign(this.#runtime, { close: () => Promise.resolve() }));
  }

  bundle(script: ContainerScript): ContainerBundle {
    const id = randomBytes(32).toString("hex");
    return {
      id,
      sandboxId: "pod",
      handler: { requested: "", name: "fake", controller: "podsandbox", path: "fake" },
      runtimePath: "fake",
      spec: { process: { args: [script] } } as unknown as OciSpec,
      cgroupPath: `/${id}`,
      logPath: undefined,
      terminal: false,
      stdin: false,
      stdinOnce: false,
    };
  }

  processSpec(args: readonly string[]): OciProcess {
    return { args } as unknown as OciProcess;
  }

  memoryLimit(id: string): string {
    return String(this.#runtime.limits.get(id)?.resources.memoryLimitInBytes ?? "none");
  }

  assertGone(id: string): void {
    for (const thing of ["bundle", "process"] as const) assert.ok(!this.#host.has(thing, id));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.resolve();
  }
}

describeContainerRuntime("FakeRuntime", () => Promise.resolve(new FakeHarness()), {
  processes: false,
});
