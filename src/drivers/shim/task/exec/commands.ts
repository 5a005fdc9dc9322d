import { messageOf } from "../../../../base/errors.ts";
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
import { explainEnd } from "../../../../stdio/exec-session.ts";
import { explainProcessLimit } from "../../../../stdio/process-limit.ts";
import { programFailure } from "../../../../stdio/program-failure.ts";
import { startError } from "../shim-answers.ts";
import type { TrackedTask } from "../tracked-task.ts";
import { attachToTask } from "./attach.ts";
import type { ExecDeps, ExecTarget } from "./command.ts";
import { execInTask, execStreamInTask } from "./exec.ts";

/** Runs commands in containers, and attaches clients to them. */
export class TaskCommands {
  readonly #deps: ExecDeps;
  readonly #shims: PodShims;
  readonly #get: (id: string, doing: string) => TrackedTask;

  /** `get` finds a running container, or throws `not-found`. */
  constructor(deps: {
    readonly paths: StateLayout;
    readonly cgroups: CgroupLayout;
    readonly shims: PodShims;
    readonly get: (id: string, doing: string) => TrackedTask;
  }) {
    const { paths, cgroups } = deps;
    this.#deps = { paths, cgroups };
    this.#shims = deps.shims;
    this.#get = deps.get;
  }

  /** See ContainerRuntime.execSync. */
  execSync(id: string, spec: OciProcess, operation: Operation): Promise<ExecResult> {
    return this.#inTask(id, spec, (target) => execInTask(this.#deps, target, spec, operation));
  }

  /** See ContainerRuntime.exec. */
  exec(
    id: string,
    spec: OciProcess,
    client: ProcessClient,
    operation: Operation,
  ): Promise<ExecEnd> {
    return this.#inTask(id, spec, (target) =>
      execStreamInTask(this.#deps, { target, spec, client }, operation),
    );
  }

  /** See ContainerRuntime.attach. */
  async attach(id: string, client: AttachedClient, operation: Operation): Promise<void> {
    const task = this.#get(id, "attach to");
    const shim = await this.#shims.get(task.state.sandboxId);
    await attachToTask({ task, shim }, client, operation);
  }

  /** Runs a command in a container. */
  async #inTask<T>(
    id: string,
    { args }: OciProcess,
    use: (target: ExecTarget) => Promise<T>,
  ): Promise<T> {
    const task = this.#get(id, "run command in");
    const { cgroupPath, sandboxId, streaming } = task.state;
    const shim = await this.#shims.get(sandboxId);
    const doing = `run command in container "${id}"`;
    const cgroup = { cgroups: this.#deps.cgroups, path: cgroupPath };
    const run = async (): Promise<T> => {
      try {
        return await use({ id, cgroupPath, shim, streaming });
      } catch (error) {
        throw programFailure(args[0] ?? "", messageOf(error)) ?? startError(error);
      }
    };
    return explainEnd(task, doing, () => explainProcessLimit(cgroup, doing, run));
  }
}
