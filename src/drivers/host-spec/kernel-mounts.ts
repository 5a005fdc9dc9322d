import type { Stats } from "node:fs";
import { stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import type { Mount } from "../../gen/runtime/v1/api_pb.ts";
import { errnoCode } from "../../base/system-error.ts";
import { mountDestination } from "../../oci-spec/index.ts";

/**
 * Refuses a mount over one of the kernel's file systems whose source lacks what the OCI runtime needs
 * there: the start would fail with an unrelated message. `invalid-argument` naming the
 * mount. A hostPath of /dev at /dev, as many storage drivers use it, passes.
 *
 * @param source the host's side of the mount, links followed
 */
export async function checkKernelMount(
  mount: Pick<Mount, "containerPath">,
  source: string,
  terminal: boolean,
): Promise<void> {
  const why = await problems[mountDestination(mount)]?.(source, terminal);
  if (why === undefined) return;
  throw new RuntimeError(
    "invalid-argument",
    `it cannot be mounted at "${mount.containerPath}": ${why}`,
  );
}

type Problem = string | undefined;

/** The problem of a source, by its mount point. */
const problems: Readonly<Record<string, (source: string, terminal: boolean) => Promise<Problem>>> =
  {
    "/proc": async (source) =>
      (await statfs(source)).type === procMagic
        ? undefined
        : "it is not a procfs; mount it elsewhere, or the node's /proc there",
    "/dev": async (source, terminal) => {
      if (!(await isNull(join(source, "null")))) {
        return 'it has no device "null", which every container needs; mount it below /dev, or the node\'s /dev there';
      }
      return terminal ? withoutPtmx(source, "/dev") : undefined;
    },
    "/dev/null": async (source) =>
      (await isNull(source))
        ? undefined
        : "it is not the null device, which every container needs; mount it elsewhere",
    "/dev/pts": async (source, terminal) =>
      terminal ? withoutPtmx(source, "/dev/pts") : undefined,
  };

// statfs(2).
const procMagic = 0x9fa0;
// Documentation/admin-guide/devices.txt: character device 1, 3. makedev(3) of these.
const nullDevice = (1 << 8) | 3;

async function isNull(path: string): Promise<boolean> {
  const found = await statOf(path);
  return found?.isCharacterDevice() === true && found.rdev === nullDevice;
}

async function withoutPtmx(source: string, mountPoint: string): Promise<Problem> {
  const found = await statOf(join(source, "ptmx"));
  return found === undefined
    ? `it has no "ptmx", which a container with a terminal needs; mount it elsewhere, or the node's ${mountPoint} there`
    : undefined;
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes(errnoCode(error) ?? "")) return undefined;
    throw error;
  }
}
