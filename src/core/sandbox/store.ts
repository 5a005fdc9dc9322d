import { RuntimeError } from "../../base/errors.ts";
import { PrefixIndex } from "../../base/prefix-index.ts";
import type { SandboxRecords } from "./records.ts";
import type { Sandbox } from "./sandbox.ts";
import { checkSandboxTransition } from "./state.ts";

/** Told of every change after it is on disk and visible. */
export type SandboxListener = (sandbox: Sandbox, change: "listed" | "updated" | "removed") => void;

/**
 * All sandboxes of this daemon: the truth in memory, written through to the records.
 *
 * A sandbox is known from the first write on, and listed from list() on: what a client has not
 * been given an id of is not shown to anybody.
 */
export class SandboxStore {
  readonly #records: SandboxRecords;
  readonly #byId = new Map<string, Sandbox>();
  readonly #listed = new Map<string, Sandbox>();
  readonly #idByName = new Map<string, string>();
  readonly #index = new PrefixIndex("sandbox");
  readonly #listeners = new Set<SandboxListener>();

  constructor(records: SandboxRecords) {
    this.#records = records;
  }

  /** Calls `listener` after each change. The result ends that. */
  listen(listener: SandboxListener): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** Takes a sandbox that is already on record, as after a restart. It reserves its name if that is free. */
  load(sandbox: Sandbox): void {
    this.#byId.set(sandbox.id, sandbox);
    if (!this.#idByName.has(sandbox.name)) this.#idByName.set(sandbox.name, sandbox.id);
  }

  /** Writes a new sandbox, unlisted; its name is reserved until remove(). `already-exists` when it is taken. */
  add(sandbox: Sandbox): void {
    const holder = this.#idByName.get(sandbox.name);
    if (holder !== undefined) {
      throw new RuntimeError(
        "already-exists",
        `reserve sandbox name "${sandbox.name}": sandbox "${holder}" has it`,
      );
    }
    this.#records.putSandbox(sandbox);
    this.#byId.set(sandbox.id, sandbox);
    this.#idByName.set(sandbox.name, sandbox.id);
  }

  /** Shows the sandbox to clients from now on. */
  list(id: string): void {
    const sandbox = this.get(id);
    if (this.#listed.has(id)) return;
    this.#listed.set(id, sandbox);
    this.#index.add(id);
    this.#tell(sandbox, "listed");
  }

  /**
   * Replaces the sandbox by what `change` makes of it: on disk first, then in memory, then the
   * listeners hear of it. An error on the way changes nothing.
   */
  update(id: string, change: (sandbox: Sandbox) => Sandbox): Sandbox {
    const before = this.get(id);
    const after = change(before);
    if (after === before) return before;
    checkSandboxTransition(id, before.state.name, after.state.name);
    this.#records.putSandbox(after);
    this.#byId.set(id, after);
    if (this.#listed.has(id)) {
      this.#listed.set(id, after);
      this.#tell(after, "updated");
    }
    return after;
  }

  /** Forgets the sandbox, on disk and in memory. No error when it is not there. */
  remove(id: string): void {
    this.#records.deleteSandbox(id);
    const sandbox = this.#byId.get(id);
    this.#byId.delete(id);
    if (sandbox !== undefined && this.#idByName.get(sandbox.name) === id) {
      this.#idByName.delete(sandbox.name);
    }
    if (!this.#listed.delete(id) || sandbox === undefined) return;
    this.#index.delete(id);
    this.#tell(sandbox, "removed");
  }

  /**
   * The listed sandbox that `text` names: its id or a unique beginning of it.
   * Undefined when there is none; `invalid-argument` for an empty or ambiguous text.
   */
  find(text: string): Sandbox | undefined {
    const id = this.#index.find(text);
    return id === undefined ? undefined : this.#listed.get(id);
  }

  /** Like find(), but `not-found` when there is none. */
  resolve(text: string): Sandbox {
    const sandbox = this.find(text);
    if (sandbox !== undefined) return sandbox;
    throw new RuntimeError("not-found", `find sandbox "${text}": there is none with this id`);
  }

  /** The newest value of a sandbox known by its full id, listed or not; `not-found` otherwise. */
  get(id: string): Sandbox {
    const sandbox = this.#byId.get(id);
    if (sandbox !== undefined) return sandbox;
    throw new RuntimeError("not-found", `find sandbox "${id}": there is none with this id`);
  }

  /** Like get(), but undefined when there is none. */
  peek(id: string): Sandbox | undefined {
    return this.#byId.get(id);
  }

  /** The id of the sandbox that has reserved `name`, listed or not. */
  idOfName(name: string): string | undefined {
    return this.#idByName.get(name);
  }

  /** True when clients see the sandbox. */
  isListed(id: string): boolean {
    return this.#listed.has(id);
  }

  /** The sandboxes that clients see, oldest first. */
  listed(): IterableIterator<Sandbox> {
    return this.#listed.values();
  }

  /** Every sandbox, also those in the making. */
  all(): IterableIterator<Sandbox> {
    return this.#byId.values();
  }

  #tell(sandbox: Sandbox, change: "listed" | "updated" | "removed"): void {
    for (const listener of this.#listeners) listener(sandbox, change);
  }
}
