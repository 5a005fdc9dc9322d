import { realpathSync } from "node:fs";

/** Where kubelet keeps the logs of pods. */
const podLogs = "/var/log/pods";

/**
 * What to warn of when davit starts: a symbolic link on the way to kubelet's logs, below the directories
 * whose own path may lead through links (`runtime.log_roots`). Every start of a container with a log is
 * refused then. `undefined` where there is none, or no such directory yet.
 */
export function linkedLogs(logRoots: readonly string[], logs = podLogs): string | undefined {
  const roots = logRoots.filter((root) => logs === root || logs.startsWith(`${root}/`));
  const root = roots.reduce((longest, each) => (each.length > longest.length ? each : longest), "");
  try {
    const real = realpathSync(logs);
    const wanted = (root === "" ? "" : realpathSync(root)) + logs.slice(root.length);
    if (real === wanted) return undefined;
    return `"${logs}" leads to "${real}" through a symbolic link: containers with logs there will not start; put a bind mount in place of the link, or see runtime.log_roots`;
  } catch {
    return undefined; // kubelet makes the directory
  }
}
