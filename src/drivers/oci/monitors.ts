import { accessSync, constants } from "node:fs";

import { messageOf } from "../../base/errors.ts";
import { monitorPath } from "../../linux/process/index.ts";
import type { ContainerMonitor, MonitorDeps, MonitorName } from "./container-monitor.ts";
import { DavitMonitor } from "./monitor/davit-monitor.ts";
import { programPath } from "./runtime-command.ts";

/** The monitors by name. conmon's code is loaded with the first container that has it. */
export class Monitors {
  readonly #deps: MonitorDeps;
  readonly #davit: ContainerMonitor;
  #conmon: Promise<ContainerMonitor> | undefined;

  constructor(deps: MonitorDeps) {
    this.#deps = deps;
    this.#davit = new DavitMonitor(deps);
  }

  of(name: MonitorName): ContainerMonitor | Promise<ContainerMonitor> {
    if (name === "davit") return this.#davit;
    this.#conmon ??= import("./conmon/conmon.ts").then(({ Conmon }) => new Conmon(this.#deps));
    return this.#conmon;
  }

  /** Warns about a missing program, without which every start would fail. */
  warnWithout(name: MonitorName): void {
    const { conmonPath, log } = this.#deps;
    try {
      accessSync(name === "davit" ? monitorPath() : programPath(conmonPath), constants.X_OK);
    } catch (error) {
      const next =
        name === "davit"
          ? "install davit again, or run sh scripts/build-native.sh"
          : "install conmon, or set runtime.monitor_path";
      log.warn(`no container can be started: ${next}`, { error: messageOf(error) });
    }
  }

  async close(): Promise<void> {
    this.#davit.close();
    (await this.#conmon)?.close();
  }
}
