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
 * worse, undefined does not run. As containerd, a 64-bit machine also takes 32-bit images.
 */
export function platformRank(node: Platform, offered: Platform): number | undefined {
  if (offered.os !== node.os) return undefined;
  const wanted = runnable(node).indexOf(normal(offered));
  return wanted < 0 ? undefined : wanted;
}

function normal({ architecture, variant }: Platform): string {
  if (architecture === "arm64" && variant === "") return "arm64/v8";
  if (architecture === "arm" && variant === "") return "arm/v7";
  if (architecture === "amd64" && variant === "v1") return "amd64";
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
