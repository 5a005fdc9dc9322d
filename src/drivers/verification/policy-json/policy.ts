import {
  formatReference,
  type ImageReference,
  repositoryName,
  withCanonicalRegistry,
} from "../../../core/image/index.ts";
import { type KeySource, parseRequirement, type Requirement } from "./requirement.ts";
import { entriesOf, fieldsOf, invalid, itemsOf, parseStrictJson, required } from "./strict-json.ts";

/** A containers-policy.json(5). Lists of requirements are never empty. */
export interface Policy {
  readonly default: readonly Requirement[];
  /** By transport and scope. */
  readonly transports: ReadonlyMap<string, ReadonlyMap<string, readonly Requirement[]>>;
}

/** A larger policy is refused before it is read. */
export const maxPolicyBytes = 4 * 1024 * 1024;

/** Transports of archives, whose images have no scope. */
const onlyDefaultScope: readonly string[] = ["docker-archive", "tarball"];

/**
 * Reads a policy as strictly as containers/image: unknown and repeated keys refuse the whole file.
 * `failed-precondition` names the file and the key.
 */
export function parsePolicy(text: string, path: string): Policy {
  const json = parseStrictJson(text, `"${path}"`);
  const fields = fieldsOf(json, ["default", "transports"]);
  const transports = new Map<string, ReadonlyMap<string, readonly Requirement[]>>();
  for (const [transport, scopes] of fields.transports === undefined
    ? []
    : entriesOf(fields.transports)) {
    const known = new Map<string, readonly Requirement[]>();
    for (const [scope, list] of entriesOf(scopes)) {
      if (scope !== "" && onlyDefaultScope.includes(transport)) {
        throw invalid(list.where, `the transport ${transport} has only the scope ""`);
      }
      known.set(scope, itemsOf(list).map(parseRequirement));
    }
    transports.set(transport, known);
  }
  const fallback = required(fields.default, json.where, "default");
  return { default: itemsOf(fallback).map(parseRequirement), transports };
}

/**
 * The requirements for an image of a registry: those of the most specific scope alone. `docker` is the
 * transport of all registries. Another spelling of the registry does not escape a scope.
 */
export function requirementsOf(policy: Policy, reference: ImageReference): readonly Requirement[] {
  const scopes = policy.transports.get("docker");
  const written = scopesOf(reference);
  const canonical = scopesOf(withCanonicalRegistry(reference));
  const all = written.flatMap((scope, at) => [scope, ...canonical.slice(at, at + 1)]);
  for (const scope of [...all, ...canonical.slice(written.length), ""]) {
    const requirements = scopes?.get(scope);
    if (requirements !== undefined) return requirements;
  }
  return policy.default;
}

/** Whether a policy requires nothing of any image, as if there were none. */
export function acceptsAnything(policy: Policy): boolean {
  const scopes = [...policy.transports.values()].flatMap((lists) => [...lists.values()]);
  return [policy.default, ...scopes].flat().every(({ type }) => type === "insecureAcceptAnything");
}

/**
 * The scopes that an image is in, the most specific first: its name, its repository and each namespace above
 * it, its registry with the port, and the wildcards for the registry's domains.
 */
export function scopesOf(reference: ImageReference): readonly string[] {
  const scopes = [formatReference(reference)];
  for (let name = repositoryName(reference); ; name = name.slice(0, name.lastIndexOf("/"))) {
    scopes.push(name);
    if (!name.includes("/")) break;
  }
  let host = reference.registry.replace(/:\d+$/, "");
  while (host.includes(".")) {
    host = host.slice(host.indexOf(".") + 1);
    scopes.push(`*.${host}`);
  }
  return scopes;
}

/** The files with keys and certificates that a policy names. */
export function keyFilesOf(policy: Policy): readonly string[] {
  const scopes = [...policy.transports.values()].flatMap((lists) => [...lists.values()]);
  const sources = [policy.default, ...scopes].flat().flatMap(keySourcesOf);
  return [...new Set(sources.flatMap((source) => ("path" in source ? [source.path] : [])))];
}

/** The programs that the requirements of a policy need. */
export function programsOf(policy: Policy): readonly string[] {
  const scopes = [...policy.transports.values()].flatMap((lists) => [...lists.values()]);
  const names = [policy.default, ...scopes].flat().flatMap((requirement) => {
    if (requirement.type === "signedBy") return ["gpg", "setpriv"];
    const hasPki = requirement.type === "sigstoreSigned" && requirement.pki !== undefined;
    return hasPki ? ["openssl", "setpriv"] : [];
  });
  return [...new Set(names)];
}

function keySourcesOf(requirement: Requirement): readonly KeySource[] {
  if (requirement.type === "signedBy") return requirement.keys;
  if (requirement.type !== "sigstoreSigned") return [];
  const { keys = [], fulcio, pki, rekorKeys = [] } = requirement;
  const roots = [fulcio?.roots, pki?.roots, pki?.intermediates];
  return [...keys, ...rekorKeys, ...roots.filter((source) => source !== undefined)];
}
