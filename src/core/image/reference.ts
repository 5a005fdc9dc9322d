import { type Digest, isDigest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";

/** A parsed image name. */
export interface ImageReference {
  /** Host, with a port where one is given: `registry.example:5000`. */
  readonly registry: string;
  /** Path in the registry: `library/busybox`. */
  readonly repository: string;
  /** Undefined only where a digest is given. */
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
}

// distribution/reference, grammar of a reference.
const pathPart = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const hostPart = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
const host = `(?:${hostPart}(?:\\.${hostPart})*|\\[[a-fA-F0-9]*:[a-fA-F0-9:]*\\])(?::[0-9]+)?`;
const grammar = new RegExp(
  `^(?:(${host})/)?(${pathPart}(?:/${pathPart})*)(?::([\\w][\\w.-]{0,127}))?(?:@(.+))?$`,
);

/**
 * Parses an image name in its short or full form. A name without a host is of docker.io, one without a
 * path before it of its library, and one without tag and digest means `latest`.
 *
 * `invalid-argument` for a text that is not an image name.
 */
export function parseReference(text: string): ImageReference {
  const refuse = (why: string): never => {
    throw new RuntimeError("invalid-argument", `parse image name ${quote(text)}: ${why}`);
  };
  const match = grammar.exec(text);
  if (match === null) return refuse("it must be [HOST/]PATH[:TAG][@DIGEST] with a lower-case path");
  const [, givenHost, givenPath = "", tag, digest] = match;
  if (digest !== undefined && !isDigest(digest))
    return refuse(`${quote(digest)} is not a sha256 digest`);
  const isHost = givenHost !== undefined && isHostName(givenHost);
  const registry = isHost ? givenHost.replace(/^index\.docker\.io$/, "docker.io") : "docker.io";
  const path = givenHost === undefined || isHost ? givenPath : `${givenHost}/${givenPath}`;
  const isOfLibrary = registry === "docker.io" && !path.includes("/");
  const repository = isOfLibrary ? `library/${path}` : path;
  // Of the full name, so that it can be parsed again.
  if (repository.length + registry.length > 255) return refuse("it is longer than 255 characters");
  return {
    registry,
    repository,
    tag: tag ?? (digest === undefined ? "latest" : undefined),
    digest: digest,
  };
}

/**
 * The path of an image name without a host, as written: `busybox` of `busybox:1.37`. Undefined for a
 * name with a host, and for a text that is not an image name.
 */
export function shortNameOf(text: string): string | undefined {
  const match = grammar.exec(text);
  if (match === null) return undefined;
  const [, givenHost, givenPath = ""] = match;
  if (givenHost === undefined) return givenPath;
  return isHostName(givenHost) ? undefined : `${givenHost}/${givenPath}`;
}

/** Whether the first part of a name is a host, not a part of its path (distribution/reference). */
function isHostName(part: string): boolean {
  return /[.:]|^localhost$|[A-Z]/.test(part);
}

/** Registry and path, without tag and digest. */
export function repositoryName(reference: ImageReference): string {
  return `${reference.registry}/${reference.repository}`;
}

const hubNames: ReadonlySet<string> = new Set(["index.docker.io", "registry-1.docker.io"]);

/**
 * A reference with its registry as policies know it, whatever spelling of the same server the client chose: as in a
 * URL, in lower case and without the port of HTTPS, and Docker Hub by its one name.
 */
export function withCanonicalRegistry(reference: ImageReference): ImageReference {
  const host = canonicalHost(reference.registry);
  if (!hubNames.has(host) && host !== "docker.io") return { ...reference, registry: host };
  const { repository } = reference;
  const path = repository.includes("/") ? repository : `library/${repository}`;
  return { ...reference, registry: "docker.io", repository: path };
}

/** A host, with or without a port, as it is in the URL of the server: `r.test` of `R.test:443`. */
export function canonicalHost(registry: string): string {
  return URL.parse(`https://${registry}`)?.host ?? registry.toLowerCase();
}

/** The whole name in its one spelling: what is kept in `repoTags` and `repoDigests`. */
export function formatReference(reference: ImageReference): string {
  const name = repositoryName(reference);
  if (reference.digest !== undefined) return `${name}@${reference.digest}`;
  return `${name}:${reference.tag ?? "latest"}`;
}
