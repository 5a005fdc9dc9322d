import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { errnoCode } from "../../base/system-error.ts";

const microsPerMilli = 1000;
// A manager that is busy gets what it must know again after this long.
const againMs = 500;

/** What a service manager puts into the environment of what it starts (sd_notify(3)). */
const variables = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] as const;

/** What a `ServiceManager` needs. */
export interface ServiceManagerParts {
  /** Taken out of it: no CNI plugin and no other child may speak in our name. */
  readonly env: Record<string, string | undefined>;
  readonly pid: number;
  /** Sends one datagram; throws an error with an errno's name as `code`. */
  readonly send: (socket: string, text: string) => void;
  readonly log: Logger;
}

/**
 * The service manager that started this process, systemd for one: it is told when the daemon is
 * ready and when it ends, and, when its unit has WatchdogSec, that the event loop still turns.
 * Without NOTIFY_SOCKET nothing is said to anybody.
 */
export class ServiceManager implements Disposable {
  readonly #parts: ServiceManagerParts;
  readonly #socket: string;
  readonly #beat: NodeJS.Timeout | undefined;
  #again: NodeJS.Timeout | undefined;
  /** What could not be sent yet. */
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
    this.#beat = setInterval(() => {
      this.#tell("WATCHDOG=1");
    }, periodMs).unref();
  }

  /** The socket answers, but the daemon is not ready. */
  starting(status: string): void {
    this.#tell(`STATUS=${status}`);
  }

  /** Units that are ordered after this one may start now. */
  ready(status: string): void {
    this.#tell("READY=1", `STATUS=${status}`);
  }

  /** The end has begun; the watchdog is still told that it goes on. */
  stopping(): void {
    this.#tell("STOPPING=1", "STATUS=ending; pods go on");
  }

  [Symbol.dispose](): void {
    clearInterval(this.#beat);
    clearTimeout(this.#again);
  }

  #tell(...lines: readonly string[]): void {
    if (this.#socket === "") return;
    const all = [...this.#unsent, ...lines];
    this.#unsent = [];
    clearTimeout(this.#again);
    try {
      this.#parts.send(this.#socket, all.join("\n"));
      this.#failed = false;
    } catch (error) {
      this.#keep(all, error);
    }
  }

  /** A full queue is tried again; a manager that is not there is not, and that is said once. */
  #keep(lines: readonly string[], error: unknown): void {
    if (errnoCode(error) === "EAGAIN") {
      this.#unsent = lines.filter((line) => line !== "WATCHDOG=1");
      if (this.#unsent.length === 0) return;
      this.#again = setTimeout(() => {
        this.#tell();
      }, againMs).unref();
    } else if (!this.#failed) {
      this.#failed = true;
      this.#parts.log.warn(`cannot tell the service manager how davit is: ${messageOf(error)}`);
    }
  }
}
