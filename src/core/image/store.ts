import { type Digest, isDigest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { RecordTable } from "../store/index.ts";
import type { Image } from "./image.ts";
import { formatReference, type ImageReference, parseReference } from "./reference.ts";

/** A prefix of an id, with or without its algorithm, as crictl, containerd and CRI-O write and accept it. */
const shortId = /^(?:sha256:)?([0-9a-f]{1,64})$/;

/** What names of images mean on a node, which may have aliases and registries for those without a host. */
export interface ImageNames {
  /**
   * The image to pull or to make by this name. `invalid-argument` for a text that is not an image name,
   * `failed-precondition` for a name without a host that the configuration of this node does not decide.
   */
  referenceOf(text: string): ImageReference;
  /**
   * The images of which the first one on this node is meant; at least one. `invalid-argument` for a text
   * that is not an image name. No error for a configuration that cannot be used, because containers
   * must still start from images that are here.
   */
  candidatesOf(text: string): readonly ImageReference[];
}

/** The names of a node without aliases: those without a host are of docker.io. */
const plainNames: ImageNames = {
  referenceOf: parseReference,
  candidatesOf: (text) => [parseReference(text)],
};

/** The images of this node: the truth in memory, written through to the records. */
export class ImageStore {
  readonly #records: RecordTable<Image>;
  #names: ImageNames;
  #pinned: ReadonlySet<string>;
  readonly #byId = new Map<Digest, Image>();
  /** Full names with tag or digest. */
  readonly #byName = new Map<string, Digest>();

  /**
   * `pinned`: names of images that kubelet must not collect, as written in the configuration. One without
   * a host pins all its candidates.
   */
  constructor(
    records: RecordTable<Image>,
    pinned: readonly string[] = [],
    names: ImageNames = plainNames,
  ) {
    this.#records = records;
    this.#names = names;
    this.#pinned = pinnedNames(pinned, names);
  }

  /**
   * Prepares other pinned images and another meaning of names; `invalid-argument` for a text that is not an image name.
   * Returns what puts them into use.
   */
  prepare(pinned: readonly string[], names: ImageNames): () => void {
    const all = pinnedNames(pinned, names);
    return () => {
      this.#names = names;
      this.#pinned = all;
      for (const image of [...this.#byId.values()]) this.#remember(image);
    };
  }

  /** The image to pull or to make by this name. Errors as {@link ImageNames.referenceOf}. */
  referenceOf(text: string): ImageReference {
    return this.#names.referenceOf(text);
  }

  /** Reads the images of an earlier daemon. */
  load(): void {
    for (const image of this.#records.load()) this.#remember(image);
  }

  /** All images, in the order in which they were added. */
  all(): IterableIterator<Image> {
    return this.#byId.values();
  }

  /**
   * The image that `text` names: an id, a name with or without tag, a name with a digest, a
   * unique prefix of an id with or without `sha256:`. Of the candidates of a name without a host, the
   * first one that is here. Undefined for an unknown one;
   * `invalid-argument` when the text cannot name an image or is a prefix of several ids.
   */
  find(text: string): Image | undefined {
    if (text === "") throw new RuntimeError("invalid-argument", "find image: the name is empty");
    if (isDigest(text)) return this.#byId.get(text);
    const name = this.nameOf(text);
    const id = name === undefined ? undefined : this.#byName.get(name);
    if (id !== undefined) return this.#byId.get(id);
    // After the names: "ada" and "sha256:ada" may be names of an image, and prefixes of another's id.
    const digits = shortId.exec(text)?.[1];
    return digits === undefined ? undefined : this.#findByPrefix(text, digits);
  }

  /**
   * The full name of an image on this node that the name means. Undefined for an unknown one;
   * `invalid-argument` for a text that is not an image name.
   */
  nameOf(text: string): string | undefined {
    return this.#candidatesOf(text).find((name) => this.#byName.has(name));
  }

  /**
   * Adds an image with the names that it was pulled by. A tag that another image has moves to
   * this one; names that the image has already stay.
   */
  put(image: Image): Image {
    const known = this.#byId.get(image.id);
    if (known !== undefined && known.artifactType !== image.artifactType) {
      throw new RuntimeError(
        "failed-precondition",
        `record image "${image.id}": this node has another image or artifact with the same id; remove that first`,
      );
    }
    const merged: Image = {
      ...image,
      repoTags: union(known?.repoTags, image.repoTags),
      repoDigests: union(known?.repoDigests, image.repoDigests),
    };
    this.#records.put(merged);
    for (const tag of image.repoTags) this.#moveTag(tag, image.id);
    return this.#remember(merged);
  }

  /** Forgets the image and all its names. No error for an unknown one. */
  remove(id: Digest): void {
    this.#records.delete(id);
    const image = this.#byId.get(id);
    this.#byId.delete(id);
    for (const name of [...(image?.repoTags ?? []), ...(image?.repoDigests ?? [])]) {
      if (this.#byName.get(name) === id) this.#byName.delete(name);
    }
  }

  #candidatesOf(text: string): readonly string[] {
    return this.#names.candidatesOf(text).map(formatReference);
  }

  #remember(recorded: Image): Image {
    // By today's configuration, not by the record.
    const names = [...recorded.repoTags, ...recorded.repoDigests];
    const image = { ...recorded, pinned: names.some((name) => this.#pinned.has(name)) };
    this.#byId.set(image.id, image);
    for (const name of [...image.repoTags, ...image.repoDigests]) this.#byName.set(name, image.id);
    return image;
  }

  #moveTag(tag: string, newOwner: Digest): void {
    const owner = this.#byName.get(tag);
    const image = owner === undefined || owner === newOwner ? undefined : this.#byId.get(owner);
    if (image === undefined) return;
    const without = { ...image, repoTags: image.repoTags.filter((other) => other !== tag) };
    this.#records.put(without);
    this.#remember(without);
  }

  #findByPrefix(text: string, digits: string): Image | undefined {
    let found: Image | undefined;
    for (const image of this.#byId.values()) {
      if (!image.id.startsWith(`sha256:${digits}`)) continue;
      if (found !== undefined) {
        throw new RuntimeError(
          "invalid-argument",
          `find image "${text}": several ids begin with it, give more of the id`,
        );
      }
      found = image;
    }
    return found;
  }
}

function pinnedNames(pinned: readonly string[], names: ImageNames): ReadonlySet<string> {
  return new Set(pinned.flatMap((name) => names.candidatesOf(name).map(formatReference)));
}

function union(a: readonly string[] = [], b: readonly string[] = []): readonly string[] {
  return [...new Set([...a, ...b])].sort();
}
