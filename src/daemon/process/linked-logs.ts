import { realpathSync } from "node:fs";

/** Where kubelet keeps the logs of pods. */
const podLogs = "/var/log/pods";

/**
 * A warning for the start of davit: a symbolic link on the way to kubelet's logs, below the directories
 * whose own path may contain links (`runtime.log_roots`). With it, no container that has a log can start.
 * `undefined` without a link, and before kubelet has made the directory.
 */
export function linkedLogs(logRoots: readonly string[], logs = podLogs): string | undefined {
  const roots = logRoots.filter((root) => logs === root || logs.startsWith(`${root}/`));
  const root = roots.reduce((longest, each) => (each.length > longest.length ? each : longest), "");
  try {
    const real = realpathSync(logs);
    const wanted = (root === "" ? "" : realpathSync(root)) + logs.slice(root.length);
    if (real === wanted) return undefined;
    return `"${logs}" leads to "${real}" through a symbolic link: containers with logs there will fail to start; replace the link by a bind mount, or see runtime.log_roots`;
  } catch {
    return undefined; // kubelet makes the directory
  }
}
