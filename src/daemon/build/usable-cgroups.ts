import { RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Config } from "../../config/config.ts";
import { type CgroupLayout, detectCgroups } from "../../linux/cgroup/index.ts";
import { isRunBySystemd, systemdDirectory } from "../../linux/host/index.ts";

/** The host's cgroups. Rejects the systemd driver on a host without systemd, where no container would start. */
export function usableCgroups(
  driver: Config["runtime"]["cgroupDriver"],
  log: Logger,
): CgroupLayout {
  const layout = detectCgroups();
  if (layout.version === "v1" && layout.advice !== undefined) log.warn(layout.advice);
  if (driver !== "systemd" || isRunBySystemd()) return layout;
  throw new RuntimeError(
    "failed-precondition",
    `use runtime.cgroup_driver = "systemd": this host does not run systemd (${systemdDirectory} is missing); set it to "cgroupfs", and kubelet's cgroupDriver, too`,
  );
}
