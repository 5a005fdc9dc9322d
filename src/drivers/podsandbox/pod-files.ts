import { chmod, chown } from "node:fs/promises";
import { namespaceModes, type Sandbox, type SandboxEnvironment } from "../../core/sandbox/index.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { removeTree } from "../../linux/file/index.ts";
import { unmount } from "../../linux/mount/index.ts";
import { directoryAccess, makeFiles, makeDirectory } from "./files.ts";
import { StateLayout } from "./state-layout.ts";

/** The files of pods, the same for every controller, and the pin of a pod's network namespace. */
export class PodFiles {
  readonly #paths: StateLayout;

  /** `state` is the state directory of the configuration. */
  constructor(state: string) {
    this.#paths = new StateLayout(state);
  }

  /** Path of the pod's pinned network namespace. */
  netnsPath(id: string): string {
    return this.#paths.pins(id).net;
  }

  /** Writes resolv.conf, hosts and hostname, and mounts /dev/shm of the pod. */
  async make(sandbox: Sandbox): Promise<void> {
    await makeDirectory(this.#paths, sandbox);
    await makeFiles(this.#paths, sandbox);
  }

  /** The files that are mounted into the pod's containers. */
  paths(sandbox: Sandbox): SandboxEnvironment["files"] {
    const { id } = sandbox;
    const ownIpc = namespaceModes(sandbox.config).ipc !== NamespaceMode.NODE;
    return {
      resolvConf: this.#paths.file(id, "resolv.conf"),
      hosts: this.#paths.file(id, "hosts"),
      hostname: this.#paths.file(id, "hostname"),
      shm: ownIpc ? this.#paths.shm(id) : "/dev/shm",
    };
  }

  /**
   * Closes the directory of a sandbox to other users of the node. Changes something only for a sandbox of
   * an older davit, whose directory other users could enter. False if there is no such directory.
   */
  async closeDirectory(sandbox: Sandbox): Promise<boolean> {
    const path = this.#paths.directory(sandbox.id);
    const { mode, owner } = directoryAccess(sandbox);
    try {
      if (owner !== undefined) await chown(path, owner.uid, owner.gid);
      await chmod(path, mode);
      return true;
    } catch (cause) {
      if (errnoCode(cause) !== "ENOENT") throw systemError(`close "${path}" to other users`, cause);
      return false;
    }
  }

  /** Idempotent. */
  async remove(id: string): Promise<void> {
    const directory = this.#paths.directory(id);
    // Never remove files through a mount: if this fails, the directory stays. The tmpfs goes with the /dev/shm
    // on it; /dev/shm of a sandbox of an older davit, which had no tmpfs for its files, is unmounted separately.
    await unmount(directory, this.#paths.shm(id));
    await removeTree(directory);
  }
}
