import { existsSync, readdirSync, realpathSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { Config } from "../../config/config.ts";
import { conflistName, placeIn, paths } from "./layout.ts";
import { linkIfThere, readIfThere } from "./plan.ts";
import { hashOf, type InstallRecord } from "./record.ts";

/** Something that `davit uninstall` removes, or leaves where it is. */
export interface Removal {
  readonly action: "remove" | "keep";
  readonly kind: "file" | "tree" | "directory" | "network";
  /** Its path without the prefix of --root, or the name of a network. */
  readonly what: string;
  readonly why: string;
}

/** A network of pods, by its configuration. */
export interface OwnNetwork {
  readonly name: string;
  readonly bridge: string;
  /** The directory of host-local with the addresses in use. */
  readonly addresses: string;
}

/** What a removal depends on. */
interface RemovalFacts {
  readonly root: string;
  readonly record: InstallRecord | undefined;
  readonly config: Config;
  readonly all: boolean;
}

/** What is removed, in this order. Reads only. */
export function planRemoval(facts: RemovalFacts): readonly Removal[] {
  const { root, record, all, config } = facts;
  const conflistPath = `${config.cni.confDir}/${conflistName}`;
  // With all, also what an operator has copied from packaging: it has the name of davit.
  const [ownFiles, ownLinks] = all ? [[paths.unit, conflistPath], [paths.link]] : [[], []];
  const files = [...new Set([...Object.keys(record?.files ?? {}), ...ownFiles])].flatMap((path) =>
    file(facts, path),
  );
  const links = [...new Set([...Object.keys(record?.links ?? {}), ...ownLinks])].flatMap((path) =>
    link(facts, path),
  );
  const conflist = files.find(({ what }) => what === conflistPath);
  const network = conflist?.action === "remove" ? ownNetwork(facts) : undefined;
  const trees = all
    ? [config.state, config.writableRoot, config.root, paths.pods, paths.configDirectory]
    : [];
  const directories = (record?.directories ?? []).filter(
    (path) => !trees.includes(path) && existsSync(placeIn(root, path)),
  );
  return [
    ...(network === undefined || root !== "" ? [] : networkRemoval(network)),
    ...files,
    ...links,
    ...(all ? logFile(root) : []),
    ...[...new Set(trees)].flatMap((path) => tree(root, path)),
    ...directories.toReversed().map(
      (what): Removal => ({
        ...{ action: "remove", kind: "directory", what },
        why: "made by davit install; removed if it is empty",
      }),
    ),
  ];
}

function file({ root, record, all }: RemovalFacts, what: string): readonly Removal[] {
  const existing = readIfThere(placeIn(root, what));
  if (existing === undefined) return [];
  const item = { kind: "file", what } as const;
  if (hashOf(existing) === record?.files[what]) {
    return [{ ...item, action: "remove", why: "made by davit install" }];
  }
  if (record?.files[what] === undefined) {
    return [{ ...item, action: "remove", why: "davit's by its name; --all" }];
  }
  const changed = "changed since davit install made it";
  if (all) return [{ ...item, action: "remove", why: `${changed}; --all` }];
  return [{ ...item, action: "keep", why: `${changed}; --all removes it` }];
}

function link({ root, record, all }: RemovalFacts, what: string): readonly Removal[] {
  const target = linkIfThere(placeIn(root, what));
  if (target === undefined) return [];
  const item = { kind: "file", what } as const;
  if (target === record?.links[what]) {
    return [{ ...item, action: "remove", why: "made by davit install" }];
  }
  if (all && record?.links[what] === undefined && target.endsWith("/bin/davit")) {
    return [{ ...item, action: "remove", why: "a link to davit; --all" }];
  }
  return [{ ...item, action: "keep", why: "points to something else by now" }];
}

function logFile(root: string): readonly Removal[] {
  if (!existsSync(placeIn(root, paths.log))) return [];
  const why = "the log of a daemon without systemd; --all";
  return [{ action: "remove", kind: "file", what: paths.log, why }];
}

/**
 * A directory with all that is in it. One that is not named for davit may have files of others: a root of "/data" is
 * kept, and named.
 */
function tree(root: string, what: string): readonly Removal[] {
  if (what === "" || !existsSync(placeIn(root, what))) return [];
  const item = { kind: "tree", what } as const;
  // A link to another disk: its target counts, and is removed as well.
  const real = realpathSync(placeIn(root, what));
  if (root !== "" && !real.startsWith(`${realpathSync(root)}/`)) {
    // An absolute link of the tree, such as /var/run, leads to this machine.
    return [{ ...item, action: "keep", why: `a link leads out of ${root}: remove it yourself` }];
  }
  const isOwn = [what, real].every(
    (path) => path.split("/").length > 2 && /davit/.test(basename(path)),
  );
  if (isOwn)
    return [{ ...item, action: "remove", why: "davit's directory, with all that is in it" }];
  const why =
    "davit's directory by the configuration, which may have files of others: remove it yourself";
  return [{ ...item, action: "keep", why }];
}

/** The network of davit's own configuration, also if it was changed since. */
export function ownNetwork({
  root,
  config,
}: Pick<RemovalFacts, "root" | "config">): OwnNetwork | undefined {
  const path = `${config.cni.confDir}/${conflistName}`;
  return parseNetwork(readIfThere(placeIn(root, path)) ?? "");
}

/** The network of a conflist with a bridge; undefined for another text. */
export function parseNetwork(text: string): OwnNetwork | undefined {
  try {
    const { name, plugins } = JSON.parse(text) as {
      name?: unknown;
      plugins?: { type?: unknown; bridge?: unknown; ipam?: { dataDir?: unknown } }[];
    };
    const plugin = plugins?.find(({ type }) => type === "bridge");
    const bridge = plugin?.bridge;
    if (!isName(name) || !isName(bridge)) return undefined;
    const dataDir = plugin?.ipam?.dataDir;
    const directory = typeof dataDir === "string" ? dataDir : "/var/lib/cni/networks";
    return { name, bridge, addresses: `${directory}/${name}` };
  } catch {
    return undefined;
  }
}

/** Names of networks and devices become parts of paths and arguments. */
function isName(value: unknown): value is string {
  return typeof value === "string" && /^[A-Za-z0-9][\w.-]{0,62}$/.test(value);
}

function networkRemoval({ name, bridge, addresses }: OwnNetwork): readonly Removal[] {
  const removals: Removal[] = [
    {
      ...{ action: "remove", kind: "network", what: name },
      why: `bridge ${bridge}, and chains for host ports that davit's pods have caused`,
    },
  ];
  if (hasOnlyAddresses(addresses)) {
    const why = `addresses of network "${name}"`;
    removals.push({ action: "remove", kind: "tree", what: addresses, why });
  }
  return removals;
}

/** Whether a directory is as host-local makes it: a text of the configuration alone must not make it be removed. */
export function hasOnlyAddresses(directory: string): boolean {
  if (!directory.startsWith("/") || !existsSync(directory)) return false;
  return readdirSync(directory).every((name) =>
    /^(lock|last_reserved_ip\.\d+|[0-9a-f.:]+)$/.test(name),
  );
}

/** Directories that others may use as well, those below others first: removed if davit has left them empty. */
export function sharedDirectories({ cadvisor, nri }: Config): readonly string[] {
  const sockets = [dirname(cadvisor.listen), dirname(nri.socketPath)];
  return [...sockets, "/var/lib/cni/networks", "/var/lib/cni"];
}
