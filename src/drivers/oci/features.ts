import { wrap } from "../../base/errors.ts";
import type { RuntimeFeatures } from "../../core/handler/index.ts";
import { findProgram, run } from "../../linux/process/index.ts";
import { runtimeProgram } from "./runtime-command.ts";

const askMs = 5_000;

/** Asks the OCI runtime at `path` (a name is looked up on PATH) for its features. */
export async function readRuntimeFeatures(path: string): Promise<RuntimeFeatures> {
  try {
    const { stdout } = await run({
      file: runtimeProgram(findProgram(path, process.env["PATH"] ?? "") ?? path),
      args: ["features"],
      env: { PATH: process.env["PATH"] ?? "" },
      timeoutMs: askMs,
    });
    return parseFeatures(JSON.parse(stdout.toString()));
  } catch (error) {
    throw wrap(`ask OCI runtime "${path}" for its features`, error);
  }
}

/** Reads the JSON of `crun features` or `runc features`. A feature that is absent there is not supported. */
function parseFeatures(json: unknown): RuntimeFeatures {
  const features = json as {
    readonly mountOptions?: readonly string[];
    readonly linux?: {
      readonly seccomp?: { readonly enabled?: boolean };
      readonly mountExtensions?: { readonly idmap?: { readonly enabled?: boolean } };
    };
  } | null;
  return {
    mountOptions: features?.mountOptions ?? [],
    seccomp: features?.linux?.seccomp?.enabled ?? false,
    idMappedMounts: features?.linux?.mountExtensions?.idmap?.enabled ?? false,
  };
}
