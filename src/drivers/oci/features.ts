import { wrap } from "../../base/errors.ts";
import type { OptionalField, RuntimeFeatures } from "../../core/handler/index.ts";
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

interface FeaturesJson {
  readonly ociVersionMax?: unknown;
  readonly mountOptions?: readonly string[];
  readonly linux?: {
    readonly seccomp?: { readonly enabled?: boolean; readonly actions?: readonly string[] };
    readonly mountExtensions?: { readonly idmap?: { readonly enabled?: boolean } };
    readonly intelRdt?: Readonly<Partial<Record<"enabled" | "schemata" | "monitoring", boolean>>>;
    readonly netDevices?: { readonly enabled?: boolean };
    readonly memoryPolicy?: object;
  };
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Reads the JSON of `crun features` or `runc features`. A feature that is absent there is not supported. */
export function parseFeatures(json: unknown): RuntimeFeatures {
  const features = json as FeaturesJson | null;
  return {
    mountOptions: features?.mountOptions ?? [],
    seccomp: features?.linux?.seccomp?.enabled ?? false,
    idMappedMounts: features?.linux?.mountExtensions?.idmap?.enabled ?? false,
    checkpoints: features?.annotations?.["org.opencontainers.runc.checkpoint.enabled"] === "true",
    optionalFields: features === null ? [] : optionalFields(features),
  };
}

/**
 * The answer has nothing about three of them (features.md). Scheduler and ioPriority are known by the versions of crun
 * and runc that introduced them. execCPUAffinity came with version 1.2.1 of the runtime-spec, and crun has it since 1.19, although it reports an older
 * version of the spec.
 */
function optionalFields({
  ociVersionMax,
  linux,
  annotations,
}: FeaturesJson): readonly OptionalField[] {
  const crun = annotations?.["run.oci.crun.version"];
  const runc = annotations?.["org.opencontainers.runc.version"];
  const hasPriorities = isAtLeast(crun, [1, 9, 0]) || isAtLeast(runc, [1, 2, 0]);
  const { intelRdt, netDevices, memoryPolicy, seccomp } = linux ?? {};
  const fields: Readonly<Record<OptionalField, boolean>> = {
    "process.scheduler": hasPriorities,
    "process.ioPriority": hasPriorities,
    "process.execCPUAffinity": isAtLeast(ociVersionMax, [1, 2, 1]) || isAtLeast(crun, [1, 19, 0]),
    "linux.netDevices": netDevices?.enabled === true,
    "linux.memoryPolicy": memoryPolicy !== undefined,
    "linux.seccomp.notify": seccomp?.actions?.includes("SCMP_ACT_NOTIFY") === true,
    "linux.intelRdt": intelRdt?.enabled === true,
    "linux.intelRdt.schemata": intelRdt?.schemata === true,
    // crun does not report it.
    "linux.intelRdt.enableMonitoring": intelRdt?.monitoring === true || isAtLeast(crun, [1, 24, 0]),
  };
  return (Object.keys(fields) as OptionalField[]).filter((field) => fields[field]);
}

function isAtLeast(version: unknown, least: readonly number[]): boolean {
  const parts = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(typeof version === "string" ? version : "");
  if (parts === null) return false;
  const found = [1, 2, 3].map((at) => Number(parts[at] ?? 0));
  const differs = found.findIndex((number, at) => number !== least[at]);
  return differs < 0 || (found[differs] ?? 0) > (least[differs] ?? 0);
}
