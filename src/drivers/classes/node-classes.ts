import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { quote } from "../../base/quote.ts";
import type { ClassOrigin, ResourceClasses } from "../../core/container/index.ts";
import type { IntelRdt, OciBlockIo } from "../../core/oci/index.ts";
import type { CgroupLayout } from "../../linux/cgroup/index.ts";
import {
  type BlockIoClasses,
  type BlockIoDevice,
  type BlockIoItem,
  blockIoLimits,
  type RdtConfig,
  rdtSchemata,
  rootClass,
} from "../../oci-spec/index.ts";
import { type BlockDevices, devicesOfItem, nodeDevices } from "./block-devices.ts";
import { blockIoObstacle, checkWeights } from "./blockio-support.ts";
import { ClassFile, parseBlockIoFile, parseRdtFile } from "./class-file.ts";
import { hasGroup, readRdtInfo, ResctrlGroups, type ResctrlMount } from "./resctrl.ts";

/** Names of classes are those of pods, so there may be any number. */
const maxWarned = 100;

/** Where classes are defined, and what happens where they cannot be used. */
export interface ClassSettings {
  /** Empty for none. */
  readonly blockioConfigFile: string;
  readonly rdtConfigFile: string;
  readonly ignoreBlockioNotEnabledErrors: boolean;
  readonly ignoreRdtNotEnabledErrors: boolean;
}

/** The classes that the files of the settings define, which are read again when they have changed. */
export class NodeClasses implements ResourceClasses {
  readonly #settings: ClassSettings;
  readonly #layout: CgroupLayout;
  readonly #devices: BlockDevices;
  readonly #resctrl: () => Promise<ResctrlMount | undefined>;
  readonly #groups: ResctrlGroups;
  readonly #log: Logger;
  readonly #blockIo: ClassFile<BlockIoClasses>;
  readonly #rdt: ClassFile<RdtConfig>;
  /** The configuration in resctrl. */
  #applied:
    | { readonly stamp: string; readonly config: RdtConfig; readonly names: ReadonlySet<string> }
    | undefined;
  /** One change of resctrl after another. */
  #applying: Promise<unknown> = Promise.resolve();
  /** What was logged, so that each container does not log it again. */
  readonly #warned = new Set<string>();

  constructor(deps: {
    readonly settings: ClassSettings;
    readonly layout: CgroupLayout;
    readonly log: Logger;
    /** Where resctrl is mounted; undefined where it is not. */
    readonly resctrl: () => Promise<ResctrlMount | undefined>;
    readonly groups: ResctrlGroups | string;
    readonly devices?: BlockDevices;
  }) {
    this.#settings = deps.settings;
    this.#layout = deps.layout;
    this.#devices = deps.devices ?? nodeDevices;
    this.#resctrl = deps.resctrl;
    const { groups } = deps;
    this.#groups = typeof groups === "string" ? new ResctrlGroups(groups) : groups;
    this.#log = deps.log;
    this.#blockIo = new ClassFile(deps.settings.blockioConfigFile, parseBlockIoFile);
    this.#rdt = new ClassFile(deps.settings.rdtConfigFile, parseRdtFile);
  }

  /** Makes the groups of RDT at the start. An error is logged, and is that of containers with a class later. */
  async prepare(): Promise<void> {
    if (this.#settings.rdtConfigFile === "") return;
    try {
      await this.#rdtConfig();
    } catch (error) {
      this.#log.error(`RDT classes cannot be used: ${messageOf(error)}`);
    }
  }

  async blockIoOf(name: string): Promise<OciBlockIo | undefined> {
    const doing = `use blockio class ${quote(name)}`;
    try {
      const { blockioConfigFile: path } = this.#settings;
      const obstacle =
        path === "" ? "runtime.blockio_config_file is not set" : blockIoObstacle(this.#layout);
      if (obstacle !== undefined) {
        const isIgnored = this.#settings.ignoreBlockioNotEnabledErrors;
        const setting = "runtime.ignore_blockio_not_enabled_errors";
        this.#ignoreOrRefuse(doing, obstacle, { setting, isIgnored });
        return undefined;
      }
      const { content } = await this.#blockIo.current();
      const items = content.get(name) ?? refuseUnknown(path, [...content.keys()]);
      const limits = await this.#limitsOf(name, items);
      await checkWeights(this.#layout, limits);
      return limits;
    } catch (error) {
      throw refused(doing, error);
    }
  }

  async rdtOf(name: string, origin: ClassOrigin): Promise<IntelRdt | undefined> {
    const doing = `use RDT class ${quote(name)}`;
    try {
      const obstacle = await this.#rdtObstacle();
      if (obstacle !== undefined) {
        const isIgnored = this.#settings.ignoreRdtNotEnabledErrors;
        const setting = "runtime.ignore_rdt_not_enabled_errors";
        this.#ignoreOrRefuse(doing, obstacle, { setting, isIgnored });
        return undefined;
      }
      const config = await this.#rdtConfig(name);
      const classes = new Map([...config.partitions.values()].flatMap((each) => [...each.classes]));
      const found = classes.get(name);
      if (found === undefined && name !== rootClass) {
        refuseUnknown(this.#settings.rdtConfigFile, [...classes.keys()]);
      }
      const isDenied =
        (origin === "pod" && found?.denyPodAnnotation === true) ||
        (origin === "container" && found?.denyContainerAnnotation === true);
      if (isDenied) {
        const text = `the class is not open to annotations of a ${origin}`;
        throw new RuntimeError("failed-precondition", text);
      }
      // Containers start in the daemon's group, which is the root one.
      return name === rootClass ? undefined : { closID: name };
    } catch (error) {
      throw refused(doing, error);
    }
  }

  /** Logs why a class cannot be used where the node's settings ignore that; `failed-precondition` otherwise. */
  #ignoreOrRefuse(
    doing: string,
    obstacle: string,
    { setting, isIgnored }: { readonly setting: string; readonly isIgnored: boolean },
  ): void {
    if (!isIgnored) {
      throw new RuntimeError("failed-precondition", `${obstacle}; or set ${setting}`);
    }
    this.#warn(`ignored: ${doing}: ${obstacle}`);
  }

  async #limitsOf(name: string, items: readonly BlockIoItem[]): Promise<OciBlockIo> {
    const devices = new Map<BlockIoItem, readonly BlockIoDevice[]>();
    for (const item of items) {
      if (item.devices === undefined) continue;
      const found = await devicesOfItem(item, this.#devices);
      if (found.length === 0) {
        this.#warn(`blockio class "${name}": no block device is at ${item.devices.join(", ")}`);
      }
      devices.set(item, found);
    }
    return blockIoLimits(items, (item) => devices.get(item) ?? []);
  }

  async #rdtObstacle(): Promise<string | undefined> {
    if (this.#settings.rdtConfigFile === "") return "runtime.rdt_config_file is not set";
    if ((await this.#resctrl()) !== undefined) return undefined;
    return "resctrl is not mounted; mount -t resctrl resctrl /sys/fs/resctrl, which needs a processor with RDT";
  }

  /**
   * The configuration, once it is in resctrl. A failed change is tried again by the next container, and so are groups
   * that were removed since, as when resctrl was mounted again.
   */
  async #rdtConfig(name = rootClass): Promise<RdtConfig> {
    const { stamp } = await this.#rdt.current();
    const applied = this.#applied;
    if (applied?.stamp === stamp) {
      // Only these names are looked up in resctrl: others are of pods, and may be paths to anywhere.
      if (!applied.names.has(name) || (await this.#hasGroup(name))) return applied.config;
      this.#applied = undefined;
    }
    const applying = this.#applying.then(() => this.#apply());
    this.#applying = applying.catch(() => undefined);
    return applying;
  }

  async #hasGroup(name: string): Promise<boolean> {
    const mount = await this.#resctrl();
    return mount !== undefined && (await hasGroup(mount.root, name));
  }

  async #apply(): Promise<RdtConfig> {
    const { stamp, content: config } = await this.#rdt.current();
    if (this.#applied?.stamp === stamp) return config;
    const mount = await this.#resctrl();
    if (mount === undefined) {
      throw new RuntimeError("failed-precondition", (await this.#rdtObstacle()) ?? "no resctrl");
    }
    const schemata = rdtSchemata(config, await readRdtInfo(mount));
    const kept = await this.#groups.apply(mount.root, schemata);
    if (kept.length > 0) {
      this.#warn(`resctrl groups of earlier RDT classes still have processes: ${kept.join(", ")}`);
    }
    this.#log.info("RDT classes are in resctrl", { classes: [...schemata.keys()] });
    this.#applied = { stamp, config, names: new Set(schemata.keys()) };
    return config;
  }

  #warn(text: string): void {
    if (this.#warned.has(text)) return;
    if (this.#warned.size >= maxWarned) this.#warned.clear();
    this.#warned.add(text);
    this.#log.warn(text);
  }
}

function refuseUnknown(path: string, known: readonly string[]): never {
  const names = known.slice(0, 20).map((name) => `"${name}"`);
  const shown = names.length === 0 ? "none" : names.join(", ");
  throw new RuntimeError("failed-precondition", `"${path}" does not define it; it has ${shown}`);
}

/** Whatever is wrong with a file or the node is not the client's mistake. */
function refused(doing: string, error: unknown): RuntimeError {
  const text = wrap(doing, error).message;
  return new RuntimeError("failed-precondition", text, { cause: error });
}
