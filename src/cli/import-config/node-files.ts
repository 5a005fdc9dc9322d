import { existsSync, globSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { systemError } from "../../base/system-error.ts";

/** No configuration of a runtime is near these. */
const maxFileBytes = 4 * 1024 * 1024;
const maxEntries = 1000;

/** Reads the files of a node by their paths there; `root` is where its file system is, "/" for this machine. */
export class NodeFiles {
  readonly #root: string;

  constructor(root = "/") {
    this.#root = root;
  }

  exists(file: string): boolean {
    return existsSync(this.#at(file));
  }

  isDirectory(file: string): boolean {
    return statSync(this.#at(file), { throwIfNoEntry: false })?.isDirectory() === true;
  }

  /** The text of a file. Throws a RuntimeError that names it. */
  read(file: string): string {
    try {
      const stats = statSync(this.#at(file));
      const problem = !stats.isFile()
        ? "it is not a file"
        : stats.size > maxFileBytes
          ? `it has ${stats.size} bytes; a configuration has at most ${maxFileBytes}`
          : undefined;
      if (problem === undefined) return readFileSync(this.#at(file), "utf8");
      throw new RuntimeError("invalid-argument", `read "${file}": ${problem}`);
    } catch (cause) {
      if (cause instanceof RuntimeError) throw cause;
      throw systemError(`read "${file}"`, cause);
    }
  }

  /** The names in a directory, sorted; none if it does not exist. */
  list(directory: string): readonly string[] {
    if (!this.isDirectory(directory)) return [];
    return bounded(readdirSync(this.#at(directory)).toSorted(), directory);
  }

  /** The files that an absolute pattern with `*` matches, sorted. */
  glob(pattern: string): readonly string[] {
    const found = globSync(this.#at(pattern))
      .map((file) => `/${path.relative(this.#root, file)}`)
      .toSorted();
    return bounded(found, pattern);
  }

  #at(file: string): string {
    return path.join(this.#root, file);
  }
}

function bounded(names: readonly string[], what: string): readonly string[] {
  if (names.length <= maxEntries) return names;
  const text = `read "${what}": it has ${names.length} entries; at most ${maxEntries} are read`;
  throw new RuntimeError("invalid-argument", text);
}
