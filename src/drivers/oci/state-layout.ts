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
  | "started";

/**
 * Where everything of a container lies. Each path follows from the id alone, so that whatever a
 * crash left can be found without a record of it.
 */
export class StateLayout {
  /** Holds the bundle of each container: spec, facts, conmon's fifos and socket. */
  readonly containers: string;
  /** Holds a file for each container that has ended, written by conmon: the exit code as text. */
  readonly exits: string;
  /** Holds what runs of ExecSync need while they run. */
  readonly execs: string;
  /** Where conmon makes the socket by which it is handed a terminal. */
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
   * A file of the bundle: `config.json` is the spec (OCI runtime spec, bundle.md), `facts.json` what
   * a later daemon must know, `pid`, `ctl` and `attach` conmon's, `oom` a mark that the container ran out of
   * memory, `cri-log`, `cri-log.tmp` and `next-log` what log-links.ts makes, `runtime.log` what the OCI runtime
   * wrote of itself where there is a terminal, `started` when its command was told to run, in nanoseconds
   * since 1970: written before that.
   */
  file(id: string, name: BundleFile): string {
    return join(this.bundle(id), name);
  }

  exit(id: string): string {
    return join(this.exits, plainName(id));
  }

  /** The `--root` of an OCI runtime. Two runtimes do not understand each other's files. */
  runtimeRoot(runtimePath: string): string {
    return join(this.#state, basename(runtimePath));
  }
}

/** An id that is no plain file name would lead out of our directories. No id of ours is one. */
function plainName(id: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(id)) return id;
  throw new RuntimeError("invalid-argument", `find files of container "${id}": this is no id`);
}
