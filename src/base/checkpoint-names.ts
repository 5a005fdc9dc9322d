/** What a name in a checkpoint stands for. */
export type CheckpointEntry =
  /** A file that belongs to the checkpoint, under this name. */
  | { readonly use: "keep"; readonly name: string }
  /** A file or directory that other runtimes write and that a restore does not need. */
  | { readonly use: "ignore" }
  /** The checkpoint itself, or the directory of CRIU's images. */
  | { readonly use: "directory" };

const imagesDirectory = "checkpoint";

const kept: ReadonlySet<string> = new Set([
  "spec.dump",
  "config.dump",
  "rootfs-diff.tar",
  "deleted.files",
  "container.log",
  "stats-dump",
  "dump.log",
  "davit.json",
]);

/** Files of CRI-O, podman and containerd, which say what a restore takes from its request, or nothing of use. */
const ignored: ReadonlySet<string> = new Set([
  "bind.mounts",
  "ctr.log",
  "devshm-checkpoint.tar",
  "io.kubernetes.cri-o.LogPath",
  "network.status",
  "restore.log",
  "status",
  "status.dump",
]);

/** NAME_MAX is 255. CRIU's names are ASCII: `core-1.img`, `tmpfs-dev-73.tar.gz.img`, `descriptors.json`. */
const imageName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$/;

const podManifest = "pod.json";
/** The directory of a container has the container's name. */
const podContainer = /^containers\/([A-Za-z0-9_][A-Za-z0-9._-]{0,252})(?:\/(.*))?$/;

/**
 * What the name of an entry in the archive of a checkpoint stands for; undefined for one that no checkpoint has:
 * absolute, with `..`, below another directory than `checkpoint`, or with other characters than CRIU's names. A leading
 * `./` is left out.
 */
export function checkpointEntry(path: string): CheckpointEntry | undefined {
  const name = path === "." || path === "./" ? "" : path.replace(/^\.\//, "");
  if (name === "" || name === imagesDirectory || name === `${imagesDirectory}/`) {
    return path === "" ? undefined : { use: "directory" };
  }
  if (kept.has(name)) return { use: "keep", name };
  if (ignored.has(name)) return { use: "ignore" };
  const [directory, image, ...others] = name.split("/");
  if (directory !== imagesDirectory || image === undefined || others.length > 0) return undefined;
  return imageName.test(image) ? { use: "keep", name } : undefined;
}

/**
 * As {@link checkpointEntry}, for the archive of a pod's checkpoint: its manifest, and the checkpoint of each container
 * in a directory of its own.
 */
export function podCheckpointEntry(path: string): CheckpointEntry | undefined {
  const name = path === "." ? "" : path.replace(/^\.\//, "");
  if (name === "" || /^containers\/?$/.test(name)) {
    return path === "" ? undefined : { use: "directory" };
  }
  if (name === podManifest) return { use: "keep", name };
  const [, container, rest = ""] = podContainer.exec(name) ?? [];
  if (container === undefined || rest.startsWith(".")) return undefined;
  const entry = rest === "" ? ({ use: "directory" } as const) : checkpointEntry(rest);
  if (entry?.use !== "keep") return entry;
  return { use: "keep", name: `containers/${container}/${entry.name}` };
}

/** True for the name of a file that belongs to a pod's checkpoint, in its one spelling. */
export function isPodCheckpointFile(name: string): boolean {
  const entry = podCheckpointEntry(name);
  return entry?.use === "keep" && entry.name === name;
}

/** True for the name of a file that belongs to a checkpoint, in its one spelling. */
export function isCheckpointFile(name: string): boolean {
  const entry = checkpointEntry(name);
  return entry?.use === "keep" && entry.name === name;
}
