/** A hard link of a layer to a file that only a lower layer can have. */
export interface LowerLink {
  readonly path: string;
  readonly target: string;
}

/**
 * What a layer takes from the layers below it, independent of which layers those are. Paths in it, without symbolic links, as
 * byte strings: a character of U+0000 to U+00FF for each byte.
 */
export interface FromBelow {
  /** Hard links to files that it does not bring. */
  readonly links: readonly LowerLink[];
  /** Directories that no entry describes: lower layers define their attributes. Parents first. */
  readonly directories: readonly string[];
}

/**
 * Parses the report of an unpacker, or the stored form of it; `undefined` is nothing. Throws an Error for
 * anything else than absolute paths without `.` and `..`: they are joined to other layers' directories.
 */
export function parseFromBelow(value: unknown): FromBelow | undefined {
  if (value === undefined) return undefined;
  if (isObject(value) && Array.isArray(value["links"]) && Array.isArray(value["directories"])) {
    const links = value["links"].map(parseLink).filter((link) => link !== undefined);
    const directories = value["directories"].filter(isLayerPath);
    if (
      links.length === value["links"].length &&
      directories.length === value["directories"].length
    ) {
      return { links, directories };
    }
  }
  throw new Error("it does not list what the layer shares with others");
}

function parseLink(value: unknown): LowerLink | undefined {
  if (!isObject(value)) return undefined;
  const { path, target } = value;
  return isLayerPath(path) && isLayerPath(target) ? { path, target } : undefined;
}

function isLayerPath(value: unknown): value is string {
  return (
    typeof value === "string" &&
    /^\/[\x01-\xff]+$/.test(value) &&
    value
      .slice(1)
      .split("/")
      .every((name) => name !== "" && name !== "." && name !== "..")
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
