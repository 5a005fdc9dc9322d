import { readFileSync } from "node:fs";

/** A gid in digits. */
export const gidPattern = /^\d{1,10}$/;
/** The largest gid: chown(2) takes (gid_t) -1 for "unchanged". */
export const maxGid = 2 ** 32 - 2;

/**
 * The gid of a group that is given by name or by gid; undefined for a name that is not in the file of
 * group(5). Groups of a directory service must be given by gid.
 *
 * @param file the group file, for tests
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
    // Without the file no group has a name.
    return [];
  }
}
