import type { Image, PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { joinPods, type PodContainer } from "./find.ts";

/** The objects of a server. Each list is requested once, when it is first needed. */
export class Objects {
  readonly #server: Server;
  #pods: Promise<readonly PodSandbox[]> | undefined;
  #containers: Promise<readonly PodContainer[]> | undefined;
  #images: Promise<readonly Image[]> | undefined;

  constructor(server: Server) {
    this.#server = server;
  }

  /** All pods, newest first. */
  pods(): Promise<readonly PodSandbox[]> {
    this.#pods ??= this.#listPods();
    return this.#pods;
  }

  /** All containers with their pods, newest first. */
  containers(): Promise<readonly PodContainer[]> {
    this.#containers ??= this.#listContainers();
    return this.#containers;
  }

  /** All images, by name. */
  images(): Promise<readonly Image[]> {
    this.#images ??= this.#listImages();
    return this.#images;
  }

  async #listPods(): Promise<readonly PodSandbox[]> {
    const { client } = this.#server;
    const call = client.runtime.listPodSandbox({}, this.#server.limit());
    return newestFirst((await doing("list pods", call)).items);
  }

  async #listContainers(): Promise<readonly PodContainer[]> {
    const { client } = this.#server;
    const call = client.runtime.listContainers({}, this.#server.limit());
    const [{ containers }, pods] = await Promise.all([doing("list containers", call), this.pods()]);
    return joinPods(newestFirst(containers), pods);
  }

  async #listImages(): Promise<readonly Image[]> {
    const call = this.#server.client.image.listImages({}, this.#server.limit());
    const { images } = await doing("list images", call);
    const nameOf = ({ repoTags, repoDigests }: Image): string =>
      repoTags[0] ?? repoDigests[0] ?? "";
    return images.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  }
}

function newestFirst<T extends { readonly createdAt: bigint }>(items: readonly T[]): readonly T[] {
  return items.toSorted((a, b) => (a.createdAt > b.createdAt ? -1 : 1));
}
