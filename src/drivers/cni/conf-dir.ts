import { type FSWatcher, watch } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";

import { messageOf, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { readRegular } from "../../linux/file/index.ts";
import {
  type NetworkList,
  parseNetworkList,
  parseSinglePlugin,
  withPluginFiles,
} from "./conflist.ts";

/** A network configuration with the file that it is from. */
interface LoadedNetwork {
  readonly file: string;
  readonly list: NetworkList;
}

/** A file that could not be used, and why. */
export interface InvalidFile {
  readonly file: string;
  readonly reason: string;
}

/** The result of a scan of the directory. */
interface ConfDirState {
  /**
   * The first valid file in lexical order, so one invalid file does not take the network from a
   * node (as with CRI-O; containerd stops at it). Undefined without one.
   */
  readonly network: LoadedNetwork | undefined;
  /** Why there is no network; undefined when there is one. */
  readonly reason: string | undefined;
  /** Invalid files before the chosen one; the files after it are not read. */
  readonly invalid: readonly InvalidFile[];
}

const extensions: readonly string[] = [".conflist", ".conf", ".json"];

// Writers rename or write in bursts; one scan after the burst is enough.
const settleMs = 50;

/** The network configurations of a directory in the order in which they are read. */
export async function listConfigurations(dir: string): Promise<readonly string[]> {
  return await listFiles(dir, extensions);
}

async function listFiles(dir: string, wanted: readonly string[]): Promise<readonly string[]> {
  const entries = await readdir(dir, { withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory() && wanted.includes(extname(entry.name)))
    .map((entry) => join(dir, entry.name))
    .sort();
}

async function listPluginFiles(dir: string): Promise<readonly string[]> {
  try {
    return await listFiles(dir, [".conf"]);
  } catch {
    return []; // the directory next to the configuration is optional
  }
}

async function loadFile(file: string): Promise<NetworkList> {
  const text = await textOf(file);
  if (!file.endsWith(".conflist")) return parseSinglePlugin(text);
  const list = parseNetworkList(text);
  if (!list.takesPluginFiles) return list;
  const more = await listPluginFiles(join(dirname(file), list.name));
  return withPluginFiles(list, await Promise.all(more.map((path) => textOf(path))));
}

function textOf(file: string): Promise<string> {
  return readRegular(file, `read "${file}"`);
}

/** Reads the directory once. Never rejects: what is wrong is in the state. */
export async function loadDir(dir: string): Promise<ConfDirState> {
  let files: readonly string[];
  try {
    files = await listConfigurations(dir);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    const why = code === "ENOENT" ? "it does not exist" : messageOf(error);
    const reason = `read network configuration directory "${dir}": ${why}; install a network plugin, which writes its configuration there`;
    return { network: undefined, reason, invalid: [] };
  }
  const invalid: InvalidFile[] = [];
  for (const file of files) {
    try {
      return { network: { file, list: await loadFile(file) }, reason: undefined, invalid };
    } catch (error) {
      invalid.push({ file, reason: messageOf(error) });
    }
  }
  const [first] = invalid;
  const reason =
    first === undefined
      ? `no network configuration in "${dir}": install a network plugin, or put a .conflist file there (davit ships packaging/10-davit.conflist)`
      : `no valid network configuration in "${dir}": ${invalid.map((entry) => `"${basename(entry.file)}": ${entry.reason}`).join("; ")}`;
  return { network: undefined, reason, invalid };
}

async function mark(path: string): Promise<string> {
  try {
    const { ino, size, ctimeNs } = await stat(path, { bigint: true });
    return `${path} ${ino} ${size} ${ctimeNs}`;
  } catch (error) {
    return messageOf(error); // not there, or a link into nowhere: that too can change
  }
}

// Names, inodes, sizes and change times of everything that a load reads. If all are unchanged, there is
// nothing to load. A change of the mode also changes ctime: a file may become readable.
async function fingerprint(dir: string): Promise<string> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  const paths = entries.map(async (entry) => {
    const path = join(dir, entry.name);
    // Plugin files of a network: the directory's time moves with its names only.
    if (entry.isDirectory()) return [path, ...(await listPluginFiles(path))];
    return extensions.includes(extname(entry.name)) ? [path] : [];
  });
  const all = [dir, ...(await Promise.all(paths)).flat().sort()];
  return (await Promise.all(all.map(mark))).join("\n");
}

/**
 * A directory of network configurations, kept in memory. It is watched, and scanned every few
 * seconds as well: watches miss a directory that is made again, overlayfs underneath and a parent that
 * came later, and nodes stayed without network for that (containerd #7196, #8419, #11209).
 */
export class ConfDir implements Disposable {
  readonly #dir: string;
  readonly #log: Logger;
  readonly #onScan: (changed: boolean) => void;
  readonly #settleMs: number;
  readonly #timer: NodeJS.Timeout;
  #settling: NodeJS.Timeout | undefined;
  #watchers: FSWatcher[] = [];
  #watchedInode: string | undefined;
  #fingerprint: string | undefined;
  #scanning: Promise<void> | undefined;
  #again = false;
  #doubted = false;
  #closed = false;
  #state: ConfDirState = { network: undefined, reason: "not read yet", invalid: [] };

  /** Call {@link scan} once before use. `onScan` runs after every scan, with whether the result changed. */
  constructor(options: {
    readonly dir: string;
    readonly log: Logger;
    readonly rescanIntervalMs: number;
    /** How long after a change it scans; 50. */
    readonly settleMs?: number;
    readonly onScan: (changed: boolean) => void;
  }) {
    this.#dir = options.dir;
    this.#log = options.log;
    this.#onScan = options.onScan;
    this.#settleMs = options.settleMs ?? settleMs;
    this.#timer = setInterval(() => void this.scan(), options.rescanIntervalMs);
    this.#timer.unref();
  }

  /** The result of the last scan. */
  get state(): ConfDirState {
    return this.#state;
  }

  /** Scans the directory now, and reads it if anything changed. Never rejects. */
  async scan(): Promise<void> {
    this.#again = true;
    this.#scanning ??= this.#scanUntilQuiet().finally(() => {
      this.#scanning = undefined;
    });
    await this.#scanning;
  }

  async #scanUntilQuiet(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false;
      await this.#watch();
      // Taken before the files are read: the next scan sees a write in between.
      const seen = await fingerprint(this.#dir);
      const changed = seen !== this.#fingerprint;
      const next = changed ? await loadDir(this.#dir) : this.#state;
      if (this.#isHalfWritten(next)) {
        this.#settle();
        continue;
      }
      this.#take(next);
      this.#fingerprint = seen;
      if (!this.#isClosed()) this.#onScan(changed);
    }
  }

  // The file in use became invalid: most likely it is being written, and no pod may get the next
  // file's network for that. It counts as invalid when the next scan finds the same.
  #isHalfWritten(next: ConfDirState): boolean {
    const file = this.#state.network?.file;
    const isInvalid = next.invalid.some((entry) => entry.file === file);
    this.#doubted = isInvalid && !this.#doubted;
    return this.#doubted;
  }

  // Behind a method, so that the compiler does not take the value from before an await for granted.
  #isClosed(): boolean {
    return this.#closed;
  }

  #take(next: ConfDirState): void {
    const before = this.#state;
    this.#state = next;
    for (const { file, reason } of next.invalid) {
      if (before.invalid.some((known) => known.file === file && known.reason === reason)) continue;
      this.#log.warn("skipped invalid network configuration", { file, reason });
    }
    const { network } = next;
    if (network === undefined) {
      if (next.reason !== before.reason) this.#log.warn("no pod network", { reason: next.reason });
    } else if (
      network.list.text !== before.network?.list.text ||
      network.file !== before.network.file
    ) {
      const { name, cniVersion } = network.list;
      this.#log.info("loaded network configuration", { file: network.file, name, cniVersion });
    }
  }

  // Watches the parent, too, in case the directory is created, removed or replaced.
  async #watch(): Promise<void> {
    const paths = [this.#dir, dirname(this.#dir)];
    const inodes = await Promise.all(
      paths.map(async (path) => {
        try {
          // File systems reuse inode numbers immediately, so the birth time is compared, too.
          const { dev, ino, birthtimeNs } = await stat(path, { bigint: true });
          return `${dev}:${ino}:${birthtimeNs}`;
        } catch {
          return ""; // not there (yet)
        }
      }),
    );
    const found = inodes.join(" ");
    if (found === this.#watchedInode || this.#isClosed()) return;
    this.#watchedInode = found;
    this.#unwatch();
    const name = basename(this.#dir);
    this.#watchOne(this.#dir, () => true);
    this.#watchOne(dirname(this.#dir), (changed) => changed === name);
  }

  #watchOne(path: string, matters: (name: string | null) => boolean): void {
    try {
      const watcher = watch(path, { persistent: false }, (_event, name) => {
        if (matters(name)) this.#settle();
      });
      watcher.on("error", () => this.#settle());
      this.#watchers.push(watcher);
    } catch (error) {
      // It does not exist yet, or there are no inotify watches left: the regular scan finds the change.
      this.#log.debug("cannot watch a directory", {
        path,
        reason: messageOf(wrap("watch", error)),
      });
    }
  }

  #settle(): void {
    if (this.#closed) return;
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined;
      void this.scan();
    }, this.#settleMs);
  }

  #unwatch(): void {
    for (const watcher of this.#watchers) watcher.close();
    this.#watchers = [];
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#settling);
    this.#unwatch();
  }
}
