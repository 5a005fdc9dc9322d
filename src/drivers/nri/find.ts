import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { readRegular } from "../../linux/file/index.ts";
import { nameOf, parseFileName, type PluginName } from "./name.ts";

/** A plugin that davit starts. */
export interface FoundPlugin {
  readonly path: string;
  readonly name: PluginName;
  /** The text of its configuration; "" where it has none. */
  readonly config: string;
}

/** A file that is not started. */
export interface RefusedPlugin {
  readonly file: string;
  readonly reason: string;
}

interface Directories {
  readonly pluginDirectory: string;
  readonly configDirectory: string;
}

/** The most plugins that davit starts. */
const maxPlugins = 32;
const maxConfigBytes = 1024 * 1024;
const executableBits = 0o111;
/** Writable by the group or others. */
const sharedBits = 0o022;
/** The beginning of a WebAssembly module, with its version. */
const wasmHeader = Buffer.from("0061736d01000000", "hex");

/**
 * The plugins in the plugin directory: files with an executable bit and the name `NN-name`. One that davit must not
 * start does not keep others from being started. A directory that does not exist has none.
 */
export async function findPlugins(directories: Directories): Promise<{
  readonly found: readonly FoundPlugin[];
  readonly refused: readonly RefusedPlugin[];
}> {
  const { pluginDirectory } = directories;
  const found: FoundPlugin[] = [];
  const refused: RefusedPlugin[] = [];
  let files: string[];
  try {
    files = await readdir(pluginDirectory);
    if (files.length > 0) checkOwner(await stat(pluginDirectory), pluginDirectory);
  } catch (error) {
    if (errnoCode(error) !== "ENOENT") {
      refused.push({ file: pluginDirectory, reason: messageOf(error) });
    }
    return { found, refused };
  }
  for (const file of files.sort()) {
    try {
      const plugin = await findPlugin(file, directories);
      if (plugin === undefined) continue;
      if (found.length === maxPlugins) throw tooMany();
      found.push(plugin);
    } catch (error) {
      refused.push({ file, reason: messageOf(error) });
    }
  }
  return { found, refused };
}

/** Undefined for what is not a program. */
async function findPlugin(
  file: string,
  { pluginDirectory, configDirectory }: Directories,
): Promise<FoundPlugin | undefined> {
  const path = join(pluginDirectory, file);
  const info = await stat(path);
  if (!info.isFile() || (info.mode & executableBits) === 0) return undefined;
  const name = parseFileName(file);
  checkOwner(info, path);
  if (await isWasm(path)) {
    throw new RuntimeError(
      "unimplemented",
      "it is a WebAssembly module, which davit does not run: use a program",
    );
  }
  return { path, name, config: await readConfig(name, configDirectory) };
}

/** A plugin runs as root, so nobody else may be able to change it. */
function checkOwner(info: { readonly uid: number; readonly mode: number }, path: string): void {
  const own = process.geteuid?.() ?? 0;
  if (info.uid !== 0 && info.uid !== own) {
    throw new RuntimeError(
      "permission-denied",
      `"${path}" belongs to user ${info.uid}: chown it to root`,
    );
  }
  if ((info.mode & sharedBits) !== 0) {
    const mode = (info.mode & 0o7777).toString(8);
    throw new RuntimeError(
      "permission-denied",
      `"${path}" can be changed by others than root (mode ${mode}): chmod go-w it`,
    );
  }
}

async function isWasm(path: string): Promise<boolean> {
  await using file = await open(path);
  const { buffer } = await file.read(Buffer.alloc(wasmHeader.length), 0, wasmHeader.length, 0);
  return buffer.equals(wasmHeader);
}

/** The first that exists: NN-name.conf, name.conf. */
async function readConfig(name: PluginName, directory: string): Promise<string> {
  for (const file of [`${nameOf(name)}.conf`, `${name.base}.conf`]) {
    const path = join(directory, file);
    try {
      return await readText(path);
    } catch (error) {
      if (errnoCode(error) !== "ENOENT") throw error;
    }
  }
  return "";
}

async function readText(path: string): Promise<string> {
  const info = await stat(path);
  if (!info.isFile() || info.size > maxConfigBytes) {
    throw new RuntimeError(
      "failed-precondition",
      `"${path}" must be a file of at most ${maxConfigBytes} bytes`,
    );
  }
  return await readRegular(path, `read "${path}"`);
}

function tooMany(): RuntimeError {
  return new RuntimeError("resource-exhausted", `davit starts at most ${maxPlugins} plugins`);
}
