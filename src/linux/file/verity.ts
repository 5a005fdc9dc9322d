// fs-verity, see native/verity.c. Linux 5.4 with CONFIG_FS_VERITY; ext4 with the feature "verity", btrfs, f2fs, xfs.
import { runJob, runTextsJob } from "../addon.ts";

/**
 * pool, reads the file. Makes a file one that never changes again, and whose bytes the kernel checks when they are read
 * (SHA-256, blocks of 4096 bytes). ENOTTY: neither kernel nor file system know fs-verity. EOPNOTSUPP: the file system was
 * made without it. ENOPKG: the kernel lacks the hash. ETXTBSY: somebody can write to the file.
 */
export async function enableVerity(path: string): Promise<void> {
  await runJob("enableVerity", [path]);
}

/** pool. The fs-verity digest of a file as the kernel has it, `undefined` for a file without one. */
export async function measureVerity(path: string): Promise<string | undefined> {
  const [hex] = await runTextsJob("measureVerity", [path]);
  return hex === null || hex === undefined ? undefined : `sha256:${hex}`;
}
