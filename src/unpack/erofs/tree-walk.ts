import { SystemError } from "../../base/system-error.ts";
import type { FileTime } from "../../linux/file/index.ts";
import type { LayerWalk } from "../layer-files.ts";
import { printable } from "../tar-entry.ts";
import { type Tree, TreeDirectory, type TreeEntry } from "./tree.ts";

/** A walk through the names of a layer in memory. */
export class TreeWalk implements LayerWalk {
  readonly #tree: Tree;
  readonly #now: FileTime;
  #at: TreeDirectory;
  readonly #above: TreeDirectory[] = [];

  /** `now` is the time of the directories that it makes. */
  constructor(tree: Tree, now: FileTime) {
    this.#tree = tree;
    this.#now = now;
    this.#at = tree.root;
  }

  find(name: string): TreeEntry | undefined {
    return this.#at.children.get(name);
  }

  readLink(name: string): string {
    return this.find(name)?.target ?? "";
  }

  makeDirectory(name: string): void {
    const made = new TreeDirectory(this.#tree.nextIno(), this.#now);
    this.#tree.addAt({ directory: this.#at, name }, made);
  }

  enter(name: string): void {
    const next = this.find(name);
    if (next?.isDirectory() !== true)
      throw new SystemError(`enter "${printable(name)}"`, "ENOTDIR");
    this.#above.push(this.#at);
    this.#at = next;
  }

  up(): void {
    this.#at = this.#above.pop() ?? this.#tree.root;
  }

  top(): void {
    this.#at = this.#tree.root;
    this.#above.length = 0;
  }
}
