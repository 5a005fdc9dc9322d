import { type Digest, isDigest } from "../../base/digest.ts";
import { isKind, RuntimeError } from "../../base/errors.ts";
import type { RecordTable } from "../store/index.ts";
import type { Image } from "./image.ts";
import { formatReference, type ImageReference, parseReference } from "./reference.ts";

/** A prefix of an id, with or without its algorithm, as crictl, containerd and CRI-O write and accept it. */
const shortId = /^(?:sha256:)?([0-9a-f]{1,64})$/;

/** The images of this node: the truth in memory, written through to the records. */
export class ImageStore {
  readonly #records: RecordTable<Image>;
  readonly #referenceOf: (text: string) => ImageReference;
  readonly #pinned: ReadonlySet<string>;
  readonly #byId = new Map<Digest, Image>();
  /** Full names with tag or digest. */
  readonly #byName = new Map<string, Digest>();

  /**
   * `pinned`: names of images that kubelet must not collect, as written in the configuration.
   * `referenceOf`: see {@link ImageStore.referenceOf}; parseReference(), if not given.
   */
  constructor(
    records: RecordTable<Image>,
    pinned: readonly string[] = [],
    referenceOf: (text: string) => ImageReference = parseReference,
  ) {
    this.#records = records;
    this.#referenceOf = referenceOf;
    this.#pinned = new Set(pinned.map((name) => formatReference(this.#pinnedName(name))));
  }

  /**
   * The image that a name means on this node, which may have aliases for names without a host.
   * `invalid-argument` for a text that is not an image name, `failed-precondition` for a short name that
   * the configuration of this node does not decide.
   */
  referenceOf(text: string): ImageReference {
    return this.#referenceOf(text);
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
   * unique prefix of an id with or without `sha256:`. Undefined for an unknown one;
   * `invalid-argument` when the text cannot name an image or is a prefix of several ids.
   */
  find(text: string): Image | undefined {
    if (text === "") throw new RuntimeError("invalid-argument", "find image: the name is empty");
    if (isDigest(text)) return this.#byId.get(text);
    const digits = shortId.exec(text)?.[1];
    const id = this.#idOfName(text, digits !== undefined);
    if (id !== undefined) return this.#byId.get(id);
    // After the names: "ada" and "sha256:ada" may be names of an image, and prefixes of another's id.
    return digits === undefined ? undefined : this.#findByPrefix(text, digits);
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

  #idOfName(text: string, mayBeId: boolean): Digest | undefined {
    try {
      return this.#byName.get(formatReference(this.#referenceOf(text)));
    } catch (error) {
      // An undecided short name that is the prefix of an id.
      if (mayBeId && isKind(error, "failed-precondition")) return undefined;
      throw error;
    }
  }

  /** A broken configuration of short names must not keep the daemon from starting. */
  #pinnedName(name: string): ImageReference {
    try {
      return this.#referenceOf(name);
    } catch {
      return parseReference(name);
    }
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

function union(a: readonly string[] = [], b: readonly string[] = []): readonly string[] {
  return [...new Set([...a, ...b])].sort();
}
