import type {
  AttachedClient,
  ExecResult,
  ProcessClient,
} from "../../../../core/container/index.ts";
import type { OciProcess } from "../../../../core/oci/index.ts";
import type { Operation } from "../../../../core/operation/index.ts";
import type { ExecEnd } from "../../../../core/streaming/index.ts";
import type { CgroupLayout } from "../../../../linux/cgroup/index.ts";
import type { StateLayout } from "../../process/state-layout.ts";
import type { PodShims } from "../../process/pod-shims.ts";
import type { Tracked } from "../running-task.ts";
import { explainEnd, startError } from "../shim-answers.ts";
import { attachToTask } from "./attach.ts";
import type { ExecDeps, ExecTarget } from "./command.ts";
import { execInTask, execStreamInTask } from "./exec.ts";

/** What is done in containers that run: commands, and clients that join them. */
export class TaskCommands {
  readonly #deps: ExecDeps;
  readonly #shims: PodShims;
  readonly #get: (id: string, doing: string) => Tracked;

  /** `get` finds a running container, or throws `not-found`. */
  constructor(deps: {
    readonly places: StateLayout;
    readonly cgroups: CgroupLayout;
    readonly shims: PodShims;
    readonly get: (id: string, doing: string) => Tracked;
  }) {
    const { places, cgroups } = deps;
    this.#deps = { places, cgroups };
    this.#shims = deps.shims;
    this.#get = deps.get;
  }

  /** See ContainerRuntime.execSync. */
  execSync(id: string, spec: OciProcess, operation: Operation): Promise<ExecResult> {
    return this.#inTask(id, (target) => execInTask(this.#deps, target, spec, operation));
  }

  /** See ContainerRuntime.exec. */
  exec(
    id: string,
    spec: OciProcess,
    client: ProcessClient,
    operation: Operation,
  ): Promise<ExecEnd> {
    return this.#inTask(id, (target) =>
      execStreamInTask(this.#deps, { target, spec, client }, operation),
    );
  }

  /** See ContainerRuntime.attach. */
  async attach(id: string, client: AttachedClient, operation: Operation): Promise<void> {
    const kept = this.#get(id, "attach to");
    const shim = await this.#shims.get(kept.facts.sandboxId);
    await attachToTask({ id, kept, shim }, client, operation);
  }

  /** Runs a command in a container; one that has ended meanwhile is the reason why it failed. */
  async #inTask<T>(id: string, use: (target: ExecTarget) => Promise<T>): Promise<T> {
    const kept = this.#get(id, "run command in");
    const { cgroupPath, sandboxId } = kept.facts;
    const shim = await this.#shims.get(sandboxId);
    return explainEnd(kept, `run command in container "${id}"`, async () => {
      try {
        return await use({ id, cgroupPath, shim });
      } catch (error) {
        throw startError(error);
      }
    });
  }
}
