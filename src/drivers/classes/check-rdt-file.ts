import { messageOf } from "../../base/errors.ts";
import type { MountEntry } from "../../linux/mount/index.ts";
import { rdtSchemata } from "../../oci-spec/index.ts";
import { parseRdtFile } from "./class-file.ts";
import { readRdtInfo } from "./resctrl.ts";

/** Why a file of RDT classes cannot be used at all, or not on this machine. Changes nothing. */
export async function checkRdtFile(
  text: string,
  path: string,
  mount: MountEntry | undefined,
  read: (path: string) => Promise<string | undefined>,
): Promise<{ readonly unusable?: unknown; readonly unsuited?: string }> {
  let config;
  try {
    config = await parseRdtFile(text, path);
  } catch (unusable) {
    return { unusable };
  }
  if (mount === undefined) return {};
  try {
    const resctrl = { root: mount.mountPoint, options: mount.superOptions };
    rdtSchemata(config, await readRdtInfo(resctrl, read));
    return {};
  } catch (error) {
    return { unsuited: `"${path}": ${messageOf(error)}` };
  }
}
