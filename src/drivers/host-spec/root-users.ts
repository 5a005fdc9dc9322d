import { RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import type { ContainerUser, RootFiles } from "../../core/container/index.ts";
import { readFilesInRoot } from "../../linux/file/index.ts";

// Images with ten thousands of users have been seen; this is far beyond them.
const maxFileBytes = 16 * 1024 * 1024;
const userFiles = ["/etc/passwd", "/etc/group"] as const;
const maxId = 2n ** 32n - 2n;
/** NGROUPS_MAX (include/uapi/linux/limits.h): setgroups(2) refuses more. */
const maxGroups = 65_536;

/** Users as a root's own passwd and group files have them. */
export const rootUsers: RootFiles = {
  resolveUser: async (rootfs, wanted) => {
    const [passwd = "", group = ""] = await readFilesInRoot(rootfs, userFiles, maxFileBytes);
    return resolveUser(wanted, passwd, group);
  },
};

/**
 * Who `user` is, by the texts of passwd(5) and group(5). A number needs no entry; a name does. Without a group the
 * entry's own is taken, without an entry 0. Groups that list the user as a member are added where merging is asked
 * for. Invalid lines are skipped, as libc does.
 */
export function resolveUser(
  wanted: Parameters<RootFiles["resolveUser"]>[1],
  passwd: string,
  group: string,
): ContainerUser {
  const [userText = "", groupText] = wanted.user.split(":", 2);
  const entry = findUser(userText, passwd);
  const gid = groupText === undefined || groupText === "" ? entry.gid : findGroup(groupText, group);
  const groups = new Set(
    wanted.mergeImageGroups && entry.name !== undefined ? groupsOf(entry.name, group) : [],
  );
  for (const each of wanted.supplementalGroups) groups.add(each);
  return { uid: entry.uid, gid, supplementalGroups: [...groups] };
}

function findUser(
  text: string,
  passwd: string,
): { readonly name: string | undefined; readonly uid: bigint; readonly gid: bigint } {
  const wanted = text === "" ? "0" : text;
  // A number is an id, even where the image calls a user by it: kubelet has checked the number
  // (runAsNonRoot), and an image's "1000:x:0:0" must not make it another.
  const uid = /^\d+$/.test(wanted) ? idOf(wanted, "user") : undefined;
  for (const [name = "", , uidText = "", gidText = ""] of linesWith(`${uid ?? wanted}:`, passwd)) {
    if (name === "" || !isId(uidText) || !isId(gidText)) continue;
    const entry = { name, uid: BigInt(uidText), gid: BigInt(gidText) };
    if (uid === undefined ? name === wanted : entry.uid === uid) return entry;
  }
  if (uid !== undefined) return { name: undefined, uid, gid: 0n };
  throw new RuntimeError(
    "invalid-argument",
    `resolve user "${wanted}": the image's /etc/passwd has no such user; name one that it has, or a number`,
  );
}

function findGroup(text: string, group: string): bigint {
  if (/^\d+$/.test(text)) return idOf(text, "group");
  for (const [name, , gid = ""] of linesWith(`${text}:`, group)) {
    if (name === text && isId(gid)) return BigInt(gid);
  }
  throw new RuntimeError(
    "invalid-argument",
    `resolve group "${text}": the image's /etc/group has no such group; name one that it has, or a number`,
  );
}

/** The groups that list the user as a member. */
function groupsOf(user: string, group: string): ReadonlySet<bigint> {
  const found = new Set<bigint>();
  for (const [name, , gid = "", members = ""] of linesWith(user, group)) {
    if (name === "" || !isId(gid) || !members.split(",").includes(user)) continue;
    found.add(BigInt(gid));
    if (found.size > maxGroups) {
      throw new RuntimeError(
        "invalid-argument",
        `resolve user ${quote(user)}: the image's /etc/group has it in more than ${maxGroups} groups, and the kernel allows no more`,
      );
    }
  }
  return found;
}

/**
 * The lines that contain `key`, each split into its first fields. Only these are split: a container may have written
 * millions of lines, and other calls wait meanwhile.
 */
function* linesWith(key: string, text: string): Generator<readonly string[]> {
  for (let at = text.indexOf(key); at >= 0; ) {
    const begin = text.lastIndexOf("\n", at) + 1;
    const newline = text.indexOf("\n", at);
    const end = newline < 0 ? text.length : newline;
    yield text.slice(begin, end).split(":", 4);
    at = text.indexOf(key, end + 1);
  }
}

function isId(text: string): boolean {
  return /^\d{1,10}$/.test(text);
}

function idOf(text: string, kind: string): bigint {
  const id = BigInt(text);
  if (id <= maxId) return id;
  throw new RuntimeError(
    "invalid-argument",
    `resolve ${kind} "${text}": ids end at ${String(maxId)}`,
  );
}
