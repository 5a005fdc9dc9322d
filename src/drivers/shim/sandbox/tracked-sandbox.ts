import { setTimeout as delay } from "node:timers/promises";

import { isKind, messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Clock } from "../../../base/time.ts";
import type { ControllerStatus, SandboxExit } from "../../../core/sandbox/index.ts";
import type { PodShims } from "../process/pod-shims.ts";
import { SandboxClient } from "./client.ts";
import type { SandboxPlatform } from "./platform.ts";

interface Deps {
  readonly shims: PodShims;
  readonly clock: Clock;
  readonly log: Logger;
}

/** How long a status may be returned again. Milliseconds. */
const statusMs = 1_000;
/** The pause before the sandboxer is asked again. */
const retryMs = 500;

/** A sandbox that this daemon has started or adopted: waits for its end at its sandboxer, and caches its status. */
export class TrackedSandbox {
  /** Resolves at the sandbox's end; never rejects. */
  readonly exit: Promise<SandboxExit>;
  /** Undefined until the sandboxer has reported it. */
  platform: SandboxPlatform | undefined;
  readonly #id: string;
  readonly #deps: Deps;
  readonly #resolve: (exit: SandboxExit) => void;
  readonly #closing = new AbortController();
  #ended = false;
  #status: { readonly atMs: number; readonly answer: Promise<ControllerStatus> } | undefined;

  constructor(id: string, deps: Deps) {
    this.#id = id;
    this.#deps = deps;
    const { promise, resolve } = Promise.withResolvers<SandboxExit>();
    this.exit = promise;
    this.#resolve = resolve;
    void this.#waitForEnd();
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Marks the sandbox as ended, for the first reason that is given. */
  end(reason: string, exit?: Omit<SandboxExit, "reason">): void {
    const at = exit ?? { exitCode: 0, exitedAtNs: this.#deps.clock.nowNs() };
    this.#ended = true;
    this.#status = undefined;
    this.#resolve({ ...at, reason });
    this.#closing.abort(new Error("the sandbox has ended"));
  }

  /** Stops watching the sandbox. */
  close(): void {
    this.#closing.abort(new Error("the daemon is ending"));
  }

  /** The status by `ask`, or a successful one of the last second. Concurrent calls share one question. */
  async status(ask: () => Promise<ControllerStatus>): Promise<ControllerStatus> {
    const nowMs = performance.now();
    if (this.#status === undefined || nowMs - this.#status.atMs > statusMs) {
      const status = { atMs: nowMs, answer: ask() };
      this.#status = status;
      status.answer.catch(() => {
        if (this.#status === status) this.#status = undefined;
      });
    }
    return this.#status.answer;
  }

  /** Waits for the sandbox's end at its sandboxer, and reconnects when the connection is lost. Never rejects. */
  async #waitForEnd(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      await this.#askForEnd();
      if (!this.#isClosing()) await delay(retryMs, undefined, { ref: false });
    }
  }

  async #askForEnd(): Promise<void> {
    const { shims, clock, log } = this.#deps;
    const id = this.#id;
    try {
      const shim = await shims.find(id);
      if (shim !== undefined) {
        const { signal } = this.#closing;
        const { exitCode, exitedAtNs } = await new SandboxClient(shim.client).wait(id, signal);
        const exit = { exitCode, exitedAtNs: exitedAtNs ?? clock.nowNs() };
        this.end("its sandboxer reported its end", exit);
      } else if (!(await shims.isAlive(id))) {
        this.end("its shim is dead");
      }
    } catch (error) {
      if (isKind(error, "not-found")) this.end("its sandboxer does not know it any more");
      else log.debug(`wait for sandbox "${id}": ${messageOf(error)}`, { sandbox: id });
    }
  }

  /** A method, as the compiler would narrow the property for the whole loop. */
  #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }
}
