import { chmod, chown } from "node:fs/promises";
import { namespaceModes, type Sandbox, type SandboxEnvironment } from "../../core/sandbox/index.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { removeTree } from "../../linux/file/index.ts";
import { unmount } from "../../linux/mount/index.ts";
import { directoryAccess, makeFiles, makeDirectory } from "./files.ts";
import { StateLayout } from "./places.ts";

/** The files of pods, the same for every controller, and where a pod's network namespace is pinned. */
export class PodFiles {
  readonly #places: StateLayout;

  /** `state` is the state directory of the configuration. */
  constructor(state: string) {
    this.#places = new StateLayout(state);
  }

  /** Where the pod's network namespace is pinned. */
  netnsPath(id: string): string {
    return this.#places.pins(id).net;
  }

  /** Writes resolv.conf, hosts and hostname, and mounts /dev/shm of the pod. */
  async make(sandbox: Sandbox): Promise<void> {
    await makeDirectory(this.#places, sandbox);
    await makeFiles(this.#places, sandbox);
  }

  /** What of them is mounted into the pod's containers. */
  paths(sandbox: Sandbox): SandboxEnvironment["files"] {
    const { id } = sandbox;
    const ownIpc = namespaceModes(sandbox.config).ipc !== NamespaceMode.NODE;
    return {
      resolvConf: this.#places.file(id, "resolv.conf"),
      hosts: this.#places.file(id, "hosts"),
      hostname: this.#places.file(id, "hostname"),
      shm: ownIpc ? this.#places.shm(id) : "/dev/shm",
    };
  }

  /**
   * Closes the directory of a sandbox to other users of the node. Changes something only for a sandbox of
   * an older davit, whose directory everybody could enter. Done when the directory is gone.
   */
  async closeDirectory(sandbox: Sandbox): Promise<void> {
    const path = this.#places.directory(sandbox.id);
    const { mode, owner } = directoryAccess(sandbox);
    try {
      if (owner !== undefined) await chown(path, owner.uid, owner.gid);
      await chmod(path, mode);
    } catch (cause) {
      if (errnoCode(cause) !== "ENOENT") throw systemError(`close "${path}" to other users`, cause);
    }
  }

  /** Idempotent. */
  async remove(id: string): Promise<void> {
    const directory = this.#places.directory(id);
    // Never remove files through a mount: if this fails, the directory stays. The tmpfs goes with the /dev/shm
    // on it; /dev/shm of a sandbox of an older davit, which had no tmpfs for its files, goes alone.
    await unmount(directory, this.#places.shm(id));
    await removeTree(directory);
  }
}
