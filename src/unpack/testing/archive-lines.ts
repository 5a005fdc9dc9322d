import { readFileSync } from "node:fs";

import type { Found } from "./read-archive.ts";

/** An entry as one line of text, in the format of {@link recordedByGo}. */
export function lineOf(entry: Found): string {
  const { type, path, linkPath, mode, uid, gid, size, time, major, minor, content } = entry;
  const isDevice = type === "char" || type === "block";
  const xattrs = [...entry.xattrs].map(([name, value]) => `${name}=${value}`).sort();
  return [
    type,
    JSON.stringify(path),
    ...(linkPath === "" ? [] : ["->", JSON.stringify(linkPath)]),
    mode.toString(8),
    `${uid}:${gid}`,
    `${time.seconds}.${String(time.nanoseconds).padStart(9, "0")}`,
    ...(isDevice ? [`${major},${minor}`] : []),
    ...(type === "file" ? [String(size), content.slice(0, 16)] : []),
    ...(xattrs.length === 0 ? [] : [JSON.stringify(xattrs)]),
  ].join(" ");
}

/** The result of Go for an archive. */
export interface Recorded {
  readonly lines: readonly string[];
  /** Go failed after these entries. */
  readonly refused: boolean;
}

/**
 * The results of archive/tar of Go 1.26.11 for the archives of odd-archives.ts, by their names, recorded
 * with Reader.Next and io.Copy in go-archive-tar.txt. Entries of global headers are
 * left out, and the type of a sparse file in GNU's old format is called a file. Unknown types
 * are shown by their code.
 */
export function recordedByGo(): ReadonlyMap<string, Recorded> {
  const text = readFileSync(new URL("./go-archive-tar.txt", import.meta.url), "utf8");
  const sections = text.split("## ").slice(1);
  return new Map(
    sections.map((section) => {
      const [name = "", ...rest] = section.trimEnd().split("\n");
      const refused = rest.at(-1) === "refused";
      return [name, { lines: refused ? rest.slice(0, -1) : rest, refused }];
    }),
  );
}
