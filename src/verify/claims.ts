/** What a signed document says. */
export interface Claims {
  readonly digest: string;
  /** Of the image; empty for none. */
  readonly name: string;
}

type Json = Readonly<Record<string, unknown>>;

const statementType = "application/vnd.in-toto+json";

/** The claims of a simple signing document of cosign's. Throws for any other one. */
export function simpleClaims(payload: Buffer): Claims {
  const critical = record(parseJson(payload)["critical"]);
  if (critical["type"] !== "cosign container image signature") {
    throw new Error('its payload is not of the type "cosign container image signature"');
  }
  const digest = record(critical["image"])["docker-manifest-digest"];
  const name = record(critical["identity"])["docker-reference"];
  if (typeof digest !== "string") throw new Error("its payload names no digest");
  return { digest, name: typeof name === "string" ? name : "" };
}

/**
 * The claims of an in-toto statement: its subject with one of the digests, else its first one. Throws for one
 * with another predicate type, since most statements say something else than "this may be used".
 */
export function statementClaims(
  { payloadType, payload }: { readonly payloadType: string; readonly payload: Buffer },
  predicateTypes: ReadonlySet<string>,
  digests: readonly string[],
): Claims {
  if (payloadType !== statementType) {
    throw new Error(`its payload is of type ${shown(payloadType)}, not an in-toto statement`);
  }
  const statement = parseJson(payload);
  const { _type: type, predicateType, subject } = statement;
  if (typeof type !== "string" || !/^https:\/\/in-toto\.io\/Statement\/v\d/.test(type)) {
    throw new Error("its payload is not an in-toto statement");
  }
  if (typeof predicateType !== "string" || !predicateTypes.has(predicateType)) {
    throw new Error(`it is a statement of type ${shown(predicateType)}, which is not a signature`);
  }
  const all = (Array.isArray(subject) ? subject : []).slice(0, 1000).map((each: unknown) => {
    const { digest, name } = record(each);
    return { digest: `sha256:${text(record(digest)["sha256"])}`, name: text(name) };
  });
  const found = all.find(({ digest }) => digests.includes(digest)) ?? all[0];
  if (found === undefined) throw new Error("its statement has no subject");
  return found;
}

/** A text that others chose, for messages. */
export function shown(value: unknown): string {
  return JSON.stringify(text(value).slice(0, 200)).replace(/[^\x20-\x7e]/g, "?");
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function parseJson(payload: Buffer): Json {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch {
    throw new Error("its payload is not JSON");
  }
  return record(value);
}

function record(value: unknown): Json {
  return typeof value === "object" && value !== null ? (value as Json) : {};
}
