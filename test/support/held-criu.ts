/** A crun whose CRIU a test can hold when it has captured a container and has not ended yet. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

/** Scripts in a directory: a crun, and what its CRIU runs (criu(8), --action-script). */
export class HeldCriu {
  /** For `runtime.handlers.NAME.path`, or the option `BinaryName` of runc's shim. */
  readonly runtimePath: string;
  readonly #hold: string;
  readonly #isHeld: string;

  constructor(directory: string) {
    mkdirSync(directory, { recursive: true });
    this.runtimePath = path.join(directory, "held-crun");
    this.#hold = path.join(directory, "hold");
    this.#isHeld = path.join(directory, "is-held");
    const action = path.join(directory, "action");
    const write = (file: string, lines: string): void => {
      writeFileSync(file, `#!/bin/sh\n${lines}\n`, { mode: 0o755 });
    };
    write(
      this.runtimePath,
      `for word; do
  [ "$word" = checkpoint ] && [ -e "${this.#hold}" ] && echo 'action-script "${action}"' >>"$CRIU_CONFIG_FILE"
done
exec crun "$@"`,
    );
    write(
      action,
      `[ "$CRTOOLS_SCRIPT_ACTION" = post-dump ] || exit 0
touch "${this.#isHeld}"
while [ -e "${this.#hold}" ]; do sleep 0.02; done`,
    );
  }

  /** Holds CRIU from the next capture on. */
  hold(): void {
    rmSync(this.#isHeld, { force: true });
    writeFileSync(this.#hold, "");
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
