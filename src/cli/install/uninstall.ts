import { counted } from "../../base/counted.ts";
import { existsSync, lstatSync, readdirSync, realpathSync, rmdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { isKind, RuntimeError, wrap } from "../../base/errors.ts";
import type { Config } from "../../config/config.ts";
import { Rollback } from "../../base/rollback.ts";
import { listMounts, unmount } from "../../linux/mount/index.ts";
import { formatTable } from "../output/table.ts";
import type { Terminal } from "../output/terminal.ts";
import { writeRecord } from "./apply.ts";
import { placeIn, paths } from "./layout.ts";
import { configIn } from "./node-facts.ts";
import { removeNetwork, requireForRemoval } from "./own-network.ts";
import { type InstallRecord, readRecord } from "./record.ts";
import { ownNetwork, planRemoval, type Removal, sharedDirectories } from "./removal.ts";
import { askServer, removePodsAndImages, type ServingDavit } from "./remove-pods.ts";
import { serviceState, systemctl, systemdRuns } from "./service.ts";

/** The options of `davit uninstall`. */
export interface UninstallOptions {
  /** The prefix of all paths: the tree of another machine; "" for this one. */
  readonly root: string;
  /** Also what davit made while it ran, and changed files. */
  readonly all: boolean;
  /** Pods and images are removed first, not refused. */
  readonly force: boolean;
  readonly dryRun: boolean;
  readonly version: string;
  readonly terminal: Terminal;
}

/** The state of the node, before anything is removed. */
interface Found {
  readonly config: Config;
  readonly record: InstallRecord | undefined;
  readonly serving: ServingDavit | undefined;
  /** Pods that a daemon has, or that records describe. */
  readonly pods: number;
}

/**
 * Removes what davit install has made, and with `all` everything of davit's but its program. Returns whether
 * nothing stays that the operator has to look at.
 */
export async function uninstall(options: UninstallOptions): Promise<boolean> {
  const { root, terminal } = options;
  const found = await look(options);
  const removesPods = root === "" && mustRemovePods(options, found);
  const refused = found.pods > 0 && !removesPods;
  const refusal = `${counted(found.pods, "pod")} on this node; drain the node, or remove them with --force`;
  const items = planRemoval({ ...found, root, all: options.all });
  const service = await serviceSteps(root);
  if (options.dryRun) {
    terminal.out("This is what davit uninstall would do; nothing was changed.\n");
    terminal.out(describe(found, removesPods, service).join(""));
    terminal.out(table(items, options));
    if (refused) terminal.out(`It would refuse: ${refusal}.\n`);
    return !refused;
  }
  if (refused) throw new RuntimeError("failed-precondition", `uninstall davit: ${refusal}`);
  await takeDown(options, found, { items, service, removesPods });
  terminal.out(describe(found, removesPods, service).join("") + table(items, options));
  for (const line of remaining(options, found)) terminal.out(`${line}\n`);
  return !items.some(({ action }) => action === "keep");
}

function mustRemovePods(
  { all, force }: UninstallOptions,
  { config, serving, pods }: Found,
): boolean {
  if (pods > 0) return force;
  // With all, what is left of images and pods that were removed before goes as well.
  return all && (serving !== undefined || existsSync(join(config.root, "davit.db")));
}

async function takeDown(
  { root, all, version }: UninstallOptions,
  found: Found,
  plan: {
    readonly items: readonly Removal[];
    readonly service: readonly (readonly string[])[];
    readonly removesPods: boolean;
  },
): Promise<void> {
  const { items, service } = plan;
  const here = root === "";
  const hasNetwork = items.some(({ kind }) => kind === "network");
  const network = hasNetwork ? ownNetwork({ ...found, root }) : undefined;
  if (network !== undefined) requireForRemoval(network);
  if (plan.removesPods) {
    const serving = found.serving !== undefined;
    await removePodsAndImages(found.config, { serving, version });
  }
  for (const args of service) await systemctl(args);
  if (here) {
    await stopDaemon(found.config);
    await refuseLatePods(found.config);
  }
  if (network !== undefined) await removeNetwork(network, found.record?.chainsBefore ?? []);
  for (const item of items) await remove(root, item);
  if (here && all) {
    sharedDirectories(found.config).forEach(removeEmpty);
    await stopSlice();
  }
  await keepRecord(found.record, items, root);
  if (service.length > 0) await systemctl(["daemon-reload"]);
}

async function look({ root, force }: UninstallOptions): Promise<Found> {
  const config = readConfig(root);
  const record = readRecord(placeIn(root, paths.record));
  if (root !== "") return { config, record, serving: undefined, pods: 0 };
  const serving = await askServer(config.server.listen);
  if (serving !== undefined) return { config, record, serving, pods: serving.pods };
  return { config, record, serving, pods: await podsOf(config, force) };
}

/** The pods of the records. Those of a damaged database are unknown, and only --force ignores that. */
async function podsOf({ root }: Pick<Config, "root">, force: boolean): Promise<number> {
  const { recordedPods } = await import("../../doctor/index.ts");
  try {
    return recordedPods(root);
  } catch (error) {
    if (!isKind(error, "failed-precondition")) throw error;
    if (force) return 0;
    throw wrap("uninstall davit: end them by hand, and try again with --force", error);
  }
}

function readConfig(root: string): Config {
  try {
    return configIn(root);
  } catch (cause) {
    throw wrap(
      "uninstall davit: correct the configuration first, which says where davit's files are",
      cause,
    );
  }
}

/** The calls of systemctl for a service that runs or is enabled. */
async function serviceSteps(root: string): Promise<readonly (readonly string[])[]> {
  if (root !== "" || !systemdRuns()) return [];
  const { enabled, active } = await serviceState();
  return enabled || active ? [["disable", "--now", "davit"]] : [];
}

/** With systemd's cgroups, pods were in slices of this one, which systemd keeps when they end. */
async function stopSlice(): Promise<void> {
  const cgroups = ["/sys/fs/cgroup/davit.slice", "/sys/fs/cgroup/systemd/davit.slice"];
  if (systemdRuns() && cgroups.some((each) => existsSync(each))) {
    await systemctl(["stop", "davit.slice"]);
  }
}

/** Ends a daemon that no service manager runs; the lock says which process it is. */
async function stopDaemon({ root }: Config): Promise<void> {
  const { readOwner } = await import("../../doctor/index.ts");
  const owner = readOwner(root);
  if (owner === undefined) return;
  process.kill(owner.pid, "SIGTERM");
  const waitMs = 15_000;
  const end = performance.now() + waitMs;
  while (existsSync(`/proc/${owner.pid}`) && readOwner(root) !== undefined) {
    if (performance.now() > end) {
      const text = `stop the davit of process ${owner.pid}: it still runs ${waitMs / 1000} s after SIGTERM; stop it and try again`;
      throw new RuntimeError("deadline-exceeded", text);
    }
    await sleep(50);
  }
}

/** A kubelet that still runs makes new pods until the daemon has ended. Nothing is removed while they run. */
async function refuseLatePods({ root }: Config): Promise<void> {
  // With --force, a damaged database has been accepted before.
  const pods = await podsOf({ root }, true);
  if (pods === 0) return;
  throw new RuntimeError(
    "failed-precondition",
    `uninstall davit: ${counted(pods, "pod")} came meanwhile, and davit is stopped; stop kubelet, and try again with --force`,
  );
}

async function remove(root: string, { action, kind, what }: Removal): Promise<void> {
  if (action === "keep" || kind === "network") return;
  const path = placeIn(root, what);
  try {
    if (kind === "file") rmSync(path, { force: true });
    if (kind === "directory") removeEmpty(path);
    if (kind === "tree") await removeTree(path);
  } catch (cause) {
    throw wrap(`remove "${path}": davit uninstall can be run again`, cause);
  }
}

/**
 * Removes a directory and what is mounted in it. Of a mount point, only what is in it. Of a link, the target as well.
 * The list of mounts has no links in its paths, so it is searched for the real path.
 */
async function removeTree(path: string): Promise<void> {
  // systemd removes the state directory of a service that has ended.
  if (!existsSync(path)) return;
  const real = realpathSync(path);
  const mounts = (await listMounts()).map(({ mountPoint }) => mountPoint);
  const inside = mounts.filter((mount) => mount.startsWith(`${real}/`));
  for (const mount of inside.toReversed()) await unmount(mount);
  const isMounted = mounts.includes(real);
  const all = isMounted ? readdirSync(real).map((name) => join(real, name)) : [real];
  for (const each of all) rmSync(each, { recursive: true, force: true });
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true) rmSync(path);
}

function removeEmpty(path: string): void {
  if (existsSync(path) && readdirSync(path).length === 0) rmdirSync(path);
}

/** The record of what was kept, for another run; without that, none. */
async function keepRecord(
  record: InstallRecord | undefined,
  items: readonly Removal[],
  root: string,
): Promise<void> {
  const path = placeIn(root, paths.record);
  const kept = new Set(items.filter(({ action }) => action === "keep").map(({ what }) => what));
  const only = (entries: Readonly<Record<string, string>>): Record<string, string> =>
    Object.fromEntries(Object.entries(entries).filter(([name]) => kept.has(name)));
  const files = only(record?.files ?? {});
  if (record !== undefined && Object.keys(files).length > 0) {
    await using undo = new Rollback();
    writeRecord({ ...record, files, links: {}, enabled: false }, root, undo);
    undo.commit();
    return;
  }
  rmSync(path, { force: true });
  removeEmpty(dirname(path));
}

function describe(
  { pods, serving }: Found,
  removesPods: boolean,
  service: readonly (readonly string[])[],
): readonly string[] {
  const by = serving === undefined ? "by their records" : `by the running davit ${serving.version}`;
  return [
    ...(removesPods ? [`pods and images: ${counted(pods, "pod")} and all images, ${by}\n`] : []),
    ...service.map((args) => `service: systemctl ${args.join(" ")}\n`),
  ];
}

function table(items: readonly Removal[], { root, dryRun, terminal }: UninstallOptions): string {
  if (items.length === 0) return "Nothing was made by davit install.\n";
  // A directory in which somebody else has put something is still there.
  const shown = items.filter(
    ({ kind, what }) => dryRun || kind !== "directory" || !existsSync(placeIn(root, what)),
  );
  const verb = dryRun ? "remove" : "removed";
  const { style } = terminal;
  return formatTable(
    shown,
    [
      {
        title: "ACTION",
        of: ({ action }) => (action === "remove" ? verb : dryRun ? "keep" : "kept"),
        paint: ({ action }) => (action === "keep" ? style.yellow : style.bold),
      },
      {
        title: "WHAT",
        of: ({ kind, what }) => (kind === "network" ? `network ${what}` : root + what),
      },
      { title: "WHY", of: ({ why }) => why },
    ],
    { style, width: terminal.width() },
  );
}

function remaining({ all, root }: UninstallOptions, { config }: Found): readonly string[] {
  const packaged = paths.packagedUnits.find((path) => existsSync(placeIn(root, path)));
  return [
    ...(all || !existsSync(placeIn(root, join(config.root, "davit.db")))
      ? []
      : [`Images and records stay in ${root}${config.root}; --all removes them.`]),
    ...(packaged === undefined
      ? []
      : [`The unit ${packaged} is that of a package: remove the package.`]),
    "Not removed: the program itself, installed packages, and kernel settings such as net.ipv4.ip_forward.",
  ];
}
