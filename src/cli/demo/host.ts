import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import process from "node:process";
import { RuntimeError } from "../../base/errors.ts";
import { findProgram, run } from "../../linux/process/index.ts";
import { listMounts, unmount } from "../../linux/mount/index.ts";
import { lockFile } from "../../linux/file/index.ts";
import {
  chainRemoval,
  type ChosenSubnet,
  chooseSubnet,
  DEMO_BRIDGE,
  temporaryConflist,
  portmapChains,
} from "./network.ts";

/** The directories of a temporary server, which are removed at its end. */
interface HostDirectories {
  /** For images and records. */
  readonly root: string;
  /** For everything else: socket, namespaces, network configuration, addresses in use. */
  readonly run: string;
  /** The root is the user's own, and stays. */
  readonly keepsRoot?: boolean;
}

const COMMAND_TIMEOUT_MS = 30_000;
const SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin";

/** The changes that a temporary server makes to the host besides those of its daemon, and their cleanup. */
export class TemporaryHost {
  readonly #directories: HostDirectories;
  readonly #bridge: string;

  constructor(directories: HostDirectories, bridge = DEMO_BRIDGE) {
    this.#directories = directories;
    this.#bridge = bridge;
  }

  /** The socket of its daemon. */
  get socket(): string {
    return `${this.#directories.run}/davit.sock`;
  }

  /**
   * Creates the directories and locks the demo until the result is disposed. `leftovers`
   * is true if an earlier demo was not cleaned up.
   *
   * Throws `failed-precondition` while another demo is running.
   */
  async claim(): Promise<Disposable & { readonly leftovers: boolean }> {
    const { root, run: runDirectory } = this.#directories;
    const leftovers = existsSync(this.#stateDirectory) || existsSync(root);
    await mkdir(runDirectory, { recursive: true, mode: 0o711 });
    const path = `${runDirectory}/demo.lock`;
    const lock = lockFile(path);
    if (lock === undefined) {
      const pid = (await readFile(path, "utf8").catch(() => "")).trim();
      throw new RuntimeError(
        "failed-precondition",
        `start the demo: it is already running as process ${pid} on unix://${this.socket}; ` +
          `stop that one first (Ctrl-C, or kill ${pid})`,
      );
    }
    return { leftovers, [Symbol.dispose]: () => lock[Symbol.dispose]() };
  }

  /** The configuration of its daemon, as TOML. */
  configuration(): string {
    const { root } = this.#directories;
    const text = JSON.stringify;
    return [
      `root = ${text(root)}`,
      `state = ${text(this.#stateDirectory)}`,
      "[server]",
      `listen = ${text(this.socket)}`,
      "[log]",
      // The steps report failures; log lines of the daemon would only interrupt them.
      'level = "error"',
      "[images]",
      `registry_config_path = ${text(this.#registryDirectory)}`,
      "[cni]",
      `conf_dir = ${text(this.#cniDirectory)}`,
      "[cadvisor]",
      'serve = "never"',
      "[nri]",
      "enable = false",
    ].join("\n");
  }

  /** Configures the registry at `url` as docker.io for the demo's daemon (hosts.toml). */
  async useRegistry(url: string): Promise<void> {
    const directory = `${this.#registryDirectory}/docker.io`;
    await mkdir(directory, { recursive: true });
    const capabilities = 'capabilities = ["pull", "resolve"]';
    await writeFile(
      `${directory}/hosts.toml`,
      `server = "${url}"\n[host."${url}"]\n${capabilities}\n`,
    );
  }

  /** Chooses a subnet for the pods and writes the conflist. */
  async prepareNetwork(): Promise<ChosenSubnet> {
    const chosen = chooseSubnet(await readFile("/proc/net/route", "utf8"), {
      bridge: this.#bridge,
    });
    if (chosen === undefined) {
      throw new RuntimeError(
        "resource-exhausted",
        "choose a subnet for the pods: the routes of this host cover all private address ranges; " +
          "run it in a network namespace: unshare --net sh -c 'ip link set lo up; npm start'",
      );
    }
    await this.#saveChains();
    await mkdir(this.#cniDirectory, { recursive: true });
    const conflist = temporaryConflist(
      chosen.subnet,
      `${this.#directories.run}/ipam`,
      this.#bridge,
    );
    await writeFile(`${this.#cniDirectory}/10-davit-demo.conflist`, conflist);
    return chosen;
  }

  /**
   * Makes the bridge now, and not with the first pod: its route keeps other servers, which choose a subnet
   * later, from this one.
   */
  async makeBridge({ subnet }: ChosenSubnet): Promise<void> {
    const gateway = subnet.replace(/\.0\/24$/, ".1/24");
    await this.#command("ip", ["link", "add", "name", this.#bridge, "type", "bridge"]);
    await this.#command("ip", ["address", "add", gateway, "dev", this.#bridge]);
    await this.#command("ip", ["link", "set", this.#bridge, "up"]);
  }

  /** Removes the bridge if it exists. */
  async removeBridge(): Promise<void> {
    // Not from /sys, which shows the network namespace in which it was mounted.
    const devices = await readFile("/proc/net/dev", "utf8");
    if (!new RegExp(`^ *${this.#bridge}:`, "m").test(devices)) return;
    await this.#command("ip", ["link", "delete", this.#bridge]);
  }

  /** Removes the chains of the portmap plugin that its pods have caused, unless other pods use them. */
  async removeChains(): Promise<void> {
    const before = (await readFile(this.#chainsFile, "utf8").catch(() => "")).split("\n");
    for (const args of chainRemoval(await this.#natRules(), before)) {
      await this.#command("iptables", ["-w", "-t", "nat", ...args]);
    }
  }

  /** Removes its directories and the mounts in them. */
  async removeDirectories(): Promise<void> {
    const { root, run: runDirectory, keepsRoot = false } = this.#directories;
    const directories = keepsRoot ? [runDirectory] : [root, runDirectory];
    const mounts = (await listMounts()).map(({ mountPoint }) => mountPoint);
    const inside = mounts.filter((path) =>
      directories.some((directory) => path.startsWith(`${directory}/`)),
    );
    for (const path of inside.toReversed()) await unmount(path);
    for (const directory of directories) await rm(directory, { recursive: true, force: true });
  }

  get #stateDirectory(): string {
    return `${this.#directories.run}/state`;
  }

  get #registryDirectory(): string {
    return `${this.#directories.run}/certs.d`;
  }

  get #cniDirectory(): string {
    return `${this.#directories.run}/net.d`;
  }

  get #chainsFile(): string {
    return `${this.#directories.run}/chains-before`;
  }

  /** Only the first time: chains that a killed demo has left are not those of the host. */
  async #saveChains(): Promise<void> {
    if (existsSync(this.#chainsFile)) return;
    await writeFile(this.#chainsFile, portmapChains(await this.#natRules()).join("\n"));
  }

  async #natRules(): Promise<string> {
    return await this.#command("iptables", ["-w", "-t", "nat", "-S"]);
  }

  async #command(name: string, args: readonly string[]): Promise<string> {
    const line = [name, ...args].join(" ");
    const file = findProgram(name, SEARCH_PATH);
    if (file === undefined) {
      throw new RuntimeError(
        "failed-precondition",
        `run "${line}": program "${name}" not found; install it`,
      );
    }
    const env = { PATH: process.env["PATH"] ?? SEARCH_PATH, LC_ALL: "C" };
    const result = await run({ file, args, env, timeoutMs: COMMAND_TIMEOUT_MS });
    if (result.code === 0) return result.stdout.toString();
    const reason = result.stderr.toString().trim().split("\n")[0] ?? "";
    throw new RuntimeError("unknown", `run "${line}": ${reason}`);
  }
}
