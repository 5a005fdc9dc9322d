import { RuntimeError } from "../../base/errors.ts";
import type { ContainerUser, RootFiles } from "../../core/container/index.ts";
import { readFilesInRoot } from "../../linux/file/index.ts";

// Images with ten thousands of users have been seen; this is far beyond them.
const maxFileBytes = 16 * 1024 * 1024;
const userFiles = ["/etc/passwd", "/etc/group"] as const;
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
  readonly members: readonly string[];
}

/** Users as a root's own passwd and group files have them. */
export const rootUsers: RootFiles = {
  resolveUser: async (rootfs, wanted) => {
    const [passwd = "", group = ""] = await readFilesInRoot(rootfs, userFiles, maxFileBytes);
    return resolveUser(wanted, parsePasswd(passwd), parseGroups(group));
  },
};

/**
 * Who `user` is. A number needs no entry; a name does. Without a group the entry's own is taken,
 * without an entry 0. Groups that list the user as a member are added where merging is asked for.
 */
export function resolveUser(
  wanted: Parameters<RootFiles["resolveUser"]>[1],
  passwd: readonly PasswdEntry[],
  groups: readonly GroupEntry[],
): ContainerUser {
  const [userText = "", groupText] = wanted.user.split(":", 2);
  const entry = findUser(userText, passwd);
  const gid =
    groupText === undefined || groupText === "" ? entry.gid : findGroup(groupText, groups);
  const memberships =
    wanted.mergeImageGroups && entry.name !== undefined
      ? groups.filter(({ members }) => members.includes(entry.name ?? "")).map((group) => group.gid)
      : [];
  const supplementalGroups = [...new Set([...memberships, ...wanted.supplementalGroups])];
  return { uid: entry.uid, gid, supplementalGroups };
}

function findUser(
  text: string,
  passwd: readonly PasswdEntry[],
): { readonly name: string | undefined; readonly uid: bigint; readonly gid: bigint } {
  const wanted = text === "" ? "0" : text;
  // A number is an id, even where the image calls a user by it: kubelet has checked the number
  // (runAsNonRoot), and an image's "1000:x:0:0" must not make it another.
  if (!/^\d+$/.test(wanted)) {
    const named = passwd.find(({ name }) => name === wanted);
    if (named !== undefined) return named;
    throw new RuntimeError(
      "not-found",
      `resolve user "${wanted}": the image's /etc/passwd has no such user; name one that it has, or a number`,
    );
  }
  const uid = idOf(wanted, "user");
  return passwd.find((candidate) => candidate.uid === uid) ?? { name: undefined, uid, gid: 0n };
}

function findGroup(text: string, groups: readonly GroupEntry[]): bigint {
  if (/^\d+$/.test(text)) return idOf(text, "group");
  const named = groups.find(({ name }) => name === text);
  if (named !== undefined) return named.gid;
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

/** The entries of a passwd file. Invalid lines are skipped, as libc does. */
export function parsePasswd(text: string): readonly PasswdEntry[] {
  return text.split("\n").flatMap((line) => {
    const [name = "", , uid = "", gid = ""] = line.split(":");
    if (name === "" || !/^\d{1,10}$/.test(uid) || !/^\d{1,10}$/.test(gid)) return [];
    return [{ name, uid: BigInt(uid), gid: BigInt(gid) }];
  });
}

/** The entries of a group file. Invalid lines are skipped. */
export function parseGroups(text: string): readonly GroupEntry[] {
  return text.split("\n").flatMap((line) => {
    const [name = "", , gid = "", members = ""] = line.split(":");
    if (name === "" || !/^\d{1,10}$/.test(gid)) return [];
    return [
      { name, gid: BigInt(gid), members: members.split(",").filter((member) => member !== "") },
    ];
  });
}
