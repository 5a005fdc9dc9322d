import { resolve } from "node:path";
import type { Options } from "../command-line/options.ts";
import type { PathKind } from "./target.ts";
import { sizeQuantity } from "./sizes.ts";

/** A volume of a pod and where it is mounted, as in a Pod manifest. */
export interface Mount {
  readonly volume: Readonly<Record<string, unknown>>;
  readonly mount: Readonly<Record<string, unknown>>;
}

const propagations: Readonly<Record<string, string>> = {
  shared: "Bidirectional",
  rshared: "Bidirectional",
  slave: "HostToContainer",
  rslave: "HostToContainer",
  private: "None",
  rprivate: "None",
};

/** The mounts of -v, --tmpfs and --shm-size. Throws a UsageError for one that is invalid. */
export function readMounts(options: Options, kindAt: (path: string) => PathKind): readonly Mount[] {
  const mounts: Mount[] = [];
  const add = (source: object, mount: object): void => {
    const name = `volume-${mounts.length + 1}`;
    mounts.push({ volume: { name, ...source }, mount: { name, ...mount } });
  };
  for (const text of options.texts("volume")) {
    const { host, path, words } = splitVolume(options, text);
    if (host === undefined) add({ emptyDir: {} }, { mountPath: path });
    else
      add(
        { hostPath: hostPath(host, kindAt) },
        { mountPath: path, ...mountOf(options, "volume", text, words) },
      );
  }
  for (const text of options.texts("tmpfs")) {
    const [path = "", list = ""] = text.split(":");
    requireAbsolute(options, "tmpfs", text, path);
    const words = list.split(",").filter((word) => word !== "");
    const size = words.find((word) => word.startsWith("size="))?.slice("size=".length);
    const limit = size === undefined ? {} : { sizeLimit: sizeQuantity(options, "tmpfs", size) };
    const others = words.filter((word) => !word.startsWith("size="));
    add(
      { emptyDir: { medium: "Memory", ...limit } },
      { mountPath: path, ...mountOf(options, "tmpfs", text, others) },
    );
  }
  const shm = options.text("shm-size");
  if (shm !== undefined) {
    const sizeLimit = sizeQuantity(options, "shm-size", shm);
    add({ emptyDir: { medium: "Memory", sizeLimit } }, { mountPath: "/dev/shm" });
  }
  return mounts;
}

/** Docker makes a directory where nothing is. */
function hostPath(host: string, kindAt: (path: string) => PathKind): object {
  const path = resolve(host);
  return kindAt(path) === undefined ? { path, type: "DirectoryOrCreate" } : { path };
}

function splitVolume(
  options: Options,
  text: string,
): { readonly host: string | undefined; readonly path: string; readonly words: readonly string[] } {
  const parts = text.split(":");
  const [first = "", second, list, ...more] = parts;
  if (second === undefined) {
    requireAbsolute(options, "volume", text, first);
    return { host: undefined, path: first, words: [] };
  }
  if (more.length > 0) throw options.invalid("volume", `is "${text}": must be HOST:PATH[:OPTIONS]`);
  if (!/^(\/|\.{1,2}(\/|$))/.test(first)) {
    throw options.invalid(
      "volume",
      `is "${text}": davit has no named volumes; use a directory of the host (-v /srv/${first || "data"}:${second}), ` +
        `or an empty one that goes with the pod (-v ${second})`,
    );
  }
  requireAbsolute(options, "volume", text, second);
  return {
    host: first,
    path: second,
    words: (list ?? "").split(",").filter((word) => word !== ""),
  };
}

function requireAbsolute(options: Options, name: string, text: string, path: string): void {
  if (/^\/./.test(path)) return;
  throw options.invalid(name, `is "${text}": the path in the container must be absolute`);
}

function mountOf(options: Options, name: string, text: string, words: readonly string[]): object {
  const bindMountOptions: string[] = [];
  let mount: Record<string, unknown> = {};
  for (const word of words) {
    if (word === "ro") mount = { ...mount, readOnly: true };
    else if (Object.hasOwn(propagations, word))
      mount = { ...mount, mountPropagation: propagations[word] };
    else if (["noexec", "nosuid", "nodev"].includes(word)) bindMountOptions.push(word);
    else if (word !== "rw" && word !== "rbind" && word !== "bind") {
      const known = "ro, rw, noexec, nosuid, nodev, rslave, rshared, rprivate";
      throw options.invalid(name, `is "${text}": option "${word}" is not supported, only ${known}`);
    }
  }
  return { ...mount, ...(bindMountOptions.length > 0 && { bindMountOptions }) };
}
