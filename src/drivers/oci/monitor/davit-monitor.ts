import type { AttachedClient } from "../../../core/container/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import type {
  AttachTarget,
  ContainerMonitor,
  LogTarget,
  MonitorDeps,
  MonitorStart,
  StartingMonitor,
} from "../container-monitor.ts";
import { startMonitor } from "./start.ts";

/**
 * davit's own monitor: native/monitor.c, of which the head says what it promises. Attach and the log are loaded with
 * their first use.
 */
export class DavitMonitor implements ContainerMonitor {
  readonly #deps: MonitorDeps;

  constructor(deps: MonitorDeps) {
    this.#deps = deps;
  }

  start(options: MonitorStart): Promise<StartingMonitor> {
    return startMonitor(this.#deps, options);
  }

  async attach(target: AttachTarget, client: AttachedClient, operation: Operation): Promise<void> {
    const { attach } = await import("./attach.ts");
    await attach(this.#deps.log, target, client, operation);
  }

  async reopenLog(target: LogTarget): Promise<void> {
    const { reopenLog } = await import("./reopen-log.ts");
    await reopenLog(target);
  }

  close(): void {
    // Connections belong to the calls that made them.
  }
}
