import { nativeTexts } from "../native.ts";

/** A device node as it is on this host. */
export interface DeviceNode {
  readonly type: "b" | "c";
  readonly major: number;
  readonly minor: number;
  /** The permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The devices in a directory and in what is below it, each with its path from there on, which begins with
 * "/"; or the device at `path` itself, with an empty one. In one job on a thread of the pool; no device is
 * opened, no symbolic link followed but that at `path`. Empty when nothing is there or something else;
 * what lies more than 64 directories deep is left out.
 */
export async function listDevices(
  path: string,
): Promise<readonly (DeviceNode & { readonly path: string })[]> {
  const texts = await nativeTexts("listDevices", [path]);
  return texts.flatMap((text) => {
    const [all, type, ...rest] =
      /^([bc]) (\d+) (\d+) (\d+) (\d+) (\d+) (.*)$/s.exec(text ?? "") ?? [];
    if (all === undefined) return [];
    const [major = 0, minor = 0, mode = 0, uid = 0, gid = 0] = rest.slice(0, -1).map(Number);
    return [
      { path: rest.at(-1) ?? "", type: type === "b" ? "b" : "c", major, minor, mode, uid, gid },
    ];
  });
}
