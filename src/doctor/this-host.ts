import { mkdir, mkdtemp, readFile, readdir, rm, stat, statfs, writeFile } from "node:fs/promises";
import { accessSync, constants } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { isKind, messageOf } from "../base/errors.ts";
import { CriClient } from "../client/cri-client.ts";
import type { ImagesConfig } from "../config/config.ts";
import {
  type NetworkReading,
  type NetworkProbe,
  readNetwork,
  probeNetwork,
  withScratchNamespace,
} from "./network-probe.ts";
import { type ImageProbe, type RegistryTrial, probeImage, tryRegistry } from "./registry-probe.ts";
import { errnoCode } from "../base/system-error.ts";
import { findProgram, monitorPath, openProcess, run } from "../linux/process/index.ts";
import { kernelRelease } from "../linux/host/index.ts";
import { listMounts, type MountEntry, mountOverlay, unmount } from "../linux/mount/index.ts";
import { setXattr } from "../linux/file/index.ts";
import { firstLine } from "./check.ts";
import type {
  CommandResult,
  CriStatus,
  Host,
  ConnectProbe,
  FileInfo,
  DiskSpace,
  ImageKeys,
  PluginFiles,
} from "./host.ts";

const defaultSearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const commandMs = 10_000;
const connectMs = 3_000;
const criTimeoutMs = 5_000;
const registryMs = 8_000;
const networkMs = 40_000;

/** Rules like those of the portmap and bridge plugins; together they need all modules that the plugins need. */
const probeRules = [
  "-t nat -N DAVIT-TRIAL",
  "-t nat -A DAVIT-TRIAL -p tcp -m comment --comment davit -m multiport --dports 80,81 -j DNAT --to-destination 10.0.0.2:80",
  "-t nat -A DAVIT-TRIAL -m addrtype --dst-type LOCAL -j MARK --set-xmark 0x2000/0x2000",
  "-t nat -A DAVIT-TRIAL -m mark --mark 0x2000/0x2000 -j MASQUERADE",
  "-t filter -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
];

/** This machine. */
export class ThisHost implements Host {
  readonly isRoot = process.geteuid?.() === 0;
  readonly kernelRelease = kernelRelease();
  readonly searchPath = process.env["PATH"] ?? defaultSearchPath;
  readonly env: Readonly<Record<string, string | undefined>> = process.env;
  readonly #signal: AbortSignal;
  readonly #criStatuses = new Map<string, Promise<CriStatus>>();

  /** The signal aborts running probes, which then clean up. */
  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  nowMs(): number {
    return Date.now();
  }

  async read(path: string): Promise<string | undefined> {
    return await readFile(path, "utf8").catch(() => undefined);
  }

  async list(path: string): Promise<readonly string[] | undefined> {
    return await readdir(path).then(
      (names) => names.sort(),
      () => undefined,
    );
  }

  async fileInfo(path: string): Promise<FileInfo | undefined> {
    try {
      const found = await stat(path, { bigint: true });
      const kind = found.isFile()
        ? "file"
        : found.isDirectory()
          ? "directory"
          : found.isSocket()
            ? "socket"
            : "other";
      const { ino: inode, mtimeMs } = found;
      return { kind, mode: Number(found.mode) & 0o7777, modifiedMs: Number(mtimeMs), inode };
    } catch {
      return undefined;
    }
  }

  async diskSpace(path: string): Promise<DiskSpace | undefined> {
    try {
      const { bsize, blocks, bfree, files, ffree } = await statfs(path);
      return {
        totalBytes: blocks * bsize,
        freeBytes: bfree * bsize,
        totalInodes: files,
        freeInodes: ffree,
      };
    } catch {
      return undefined;
    }
  }

  async mounts(): Promise<readonly MountEntry[]> {
    return await listMounts();
  }

  findProgram(program: string): string | undefined {
    const path = findProgram(program, this.searchPath);
    if (path === undefined) return undefined;
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      return undefined; // given by path, and not an executable
    }
  }

  async runCommand(program: string, args: readonly string[]): Promise<CommandResult> {
    const file = this.findProgram(program);
    if (file === undefined) return { code: undefined, stdout: "", stderr: `${program}: not found` };
    const env = { PATH: this.searchPath, LC_ALL: "C" };
    try {
      const signal = this.#signal;
      const result = await run({ file, args, env, signal, timeoutMs: commandMs, killGroup: true });
      return {
        code: result.code ?? undefined,
        stdout: result.stdout.toString(),
        stderr: result.stderr.toString(),
      };
    } catch (error) {
      return { code: undefined, stdout: "", stderr: messageOf(error) };
    }
  }

  isProcessAlive(pid: number): boolean {
    try {
      process.kill(pid, 0);
      return true;
    } catch (error) {
      return errnoCode(error) === "EPERM";
    }
  }

  async probeAddon(): Promise<string | undefined> {
    try {
      using self = openProcess(process.pid);
      if (self === undefined) return "open a pidfd of this process: no such process";
      const env = { PATH: this.searchPath };
      const { code } = await run({ file: "sh", args: ["-c", ":"], env, timeoutMs: commandMs });
      return code === 0 ? undefined : `run a shell: exited with ${code ?? "a signal"}`;
    } catch (error) {
      return messageOf(error);
    }
  }

  async probeMonitor(): Promise<string | undefined> {
    const path = monitorPath();
    const { code, stdout, stderr } = await this.runCommand(path, []);
    if (code === 1 && stdout.startsWith("failed arguments ")) return undefined;
    return `${path}: ${stderr === "" ? `exited with ${code ?? "a signal"}` : stderr}`;
  }

  async probeOverlay(directory: string): Promise<string | undefined> {
    return await inScratch(directory, async (scratch) => {
      for (const name of ["lower", "upper", "work", "merged"]) await mkdir(join(scratch, name));
      await writeFile(join(scratch, "lower", "file"), "");
      const merged = join(scratch, "merged");
      await mountOverlay({
        directory: scratch,
        target: "merged",
        upper: "upper",
        work: "work",
        lower: ["lower"],
      });
      try {
        // A whiteout and a new file, as in every container.
        await rm(join(merged, "file"));
        await writeFile(join(merged, "new"), "");
      } finally {
        await unmount(merged);
      }
    });
  }

  async probeXattrs(directory: string): Promise<string | undefined> {
    return await inScratch(directory, (scratch) => {
      setXattr(scratch, "trusted.overlay.opaque", "y");
      return Promise.resolve();
    });
  }

  async probeIptables(program: string): Promise<string | undefined> {
    const env = { PATH: this.searchPath, LC_ALL: "C" };
    try {
      return await withScratchNamespace(tmpdir(), async (netns) => {
        for (const rule of probeRules) {
          const args = ["-w", "5", ...rule.split(" ")];
          const joinNamespaces = [netns];
          const signal = this.#signal;
          const limits = { timeoutMs: commandMs, signal, killGroup: true };
          const result = await run({ file: program, args, env, joinNamespaces, ...limits });
          if (result.code !== 0) return `iptables ${rule}: ${firstLine(result.stderr.toString())}`;
        }
        return undefined;
      });
    } catch (error) {
      return messageOf(error);
    }
  }

  probeConnect(socket: string): Promise<ConnectProbe> {
    return new Promise((resolve) => {
      const client = connect(socket);
      const end = (probe: ConnectProbe): void => {
        client.destroy();
        resolve(probe);
      };
      client.setTimeout(connectMs, () => end("failed"));
      client.once("connect", () => end("open"));
      client.once("error", (error) => end(probeResults[errnoCode(error) ?? ""] ?? "failed"));
    });
  }

  criStatus(socket: string): Promise<CriStatus> {
    const known = this.#criStatuses.get(socket);
    if (known !== undefined) return known;
    const status = queryCri(socket);
    this.#criStatuses.set(socket, status);
    return status;
  }

  async readNetwork(
    directory: string,
    cni: Pick<NetworkReading, "binDirs" | "builtin">,
  ): Promise<NetworkReading> {
    return await readNetwork(directory, cni);
  }

  async probeNetwork(reading: NetworkReading, pluginTimeoutMs: number): Promise<NetworkProbe> {
    const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(networkMs)]);
    const { searchPath } = this;
    return await probeNetwork(reading, {
      pluginTimeoutMs,
      directory: tmpdir(),
      searchPath,
      signal,
    });
  }

  async probeRegistry(registry: string, configDir: string): Promise<RegistryTrial> {
    return await tryRegistry(registry, { configDir, proxyEnv: this.env, timeoutMs: registryMs });
  }

  async probeImage(image: string, settings: ImagesConfig): Promise<ImageProbe> {
    return await probeImage(image, { settings, env: this.env, timeoutMs: 2 * registryMs });
  }

  async readImageKeys(directory: string): Promise<ImageKeys> {
    const { readKeyDirectory } = await import("../drivers/decryption/index.ts");
    try {
      const { keys, problems } = await readKeyDirectory(directory);
      return { count: keys.length, problems };
    } catch (error) {
      return { count: 0, problems: [messageOf(error)] };
    }
  }

  async readPlugins(pluginDirectory: string, configDirectory: string): Promise<PluginFiles> {
    const { findPlugins } = await import("../drivers/nri/index.ts");
    const { found, refused } = await findPlugins({ pluginDirectory, configDirectory });
    return { names: found.map(({ name: { index, base } }) => `${index}-${base}`), refused };
  }

  async write(path: string, text: string): Promise<void> {
    await writeFile(path, text);
  }

  async makeDirectory(path: string): Promise<void> {
    await mkdir(path, { recursive: true, mode: 0o711 });
  }

  async remove(path: string): Promise<void> {
    await rm(path, { recursive: true });
  }
}

const probeResults: Readonly<Record<string, ConnectProbe>> = {
  ENOENT: "absent",
  ECONNREFUSED: "refused",
  EACCES: "denied",
};

async function queryCri(socket: string): Promise<CriStatus> {
  using client = new CriClient(socket);
  const limit = { timeoutMs: criTimeoutMs };
  try {
    const version = await client.runtime.version({}, limit);
    try {
      return { version, status: await client.runtime.status({ verbose: true }, limit) };
    } catch (error) {
      return { version, error: messageOf(error), recovering: isKind(error, "unavailable") };
    }
  } catch (error) {
    return { error: messageOf(error) };
  }
}

/** Calls `use` with a scratch directory and removes that afterwards. Resolves with the error, if any. */
async function inScratch(
  directory: string,
  use: (scratch: string) => Promise<void>,
): Promise<string | undefined> {
  try {
    const scratch = await mkdtemp(join(directory, `davit-doctor-${process.pid}-`));
    try {
      await use(scratch);
      return undefined;
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
  } catch (error) {
    return messageOf(error);
  }
}
