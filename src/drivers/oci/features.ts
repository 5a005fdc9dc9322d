import { wrap } from "../../base/errors.ts";
import { findProgram, run } from "../../linux/process/index.ts";
import { runtimeProgram } from "./runtime-command.ts";

/** The features that an OCI runtime reports (OCI runtime spec, features.md). */
export interface RuntimeFeatures {
  /** Mount option "rro": a mount that is read-only recursively. */
  readonly recursiveReadOnlyMounts: boolean;
  /** Id-mapped mounts, without which a user namespace cannot share an image. */
  readonly idMappedMounts: boolean;
  /** All mount options that it supports. */
  readonly mountOptions: readonly string[];
  readonly seccomp: boolean;
}

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
export function parseFeatures(json: unknown): RuntimeFeatures {
  const features = json as {
    readonly mountOptions?: readonly string[];
    readonly linux?: {
      readonly seccomp?: { readonly enabled?: boolean };
      readonly mountExtensions?: { readonly idmap?: { readonly enabled?: boolean } };
    };
  } | null;
  return {
    recursiveReadOnlyMounts: features?.mountOptions?.includes("rro") ?? false,
    mountOptions: features?.mountOptions ?? [],
    seccomp: features?.linux?.seccomp?.enabled ?? false,
    idMappedMounts: features?.linux?.mountExtensions?.idmap?.enabled ?? false,
  };
}
