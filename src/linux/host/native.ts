import { addon, callNative, runNumbersJob, runTextsJob } from "../addon.ts";

/** A device node of this host. */
export interface DeviceNode {
  readonly type: "b" | "c";
  readonly major: number;
  readonly minor: number;
  /** The permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

interface Calls {
  notifyService(socket: string, text: string): void;
}

/**
 * pool. The devices in a directory and below it, each with its path relative to the directory, which begins with
 * "/"; or the device at `path` itself, with an empty path. No device is
 * opened, and no symbolic link is followed but the one at `path`. Empty when nothing or something else is at `path`.
 * Devices more than 64 directories deep are left out.
 */
export async function listDevices(
  path: string,
): Promise<readonly (DeviceNode & { readonly path: string })[]> {
  const texts = await runTextsJob("listDevices", [path]);
  return texts.flatMap((text) => {
    // "type major minor mode uid gid /path"
    const [all, type, ...rest] =
      /^([bc]) (\d+) (\d+) (\d+) (\d+) (\d+) (.*)$/s.exec(text ?? "") ?? [];
    if (all === undefined) return [];
    const [major = 0, minor = 0, mode = 0, uid = 0, gid = 0] = rest.slice(0, -1).map(Number);
    return [
      { path: rest.at(-1) ?? "", type: type === "b" ? "b" : "c", major, minor, mode, uid, gid },
    ];
  });
}

/**
 * main. Sends one datagram to the service manager that started this process, as sd_notify(3) describes
 * it: lines of `KEY=value`. Never waits.
 *
 * @param socket the value of NOTIFY_SOCKET: a path, or "@" and a name in the abstract namespace
 * @throws SystemError: ENOENT or ECONNREFUSED when no process listens, EAGAIN when the socket's queue is full
 */
export function notifyService(socket: string, text: string): void {
  callNative(() => (addon() as Calls).notifyService(socket, text), "notify service manager");
}

/**
 * pool. Deletes the UDP flows of the network namespace of this process, in conntrack's table, that were sent to one of these
 * ports. Returns how many there were. EOPNOTSUPP: the kernel has no conntrack by netlink.
 */
export async function deleteUdpFlows(family: 4 | 6, ports: ReadonlySet<number>): Promise<number> {
  const addressFamily = family === 4 ? 2 : 10;
  const [deleted = 0] = await runNumbersJob("forgetUdpFlows", [], [addressFamily, ...ports]);
  return deleted;
}
