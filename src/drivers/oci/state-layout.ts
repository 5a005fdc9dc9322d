import { basename, join } from "node:path";

import { RuntimeError } from "../../base/errors.ts";

type BundleFile =
  | "config.json"
  | "facts.json"
  | "pid"
  | "ctl"
  | "attach"
  | "oom"
  | "cri-log"
  | "cri-log.tmp"
  | "next-log"
  | "runtime.log"
  | "started"
  | "rotation"
  | "capture.conf"
  | "captured"
  | "restore";

/**
 * The paths of a container's files. Each path follows from the id alone, so that everything that a
 * crash left can be found without a record.
 */
export class StateLayout {
  /** Contains the bundle of each container: spec, state, the monitor's files and socket. */
  readonly containers: string;
  /** Contains a file for each container that has ended, written by its monitor: the exit code as text. */
  readonly exits: string;
  /** Contains the files of commands that run in containers. */
  readonly execs: string;
  /** Contains the sockets by which OCI runtimes send terminals. */
  readonly consoles: string;
  readonly #state: string;

  /** `state` is the state directory of the configuration. */
  constructor(state: string) {
    this.#state = state;
    this.containers = join(state, "containers");
    this.exits = join(state, "exits");
    this.execs = join(state, "execs");
    this.consoles = join(state, "consoles");
  }

  bundle(id: string): string {
    return join(this.containers, plainName(id));
  }

  /**
   * A file of the bundle: `config.json` is the spec (OCI runtime spec, bundle.md), `facts.json` the state that a
   * later daemon needs, `pid` and `attach` are the monitor's, `ctl` is conmon's, `console` is where davit-monitor
   * gets a terminal, `oom` marks that the container ran out of memory, `cri-log`, `cri-log.tmp` and `next-log` are
   * created for conmon (conmon/log-links.ts), `runtime.log` is the OCI runtime's own log where the container has a
   * terminal, `started` is the time of the start in nanoseconds since 1970, written before it, `rotation`
   * names the new file of a log until that has its name (rotation.ts), `capture.conf` is CRIU's configuration of a
   * capture, `captured` marks one that ends the container, `restore` a directory with what restores the container
   * (checkpoint/restore.ts).
   */
  file(id: string, name: BundleFile): string {
    return join(this.bundle(id), name);
  }

  exit(id: string): string {
    return join(this.exits, plainName(id));
  }

  /** The `--root` of an OCI runtime. Each runtime has its own, as none can read the files of another. */
  runtimeRoot(runtimePath: string): string {
    return join(this.#state, basename(runtimePath));
  }
}

/** Rejects an id that is not a plain file name, as its path would lead out of our directories. */
function plainName(id: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(id)) return id;
  throw new RuntimeError("invalid-argument", `find files of container "${id}": invalid id`);
}
