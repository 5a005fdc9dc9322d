/** An OCI runtime and a conmon that a test can make hang or fail, in front of the real ones. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

/** What can fail or hang: verbs of the OCI runtime, or conmon itself. */
export type OddVerb = "create" | "start" | "delete" | "conmon";

/** Scripts that replace crun and conmon, and fail or hang on demand. */
export class OddRuntime {
  /** For `runtime.handlers.NAME.path`. */
  readonly runtimePath: string;
  /** For `runtime.monitor_path`. */
  readonly monitorPath: string;
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true });
    this.runtimePath = path.join(directory, "odd-crun");
    this.monitorPath = path.join(directory, "odd-conmon");
    // A verb that hangs has a child that hangs, too: both must be ended.
    const behave = `
case "$(cat "${directory}/$verb" 2>/dev/null)" in
  hang) touch "${directory}/$verb.called"; sleep 100000; exit 1 ;;
  fail) touch "${directory}/$verb.called"; echo "$verb was told to fail" >&2; exit 1 ;;
esac`;
    const verbs = `verb=none
for word; do case $word in create|start|delete) verb=$word; break ;; esac; done`;
    const write = (file: string, lines: string): void => {
      writeFileSync(file, `#!/bin/sh\n${lines}\n`, { mode: 0o755 });
    };
    write(this.runtimePath, `${verbs}${behave}\nexec crun "$@"`);
    write(this.monitorPath, `verb=conmon${behave}\nexec conmon "$@"`);
  }

  /** Sets what the verb does from now on. */
  on(verb: OddVerb, does: "hang" | "fail" | "work"): void {
    rmSync(path.join(this.#directory, `${verb}.called`), { force: true });
    writeFileSync(path.join(this.#directory, verb), does);
  }

  /** Whether the verb has failed or hung since its behaviour was set. */
  called(verb: OddVerb): boolean {
    return existsSync(path.join(this.#directory, `${verb}.called`));
  }
}
