import { kindOf, RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { ExecResult, ProcessClient } from "../../../core/container/index.ts";
import type { OciProcess } from "../../../core/oci/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import type { ExecEnd } from "../../../core/streaming/index.ts";
import type { CgroupLayout } from "../../../linux/cgroup/index.ts";
import type { ExecTarget } from "./command.ts";
import { type Watched, within } from "../container-end.ts";
import { execStream } from "./stream.ts";
import { execSync } from "./sync.ts";
import type { TerminalDeps } from "./terminal.ts";
import type { RuntimeState } from "../runtime-state.ts";
import type { StateLayout } from "../state-layout.ts";

/** What tells whether a container has ended. */
export interface Ending {
  /** Undefined: ended before it was taken up. */
  readonly process: Watched | undefined;
  /** True from the moment on in which all of it was to be killed. */
  readonly killed: boolean;
}

/** A container that commands are run in. */
export interface ExecContainer extends Ending {
  readonly facts: RuntimeState;
  readonly hostPids: boolean;
}

/** A container that ends takes its commands along, and these may be seen to end before it. */
const execEndMs = 100;

/** Runs commands in containers. */
export class Execs {
  readonly #deps: TerminalDeps;
  readonly #places: StateLayout;

  constructor(
    { cgroups, log }: { readonly cgroups: CgroupLayout; readonly log: Logger },
    places: StateLayout,
  ) {
    const { execs: directory, consoles } = places;
    this.#deps = { directory, consoles, cgroups, log };
    this.#places = places;
  }

  /** See ContainerRuntime.execSync. */
  sync(
    id: string,
    container: ExecContainer,
    spec: OciProcess,
    operation: Operation,
  ): Promise<ExecResult> {
    const target = this.#target(id, container);
    return explainEnd(container, `run command in container "${id}"`, () =>
      execSync(this.#deps, target, spec, operation),
    );
  }

  /** See ContainerRuntime.exec. */
  stream(
    id: string,
    container: ExecContainer,
    run: { readonly spec: OciProcess; readonly client: ProcessClient },
    operation: Operation,
  ): Promise<ExecEnd> {
    const target = this.#target(id, container);
    return explainEnd(container, `run command in container "${id}"`, () =>
      execStream(this.#deps, { target, ...run }, operation),
    );
  }

  #target(id: string, { facts, hostPids }: ExecContainer): ExecTarget {
    return { id, ...facts, runtimeRoot: this.#places.runtimeRoot(facts.runtimePath), hostPids };
  }
}

/**
 * A runtime that works on a container that is killed finds its cgroup, namespaces or command gone: its
 * failure is then told as what it is.
 */
export async function explainEnd<T>(
  container: Ending,
  doing: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!["unknown", "not-found"].includes(kindOf(cause))) throw cause;
    const ended = container.process === undefined || container.killed;
    if (!ended && !(await within(container.process.exited, execEndMs))) throw cause;
    const text = `${doing}: the container has ended meanwhile`;
    throw new RuntimeError("failed-precondition", text, { cause });
  }
}
