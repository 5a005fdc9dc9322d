import { join } from "node:path";

import { RuntimeError } from "../../../base/errors.ts";

/** A file in the bundle of a container. */
export type TaskFile =
  | "config.json"
  | "exit.json"
  | "facts.json"
  | "options.pb"
  | "started"
  | "work"
  | "stdin"
  | "stdout"
  | "stderr";

/** A file in the bundle of a pod's shim. */
export type PodFile = "config.json" | "shim.json" | "options.pb" | "address" | "log";

/**
 * Where everything of shims lies. Each path follows from an id alone, so that whatever a crash left
 * can be found without a record of it.
 */
export class StateLayout {
  /** Holds the bundle of each container, named by its id: the working directory of shim calls for it. */
  readonly tasks: string;
  /** Holds the bundle of each pod's shim, named by the sandbox's id. */
  readonly pods: string;
  /** Holds what a task keeps in its link `work`. */
  readonly works: string;
  /** Where shims send their events. */
  readonly events: string;
  /** Where runc's shim has its OCI runtime keep its state. */
  readonly runtimeRoot: string;

  /** `state` is the state directory of the configuration. */
  constructor(state: string) {
    const shims = join(state, "shims");
    this.tasks = join(shims, "tasks");
    this.pods = join(shims, "pods");
    this.works = join(shims, "work");
    this.events = join(shims, "events.sock");
    this.runtimeRoot = join(shims, "runtime");
  }

  task(id: string): string {
    return join(this.tasks, plainName(id));
  }

  /**
   * A file of a container's bundle: `facts.json` is what a later daemon must know, `started` when its
   * command was told to run, in nanoseconds since 1970, written before that; `exit.json` is how it ended,
   * written before the shim forgets that; `stdin`, `stdout` and `stderr` are fifos.
   */
  taskFile(id: string, name: TaskFile): string {
    return join(this.task(id), name);
  }

  /** A fifo for the output of a command in a container. */
  execFifo(id: string, name: string): string {
    return join(this.task(id), plainName(name));
  }

  pod(sandboxId: string): string {
    return join(this.pods, plainName(sandboxId));
  }

  /** A file of a shim's bundle: `shim.json` says how to reach it, `log` is the fifo that it logs to. */
  podFile(sandboxId: string, name: PodFile): string {
    return join(this.pod(sandboxId), name);
  }

  work(id: string): string {
    return join(this.works, plainName(id));
  }
}

/** An id that is no plain file name would lead out of our directories. No id of ours is one. */
function plainName(id: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(id)) return id;
  throw new RuntimeError("invalid-argument", `find files of "${id}": this is no id`);
}
