import { type Digest, isDigest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { RecordTable } from "../store/index.ts";
import type { Image } from "./image.ts";
import { formatReference, parseReference } from "./reference.ts";

/** A prefix of an id, with or without its algorithm, as crictl, containerd and CRI-O write and accept it. */
const shortId = /^(?:sha256:)?([0-9a-f]{1,64})$/;

/** The images of this node: the truth in memory, written through to the records. */
export class ImageStore {
  readonly #records: RecordTable<Image>;
  readonly #pinned: ReadonlySet<string>;
  readonly #byId = new Map<Digest, Image>();
  /** Full names with tag or digest. */
  readonly #byName = new Map<string, Digest>();

  /** `pinned`: names of images that kubelet must not collect, as written in the configuration. */
  constructor(records: RecordTable<Image>, pinned: readonly string[] = []) {
    this.#records = records;
    this.#pinned = new Set(pinned.map((name) => formatReference(parseReference(name))));
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
    const id = this.#byName.get(formatReference(parseReference(text)));
    if (id !== undefined) return this.#byId.get(id);
    // After the names: "ada" and "sha256:ada" may be names of an image, and prefixes of another's id.
    const digits = shortId.exec(text)?.[1];
    return digits === undefined ? undefined : this.#findByPrefix(text, digits);
  }

  /**
   * Adds an image with the names that it was pulled by. A tag that another image has moves to
   * this one; names that the image has already stay.
   */
  put(image: Image): Image {
    const known = this.#byId.get(image.id);
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
