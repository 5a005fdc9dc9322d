import { isAbsolute } from "node:path";

import { parseSignedIdentity, type SignedIdentity } from "./signed-identity.ts";
import {
  fieldsOf,
  invalid,
  itemsOf,
  type JsonValue,
  required,
  shown,
  textOf,
} from "./strict-json.ts";

/** A key or certificate: a file, or its content. */
export type KeySource = { readonly path: string } | { readonly data: Buffer };

/** A requirement of simple signing, with GPG (containers-policy.json(5), signedBy). */
export interface SignedBy {
  readonly type: "signedBy";
  /** Only `GPGKeys` can be satisfied, as with containers/image. */
  readonly keyType: string;
  readonly keys: readonly KeySource[];
  readonly signedIdentity: SignedIdentity;
}

/** A certificate of Fulcio for one person. */
export interface FulcioIdentity {
  readonly roots: KeySource;
  readonly oidcIssuer: string;
  readonly subjectEmail: string;
}

/** A certificate of an authority of one's own. At least one subject is set. */
export interface PkiIdentity {
  readonly roots: KeySource;
  readonly intermediates: KeySource | undefined;
  readonly subjectEmail: string | undefined;
  readonly subjectHostname: string | undefined;
}

/** A requirement of a signature of cosign (containers-policy.json(5), sigstoreSigned). */
export interface SigstoreSigned {
  readonly type: "sigstoreSigned";
  /** Exactly one of these says who must have signed. */
  readonly keys: readonly KeySource[] | undefined;
  readonly fulcio: FulcioIdentity | undefined;
  readonly pki: PkiIdentity | undefined;
  /** Undefined: the signature need not be in a transparency log. */
  readonly rekorKeys: readonly KeySource[] | undefined;
  readonly signedIdentity: SignedIdentity;
}

/** What an image must satisfy, and where the policy says so. */
export type Requirement = { readonly where: string } & (
  | { readonly type: "insecureAcceptAnything" | "reject" | "signedBaseLayer" }
  | SignedBy
  | SigstoreSigned
);

const keyTypes = ["GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs"];

/** Reads one requirement. `failed-precondition` names the place of what is wrong. */
export function parseRequirement(json: JsonValue): Requirement {
  const { value, where } = json;
  const type: unknown = (value as { readonly type?: unknown } | null)?.type;
  switch (type) {
    case "insecureAcceptAnything":
    case "reject":
      fieldsOf(json, ["type"]);
      return { where, type };
    case "signedBaseLayer": {
      const { baseLayerIdentity } = fieldsOf(json, ["type", "baseLayerIdentity"]);
      parseSignedIdentity(required(baseLayerIdentity, where, "baseLayerIdentity"));
      return { where, type };
    }
    case "signedBy":
      return { where, ...parseSignedBy(json) };
    case "sigstoreSigned":
      return { where, ...parseSigstoreSigned(json) };
    default:
      throw invalid(where, `it must have a known "type"; it is ${nameOf(type)}`);
  }
}

function nameOf(type: unknown): string {
  return type === undefined ? "missing" : shown(JSON.stringify(type));
}

function parseSignedBy(json: JsonValue): SignedBy {
  const fields = fieldsOf(json, [
    "type",
    "keyType",
    "keyPath",
    "keyPaths",
    "keyData",
    "signedIdentity",
  ]);
  const keyType = textOf(required(fields.keyType, json.where, "keyType"));
  if (!keyTypes.includes(keyType)) {
    throw invalid(json.where, `its keyType ${shown(keyType)} is not one of ${keyTypes.join(", ")}`);
  }
  const keys = oneOf(json, {
    keyPath: fields.keyPath,
    keyPaths: fields.keyPaths,
    keyData: fields.keyData,
  });
  if (keys === undefined) {
    throw invalid(json.where, 'it must have one of "keyPath", "keyPaths" and "keyData"');
  }
  return {
    type: "signedBy",
    keyType,
    keys,
    signedIdentity: parseSignedIdentity(fields.signedIdentity),
  };
}

function parseSigstoreSigned(json: JsonValue): SigstoreSigned {
  const fields = fieldsOf(json, [
    "type",
    "keyPath",
    "keyPaths",
    "keyData",
    "keyDatas",
    "fulcio",
    "pki",
    "rekorPublicKeyPath",
    "rekorPublicKeyPaths",
    "rekorPublicKeyData",
    "rekorPublicKeyDatas",
    "signedIdentity",
  ]);
  const { keyPath, keyPaths, keyData, keyDatas } = fields;
  const keys = oneOf(json, { keyPath, keyPaths, keyData, keyDatas });
  const fulcio = fields.fulcio === undefined ? undefined : parseFulcio(fields.fulcio);
  const pki = fields.pki === undefined ? undefined : parsePki(fields.pki);
  const { rekorPublicKeyPath, rekorPublicKeyPaths, rekorPublicKeyData, rekorPublicKeyDatas } =
    fields;
  const rekorKeys = oneOf(json, {
    rekorPublicKeyPath,
    rekorPublicKeyPaths,
    rekorPublicKeyData,
    rekorPublicKeyDatas,
  });
  if ([keys, fulcio, pki].filter((source) => source !== undefined).length !== 1) {
    const names = '"keyPath", "keyPaths", "keyData", "keyDatas", "fulcio" and "pki"';
    throw invalid(json.where, `it must have exactly one of ${names}`);
  }
  if (fulcio !== undefined && rekorKeys === undefined) {
    throw invalid(json.where, 'with "fulcio", it must have a key of Rekor ("rekorPublicKeyPath")');
  }
  if (pki !== undefined && rekorKeys !== undefined) {
    throw invalid(json.where, 'with "pki", it must not have a key of Rekor');
  }
  const signedIdentity = parseSignedIdentity(fields.signedIdentity);
  return { type: "sigstoreSigned", keys, fulcio, pki, rekorKeys, signedIdentity };
}

function parseFulcio(json: JsonValue): FulcioIdentity {
  const { where } = json;
  const fields = fieldsOf(json, ["caPath", "caData", "oidcIssuer", "subjectEmail"]);
  return {
    roots: oneSource(json, { caPath: fields.caPath, caData: fields.caData }),
    oidcIssuer: textOf(required(fields.oidcIssuer, where, "oidcIssuer")),
    subjectEmail: textOf(required(fields.subjectEmail, where, "subjectEmail")),
  };
}

function parsePki(json: JsonValue): PkiIdentity {
  const fields = fieldsOf(json, [
    "caRootsPath",
    "caRootsData",
    "caIntermediatesPath",
    "caIntermediatesData",
    "subjectEmail",
    "subjectHostname",
  ]);
  const { caRootsPath, caRootsData, caIntermediatesPath, caIntermediatesData } = fields;
  if (fields.subjectEmail === undefined && fields.subjectHostname === undefined) {
    throw invalid(json.where, 'it must have "subjectEmail" or "subjectHostname"');
  }
  return {
    roots: oneSource(json, { caRootsPath, caRootsData }),
    intermediates: oneOf(json, { caIntermediatesPath, caIntermediatesData })?.[0],
    subjectEmail: fields.subjectEmail && textOf(fields.subjectEmail),
    subjectHostname: fields.subjectHostname && textOf(fields.subjectHostname),
  };
}

type Sources = Readonly<Record<string, JsonValue | undefined>>;

function oneSource(json: JsonValue, sources: Sources): KeySource {
  const [source] = oneOf(json, sources) ?? [];
  if (source !== undefined) return source;
  const names = Object.keys(sources).map((name) => `"${name}"`);
  throw invalid(json.where, `it must have one of ${names.join(" and ")}`);
}

/** The keys of the one key of the policy that is there; the names say how to read it. Undefined for none. */
function oneOf(json: JsonValue, sources: Sources): readonly KeySource[] | undefined {
  const given = Object.entries(sources).flatMap(([name, item]) =>
    item === undefined ? [] : [{ name, item }],
  );
  const [first, second] = given;
  if (second !== undefined) {
    const names = given.map(({ name }) => `"${name}"`).join(" and ");
    throw invalid(json.where, `it must not have ${names} together`);
  }
  if (first === undefined) return undefined;
  const items = first.name.endsWith("s") ? itemsOf(first.item) : [first.item];
  const read = /Paths?$/.test(first.name) ? pathOf : dataOf;
  return items.map(read);
}

function pathOf(item: JsonValue): KeySource {
  const path = textOf(item);
  if (isAbsolute(path)) return { path };
  throw invalid(item.where, `${shown(path)} must be an absolute path`);
}

function dataOf(item: JsonValue): KeySource {
  const text = textOf(item).replace(/[\r\n]/g, "");
  const isBase64 = text.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(text);
  if (isBase64) return { data: Buffer.from(text, "base64") };
  throw invalid(item.where, "it must be base64");
}
