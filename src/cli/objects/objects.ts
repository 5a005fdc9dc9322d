import { isKind } from "../../base/errors.ts";
import { davitOnly } from "../archives/load-archive.ts";
import type { Snapshot } from "../../gen/davit/v1/checkpoints_pb.ts";
import type { Image, PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import {
  findImages,
  hasTag,
  imageNames,
  isIdOf,
  isShortName,
  joinPods,
  type PodContainer,
  repositoryOf,
} from "./find.ts";

/** The server is asked for a short name with so many tags at most. */
const maxTags = 100;
/** The server does not take the word for a name, or has no such call. */
const notMeant = ["invalid-argument", "not-found", "unimplemented"] as const;

/** The objects of a server. Each list is requested once, when it is first needed. */
export class Objects {
  readonly #server: Server;
  #pods: Promise<readonly PodSandbox[]> | undefined;
  #containers: Promise<readonly PodContainer[]> | undefined;
  #images: Promise<readonly Image[]> | undefined;
  #snapshots: Promise<readonly Snapshot[]> | undefined;

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

  /** All snapshots of pods, newest first. Only davit has them. */
  snapshots(): Promise<readonly Snapshot[]> {
    this.#snapshots ??= this.#listSnapshots();
    return this.#snapshots;
  }

  /** The images that a word can refer to: what the server means by a short name, else as findImages(). */
  async findImages(word: string): Promise<readonly Image[]> {
    const all = await this.images();
    const found = findImages(word, all);
    if (!isShortName(word) || found.some((image) => isIdOf(word, image))) return found;
    const meant = await this.#imageMeant(word);
    return meant === undefined ? found : all.filter(({ id }) => id === meant);
  }

  /**
   * As findImages(), but a name without a tag matches all tags. Which repository a short name means is asked of the
   * server with each tag that is here.
   */
  async findRepository(word: string): Promise<readonly Image[]> {
    const exact = await this.findImages(word);
    if (exact.length > 0 || word.includes("@") || hasTag(word)) return exact;
    const all = await this.images();
    const repositories = imageNames(word).map((name) => name.replace(/:latest$/, ""));
    const named = all.filter(({ repoTags }) =>
      repoTags.some((tag) => repositories.includes(repositoryOf(tag))),
    );
    if (named.length > 0 || !isShortName(word)) return named;
    const tags = new Set(
      all.flatMap(({ repoTags }) => repoTags.map((tag) => tag.slice(repositoryOf(tag).length))),
    );
    const meant = new Set<string | undefined>();
    for (const tag of [...tags].slice(0, maxTags))
      meant.add(await this.#imageMeant(`${word}${tag}`));
    return all.filter(({ id }) => meant.has(id));
  }

  /** The id of the image that the server means by a short name, which may be an alias. Undefined for none. */
  async #imageMeant(word: string): Promise<string | undefined> {
    const request = { image: { image: word } };
    const call = this.#server.client.image.imageStatus(request, this.#server.limit());
    try {
      return (await doing(`find image "${word}"`, call)).image?.id;
    } catch (error) {
      if (notMeant.some((kind) => isKind(error, kind))) return undefined;
      throw error;
    }
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

  async #listSnapshots(): Promise<readonly Snapshot[]> {
    const call = this.#server.client.checkpoints.listSnapshots({}, this.#server.limit());
    return (await doing("list snapshots", davitOnly(call))).snapshots;
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
