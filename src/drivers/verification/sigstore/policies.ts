import type { ImageReference } from "../../../core/image/index.ts";
import { canonicalHost, repositoryName, withCanonicalRegistry } from "../../../core/image/index.ts";

/** A policy of the configuration; see there. */
export interface SigstorePolicy {
  readonly images: readonly string[];
  readonly namespaces: readonly string[];
  readonly action: "verify" | "accept" | "reject";
  /** Files, here and below. */
  readonly keys: readonly string[];
  readonly identities: readonly {
    readonly issuer: string;
    readonly subject: string;
    readonly subjectRegexp: string;
  }[];
  readonly trustedRoot: string;
  readonly fulcioRoots: readonly string[];
  readonly rekorKeys: readonly string[];
  readonly ctKeys: readonly string[];
  readonly transparencyLog: "auto" | "require" | "ignore";
  readonly signedRepository: "match" | "ignore";
  readonly predicateTypes: readonly string[];
}

/** The index of the first policy that is for the image, or -1. */
export function policyFor(
  policies: readonly SigstorePolicy[],
  reference: ImageReference,
  namespace: string,
): number {
  const name = repositoryName(withCanonicalRegistry(reference));
  return policies.findIndex(
    ({ images, namespaces }) =>
      images.some((pattern) => matches(canonicalPattern(pattern), name)) &&
      (namespaces.length === 0 || namespaces.some((pattern) => matches(pattern, namespace))),
  );
}

/** A pattern of names with its host as {@link withCanonicalRegistry} has it. */
function canonicalPattern(pattern: string): string {
  const [host = "", ...path] = pattern.split("/");
  const known = host.includes("*")
    ? host.toLowerCase().replace(/:0*443$/, "")
    : canonicalHost(host);
  return [known, ...path].join("/");
}

/** Whether a text matches a pattern: `*` stands for any characters except "/", `**` for any characters. */
export function matches(pattern: string, text: string): boolean {
  const source = pattern
    .split(/(\*+)/)
    .map((part) => {
      if (!part.startsWith("*")) return part.replace(/[.+?^${}()|[\]\\/]/g, "\\$&");
      return part === "*" ? "[^/]*" : ".*";
    })
    .join("");
  return new RegExp(`^${source}$`, "u").test(text);
}

/** How messages call a policy. */
export function nameOfPolicy({ images }: SigstorePolicy, index: number): string {
  return `policy ${index + 1} of images.verification.policies (images = ${JSON.stringify(images)})`;
}

/** Who may sign, for messages. */
export function wantedSigners({ keys, identities }: SigstorePolicy): string {
  const shown = [
    ...keys.map((key) => `key "${key}"`),
    ...identities.map(({ issuer, subject, subjectRegexp }) =>
      subject === ""
        ? `an identity like "${subjectRegexp}" of "${issuer}"`
        : `identity "${subject}" of "${issuer}"`,
    ),
  ];
  const rest = shown.length - 4;
  return [...shown.slice(0, 4), ...(rest > 0 ? [`${rest} more`] : [])].join(" or ");
}

/** All files that a policy names. */
export function filesOf(policy: SigstorePolicy): readonly string[] {
  const { keys, trustedRoot, fulcioRoots, rekorKeys, ctKeys } = policy;
  const root = trustedRoot === "" ? [] : [trustedRoot];
  return [...keys, ...root, ...fulcioRoots, ...rekorKeys, ...ctKeys];
}
