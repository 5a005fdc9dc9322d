import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Where an installation puts its files, without the prefix of `--root`. */
export const paths = {
  unit: "/etc/systemd/system/davit.service",
  /** The unit of a package, which an installation leaves to it. */
  packagedUnits: ["/usr/lib/systemd/system/davit.service", "/lib/systemd/system/davit.service"],
  configDirectory: "/etc/davit",
  config: "/etc/davit/davit.toml",
  registries: "/etc/davit/certs.d",
  crictl: "/etc/crictl.yaml",
  link: "/usr/local/bin/davit",
  record: "/var/lib/davit/install.json",
  /** The logs and emptyDir volumes of davit run. */
  pods: "/var/lib/davit-run",
  /** The log that davit install names where systemd does not run. */
  log: "/var/log/davit.log",
} as const;

/** The name of the network configuration that davit brings. */
export const conflistName = "10-davit.conflist";

/** The path of a file in the tree at `root`; "" is the tree of this machine. */
export function placeIn(root: string, path: string): string {
  return root === "" ? path : join(root, path);
}

/** The directory of this davit: that with bin, dist and packaging. */
export function ownHome(): string {
  const fromSource = import.meta.url.endsWith("/src/cli/install/layout.ts");
  return realpathSync(fileURLToPath(new URL(fromSource ? "../../.." : "..", import.meta.url)));
}

/**
 * The path for `home` that an upgrade keeps: a link "davit" beside it, such as /opt/davit to /opt/davit-0.1.0, which the next
 * version takes over. Without one, `home` itself.
 */
export function lastingHome(home: string): string {
  const link = join(dirname(home), "davit");
  return existsSync(link) && realpathSync(link) === home ? link : home;
}

/** Where systemd looks for programs of a service without a PATH of its own: systemd.exec(5), "Environment". */
const servicePath = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/**
 * The Node.js that a unit must name: `execPath`, unless bin/davit finds it by itself, in `home` or on the
 * PATH that systemd gives to services.
 */
export function nodeForService(home: string, execPath: string): string | undefined {
  const real = (path: string): string => (existsSync(path) ? realpathSync(path) : path);
  if (real(execPath).startsWith(`${home}/`)) return undefined;
  const found = servicePath.map((directory) => `${directory}/node`).find(existsSync);
  return found !== undefined && real(found) === real(execPath) ? undefined : execPath;
}
