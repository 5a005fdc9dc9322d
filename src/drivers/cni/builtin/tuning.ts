// The plugin tuning, as version 1.1.1 does it: sysctls of the pod's network, and attributes of its interface, which DEL
// puts back from a file.
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { RuntimeError } from "../../../base/errors.ts";
import { errnoCode, systemError } from "../../../base/system-error.ts";
import { isNamespaceMounted } from "../../../linux/namespace/index.ts";
import { exchange, findLink, type Link, setLink } from "../../../linux/netlink/index.ts";
import { isObject, type JsonObject } from "../conflist.ts";
import { commonKeys, isFlag, isMac, isMtu, isPath, obstacleIn } from "./known-keys.ts";
import type { BuiltinPlugin, PluginCall } from "./plugin.ts";

const defaultDataDir = "/run/cni/tuning";
/** Since version 1.2.0: regular expressions of Go, one of which a sysctl must match. */
const systemAllowlist = "/etc/cni/tuning/allowlist.conf";

/** The attributes of an interface; in the file, those before the change. */
interface Attributes {
  readonly mac?: string;
  readonly promisc?: boolean;
  readonly mtu?: number;
  readonly allmulti?: boolean;
}

const known = {
  ...commonKeys,
  sysctl: areSysctls,
  mac: isMac,
  mtu: isMtu,
  promisc: isFlag,
  allmulti: isFlag,
  dataDir: isPath,
} as const;

// Of the network alone. With a dot in it, a name of an interface cannot be told from two names.
const sysctlPattern = /^net([./][A-Za-z0-9_-]+)+$/;

function areSysctls(value: unknown): string | undefined {
  const isFine =
    isObject(value) &&
    Object.entries(value).every(
      ([key, text]) => sysctlPattern.test(key) && typeof text === "string",
    );
  return isFine ? undefined : "must be an object of sysctls of the network";
}

/** An administrator's list of sysctls is for the plugin: davit cannot read its expressions as Go does. */
function allowlistObstacle(conf: JsonObject, allowlist: string): string | undefined {
  const isLimited = conf["sysctl"] !== undefined && existsSync(allowlist);
  return isLimited ? `the sysctls of "${allowlist}" are checked by the plugin` : undefined;
}

/** What is to be set: nothing for false, as with the plugin, and for an MTU of 0. */
function wantedOf(conf: JsonObject): Attributes {
  const { mac, mtu, promisc, allmulti } = conf as Attributes;
  return {
    ...(mac !== undefined && { mac }),
    ...(promisc === true && { promisc }),
    ...(mtu !== undefined && mtu !== 0 && { mtu }),
    ...(allmulti !== undefined && { allmulti }),
  };
}

function backupPath({ conf, containerId, ifName }: PluginCall): string {
  const directory = (conf["dataDir"] as string | undefined) ?? defaultDataDir;
  return join(directory, `${containerId}_${ifName}.json`);
}

/** Notes the attributes that will be changed, in the plugin's format. */
async function writeBackup(call: PluginCall, link: Link, wanted: Attributes): Promise<void> {
  const before: Attributes = {
    ...(wanted.mac !== undefined && { mac: link.mac }),
    ...(wanted.promisc !== undefined && { promisc: link.isPromiscuous }),
    ...(wanted.mtu !== undefined && { mtu: link.mtu }),
    ...(wanted.allmulti !== undefined && { allmulti: link.receivesAllMulticast }),
  };
  const path = backupPath(call);
  // The plugin's mode. Root does not need the right to enter.
  await mkdir(dirname(path), { recursive: true, mode: 0o600 });
  await writeFile(path, JSON.stringify(before, undefined, " "), { mode: 0o600 });
}

async function apply(netns: string, link: Link, attributes: Attributes): Promise<void> {
  const { mac, promisc, mtu, allmulti } = attributes;
  const changes = [
    ...(mac === undefined ? [] : [{ mac }]),
    ...(promisc === undefined ? [] : [{ promiscuous: promisc }]),
    ...(mtu === undefined ? [] : [{ mtu }]),
    ...(allmulti === undefined ? [] : [{ allMulticast: allmulti }]),
  ];
  await exchange(
    netns,
    changes.map((change) => setLink(link, change)),
  );
}

/** The attributes of a backup; undefined without a file. What a file has besides them does not count. */
async function readBackup(path: string): Promise<Attributes | undefined> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return undefined;
    if (errnoCode(error) !== undefined) throw systemError(`read "${path}"`, error);
    return {};
  }
  const { mac, promisc, mtu, allmulti } = isObject(value) ? value : {};
  return {
    ...(isMac(mac) === undefined && { mac: mac as string }),
    ...(typeof promisc === "boolean" && { promisc }),
    ...(isMtu(mtu) === undefined && mtu !== 0 && { mtu: mtu as number }),
    ...(typeof allmulti === "boolean" && { allmulti }),
  };
}

/** Sysctls and attributes of the pod's interface. With a file at `allowlist`, sysctls are an obstacle. */
export const tuningWith = (allowlist: string): BuiltinPlugin => ({
  type: "tuning",

  obstacle: (conf) => obstacleIn(conf, known) ?? allowlistObstacle(conf, allowlist),

  async add(call, previous) {
    const { netns, ifName, conf } = call;
    if (previous === undefined) throw new Error("Required prevResult missing");
    const sysctls = Object.entries((conf["sysctl"] ?? {}) as Readonly<Record<string, string>>);
    const files = sysctls.map(([key, value]) => {
      const name = key.replace("IFNAME", ifName).replaceAll(".", "/");
      return { path: `/proc/sys/${name}`, value };
    });
    // Written since the plugins were chosen, a few seconds ago.
    const obstacle = allowlistObstacle(conf, allowlist);
    if (obstacle !== undefined) {
      throw new RuntimeError(
        "unavailable",
        `set sysctls of sandbox "${call.containerId}": ${obstacle}`,
      );
    }
    if (files.length > 0) await exchange(netns, [], files);
    const wanted = wantedOf(conf);
    if (Object.keys(wanted).length === 0) return previous;
    const link = await findLink(netns, ifName);
    if (link === undefined) throw new Error(`failed to get "${ifName}": Link not found`);
    await writeBackup(call, link, wanted);
    await apply(netns, link, wanted);
    const { mac } = wanted;
    if (mac === undefined) return previous;
    const interfaces = previous.interfaces?.map((each) =>
      each.name === ifName ? { ...each, mac } : each,
    );
    return { ...previous, ...(interfaces !== undefined && { interfaces }) };
  },

  async del(call) {
    const { netns, ifName } = call;
    const path = backupPath(call);
    const before = await readBackup(path);
    if (before === undefined) return;
    const exists = netns !== "" && isNamespaceMounted(netns);
    const link = exists ? await findLink(netns, ifName) : undefined;
    // As with the plugin, a failure does not matter: the link is the pod's, which may have made it one without these.
    if (link !== undefined) await apply(netns, link, before).catch(() => undefined);
    // Also without an interface, where the plugin leaves it: nobody else removes it.
    await rm(path, { force: true });
  },
});

/** As davit uses it. */
export const tuningPlugin = tuningWith(systemAllowlist);
