import { namespaceModes, type Sandbox, type SandboxEnvironment } from "../../core/sandbox/index.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { removeTree, unmount } from "../../linux/index.ts";
import { makeFiles, makeFolder } from "./files.ts";
import { Places } from "./places.ts";

/** The files of pods, the same for every controller, and where a pod's network namespace is pinned. */
export class PodFiles {
  readonly #places: Places;

  /** `state` is the state folder of the configuration. */
  constructor(state: string) {
    this.#places = new Places(state);
  }

  /** Where the pod's network namespace is pinned. */
  netnsPath(id: string): string {
    return this.#places.pins(id).net;
  }

  /** Writes resolv.conf, hosts and hostname, and mounts /dev/shm of the pod. */
  async make(sandbox: Sandbox): Promise<void> {
    await makeFolder(this.#places, sandbox.id);
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

  /** Idempotent. */
  async remove(id: string): Promise<void> {
    // Never remove files through a mount: if this fails, the folder stays.
    await unmount(this.#places.shm(id));
    await removeTree(this.#places.folder(id));
  }
}
