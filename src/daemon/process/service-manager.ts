import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { errnoCode } from "../../base/system-error.ts";

const microsPerMilli = 1000;
// Pause before a message is sent again to a busy manager.
const retryMs = 500;

/** The variables that a service manager sets for the services that it starts (sd_notify(3)). */
const variables = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] as const;

/** What a `ServiceManager` needs. */
export interface ServiceManagerParts {
  /** The variables are removed from it, so that no CNI plugin or other child can send as davit. */
  readonly env: Record<string, string | undefined>;
  readonly pid: number;
  /** Sends one datagram; throws an error with an errno's name as `code`. */
  readonly send: (socket: string, text: string) => void;
  readonly log: Logger;
}

/**
 * Notifies the service manager that started this process, for example systemd, when the daemon is ready
 * and when it stops, and, where the unit has WatchdogSec, that the event loop still runs. Without
 * NOTIFY_SOCKET it sends nothing.
 */
export class ServiceManager implements Disposable {
  readonly #parts: ServiceManagerParts;
  readonly #socket: string;
  readonly #watchdog: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** Lines that could not be sent yet. */
  #unsent: readonly string[] = [];
  #failed = false;

  constructor(parts: ServiceManagerParts) {
    this.#parts = parts;
    const [socket = "", watchdogUs = "", watchdogPid = ""] = variables.map((name) => {
      const value = parts.env[name];
      Reflect.deleteProperty(parts.env, name);
      return value;
    });
    this.#socket = socket;
    const isOurs = watchdogPid === "" || watchdogPid === String(parts.pid);
    const periodMs = isOurs ? Number(watchdogUs) / microsPerMilli / 2 : 0;
    if (socket === "" || !(periodMs >= 1)) return;
    this.#watchdog = setInterval(() => {
      this.#send("WATCHDOG=1");
    }, periodMs).unref();
  }

  /** The daemon listens, but is not ready. */
  starting(status: string): void {
    this.#send(`STATUS=${status}`);
  }

  /** The daemon is ready; units that are ordered after it may start. */
  ready(status: string): void {
    this.#send("READY=1", `STATUS=${status}`);
  }

  /** The daemon reads its configuration again; ready() ends that. systemd expects the time by its own clock. */
  reloading(): void {
    const monotonicUs = process.hrtime.bigint() / 1000n;
    this.#send(
      "RELOADING=1",
      `MONOTONIC_USEC=${monotonicUs}`,
      "STATUS=reloading the configuration",
    );
  }

  /** The daemon stops; it still reports to the watchdog. */
  stopping(): void {
    this.#send("STOPPING=1", "STATUS=stopping; pods keep running");
  }

  [Symbol.dispose](): void {
    clearInterval(this.#watchdog);
    clearTimeout(this.#retry);
  }

  #send(...lines: readonly string[]): void {
    if (this.#socket === "") return;
    const all = [...this.#unsent, ...lines];
    this.#unsent = [];
    clearTimeout(this.#retry);
    try {
      this.#parts.send(this.#socket, all.join("\n"));
      this.#failed = false;
    } catch (error) {
      this.#handle(all, error);
    }
  }

  /** Retries when the queue is full. Every other failure is logged once. */
  #handle(lines: readonly string[], error: unknown): void {
    if (errnoCode(error) === "EAGAIN") {
      this.#unsent = lines.filter((line) => line !== "WATCHDOG=1");
      if (this.#unsent.length === 0) return;
      this.#retry = setTimeout(() => {
        this.#send();
      }, retryMs).unref();
    } else if (!this.#failed) {
      this.#failed = true;
      this.#parts.log.warn(`sd_notify failed: ${messageOf(error)}`);
    }
  }
}
