// The ids for pods that get a user namespace without asking for it. Loaded only where the configuration has that.
import { readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoCode } from "../../base/system-error.ts";
import type { Logger } from "../../base/logger.ts";
import type { Config } from "../../config/config.ts";
import type { IdPool, OwnRange } from "../../core/sandbox/index.ts";
import type { OwnIdsPolicy } from "../../engine/sandbox/index.ts";
import { tmpfsVolumeObstacle } from "../../linux/namespace/index.ts";

/** Users whose entry in subuid(5) and subgid(5) davit takes, the first one that has both. */
const ownUsers = ["davit", "containers"] as const;
/**
 * Where there is no entry: 4,094 ranges of 65,536 ids. Distributions, useradd(8), systemd and kubelet (whose
 * own default begins at 65,536) assign nothing there.
 */
const unused: OwnRange = { hostId: 1_879_048_192, length: 4094 * 65_536 };
/** The kernel reserves the highest id for "no id" (user_namespaces(7)). */
const idCount = 2 ** 32 - 1;

/** A line of subuid(5). */
interface Entry extends OwnRange {
  readonly user: string;
}

/** The lines of a file of subuid(5), without those that are not valid. */
export function parseSubIds(text: string): readonly Entry[] {
  return text.split("\n").flatMap((line) => {
    const [, user = "", first, count] =
      /^([^:#\s]+):(\d{1,10}):(\d{1,10})$/.exec(line.trim()) ?? [];
    const [hostId, length] = [Number(first), Number(count)];
    return user !== "" && length > 0 && hostId + length <= idCount
      ? [{ user, hostId, length }]
      : [];
  });
}

/**
 * The pool of a configuration, with the texts of /etc/subuid and /etc/subgid. `firstId` 0 takes the entry of user
 * davit or containers that both files have with the same ids, else a range that nobody assigns. What other users
 * have in it is reserved.
 */
export function idPool(
  { firstId, length }: { readonly firstId: number; readonly length: number },
  subuid: string,
  subgid: string,
): IdPool {
  const [uids, gids] = [parseSubIds(subuid), parseSubIds(subgid)];
  const isIn = (entry: Entry): boolean =>
    gids.some((each) => JSON.stringify(each) === JSON.stringify(entry));
  const entries = firstId === 0 ? ownUsers.map((user) => uids.filter((e) => e.user === user)) : [];
  const own = entries.flat().find(isIn);
  const range = own ?? (firstId === 0 ? unused : { hostId: firstId, length: unused.length });
  const reserved = [...uids, ...gids].filter(({ user }) => user !== own?.user);
  const end = Math.min(range.hostId + range.length, idCount);
  return { first: range.hostId, end, length, reserved };
}

/**
 * How pods get ids of their own. Logs the pool, or why no pod gets any.
 *
 * @param kernelObstacle why the kernel does not suffice
 */
export function ownIdsPolicy(
  config: Pick<Config, "runtime" | "root" | "state">,
  modeOf: (handler: string) => "requested" | "auto",
  log: Logger,
  kernelObstacle: string | undefined = tmpfsVolumeObstacle(),
): OwnIdsPolicy {
  const { userNamespaceFirstId: firstId, userNamespaceIds: length } = config.runtime;
  const pool = idPool({ firstId, length }, read("/etc/subuid"), read("/etc/subgid"));
  const isFor: OwnIdsPolicy["isFor"] = ({ name }) => modeOf(name) === "auto";
  if (kernelObstacle !== undefined) {
    log.warn('user_namespaces = "auto" has no effect: all pods have the ids of the node', {
      reason: kernelObstacle,
    });
    return { pool, isFor, obstacle: () => kernelObstacle };
  }
  log.info("pods that do not ask for a user namespace get one", {
    firstId: pool.first,
    lastId: pool.end - 1,
    idsOfAPod: length,
  });
  let isOpen = false;
  return {
    pool,
    isFor,
    obstacle: () => {
      if (isOpen) return undefined;
      const closed = [config.root, config.state]
        .map(closedDirectory)
        .find((one) => one !== undefined);
      isOpen = closed === undefined;
      return closed === undefined
        ? undefined
        : `directory "${closed}" cannot be entered by other users; run: chmod o+x ${closed}`;
    },
  };
}

/** The first directory on the way to one, itself included, that other users cannot enter (path_resolution(7)). */
function closedDirectory(directory: string): string | undefined {
  for (let at = directory; ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return at;
    if (at === "/") return undefined;
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return "";
    throw cause;
  }
}
