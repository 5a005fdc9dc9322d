import { closeSync, openSync, readSync } from "node:fs";

/** The platform of an image, as in an index (image-spec, image-index.md). */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  /** Of arm: `v7`. Empty where there is none. */
  readonly variant: string;
}

// Go's names for what Node calls process.arch.
const architectures: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386" };

/** The platform of this machine. */
export function thisPlatform(): Platform {
  const architecture = architectures[process.arch] ?? process.arch;
  if (architecture === "arm64") return { os: "linux", architecture, variant: "v8" };
  if (architecture === "ppc64") return { os: "linux", architecture: "ppc64le", variant: "" };
  if (architecture !== "arm") return { os: "linux", architecture, variant: "" };
  // node-gyp's variables are the only source for the ARM version that Node.js was built for.
  const { arm_version: version } = process.config.variables as { readonly arm_version?: unknown };
  return { os: "linux", architecture, variant: `v${typeof version === "string" ? version : "7"}` };
}

/** `linux/arm64/v8`. */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant].filter((part) => part !== "").join("/");
}

/**
 * How well an image for `offered` runs on a node of platform `node`: 0 is made for it, more is
 * worse, undefined does not run. As containerd, a 64-bit machine also takes 32-bit images, other spellings of an
 * architecture count as Go's, and an absent operating system is the node's. What containerd 1.7 never takes comes
 * before the 32-bit images: those for a newer amd64, if `level` of this machine's processor suffices.
 */
export function platformRank(
  node: Platform,
  offered: Platform,
  level = x86Level,
): number | undefined {
  const os = offered.os.toLowerCase();
  if (os !== node.os && os !== "") return undefined;
  const wanted = normal(offered);
  const newer = /^amd64\/v([2-4])$/.exec(wanted)?.[1];
  if (newer !== undefined) {
    if (node.architecture !== "amd64" || Number(newer) > level()) return undefined;
    return 5 - Number(newer); // after plain amd64, the newest first
  }
  const rank = runnable(node).indexOf(wanted);
  return rank < 0 ? undefined : 10 * rank;
}

const otherNames: Readonly<Record<string, readonly [string, string?]>> = {
  i386: ["386"],
  x86_64: ["amd64"],
  "x86-64": ["amd64"],
  aarch64: ["arm64"],
  armhf: ["arm", "v7"],
  armel: ["arm", "v6"],
};
const usualVariants: Readonly<Record<string, string>> = { arm64: "v8", arm: "v7" };

function normal(platform: Platform): string {
  const given = platform.architecture.toLowerCase();
  const [architecture, ofName] = otherNames[given] ?? [given];
  const own = platform.variant.toLowerCase();
  const versioned = /^arm/.test(architecture) && /^\d/.test(own) ? `v${own}` : own;
  const variant = ofName ?? (versioned || usualVariants[architecture] || "");
  if (architecture === "386" || (architecture === "amd64" && variant === "v1")) return architecture;
  return variant === "" ? architecture : `${architecture}/${variant}`;
}

function runnable(node: Platform): readonly string[] {
  const arm = ["arm/v8", "arm/v7", "arm/v6", "arm/v5"];
  switch (node.architecture) {
    case "arm64":
      return ["arm64/v8", ...arm];
    case "arm":
      return arm.slice(Math.max(0, arm.indexOf(normal(node))));
    case "amd64":
      return ["amd64", "386"];
    default:
      return [normal(node)];
  }
}

// The flags of /proc/cpuinfo that a level has beyond the one below it (x86-64 psABI, "Micro-Architecture Levels").
const levelFlags: readonly string[] = [
  "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
  "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave",
  "avx512f avx512bw avx512cd avx512dq avx512vl",
];

/** The level of an amd64 processor with these flags of /proc/cpuinfo: 1 to 4. */
export function x86LevelOf(flags: readonly string[]): number {
  const missing = levelFlags.findIndex((all) =>
    all.split(" ").some((flag) => !flags.includes(flag)),
  );
  return missing < 0 ? 4 : missing + 1;
}

let knownLevel: number | undefined;

/** Reads a file of the kernel once, and only for an image that needs to know. */
function x86Level(): number {
  knownLevel ??= x86LevelOf(readCpuFlags());
  return knownLevel;
}

function readCpuFlags(): readonly string[] {
  try {
    // The whole file has a part for each of possibly hundreds of processors.
    const file = openSync("/proc/cpuinfo", "r");
    try {
      const start = Buffer.alloc(16_384);
      const text = start.toString("latin1", 0, readSync(file, start));
      return /^flags\s*:(.*)$/m.exec(text)?.[1]?.split(" ") ?? [];
    } finally {
      closeSync(file);
    }
  } catch {
    return [];
  }
}
