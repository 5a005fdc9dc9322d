import { RuntimeError } from "../../base/errors.ts";
import type { ContainerUser, RootFiles } from "../../core/container/index.ts";
import { readFilesInRoot } from "../../linux/file/index.ts";

// Images with ten thousands of users have been seen; this is far beyond them.
const maxFileBytes = 16 * 1024 * 1024;
const userFiles = ["/etc/passwd", "/etc/group"] as const;
/** NGROUPS_MAX of Linux: setgroups(2). */
const maxGroups = 65_536;
const maxId = 2n ** 32n - 2n;

/** An entry of passwd(5). */
interface PasswdEntry {
  readonly name: string;
  readonly uid: bigint;
  readonly gid: bigint;
}

/** An entry of group(5). */
interface GroupEntry {
  readonly name: string;
  readonly gid: bigint;
  /** Names, with commas between them. */
  readonly members: string;
}

/** Users as a root's own passwd and group files have them. */
export const rootUsers: RootFiles = {
  resolveUser: async (rootfs, wanted) => {
    const [passwd = "", group = ""] = await readFilesInRoot(rootfs, userFiles, maxFileBytes);
    return resolveUser(wanted, passwd, group);
  },
};

/**
 * Who `user` is by the texts of a passwd and a group file. A number needs no entry; a name does. Without a group the
 * entry's own is taken, without an entry 0. Groups that list the user as a member are added where merging is asked
 * for. Invalid lines are skipped, as libc does.
 */
export function resolveUser(
  wanted: Parameters<RootFiles["resolveUser"]>[1],
  passwd: string,
  groups: string,
): ContainerUser {
  const [userText = "", groupText] = wanted.user.split(":", 2);
  const entry = findUser(userText, passwd);
  const gid =
    groupText === undefined || groupText === "" ? entry.gid : findGroup(groupText, groups);
  const memberships =
    wanted.mergeImageGroups && entry.name !== undefined ? groupsOf(entry.name, groups) : [];
  const supplementalGroups = [...new Set([...memberships, ...wanted.supplementalGroups])];
  return { uid: entry.uid, gid, supplementalGroups };
}

function groupsOf(name: string, groups: string): readonly bigint[] {
  const found = new Set<bigint>();
  for (const { gid, members } of entries(groups, name, parseGroup)) {
    if (!`,${members},`.includes(`,${name},`)) continue;
    found.add(gid);
    if (found.size <= maxGroups) continue;
    throw new RuntimeError(
      "invalid-argument",
      `resolve user "${name}": the image's /etc/group has it in more than ${maxGroups} groups, the limit of the kernel`,
    );
  }
  return [...found];
}

function findUser(
  text: string,
  passwd: string,
): { readonly name: string | undefined; readonly uid: bigint; readonly gid: bigint } {
  const wanted = text === "" ? "0" : text;
  // A number is an id, even where the image calls a user by it: kubelet has checked the number
  // (runAsNonRoot), and an image's "1000:x:0:0" must not make it another.
  if (!/^\d+$/.test(wanted)) {
    for (const entry of entries(passwd, `${wanted}:`, parseUser)) {
      if (entry.name === wanted) return entry;
    }
    throw new RuntimeError(
      "not-found",
      `resolve user "${wanted}": the image's /etc/passwd has no such user; name one that it has, or a number`,
    );
  }
  const uid = idOf(wanted, "user");
  for (const entry of entries(passwd, `${String(uid)}:`, parseUser)) {
    if (entry.uid === uid) return entry;
  }
  return { name: undefined, uid, gid: 0n };
}

function findGroup(text: string, groups: string): bigint {
  if (/^\d+$/.test(text)) return idOf(text, "group");
  for (const { name, gid } of entries(groups, `${text}:`, parseGroup)) {
    if (name === text) return gid;
  }
  throw new RuntimeError(
    "not-found",
    `resolve group "${text}": the image's /etc/group has no such group; name one that it has, or a number`,
  );
}

function idOf(text: string, kind: string): bigint {
  const id = BigInt(text);
  if (id <= maxId) return id;
  throw new RuntimeError(
    "invalid-argument",
    `resolve ${kind} "${text}": ids end at ${String(maxId)}`,
  );
}

/**
 * The valid entries of a file whose lines have `part` in them. Others are not parsed: an image's file may be large, and
 * the event loop waits meanwhile.
 */
function* entries<T>(
  text: string,
  part: string,
  parse: (line: string) => T | undefined,
): Generator<T, void, undefined> {
  for (let at = text.indexOf(part); at >= 0; ) {
    const begin = text.lastIndexOf("\n", at) + 1;
    const newline = text.indexOf("\n", at);
    const end = newline < 0 ? text.length : newline;
    const entry = parse(text.slice(begin, end));
    if (entry !== undefined) yield entry;
    at = text.indexOf(part, end + 1);
  }
}

function parseUser(line: string): PasswdEntry | undefined {
  const [name = "", , uid = "", gid = ""] = line.split(":", 4);
  if (name === "" || !/^\d{1,10}$/.test(uid) || !/^\d{1,10}$/.test(gid)) return undefined;
  return { name, uid: BigInt(uid), gid: BigInt(gid) };
}

function parseGroup(line: string): GroupEntry | undefined {
  const [name = "", , gid = "", members = ""] = line.split(":", 4);
  if (name === "" || !/^\d{1,10}$/.test(gid)) return undefined;
  return { name, gid: BigInt(gid), members };
}
