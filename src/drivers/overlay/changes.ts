import { randomUUID } from "node:crypto";
import { mkdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../../base/digest.ts";
import { wrap } from "../../base/errors.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import type { ChangedFiles, ChangesRequest, ContainerChanges } from "../../core/snapshot/index.ts";
import { type OwnProgram, SIGKILL, startOwnProgram } from "../../linux/process/index.ts";
import { bindMount, mountOverlay, unmount } from "../../linux/mount/index.ts";
import { readFacts } from "./layer-facts.ts";
import type { OverlayLayers } from "./overlay-layers.ts";
import { packerProgram, checkPacked, packerComplaint } from "./packer.ts";
import type { StateLayout } from "./state-layout.ts";

/** What the changes need. */
interface OverlayChangesDeps {
  readonly paths: StateLayout;
  readonly layers: Pick<OverlayLayers, "lowerOf">;
  /** Mounts as on a kernel before 6.7, for tests. */
  readonly asOldKernel: boolean;
  /** The program; its last argument is the mode. */
  readonly command?: OwnProgram | undefined;
}

/**
 * Reads writable layers by a process of its own, which sees only the container's directory. There the files of the
 * layers are mounted for it without the writable one: what an opaque directory hides is known from them.
 */
export class OverlayChanges implements ContainerChanges {
  readonly #deps: OverlayChangesDeps;

  constructor(deps: OverlayChangesDeps) {
    this.#deps = deps;
  }

  async write(request: ChangesRequest, to: ChangedFiles, signal: AbortSignal): Promise<void> {
    const { containerId, layers, earlier, uids = [], gids = [] } = request;
    try {
      await using lower = await this.#mountLower(containerId, layers);
      await using changes = await this.#showLayer(containerId, earlier);
      const { maxBytes } = to;
      const below = { lower: lower.path, earlier: changes.layer };
      const plan = { upper: "/upper", ...below, uids, gids, maxBytes };
      await this.#run(containerId, JSON.stringify(plan), { to, signal });
    } catch (cause) {
      throw wrap(`read changes of container "${containerId}"`, cause);
    }
  }

  async #run(
    containerId: string,
    plan: string,
    { to, signal }: { readonly to: ChangedFiles; readonly signal: AbortSignal },
  ): Promise<void> {
    signal.throwIfAborted();
    const child = await startOwnProgram(
      this.#deps.command ?? packerProgram(),
      ["changes"],
      { confinement: "packer", root: this.#deps.paths.container(containerId) },
      { stdout: to.archive, more: [to.deleted] },
    );
    const kill = (): void => child.kill(SIGKILL);
    signal.addEventListener("abort", kill, { once: true });
    const complaint = packerComplaint(child);
    try {
      child.stdin?.end(plan);
      await checkPacked(child, await complaint);
    } catch (cause) {
      signal.throwIfAborted();
      throw cause;
    } finally {
      signal.removeEventListener("abort", kill);
      kill();
      await child.exited;
      child.stdin?.destroy();
    }
  }

  /** Mounts a layer of earlier changes beside the others. */
  async #showLayer(
    containerId: string,
    diffId: Digest | undefined,
  ): Promise<{ readonly layer: object | undefined } & AsyncDisposable> {
    if (diffId === undefined) {
      return { layer: undefined, [Symbol.asyncDispose]: () => Promise.resolve() };
    }
    const { paths } = this.#deps;
    const { rootOpaque, fromBelow } = await readFacts(paths.layer(diffId));
    const target = `images/changes-${randomUUID()}`;
    const path = join(paths.container(containerId), target);
    const remove = async (): Promise<void> => {
      await unmount(path);
      await rmdir(path);
    };
    await mkdir(path, { mode: 0o700 });
    try {
      await bindMount(join(paths.layer(diffId), "fs"), path, { private: true, readonly: true });
    } catch (cause) {
      await remove();
      throw cause;
    }
    const layer = { directory: `/${target}`, rootOpaque, fromBelow };
    return { layer, [Symbol.asyncDispose]: remove };
  }

  /** Mounts the layers with the images of volumes, which are unmounted with the root if this process ends before. */
  async #mountLower(
    containerId: string,
    layers: readonly Digest[],
  ): Promise<{ readonly path: string } & AsyncDisposable> {
    const directory = this.#deps.paths.container(containerId);
    const target = `images/changes-${randomUUID()}`;
    const path = join(directory, target);
    const names = this.#deps.layers.lowerOf(layers).map((name) => `../../layers/${name}`);
    // A read-only overlay takes two layers at least; these have no files.
    const empty = [`${target}-1`, `${target}-2`] as const;
    const made = [path, ...empty.map((each) => join(directory, each))];
    const mounted = {
      path: `/${target}`,
      [Symbol.asyncDispose]: async () => {
        await unmount(path);
        for (const each of made) await rmdir(each);
      },
    };
    try {
      await mkdir(join(directory, "images"), { mode: 0o711 }).catch((cause: unknown) => {
        if (errnoCode(cause) !== "EEXIST") throw cause;
      });
      for (const each of made) await mkdir(each, { mode: 0o700 });
      const { asOldKernel } = this.#deps;
      await mountOverlay({ directory, target, lower: [...empty, ...names], asOldKernel });
      return mounted;
    } catch (cause) {
      for (const each of made) await rmdir(each).catch(() => undefined);
      throw systemError(`mount the layers of container "${containerId}"`, cause);
    }
  }
}
