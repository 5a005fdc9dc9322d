import { join } from "node:path";

import { RuntimeError } from "../../../base/errors.ts";

/** A file in the bundle of a container. */
export type TaskFile =
  | "capture"
  | "config.json"
  | "exit.json"
  | "facts.json"
  | "options.pb"
  | "restore"
  | "started"
  | "work"
  | "stdin"
  | "stdout"
  | "stderr";

/** A file in the bundle of a pod's shim. */
export type PodFile = "config.json" | "shim.json" | "options.pb" | "address" | "log" | "criu.conf";

/**
 * The paths of the files of shims. Each path follows from an id alone, so that everything that a crash left
 * can be found without a record.
 */
export class StateLayout {
  /** Contains the bundle of each container, named by its id: the working directory of shim calls for it. */
  readonly tasks: string;
  /** Contains the bundle of each pod's shim, named by the sandbox's id. */
  readonly pods: string;
  /** Contains the directory of each task's link `work`. */
  readonly works: string;
  /** The socket for the shims' events. */
  readonly events: string;
  /** The state directory of the OCI runtime under runc's shim. */
  readonly runtimeRoot: string;
  /** The sockets of shims that let us choose their directory. Short: see unix(7). */
  readonly sockets: string;

  /** `state` is the state directory of the configuration. */
  constructor(state: string) {
    const shims = join(state, "shims");
    this.tasks = join(shims, "tasks");
    this.pods = join(shims, "pods");
    this.works = join(shims, "work");
    this.events = join(shims, "events.sock");
    this.runtimeRoot = join(shims, "runtime");
    this.sockets = join(shims, "s");
  }

  /** The directories that the daemon makes at its start. */
  get directories(): readonly string[] {
    return [this.tasks, this.pods, this.works, this.runtimeRoot, this.sockets];
  }

  /** The paths that shims are given. */
  get forShims(): { readonly eventsPath: string; readonly socketDirectory: string } {
    return { eventsPath: this.events, socketDirectory: this.sockets };
  }

  task(id: string): string {
    return join(this.tasks, plainName(id));
  }

  /**
   * A file of a container's bundle: `facts.json` is the state that a later daemon needs, `started` the time of the
   * start in nanoseconds since 1970 and the pid, written before the start; `exit.json` is how the container ended,
   * written before the shim deletes the task; `capture` is the directory in which CRIU works while it captures the container;
   * `restore` is a directory with what it is restored from; `stdin`, `stdout` and `stderr` are fifos.
   */
  taskFile(id: string, name: TaskFile): string {
    return join(this.task(id), name);
  }

  /** A fifo for a stream of a command in a container. */
  execFifo(id: string, name: string): string {
    return join(this.task(id), plainName(name));
  }

  pod(sandboxId: string): string {
    return join(this.pods, plainName(sandboxId));
  }

  /**
   * A file of a shim's bundle: `shim.json` is its state, `log` is the fifo that it logs to, `criu.conf` the configuration
   * of CRIU while it captures or restores a container.
   */
  podFile(sandboxId: string, name: PodFile): string {
    return join(this.pod(sandboxId), name);
  }

  work(id: string): string {
    return join(this.works, plainName(id));
  }
}

/** Rejects an id that is not a plain file name, as its path would lead out of our directories. */
function plainName(id: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(id)) return id;
  throw new RuntimeError("invalid-argument", `find files of "${id}": invalid id`);
}
