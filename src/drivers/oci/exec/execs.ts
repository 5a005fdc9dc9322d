import type { Logger } from "../../../base/logger.ts";
import type { ExecResult, ProcessClient } from "../../../core/container/index.ts";
import type { OciProcess } from "../../../core/oci/index.ts";
import type { Operation, StepObserver } from "../../../core/operation/index.ts";
import type { ExecEnd } from "../../../core/streaming/index.ts";
import type { CgroupLayout } from "../../../linux/cgroup/index.ts";
import { type EndingContainer, explainEnd } from "../../../stdio/exec-session.ts";
import { explainProcessLimit } from "../../../stdio/process-limit.ts";
import type { RuntimeState } from "../runtime-state.ts";
import type { StateLayout } from "../state-layout.ts";
import type { ExecTarget } from "./command.ts";
import { execStream } from "./stream.ts";
import { execSync } from "./sync.ts";
import type { TerminalDeps } from "./terminal.ts";

/** A container that commands are run in. */
export interface ExecContainer extends EndingContainer {
  readonly id: string;
  readonly state: RuntimeState;
  /** It has no PID namespace of its own. */
  readonly hostPids: boolean;
}

/** What {@link Execs} works with. */
interface ExecsDeps {
  readonly cgroups: CgroupLayout;
  readonly expectMigration?: (isOver: () => boolean) => void;
  readonly onStep?: StepObserver;
  readonly log: Logger;
}

/** Runs commands in containers. */
export class Execs {
  readonly #deps: TerminalDeps;
  readonly #paths: StateLayout;

  constructor({ cgroups, expectMigration, onStep, log }: ExecsDeps, paths: StateLayout) {
    const { execs: directory, consoles } = paths;
    this.#deps = { directory, consoles, cgroups, expectMigration, onStep, log };
    this.#paths = paths;
  }

  /** See ContainerRuntime.execSync. */
  sync(container: ExecContainer, spec: OciProcess, operation: Operation): Promise<ExecResult> {
    return this.#inContainer(container, (target) => execSync(this.#deps, target, spec, operation));
  }

  /** See ContainerRuntime.exec. */
  stream(
    container: ExecContainer,
    run: { readonly spec: OciProcess; readonly client: ProcessClient },
    operation: Operation,
  ): Promise<ExecEnd> {
    return this.#inContainer(container, (target) =>
      execStream(this.#deps, { target, ...run }, operation),
    );
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

  #target({ id, state, hostPids }: ExecContainer): ExecTarget {
    return { id, ...state, runtimeRoot: this.#paths.runtimeRoot(state.runtimePath), hostPids };
  }
}
