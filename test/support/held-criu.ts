/** An OCI runtime whose CRIU a test can hold in the middle of a capture or a restore. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

/** Scripts in a directory: an OCI runtime, and what its CRIU runs (criu(8), --action-script). */
export class HeldCriu {
  /** For `runtime.handlers.NAME.path`, or the option `BinaryName` of runc's shim. It has the name of the runtime. */
  readonly runtimePath: string;
  readonly #hold: string;
  readonly #isHeld: string;

  constructor(directory: string, runtime: "crun" | "runc") {
    mkdirSync(directory, { recursive: true });
    this.runtimePath = path.join(directory, runtime);
    this.#hold = path.join(directory, "hold");
    this.#isHeld = path.join(directory, "is-held");
    const action = path.join(directory, "action");
    const write = (file: string, lines: string): void => {
      writeFileSync(file, `#!/bin/sh\n${lines}\n`, { mode: 0o755 });
    };
    write(
      this.runtimePath,
      `for word; do case $word in checkpoint|restore)
  [ -e "${this.#hold}" ] && echo 'action-script "${action}"' >>"$CRIU_CONFIG_FILE" ;;
esac; done
exec ${runtime} "$@"`,
    );
    write(
      action,
      `case $CRTOOLS_SCRIPT_ACTION in post-dump) ;; *) grep -qx "$CRTOOLS_SCRIPT_ACTION" "${this.#hold}" || exit 0 ;; esac
touch "${this.#isHeld}"
while [ -e "${this.#hold}" ]; do sleep 0.02; done`,
    );
  }

  /**
   * Holds CRIU from the next capture or restore on: a capture when everything is captured, a restore before it has made a
   * process, or when its processes run.
   */
  hold(restore: "pre-restore" | "post-resume" = "pre-restore"): void {
    rmSync(this.#isHeld, { force: true });
    writeFileSync(this.#hold, `${restore}\n`);
  }

  /** Whether CRIU is held. */
  isHeld(): boolean {
    return existsSync(this.#isHeld);
  }

  /** Lets CRIU continue. */
  release(): void {
    rmSync(this.#hold, { force: true });
  }
}
