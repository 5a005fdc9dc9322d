const hubNames: ReadonlySet<string> = new Set(["index.docker.io", "registry-1.docker.io"]);

/**
 * Why a pattern of images.verification.policies can match no image, with the pattern to write instead; undefined for
 * one that can. Patterns are compared with full names: a policy with a short one would be silent.
 */
export function errorOfPattern(pattern: string): string | undefined {
  const slash = pattern.indexOf("/");
  const host = slash < 0 ? pattern : pattern.slice(0, slash);
  const path = slash < 0 ? undefined : pattern.slice(slash + 1);
  if (pattern === "") return "has an empty pattern";
  // Matches names with any number of parts.
  if (host.includes("**")) return undefined;
  if (path !== undefined && !isPath(path)) {
    const rule = "the part after the registry must be a path in lower case, without tag or digest";
    return `${matchesNothing(pattern)}: ${rule}`;
  }
  const full = fullPattern(host, path);
  if (full === pattern) return undefined;
  return `${matchesNothing(pattern)}; write ${JSON.stringify(full)}`;
}

/** The pattern with a registry and, for Docker Hub, with `library`, as a name gets them. */
function fullPattern(host: string, path: string | undefined): string {
  if (path === undefined) {
    if (host === "*") return "**";
    const [name = ""] = host.split(/@|:(?!\d+$)/);
    return isHost(name) ? `${name}/**` : `docker.io/library/${name}`;
  }
  if (host.includes("*")) return `${host}/${path}`;
  if (!isHost(host)) return `docker.io/${host}/${path}`;
  const registry = hubNames.has(host.toLowerCase()) ? "docker.io" : host;
  const isOfLibrary = registry === "docker.io" && !path.includes("/") && !path.includes("**");
  return isOfLibrary ? `docker.io/library/${path}` : `${registry}/${path}`;
}

/** Whether the first part of a name is a host (distribution/reference). */
function isHost(part: string): boolean {
  return /[.:]|^localhost$|[A-Z]/.test(part);
}

function isPath(path: string): boolean {
  return path !== "" && !/[:@A-Z]|^\/|\/\/|\/$/.test(path);
}

function matchesNothing(pattern: string): string {
  return `has the pattern ${JSON.stringify(pattern)}, which matches no image`;
}
