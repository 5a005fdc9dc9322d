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
import { attach, IdleAttachments } from "./attach.ts";
import { reopenLog } from "./reopen-log.ts";
import { startConmon } from "./start.ts";

/** conmon, of Podman and CRI-O. Start here for what is special about it. */
export class Conmon implements ContainerMonitor {
  readonly #deps: MonitorDeps;
  readonly #idle = new IdleAttachments();

  constructor(deps: MonitorDeps) {
    this.#deps = deps;
  }

  start(options: MonitorStart): Promise<StartingMonitor> {
    return startConmon(this.#deps, options);
  }

  attach(target: AttachTarget, client: AttachedClient, operation: Operation): Promise<void> {
    return attach({ idle: this.#idle, log: this.#deps.log }, target, client, operation);
  }

  reopenLog(target: LogTarget): Promise<void> {
    return reopenLog(target);
  }

  close(): void {
    this.#idle.close();
  }
}
