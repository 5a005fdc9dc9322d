import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { errnoCode } from "../../base/system-error.ts";

/**
 * The pod CIDRs of the node, in a file of the root directory. kubelet sends them when they change, and not again to a
 * runtime that was restarted (pkg/kubelet/kubelet_network.go). Never synced: kubelet sends them after a reboot.
 */
export class PodCidrFile {
  readonly #path: string;
  readonly #log: Logger;
  #text = "";
  /** Whether the file has the text. */
  #isWritten = true;

  /** Reads what an earlier daemon has written. Never throws. */
  constructor(root: string, log: Logger) {
    this.#path = join(root, "pod-cidrs");
    this.#log = log;
    try {
      this.#text = readFileSync(this.#path, "utf8").trim();
    } catch (cause) {
      if (errnoCode(cause) !== "ENOENT") this.warn("cannot read", cause);
    }
  }

  /** Separated by commas; empty if kubelet has not sent any. */
  get text(): string {
    return this.#text;
  }

  /** Sets them, and writes them for the next daemon; the same ones again if the last write failed. Never throws. */
  set(text: string): void {
    if (text === this.#text && this.#isWritten) return;
    this.#text = text;
    this.#isWritten = false;
    const next = `${this.#path}.new`;
    try {
      writeFileSync(next, `${text}\n`, { mode: 0o600 });
      renameSync(next, this.#path);
      this.#isWritten = true;
    } catch (cause) {
      this.warn("cannot write", cause);
    }
  }

  /** Logs that the CIDRs are lost for some daemon. */
  warn(problem: string, cause: unknown): void {
    this.#log.warn(`${problem} the node's pod CIDRs; restart kubelet, which sends them again`, {
      file: this.#path,
      error: messageOf(cause),
    });
  }
}
