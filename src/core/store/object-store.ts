import { RuntimeError } from "../../base/errors.ts";
import { PrefixIndex } from "../../base/prefix-index.ts";
import type { RecordTable } from "./record-table.ts";

/** The fields that every stored object has. */
export interface StoredObject {
  readonly id: string;
  /** The unique name, which the object reserves from its first write until its removal. */
  readonly name: string;
}

/**
 * Called after every change, once it is written and visible. Must not throw. `before` is the value that an
 * update replaced; undefined for other changes.
 */
type StoreListener<T> = (
  object: T,
  change: "listed" | "updated" | "removed",
  before: T | undefined,
) => void;

/** How a store writes, and which changes it allows. */
interface StoreRules<T> {
  /** The kind of object, for messages: "sandbox". */
  readonly noun: string;
  readonly records: Pick<RecordTable<T>, "put" | "delete">;
  /** Throws `failed-precondition` for a change of state that is not allowed. */
  readonly checkChange: (before: T, after: T) => void;
}

/**
 * All objects of one kind: the truth in memory, written through to the records.
 *
 * An object is known from the first write on, and listed from list() on: an object whose id no client
 * has is not listed.
 */
export class ObjectStore<T extends StoredObject> {
  readonly #rules: StoreRules<T>;
  readonly #byId = new Map<string, T>();
  readonly #listed = new Map<string, T>();
  readonly #idByName = new Map<string, string>();
  readonly #index: PrefixIndex;
  readonly #listeners = new Set<StoreListener<T>>();

  constructor(rules: StoreRules<T>) {
    this.#rules = rules;
    this.#index = new PrefixIndex(rules.noun);
  }

  /** Calls `listener` after each change, until the result is disposed of. */
  listen(listener: StoreListener<T>): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** Adds an object that is in the database already, after a restart. It reserves its name if that is free. */
  load(object: T): void {
    this.#byId.set(object.id, object);
    if (!this.#idByName.has(object.name)) this.#idByName.set(object.name, object.id);
  }

  /**
   * Writes a new object, unlisted; its name is reserved until remove(). `already-exists` for a name that is
   * reserved.
   */
  add(object: T): void {
    const holder = this.#idByName.get(object.name);
    if (holder !== undefined) {
      const { noun } = this.#rules;
      throw new RuntimeError(
        "already-exists",
        `reserve ${noun} name "${object.name}": ${noun} "${holder}" has it; remove that one first, or choose another name`,
      );
    }
    this.#rules.records.put(object);
    this.#byId.set(object.id, object);
    this.#idByName.set(object.name, object.id);
  }

  /** Lists the object: clients see it from now on. */
  list(id: string): void {
    const object = this.get(id);
    if (this.#listed.has(id)) return;
    this.#listed.set(id, object);
    this.#index.add(id);
    this.#notify(object, "listed");
  }

  /**
   * Replaces the object by the result of `change`: first on disk, then in memory, and then calls the
   * listeners. An error changes nothing.
   */
  update(id: string, change: (object: T) => T): T {
    const before = this.get(id);
    const after = change(before);
    if (after === before) return before;
    this.#rules.checkChange(before, after);
    this.#rules.records.put(after);
    this.#byId.set(id, after);
    if (this.#listed.has(id)) {
      this.#listed.set(id, after);
      this.#notify(after, "updated", before);
    }
    return after;
  }

  /** Deletes the object, on disk and in memory. Not an error for an unknown one. */
  remove(id: string): void {
    this.#rules.records.delete(id);
    const object = this.#byId.get(id);
    this.#byId.delete(id);
    if (object !== undefined && this.#idByName.get(object.name) === id) {
      this.#idByName.delete(object.name);
    }
    if (!this.#listed.delete(id) || object === undefined) return;
    this.#index.delete(id);
    this.#notify(object, "removed");
  }

  /**
   * The listed object whose id is `text`, or begins with it uniquely.
   * Undefined for an unknown one; `invalid-argument` for an empty or ambiguous text.
   */
  find(text: string): T | undefined {
    const id = this.#index.find(text);
    return id === undefined ? undefined : this.#listed.get(id);
  }

  /** Like find(), but `not-found` for an unknown one. */
  resolve(text: string): T {
    const object = this.find(text);
    if (object !== undefined) return object;
    throw new RuntimeError(
      "not-found",
      `find ${this.#rules.noun} "${text}": there is none with this id`,
    );
  }

  /** The newest value of the object with this full id, listed or not; `not-found` for an unknown one. */
  get(id: string): T {
    const object = this.#byId.get(id);
    if (object !== undefined) return object;
    throw new RuntimeError(
      "not-found",
      `find ${this.#rules.noun} "${id}": there is none with this id`,
    );
  }

  /** Like get(), but undefined for an unknown one. */
  peek(id: string): T | undefined {
    return this.#byId.get(id);
  }

  /** The id of the object that has reserved `name`, listed or not. */
  idOfName(name: string): string | undefined {
    return this.#idByName.get(name);
  }

  /** True when clients see the object. */
  isListed(id: string): boolean {
    return this.#listed.has(id);
  }

  /** The objects that clients see, oldest first. */
  listed(): IterableIterator<T> {
    return this.#listed.values();
  }

  /** Every object, also unlisted ones. */
  all(): IterableIterator<T> {
    return this.#byId.values();
  }

  #notify(object: T, change: "listed" | "updated" | "removed", before?: T): void {
    for (const listener of this.#listeners) listener(object, change, before);
  }
}
