import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { wrap } from "../../base/errors.ts";
import type { HandlerSettings } from "../../core/handler/index.ts";
import { errnoCode } from "../../base/system-error.ts";
import { readRegular } from "../../linux/file/index.ts";
import {
  type BaseSpec,
  type HookDefinition,
  parseBaseSpec,
  parseHook,
} from "../../oci-spec/index.ts";

/** The handler's spec to begin with, read again each time; undefined where it has none. */
export async function readBase({
  baseRuntimeSpec: file,
}: HandlerSettings): Promise<BaseSpec | undefined> {
  if (file === "") return undefined;
  return parseBaseSpec(await textOf(file, "base_runtime_spec"), file);
}

/**
 * The hooks of the handler's directory by the names of their files, read again each time. A directory that is
 * not there has none: packages create it with the first hook.
 */
export async function readHooks({
  hooksDir,
}: HandlerSettings): Promise<readonly HookDefinition[] | undefined> {
  if (hooksDir === "") return undefined;
  const names = await readdir(hooksDir).catch((error: unknown) => {
    if (errnoCode(error) === "ENOENT") return [];
    throw wrap(`list hooks_dir "${hooksDir}"`, error);
  });
  const files = names.filter((name) => name.endsWith(".json")).toSorted();
  return Promise.all(
    files.map(async (name) => {
      const file = join(hooksDir, name);
      return parseHook(await textOf(file, "OCI hook"), file);
    }),
  );
}

async function textOf(file: string, what: string): Promise<string> {
  try {
    return await readRegular(file, "open it");
  } catch (error) {
    throw wrap(`read ${what} "${file}"`, error);
  }
}
