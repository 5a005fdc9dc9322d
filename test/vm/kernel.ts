/**
 * Programs that only the virtual machine has: Debian's kernel and the parser of AppArmor's profiles. They are
 * unpacked in a directory and never installed.
 */
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";

/** A kernel image and the directory of its modules. */
export interface Kernel {
  readonly release: string;
  readonly image: string;
  readonly modules: string;
  /** A program that is started (user-mode Linux), and not an image for qemu. */
  readonly isUserMode: boolean;
  /** A library that user-mode Linux needs on this processor. */
  readonly preload?: string;
}

/** The environment in which user-mode Linux or qemu is started. */
export function environmentOf({ preload }: Kernel): NodeJS.ProcessEnv {
  return { ...process.env, ...(preload !== undefined && { LD_PRELOAD: preload }) };
}

/** A module as it is loaded: its name, and what `init_module(2)` takes. */
interface KernelModule {
  readonly name: string;
  readonly content: Buffer;
}

/** The package that depends on the newest kernel of the kind. */
const metaPackage = "linux-image-amd64";

/**
 * The newest kernel in `cache`, downloaded and unpacked there if it has none. Undefined if that is not possible:
 * there is no apt-get, or no archive answers.
 */
export function findKernel(cache: string): Kernel | undefined {
  const directory = path.join(cache, "kernel");
  if (!existsSync(directory) && !downloadKernel(directory)) return undefined;
  return kernelIn(directory, "usr/lib/modules");
}

/**
 * The kernel of Debian 12, Linux 6.1: that of Debian 13 is built without the controllers memory and cpuset of cgroup v1
 * (CONFIG_MEMCG_V1).
 */
export function findLegacyKernel(cache: string): Kernel | undefined {
  const directory = path.join(cache, "kernel-v1");
  if (!existsSync(directory) && !downloadKernel(directory, debian12(cache))) return undefined;
  return kernelIn(directory, "lib/modules");
}

/** Options of apt-get and apt-cache for the packages of Debian 12, whose lists are in `cache`. */
function debian12(cache: string): readonly string[] {
  const lists = path.join(cache, "lists-v1");
  mkdirSync(path.join(lists, "partial"), { recursive: true });
  const sources = path.join(cache, "sources-v1.list");
  const key = "/usr/share/keyrings/debian-archive-keyring.gpg";
  const site = "http://deb.debian.org/debian";
  writeFileSync(sources, `deb [signed-by=${key}] ${site} bookworm main\n`);
  const settings = [
    `Dir::Etc::sourcelist=${sources}`,
    "Dir::Etc::sourceparts=-",
    `Dir::State::lists=${lists}`,
    `Dir::Cache=${lists}`,
  ];
  return settings.flatMap((setting) => ["-o", setting]);
}

function kernelIn(directory: string, modules: string): Kernel | undefined {
  const boot = path.join(directory, "boot");
  const name = readdirSync(boot).find((file) => file.startsWith("vmlinuz-"));
  if (name === undefined) return undefined;
  const release = name.slice("vmlinuz-".length);
  return {
    release,
    image: path.join(boot, name),
    modules: path.join(directory, modules, release),
    isUserMode: false,
  };
}

/**
 * Linux as a program of the host (Debian's package user-mode-linux): what runs in it runs on the host's processor, and
 * only system calls, page faults and signals cost more. It has one processor.
 */
export function findUserModeKernel(cache: string): Kernel | undefined {
  const directory = path.join(cache, "user-mode-linux");
  if (!existsSync(directory) && !unpack("user-mode-linux", directory)) return undefined;
  const modules = path.join(directory, "usr/lib/uml/modules");
  const [release] = readdirSync(modules);
  if (release === undefined) return undefined;
  const image = path.join(directory, "usr/bin/linux.uml");
  return { release, image, modules: path.join(modules, release), isUserMode: true };
}

/** True when `cache` has the package apparmor, unpacked in the directory of that name. */
export function hasApparmor(cache: string): boolean {
  const directory = path.join(cache, "apparmor");
  return existsSync(directory) || unpack("apparmor", directory);
}

function downloadKernel(directory: string, options: readonly string[] = []): boolean {
  try {
    if (options.length > 0) run("apt-get", [...options, "update", "-qq"]);
    const depends = run("apt-cache", [...options, "depends", metaPackage]);
    const [, name] = /Depends: (linux-image-\S+)/.exec(depends) ?? [];
    return name !== undefined && unpack(name, directory, options);
  } catch {
    return false;
  }
}

/** Downloads Debian's package and unpacks it as `directory`; false if it is not available. */
export function unpack(name: string, directory: string, options: readonly string[] = []): boolean {
  const fresh = `${directory}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  try {
    run("apt-get", [...options, "download", "-qq", name], fresh);
    const file = readdirSync(fresh).find((entry) => entry.endsWith(".deb"));
    if (file === undefined) return false;
    run("dpkg-deb", ["-x", path.join(fresh, file), fresh]);
    rmSync(path.join(fresh, file));
    renameSync(fresh, directory);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

function run(command: string, args: readonly string[], cwd?: string): string {
  const stdio = ["ignore", "pipe", "ignore"] as const;
  return execFileSync(command, args, { encoding: "utf8", cwd, stdio: [...stdio] });
}

/**
 * The requested modules and their dependencies, in an order in which they can be loaded, without those that are
 * built into the kernel. Throws for a name that the kernel does not have.
 */
export function loadOrder(kernel: Kernel, names: readonly string[]): readonly KernelModule[] {
  const builtin = new Set(
    readFileSync(path.join(kernel.modules, "modules.builtin"), "utf8").split("\n").map(moduleName),
  );
  const files = new Map(
    readdirSync(kernel.modules, { recursive: true, encoding: "utf8" })
      .filter((file) => /\.ko(\.xz)?$/.test(file))
      .map((file) => [moduleName(file), path.join(kernel.modules, file)]),
  );
  const order = new Map<string, KernelModule>();
  const visit = (name: string): void => {
    if (order.has(name) || builtin.has(name)) return;
    const file = files.get(name);
    if (file === undefined) throw new Error(`kernel ${kernel.release} has no module ${name}`);
    const content = readModule(file);
    for (const needed of dependencies(content)) visit(moduleName(needed));
    order.set(name, { name, content });
  };
  for (const name of names) visit(name);
  return [...order.values()];
}

/** As lsmod has it: without directory and ending, and "_" for "-". */
function moduleName(file: string): string {
  return path
    .basename(file)
    .replace(/\.ko(\.xz)?$/, "")
    .replaceAll("-", "_");
}

/** The uncompressed module: busybox' insmod does not decompress. */
function readModule(file: string): Buffer {
  if (!file.endsWith(".xz")) return readFileSync(file);
  return execFileSync("xz", ["-dc", file], { maxBuffer: 64 << 20 });
}

/** From the section .modinfo, which is a list of NAME=VALUE with a zero after each. */
function dependencies(module: Buffer): readonly string[] {
  const key = "\0depends=";
  const at = module.indexOf(key);
  if (at < 0) return [];
  const begin = at + key.length;
  const list = module.toString("latin1", begin, module.indexOf(0, begin));
  return list.split(",").filter((name) => name !== "");
}
