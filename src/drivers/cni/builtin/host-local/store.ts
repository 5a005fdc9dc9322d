// The directory in which host-local's plugin and davit reserve addresses of one network: one file for each address, with
// the container's id and interface, a file with the last address of each range set, and a file that is locked with
// flock(2) by whoever reads or changes the directory.
import { closeSync, existsSync } from "node:fs";
import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { KeyedLock } from "../../../../base/keyed-lock.ts";
import { errnoCode, systemError } from "../../../../base/system-error.ts";
import { openLocked, readFiles, runFileSteps } from "../../../../linux/file/index.ts";
import { type Address, formatAddress, parseAddress } from "../address.ts";

/** Whose addresses they are. */
export interface Owner {
  readonly containerId: string;
  readonly ifName: string;
}

// The plugin's modes.
const modes = { directory: 0o755, lock: 0o750, reservation: 0o644 } as const;

// Between the tries to get a lock that a plugin holds: it takes some milliseconds.
const retryMs = [1, 2, 5, 10];

// flock(2) would also exclude others of this process, but they would have to try again and again.
const inProcess = new KeyedLock();

/** A directory of reservations whose lock is held. Only use it until it is disposed of. */
export class ReservationStore implements Disposable {
  readonly #directory: string;
  readonly #held: Disposable;
  readonly #lockFd: number;

  private constructor(directory: string, held: Disposable, lockFd: number) {
    this.#directory = directory;
    this.#held = held;
    this.#lockFd = lockFd;
  }

  /** Makes the directory if it does not exist, and waits for its lock until the signal is aborted. */
  static async open(directory: string, signal: AbortSignal): Promise<ReservationStore> {
    using undo = new DisposableStack();
    const held = undo.use(await inProcess.acquire(directory, signal));
    const path = join(directory, "lock");
    await makeLockFile(directory, path);
    for (let tries = 0; ; tries++) {
      const fd = openLocked(path);
      if (fd !== undefined) {
        undo.move();
        return new ReservationStore(directory, held, fd);
      }
      await delay(retryMs[tries] ?? retryMs.at(-1), undefined, { signal }).catch(() => {
        throw signal.reason;
      });
    }
  }

  /** All reservations as they are now. What is not a reservation is left out: links, directories, other names. */
  async load(): Promise<Reservations> {
    const directory = this.#directory;
    const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
      throw systemError(`list "${directory}"`, error);
    });
    const files = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
    const texts = await readFiles(files.map((name) => join(directory, name)));
    const contents = new Map(files.map((name, at) => [name, texts[at] ?? ""] as const));
    return new Reservations(new Set(entries.map(({ name }) => name)), contents);
  }

  /** Reserves an address, which must be free, and notes it as the last of its range set. */
  async reserve(owner: Owner, address: Address, rangeSet: number): Promise<void> {
    const text = formatAddress(address);
    const path = join(this.#directory, text);
    const last = join(this.#directory, lastName(rangeSet));
    const write = (to: string, content: string) =>
      ({ step: "write-file", path: to, text: content, mode: modes.reservation }) as const;
    try {
      await runFileSteps([write(path, keyOf(owner)), write(last, text)]);
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
  }

  /** Frees addresses. */
  async release(names: readonly string[]): Promise<void> {
    for (const name of names) await rm(join(this.#directory, name), { force: true });
  }

  [Symbol.dispose](): void {
    closeSync(this.#lockFd);
    this.#held[Symbol.dispose]();
  }
}

/** What a directory had in it. */
export class Reservations {
  readonly #names: ReadonlySet<string>;
  readonly #contents: ReadonlyMap<string, string>;

  constructor(names: ReadonlySet<string>, contents: ReadonlyMap<string, string>) {
    this.#names = names;
    this.#contents = contents;
  }

  /** Something has the address's name, whatever it is. */
  isTaken(address: Address): boolean {
    return this.#names.has(formatAddress(address));
  }

  /** The last address of a range set; undefined when that cannot be read. */
  last(rangeSet: number): Address | undefined {
    return parseAddress(this.#contents.get(lastName(rangeSet)));
  }

  /** The files of an owner. Old plugins wrote only the id; those count when no file has the interface as well. */
  filesOf(owner: Owner): readonly string[] {
    const files = this.#filesWith(keyOf(owner).trim());
    return files.length > 0 ? files : this.#filesWith(owner.containerId);
  }

  /** Those of these addresses that are reserved by a file that names nobody, as a power cut leaves it. */
  ownerlessOf(addresses: readonly Address[]): readonly string[] {
    return addresses.map(formatAddress).filter((name) => {
      const content = this.#contents.get(name);
      return content !== undefined && !namesOwner(content);
    });
  }

  /** The addresses of an owner, those of old plugins, too. */
  addressesOf(owner: Owner): readonly Address[] {
    const files = [...this.#filesWith(keyOf(owner).trim()), ...this.#filesWith(owner.containerId)];
    return files.flatMap((name) => parseAddress(name) ?? []);
  }

  #filesWith(content: string): readonly string[] {
    return [...this.#contents].flatMap(([name, text]) => (text.trim() === content ? name : []));
  }
}

/** The container's id, as CNI limits it, and the interface; old plugins wrote only the id. */
const owner = /^[A-Za-z0-9][\w.-]*(\r\n[^\0-\x20\x7f-\uffff]+)?$/;

/** Whether the content of an address's file names its owner. After a power cut it may be empty, zeros or other bytes. */
export function namesOwner(content: string): boolean {
  return owner.test(content.trim());
}

function keyOf({ containerId, ifName }: Owner): string {
  return `${containerId}\r\n${ifName}`;
}

function lastName(rangeSet: number): string {
  return `last_reserved_ip.${rangeSet}`;
}

async function makeLockFile(directory: string, path: string): Promise<void> {
  if (existsSync(path)) return;
  const create = async (): Promise<void> => {
    await using _file = await open(path, "ax", modes.lock);
  };
  try {
    await create();
  } catch (error) {
    if (errnoCode(error) === "EEXIST") return;
    if (errnoCode(error) !== "ENOENT") throw systemError(`create "${path}"`, error);
    const step = "make-directory";
    await runFileSteps([{ step, path: directory, mode: modes.directory, mayExist: true }]);
    await create().catch((again: unknown) => {
      if (errnoCode(again) !== "EEXIST") throw systemError(`create "${path}"`, again);
    });
  }
}
