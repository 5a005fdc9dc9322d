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
export function parseFeatures(json: unknown): RuntimeFeatures {
  const { linux, ...features } = (json ?? {}) as {
    readonly ociVersionMax?: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly mountOptions?: readonly string[];
    readonly linux?: {
      readonly seccomp?: { readonly enabled?: boolean };
      readonly netDevices?: { readonly enabled?: boolean };
      readonly mountExtensions?: { readonly idmap?: { readonly enabled?: boolean } };
    };
  };
  return {
    mountOptions: features.mountOptions ?? [],
    seccomp: linux?.seccomp?.enabled ?? false,
    idMappedMounts: linux?.mountExtensions?.idmap?.enabled ?? false,
    netDevices: linux?.netDevices?.enabled ?? false,
    execCpuAffinity: startsOnCpus(features.ociVersionMax, features.annotations),
  };
}

/**
 * Whether it honours execCPUAffinity, which `features` does not list: it came with version 1.2.1 of the runtime-spec,
 * and crun has it since 1.19, although it reports an older version of the spec.
 */
function startsOnCpus(
  spec: unknown,
  annotations: Readonly<Record<string, unknown>> | undefined,
): boolean {
  const crun = annotations?.["run.oci.crun.version"];
  return isAtLeast(spec, [1, 2, 1]) || isAtLeast(crun, [1, 19, 0]);
}

function isAtLeast(version: unknown, least: readonly number[]): boolean {
  const parts = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(typeof version === "string" ? version : "");
  if (parts === null) return false;
  const found = [1, 2, 3].map((at) => Number(parts[at] ?? 0));
  const differs = found.findIndex((number, at) => number !== least[at]);
  return differs < 0 || (found[differs] ?? 0) > (least[differs] ?? 0);
}
