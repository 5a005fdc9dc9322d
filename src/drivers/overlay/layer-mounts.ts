import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, hexOf, isDigest } from "../../base/digest.ts";
import { messageOf, wrap } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import { errnoCode } from "../../base/system-error.ts";
import {
  listMounts,
  makePrivateBind,
  mountErofs,
  mountOverlay,
  unmount,
} from "../../linux/mount/index.ts";
import { probeImage } from "./probe-image.ts";
import { MOUNTED_LAYERS, type StateLayout } from "./state-layout.ts";

/** Node.js has no name for this errno. */
const ENOTBLK = "E15";

/** What is mounted from images, by which roots. */
interface Uses {
  readonly users: Set<string>;
  isMounted: boolean;
}

/**
 * The mounts of layers that are EROFS images, one for each layer, at the place where the files of another layer
 * are. A layer is mounted while a root uses it, so that all roots share its page cache. Roots that are mounted
 * keep the files of a layer without its mount: overlayfs has private copies of the mounts.
 *
 * Mounts survive the daemon; a file in the directory of each root says what it uses.
 */
export class LayerMounts {
  readonly #paths: StateLayout;
  readonly #check: (layer: Digest) => Promise<void>;
  readonly #layers = new Map<Digest, Uses>();
  readonly #locks = new KeyedLock();

  private constructor(paths: StateLayout, check: (layer: Digest) => Promise<void>) {
    this.#paths = paths;
    this.#check = check;
  }

  /**
   * Makes the directory of the layers a private mount, finds the layers that an earlier daemon has mounted, and
   * unmounts those without a root. `check` rejects for a layer that must not be mounted.
   */
  static async open(
    paths: StateLayout,
    check: (layer: Digest) => Promise<void>,
  ): Promise<LayerMounts> {
    const mounts = new LayerMounts(paths, check);
    await makePrivateBind(paths.layers);
    await mounts.#readUsers();
    for (const { mountPoint } of await listMounts()) {
      const [hex = "", name] = mountPoint.slice(paths.layers.length + 1).split("/");
      const layer = `sha256:${hex}`;
      const isLayer = mountPoint.startsWith(`${paths.layers}/`) && name === "fs";
      if (isLayer && isDigest(layer)) mounts.#usesOf(layer).isMounted = true;
    }
    for (const layer of mounts.#layers.keys()) await mounts.#unmountUnused(layer);
    return mounts;
  }

  /**
   * Mounts the layers for a user, as far as they are not mounted. Returns what to write into the file
   * MOUNTED_LAYERS of the user's root. What a failure leaves is released by release().
   */
  async use(user: string, layers: readonly Digest[]): Promise<string> {
    await Promise.all(layers.map((layer) => this.#use(user, layer)));
    const used = [...this.#layers].filter(([, { users }]) => users.has(user));
    return used.map(([layer]) => `${hexOf(layer)}\n`).join("");
  }

  /** Unmounts the layers that only this user had. Idempotent. */
  async release(user: string): Promise<void> {
    for (const [layer, { users }] of [...this.#layers]) {
      if (!users.delete(user)) continue;
      await this.#unmountUnused(layer);
    }
  }

  /** Unmounts a layer that is removed, whoever uses it: mounted roots keep its files. */
  async forget(layer: Digest): Promise<void> {
    this.#layers.get(layer)?.users.clear();
    await this.#unmountUnused(layer);
  }

  /** Unmounts the private mount when no root uses a layer. */
  async close(): Promise<void> {
    const isUsed = [...this.#layers.values()].some(({ users }) => users.size > 0);
    if (!isUsed) await unmount(this.#paths.layers);
  }

  async #use(user: string, layer: Digest): Promise<void> {
    using _turn = await this.#locks.acquire(layer);
    const uses = this.#usesOf(layer);
    uses.users.add(user);
    const directory = this.#paths.layer(layer);
    try {
      if (uses.isMounted && (await isMountPoint(join(directory, "fs")))) return;
      await this.#check(layer);
      await this.#mount(layer);
      uses.isMounted = true;
    } catch (cause) {
      uses.users.delete(user);
      throw cause;
    }
  }

  async #mount(layer: Digest): Promise<void> {
    try {
      await mountErofs(this.#paths.image(layer), join(this.#paths.layer(layer), "fs"));
    } catch (cause) {
      throw wrap(
        `mount layer "${layer}"; if its file is damaged, run "davit images check --deep" and pull the image again`,
        cause,
      );
    }
  }

  async #unmountUnused(layer: Digest): Promise<void> {
    using _turn = await this.#locks.acquire(layer);
    const uses = this.#layers.get(layer);
    if (uses === undefined || uses.users.size > 0) return;
    if (uses.isMounted) await unmount(join(this.#paths.layer(layer), "fs"));
    this.#layers.delete(layer);
  }

  #usesOf(layer: Digest): Uses {
    const uses = this.#layers.get(layer) ?? { users: new Set(), isMounted: false };
    this.#layers.set(layer, uses);
    return uses;
  }

  async #readUsers(): Promise<void> {
    const { roots } = this.#paths;
    for (const root of await namesIn(roots)) {
      for (const hex of (await textOf(join(roots, root, MOUNTED_LAYERS))).split("\n")) {
        const layer = `sha256:${hex}`;
        if (isDigest(layer)) this.#usesOf(layer).users.add(root);
      }
    }
  }
}

/**
 * Why this machine cannot mount EROFS images from files of the file system of the layers, for the log; `undefined`
 * if it can. It mounts an image and an overlay on it for a moment.
 */
export async function imageObstacle(paths: StateLayout): Promise<string | undefined> {
  const directory = join(paths.layers, ".erofs-probe");
  const [image, target] = [join(directory, "image"), join(directory, "at")];
  const overlay = join(directory, "overlay");
  try {
    // What a crash has left.
    await unmount(overlay, target);
    for (const path of [target, overlay]) await mkdir(path, { recursive: true, mode: 0o700 });
    await writeFile(image, probeImage());
    await mountErofs(image, target);
    // Some kernels limit how many file systems may be stacked, and count the image.
    await mountOverlay({ directory, target: "overlay", lower: ["at", "../.empty"] });
    return undefined;
  } catch (cause) {
    return explain(errnoCode(cause), messageOf(cause), paths.root);
  } finally {
    await unmount(overlay, target).catch(() => undefined);
    await rm(directory, { recursive: true, force: true }).catch(() => undefined);
  }
}

function explain(code: string | undefined, message: string, root: string): string {
  if (code === "ENODEV") return "the kernel has no EROFS (CONFIG_EROFS_FS)";
  if (code !== ENOTBLK) return message;
  return (
    `the kernel cannot mount an image in "${root}": it needs Linux 6.12 with ` +
    "CONFIG_EROFS_FS_BACKED_BY_FILE, and a file system on a disk"
  );
}

/** False when somebody has unmounted it: the layer would be an empty directory. */
async function isMountPoint(directory: string): Promise<boolean> {
  const [own, parent] = await Promise.all([stat(directory), stat(join(directory, ".."))]);
  return own.dev !== parent.dev;
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return [];
    throw cause;
  }
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT" || errnoCode(cause) === "ENOTDIR") return "";
    throw cause;
  }
}
