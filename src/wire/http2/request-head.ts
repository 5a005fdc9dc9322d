import type { HeaderField } from "./hpack/index.ts";

/** The headers of a request that is well-formed. */
export class RequestHead {
  readonly method: string;
  /** Empty only for CONNECT. */
  readonly path: string;
  /** Bytes of the body that the client announces; undefined when it does not. */
  readonly contentLength: number | undefined;
  /** Characters of all names and values. */
  readonly size: number;
  readonly #fields: readonly HeaderField[];

  constructor(pseudo: PseudoHeaders, contentLength: number | undefined, fields: Fields) {
    this.method = pseudo.method ?? "";
    this.path = pseudo.path ?? "";
    this.contentLength = contentLength;
    this.#fields = fields;
    let size = 0;
    for (const [name, value] of fields) size += name.length + value.length;
    this.size = size;
  }

  /** The value of a header by its name in lower case. Several of one name are joined by ", " (RFC 9110, 5.3). */
  get(name: string): string | undefined {
    let found: string | undefined;
    for (const field of this.#fields) {
      if (field[0] === name) found = found === undefined ? field[1] : `${found}, ${field[1]}`;
    }
    return found;
  }
}

type Fields = readonly HeaderField[];

interface PseudoHeaders {
  method: string | undefined;
  scheme: string | undefined;
  path: string | undefined;
  authority: string | undefined;
}

const nameOfPseudo: Readonly<Record<string, keyof PseudoHeaders>> = {
  ":method": "method",
  ":scheme": "scheme",
  ":path": "path",
  ":authority": "authority",
};

const colon = 0x3a;
/** A token in lower case: RFC 9113, section 8.2.1, and RFC 9110, 5.1. */
const namePattern = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** No NUL, CR and LF, and no white space at the ends: RFC 9113, section 8.2.1. */
const valuePattern = /^(?:[^\0\r\n\t ](?:[^\0\r\n]*[^\0\r\n\t ])?)?$/;

/** Headers of HTTP/1.1 about a connection: RFC 9113, section 8.2.2. */
const ofConnection: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/**
 * The head of a request; undefined when it is malformed (RFC 9113, sections 8.1.1, 8.2 and 8.3).
 *
 * `:authority` may be absent, empty or anything: grpc-go before 1.57 sends the path of the socket, or nothing.
 */
export function parseRequest(fields: Fields): RequestHead | undefined {
  const pseudo: PseudoHeaders = {
    method: undefined,
    scheme: undefined,
    path: undefined,
    authority: undefined,
  };
  let isPastPseudo = false;
  let length: string | undefined;
  for (const field of fields) {
    const [name, value] = field;
    if (!valuePattern.test(value)) return undefined;
    if (name.charCodeAt(0) === colon) {
      const key = nameOfPseudo[name];
      if (isPastPseudo || key === undefined || pseudo[key] !== undefined) return undefined;
      pseudo[key] = value;
      continue;
    }
    isPastPseudo = true;
    if (!isRegular(name, value)) return undefined;
    if (name === "content-length") {
      if (length !== undefined && length !== value) return undefined;
      length = value;
    }
  }
  if (!isComplete(pseudo)) return undefined;
  if (length === undefined) return new RequestHead(pseudo, undefined, fields);
  return /^\d{1,15}$/.test(length) ? new RequestHead(pseudo, Number(length), fields) : undefined;
}

/** Whether the fields may be the trailers of a request: RFC 9113, section 8.1. */
export function areTrailers(fields: Fields): boolean {
  return fields.every(([name, value]) => valuePattern.test(value) && isRegular(name, value));
}

function isRegular(name: string, value: string): boolean {
  if (!namePattern.test(name) || ofConnection.has(name)) return false;
  return name !== "te" || value.toLowerCase() === "trailers";
}

/** RFC 9113, sections 8.3.1 and 8.5. */
function isComplete({ method, scheme, path, authority }: PseudoHeaders): boolean {
  if (method === undefined || !namePattern.test(method.toLowerCase())) return false;
  if (method === "CONNECT") {
    return scheme === undefined && path === undefined && authority !== undefined;
  }
  if (scheme === undefined || scheme === "" || path === undefined) return false;
  return path.startsWith("/") || (path === "*" && method === "OPTIONS");
}
