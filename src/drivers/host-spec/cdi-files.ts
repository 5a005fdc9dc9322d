import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { readRegular } from "../../linux/file/index.ts";
import {
  type CdiDeviceNode,
  type CdiEdits,
  type CdiFile,
  cdiEdits,
  type HostDevice,
  parseCdiFile,
  type ReadCdiFile,
} from "../../oci-spec/index.ts";
import { deviceOf } from "./host-devices.ts";

// A file of a node with a hundred devices has some 100 KiB.
const maxBytes = 4 * 1024 * 1024;

interface Known {
  /** Inode, size and time of the last change of what was read. */
  readonly stamp: string;
  readonly content: CdiFile | Error;
}

/**
 * The CDI devices of this node, from the files in its directories. Nothing is read before a request names
 * one; then files that have changed are read again, and deleted ones are dropped.
 */
export class CdiFiles {
  readonly #directories: readonly string[];
  #known = new Map<string, Known>();

  /** `directories`: a device in a later one wins over the same in an earlier one. */
  constructor(directories: readonly string[]) {
    this.#directories = directories;
  }

  /** What these devices add to a container, with the facts of the host's nodes. Errors: cdiEdits(). */
  async edits(names: readonly string[]): Promise<CdiEdits> {
    const edits = cdiEdits(await this.#files(), names);
    return { ...edits, deviceNodes: await Promise.all(edits.deviceNodes.map(completed)) };
  }

  async #files(): Promise<readonly ReadCdiFile[]> {
    const known = new Map<string, Known>();
    const files: ReadCdiFile[] = [];
    for (const [priority, directory] of this.#directories.entries()) {
      for (const name of await namesIn(directory)) {
        const path = join(directory, name);
        const file = await this.#read(path);
        if (file === undefined) continue;
        known.set(path, file);
        files.push({ path, priority, content: file.content });
      }
    }
    this.#known = known;
    return files;
  }

  async #read(path: string): Promise<Known | undefined> {
    try {
      const info = await stat(path, { bigint: true });
      const stamp = [info.dev, info.ino, info.size, info.mtimeNs, info.ctimeNs].join();
      const before = this.#known.get(path);
      if (before?.stamp === stamp) return before;
      return { stamp, content: await contentOf(path, info.size) };
    } catch (cause) {
      if (errnoCode(cause) === "ENOENT") return undefined; // gone since its directory was read
      return { stamp: "", content: wrap("read it", cause) };
    }
  }
}

async function contentOf(path: string, size: bigint): Promise<CdiFile | Error> {
  if (size > BigInt(maxBytes)) {
    return new RuntimeError(
      "invalid-argument",
      `it has ${size} bytes, at most ${maxBytes} are read`,
    );
  }
  const text = await readRegular(path, "open it");
  try {
    return parseCdiFile(path.endsWith(".json") ? JSON.parse(text) : await parseYaml(text));
  } catch (cause) {
    return cause instanceof RuntimeError
      ? cause
      : new RuntimeError("invalid-argument", messageOf(cause).split("\n")[0] ?? "", { cause });
  }
}

/** The parser is loaded for the first such file: no start of the daemon is to wait for it. */
async function parseYaml(text: string): Promise<unknown> {
  const { parse } = await import("yaml");
  // Numbers as YAML 1.1 has them, in which 0660 is octal: containerd and CRI-O read it so. Pretty errors take
  // time that grows with the square of their number.
  return parse(text, { version: "1.1", logLevel: "error", prettyErrors: false });
}

/** The CDI files of a directory that may not exist, by name. */
async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).filter((name) => /\.(json|yaml)$/.test(name)).toSorted();
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return [];
    throw wrap(`read directory "${directory}" of CDI devices`, cause);
  }
}

/** With type and numbers of the host's node, where the file does not have them. */
async function completed(node: CdiDeviceNode): Promise<CdiDeviceNode> {
  const { hostPath, type, major } = node;
  const hasNumbers = major !== undefined && major !== 0;
  if (type === "p" || (type !== undefined && hasNumbers)) return node;
  const doing = `find device "${hostPath}" of CDI device node "${node.path}"`;
  const found = await hostNode(hostPath, doing);
  if (type !== undefined && found.type !== (type === "u" ? "c" : type)) {
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: its file has type ${type}, the device is ${found.type}`,
    );
  }
  const numbers = hasNumbers ? {} : { major: found.major, minor: found.minor };
  return { ...node, type: type ?? found.type, ...numbers };
}

async function hostNode(path: string, doing: string): Promise<HostDevice> {
  const info = await stat(path).catch((cause: unknown) => {
    throw new RuntimeError("failed-precondition", `${doing}: ${messageOf(cause)}`, { cause });
  });
  if (info.isCharacterDevice() || info.isBlockDevice()) return deviceOf(info, path);
  throw new RuntimeError("failed-precondition", `${doing}: it is not a device`);
}
