import { readFileSync } from "node:fs";

/** A gid, as digits. */
export const gidPattern = /^\d{1,10}$/;
/** (gid_t) -1 means "leave it" to chown(2), so it is not a group. */
export const maxGid = 2 ** 32 - 2;

/**
 * The gid of a group that is named, or given as a gid. undefined for a name that group(5)'s file does not
 * have: groups of a directory service have to be given by gid.
 *
 * @param file where groups are looked up; for tests
 */
export function gidOf(group: string, file = "/etc/group"): number | undefined {
  if (gidPattern.test(group)) return Number(group);
  for (const line of readLines(file)) {
    const [name, , gid = ""] = line.split(":");
    if (name === group && gidPattern.test(gid)) return Number(gid);
  }
  return undefined;
}

function readLines(file: string): readonly string[] {
  try {
    return readFileSync(file, "utf8").split("\n");
  } catch {
    // A system without the file has no groups by name.
    return [];
  }
}
