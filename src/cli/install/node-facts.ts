import { existsSync } from "node:fs";
import process from "node:process";
import type { Config } from "../../config/config.ts";
import { loadConfig } from "../../config/load.ts";
import { findConfigFile } from "../commands/config-file.ts";
import { chooseSubnet } from "../demo/network.ts";
import { lastingHome, nodeForService, ownHome, placeIn, paths } from "./layout.ts";
import { type PlanFacts, readIfThere } from "./plan.ts";
import { readRecord } from "./record.ts";
import { systemdRuns } from "./service.ts";
import { readTemplates, templateSubnet } from "./templates.ts";

/** Whose network the pods get, as `--network` takes it. */
export type NetworkChoice = "auto" | "bridge" | "none";

/** The bridge of packaging/10-davit.conflist. */
const bridgeName = "davit0";

/** The configuration in the tree at `root`, or the defaults without a file. Throws as loadConfig. */
export function configIn(root: string): Config {
  if (root === "") return loadConfig(findConfigFile(undefined));
  const path = placeIn(root, paths.config);
  return loadConfig(existsSync(path) ? path : undefined);
}

/** Reads what an installation into the tree at `root` depends on. */
export function readFacts(root: string, choice: NetworkChoice): PlanFacts {
  const from = ownHome();
  const lasting = lastingHome(from);
  const home = root !== "" && lasting.startsWith(`${root}/`) ? lasting.slice(root.length) : lasting;
  const config = configIn(root);
  const here = root === "";
  const subnet = here ? freeSubnet() : undefined;
  const templates = readTemplates({
    from,
    home,
    node: here ? nodeForService(from, process.execPath) : undefined,
    socket: config.server.listen,
    systemdCgroups: here && systemdRuns() && existsSync("/sys/fs/cgroup/cgroup.controllers"),
    subnet,
  });
  return {
    root,
    home,
    record: readRecord(placeIn(root, paths.record)),
    templates,
    network: chooseNetwork(root, choice),
    confDir: config.cni.confDir,
    searchPath: here
      ? (process.env["PATH"] ?? "")
      : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  };
}

/** A subnet without a route of this machine; undefined for that of the template. */
function freeSubnet(): string | undefined {
  const chosen = chooseSubnet(readIfThere("/proc/net/route") ?? "", {
    bridge: bridgeName,
    first: templateSubnet,
  });
  return chosen?.subnet;
}

function chooseNetwork(root: string, choice: NetworkChoice): PlanFacts["network"] {
  if (choice === "bridge") return { bridge: true };
  if (choice === "none") return { bridge: false, why: "--network none" };
  const kubelet = ["/var/lib/kubelet/config.yaml", "/etc/kubernetes", "/usr/bin/kubelet"].find(
    (path) => existsSync(placeIn(root, path)),
  );
  if (kubelet === undefined) return { bridge: true };
  const why = `${kubelet} is there: the cluster's network plugin brings its own; --network bridge writes it`;
  return { bridge: false, why };
}
