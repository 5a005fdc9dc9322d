import { type ImageReference, parseReference, repositoryName } from "../../../core/image/index.ts";
import { fieldsOf, invalid, type JsonValue, required, shown, textOf } from "./strict-json.ts";

/** Which name a signature must have signed (containers-policy.json(5), signedIdentity). */
export type SignedIdentity =
  | { readonly type: "matchExact" | "matchRepoDigestOrExact" | "matchRepository" }
  | { readonly type: "exactReference"; readonly dockerReference: string }
  | { readonly type: "exactRepository"; readonly dockerRepository: string }
  | { readonly type: "remapIdentity"; readonly prefix: string; readonly signedPrefix: string };

/** A name in its full spelling, with the tag and the digest that it has. */
interface Name {
  readonly repository: string;
  /** `:TAG`, `@DIGEST`, both, or nothing. */
  readonly suffix: string;
  readonly hasTag: boolean;
}

/** Reads a signedIdentity. Without one, the default of containers/image counts. */
export function parseSignedIdentity(json: JsonValue | undefined): SignedIdentity {
  if (json === undefined) return { type: "matchRepoDigestOrExact" };
  const all = ["type", "dockerReference", "dockerRepository", "prefix", "signedPrefix"] as const;
  const type = textOf(required(fieldsOf(json, all).type, json.where, "type"));
  switch (type) {
    case "matchExact":
    case "matchRepoDigestOrExact":
    case "matchRepository":
      fieldsOf(json, ["type"]);
      return { type };
    case "exactReference": {
      const { dockerReference } = fieldsOf(json, ["type", "dockerReference"]);
      const item = required(dockerReference, json.where, "dockerReference");
      if (nameOf(item).suffix !== "") return { type, dockerReference: textOf(item) };
      throw invalid(item.where, "it must have a tag or a digest");
    }
    case "exactRepository": {
      const { dockerRepository } = fieldsOf(json, ["type", "dockerRepository"]);
      const item = required(dockerRepository, json.where, "dockerRepository");
      nameOf(item);
      return { type, dockerRepository: textOf(item) };
    }
    case "remapIdentity": {
      const { prefix, signedPrefix } = fieldsOf(json, ["type", "prefix", "signedPrefix"]);
      return {
        type,
        prefix: prefixOf(required(prefix, json.where, "prefix")),
        signedPrefix: prefixOf(required(signedPrefix, json.where, "signedPrefix")),
      };
    }
    default:
      throw invalid(json.where, `it has the unknown type ${shown(type)}`);
  }
}

/** Whether a signature of the name `signed` is one of the image that was asked for. */
export function matchesIdentity(
  identity: SignedIdentity,
  intended: ImageReference,
  signed: string,
): boolean {
  const name = parseName(signed);
  if (name === undefined) return false;
  const own = ofReference(intended);
  switch (identity.type) {
    case "matchExact":
      return name.suffix !== "" && isSame(name, own);
    case "matchRepoDigestOrExact":
      return matchesRepoDigestOrExact(name, own);
    case "matchRepository":
      return name.repository === own.repository;
    case "exactReference": {
      const expected = parseName(identity.dockerReference);
      return expected !== undefined && name.suffix !== "" && isSame(name, expected);
    }
    case "exactRepository":
      return name.repository === parseName(identity.dockerRepository)?.repository;
    case "remapIdentity": {
      const remapped = remappedName(own, identity);
      return remapped !== undefined && matchesRepoDigestOrExact(name, remapped);
    }
  }
}

/** What {@link matchesIdentity} expects, for a message. */
export function describeIdentity(identity: SignedIdentity, intended: ImageReference): string {
  const own = ofReference(intended);
  switch (identity.type) {
    case "matchExact":
      return `${own.repository}${own.suffix}`;
    case "matchRepoDigestOrExact":
      return own.hasTag ? `${own.repository}${own.suffix}` : `${own.repository} with a tag`;
    case "matchRepository":
      return own.repository;
    case "exactReference":
      return identity.dockerReference;
    case "exactRepository":
      return identity.dockerRepository;
    case "remapIdentity": {
      const name = remappedName(own, identity) ?? own;
      return `${name.repository}${name.hasTag ? name.suffix : " with a tag"}`;
    }
  }
}

function isSame(one: Name, other: Name): boolean {
  return one.repository === other.repository && one.suffix === other.suffix;
}

/** An image that is named by its digest may have any tag in its signature. */
function matchesRepoDigestOrExact(signed: Name, intended: Name): boolean {
  if (signed.suffix === "") return false;
  return intended.hasTag ? isSame(signed, intended) : signed.repository === intended.repository;
}

/** Undefined where the result would not be a name. A name without the prefix stays as it is. */
function remappedName(
  name: Name,
  { prefix, signedPrefix }: { readonly prefix: string; readonly signedPrefix: string },
): Name | undefined {
  const { repository } = name;
  if (repository !== prefix && !repository.startsWith(`${prefix}/`)) return name;
  const remapped = `${signedPrefix}${repository.slice(prefix.length)}`;
  const parsed = parseName(remapped);
  return parsed?.repository === remapped ? { ...name, repository: remapped } : undefined;
}

/** Of a name with both, davit asks for the digest. */
function ofReference(reference: ImageReference): Name {
  const repository = repositoryName(reference);
  if (reference.digest !== undefined) {
    return { repository, suffix: `@${reference.digest}`, hasTag: false };
  }
  return { repository, suffix: `:${reference.tag ?? "latest"}`, hasTag: true };
}

/** Undefined for a text that is not an image name. One without a tag stays without one. */
function parseName(text: string): Name | undefined {
  let reference: ImageReference;
  try {
    reference = parseReference(text);
  } catch {
    return undefined;
  }
  const { tag, digest } = reference;
  const hasTag = tag !== undefined && (tag !== "latest" || /:latest(@|$)/.test(text));
  const suffix = `${hasTag ? `:${tag}` : ""}${digest === undefined ? "" : `@${digest}`}`;
  return { repository: repositoryName(reference), suffix, hasTag };
}

function nameOf(item: JsonValue): Name {
  const name = parseName(textOf(item));
  if (name !== undefined) return name;
  throw invalid(item.where, `${shown(textOf(item))} is not an image name`);
}

/** A host, or a full name from its host on, without a tag. */
function prefixOf(item: JsonValue): string {
  const text = textOf(item);
  const isHost = !text.includes("/") && parseName(`${text}/path`)?.repository === `${text}/path`;
  const isName = text.includes("/") && parseName(text)?.repository === text;
  if (isHost || isName) return text;
  const why = "must be a host or a full name that begins with one, without a tag";
  throw invalid(item.where, `${shown(text)} ${why}`);
}
