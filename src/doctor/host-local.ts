import { isIP } from "node:net";
import { join } from "node:path";
import { namesOwner, type NetworkReading } from "../drivers/cni/index.ts";

/** A plugin writes the owner a moment after it has made the file. Milliseconds. */
const writtenMs = 60_000;

/** What is read of a machine. */
interface Files {
  nowMs(): number;
  list(path: string): Promise<readonly string[] | undefined>;
  read(path: string): Promise<string | undefined>;
  fileInfo(path: string): Promise<{ readonly modifiedMs: number } | undefined>;
}

/** The directories in which host-local reserves addresses of a network (its documentation, "dataDir"). */
export function reservationDirectories({ network }: NetworkReading): readonly string[] {
  return (network?.plugins ?? []).flatMap(({ config }) => {
    const ipam = config["ipam"] as { readonly type?: unknown; readonly dataDir?: unknown } | null;
    if (typeof ipam !== "object" || ipam?.type !== "host-local") return [];
    const dataDir = typeof ipam.dataDir === "string" ? ipam.dataDir : "/var/lib/cni/networks";
    return [join(dataDir, network?.name ?? "")];
  });
}

/**
 * The addresses whose files name no owner, as a power cut leaves them. host-local takes such an address for used, and no
 * DEL finds it. Only reads.
 */
export async function ownerlessAddresses(
  files: Files,
  directory: string,
): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of (await files.list(directory)) ?? []) {
    const path = join(directory, name);
    const content = isIP(name) === 0 ? undefined : await files.read(path);
    if (content === undefined || namesOwner(content)) continue;
    const info = await files.fileInfo(path);
    if (info !== undefined && info.modifiedMs < files.nowMs() - writtenMs) found.push(name);
  }
  return found;
}
