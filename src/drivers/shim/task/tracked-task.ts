import type { ContainerExit } from "../../../core/container/index.ts";
import type { ProcessRef } from "../../../linux/process/index.ts";
import type { ContainerIo } from "./container-io.ts";
import type { TaskState } from "./task-state.ts";
import type { PodShim } from "../process/pod-shims.ts";

/** A container that this daemon has started or taken up. */
export interface Tracked {
  readonly facts: TaskState;
  /** Undefined when its fifos are lost. */
  readonly io: ContainerIo | undefined;
  /** Undefined: ended before it was taken up, or not a process of this host. */
  readonly process: ProcessRef | undefined;
  /** The shim that it was started with; undefined when it was taken up. */
  readonly shim: PodShim | undefined;
  readonly startedAtNs: bigint;
  readonly exit: Promise<ContainerExit>;
  /** True when nothing but files is left of it. */
  cleared: boolean;
  /** True from the moment on in which all of it was to be killed. */
  killed: boolean;
}
