import { RuntimeError } from "./errors.ts";

/**
 * Finds an object by any unique prefix of its id, as users of crictl type it.
 *
 * An exact id needs one hash lookup; only a prefix needs a search through all ids.
 */
export class PrefixIndex {
  readonly #noun: string;
  readonly #ids = new Set<string>();

  /** `noun` is the kind of object, for error messages: "sandbox". */
  constructor(noun: string) {
    this.#noun = noun;
  }

  add(id: string): void {
    this.#ids.add(id);
  }

  delete(id: string): void {
    this.#ids.delete(id);
  }

  /**
   * The id that begins with `text`, or undefined when there is none.
   *
   * Throws `invalid-argument` for an empty text and for a prefix of several ids.
   */
  find(text: string): string | undefined {
    if (text === "") {
      throw new RuntimeError("invalid-argument", `find ${this.#noun}: the id is empty`);
    }
    if (this.#ids.has(text)) return text;
    let found: string | undefined;
    for (const id of this.#ids) {
      if (!id.startsWith(text)) continue;
      if (found !== undefined) {
        throw new RuntimeError(
          "invalid-argument",
          `find ${this.#noun} "${text}": several ids begin with it (${found}, ${id}), give more of the id`,
        );
      }
      found = id;
    }
    return found;
  }
}
