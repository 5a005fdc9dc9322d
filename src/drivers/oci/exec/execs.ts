import type { Logger } from "../../../base/logger.ts";
import type { ExecResult, ProcessClient } from "../../../core/container/index.ts";
import type { OciProcess } from "../../../core/oci/index.ts";
import type { Operation, StepObserver } from "../../../core/operation/index.ts";
import type { ExecEnd } from "../../../core/streaming/index.ts";
import type { CgroupLayout } from "../../../linux/cgroup/index.ts";
import { type EndingContainer, explainEnd } from "../../../stdio/exec-session.ts";
import { explainProcessLimit } from "../../../stdio/process-limit.ts";
import type { ProcessRef } from "../../../linux/process/index.ts";
import type { RuntimeState } from "../runtime-state.ts";
import type { StateLayout } from "../state-layout.ts";
import { Declined } from "./command.ts";
import { type DirectContainer, directContainer } from "./direct.ts";
import { type ExecTarget, keepPrograms } from "./start-command.ts";
import { execStream } from "./stream.ts";
import { execSync } from "./sync.ts";
import type { TerminalDeps } from "./terminal.ts";

/** A container that commands are run in. */
export interface ExecContainer extends EndingContainer {
  readonly id: string;
  readonly state: RuntimeState;
  /** It has no PID namespace of its own. */
  readonly hostPids: boolean;
  /** Its first process; undefined: it had ended before it was adopted. */
  readonly process: ProcessRef | undefined;
}

/** What {@link Execs} works with. */
interface ExecsDeps {
  readonly cgroups: CgroupLayout;
  readonly expectMigration?: (isOver: () => boolean) => void;
  readonly onStep?: StepObserver;
  readonly log: Logger;
  /** What runs commands of ExecSync: davit's own program where it can, or always the OCI runtime. */
  readonly exec?: "davit" | "runtime";
}

/** Runs commands in containers. */
export class Execs {
  readonly #deps: TerminalDeps;
  readonly #paths: StateLayout;
  readonly #isDirect: boolean;
  readonly #direct = new WeakMap<ExecContainer, DirectContainer | false>();

  constructor({ cgroups, expectMigration, onStep, log, exec }: ExecsDeps, paths: StateLayout) {
    this.#isDirect = exec !== "runtime";
    keepPrograms();
    const { execs: directory, consoles } = paths;
    this.#deps = { directory, consoles, cgroups, expectMigration, onStep, log };
    this.#paths = paths;
  }

  /** See ContainerRuntime.execSync. */
  sync(container: ExecContainer, spec: OciProcess, operation: Operation): Promise<ExecResult> {
    return this.#inContainer(container, (target) =>
      directFirst(this.#directOf(container), (direct) =>
        execSync(this.#deps, { target, spec, direct }, operation),
      ),
    );
  }

  /** See ContainerRuntime.exec. */
  stream(
    container: ExecContainer,
    run: { readonly spec: OciProcess; readonly client: ProcessClient },
    operation: Operation,
  ): Promise<ExecEnd> {
    return this.#inContainer(container, (target) => {
      const maybe = run.client.terminal ? undefined : this.#directOf(container);
      return directFirst(maybe, (direct) =>
        execStream(this.#deps, { target, ...run, direct }, operation),
      );
    });
  }

  /** Runs a command, and explains an error that the container's end or its limit of processes has caused. */
  #inContainer<T>(container: ExecContainer, run: (target: ExecTarget) => Promise<T>): Promise<T> {
    const doing = `run command in container "${container.id}"`;
    const target = this.#target(container);
    const cgroup = { cgroups: this.#deps.cgroups, path: target.cgroupPath };
    return explainEnd(container, doing, () =>
      explainProcessLimit(cgroup, doing, () => run(target)),
    );
  }

  /** Undefined for a container in which only its runtime runs commands. */
  #directOf(container: ExecContainer): DirectContainer | undefined {
    if (!this.#isDirect) return undefined;
    const { id, state, process, hostPids } = container;
    let direct = this.#direct.get(container);
    if (direct === undefined) {
      const root = this.#paths.runtimeRoot(state.runtimePath);
      const { cgroups } = this.#deps;
      // With the node's PIDs, background processes of a command must be ended with it: see Command.endBackground().
      const mayBe = process !== undefined && !hostPids;
      direct = (mayBe && directContainer({ id, state, process }, root, cgroups)) || false;
      this.#direct.set(container, direct);
    }
    return direct === false ? undefined : direct;
  }

  #target({ id, state, hostPids }: ExecContainer): ExecTarget {
    return { id, ...state, runtimeRoot: this.#paths.runtimeRoot(state.runtimePath), hostPids };
  }
}

/**
 * Runs a command by davit's own program in a container where it can, and by the runtime what that program declines. Only a
 * command that has not begun is declined, so none runs twice.
 */
async function directFirst<T>(
  container: DirectContainer | undefined,
  run: (direct: DirectContainer | undefined) => Promise<T>,
): Promise<T> {
  try {
    return await run(container);
  } catch (error) {
    if (container === undefined || !(error instanceof Declined)) throw error;
    return await run(undefined);
  }
}
