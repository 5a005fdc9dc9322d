/** Where spans are sent, and with what. */
export interface Endpoint {
  /** With a path and without credentials. */
  readonly url: URL;
  /** The headers of the configuration, with the credentials of the URL. */
  readonly headers: Readonly<Record<string, string>>;
  /** The endpoint for the log: without credentials and query. */
  readonly shown: string;
  /** A text of the collector or of Node.js with `***` instead of credentials, as it may be logged. */
  readonly mask: (text: string) => string;
}

/** Shorter texts are not secrets. */
const minSecret = 4;

/** The longest text of a collector in the log. Characters. */
const maxShown = 256;

/**
 * Reads `tracing.endpoint`, a valid URL, and `tracing.headers`. The path is /v1/traces unless the URL has one, as
 * OTLP/HTTP specifies. Credentials in the URL become basic authorization.
 */
export function readEndpoint(text: string, more: Readonly<Record<string, string>>): Endpoint {
  const url = new URL(text);
  if (url.pathname === "/") url.pathname = "/v1/traces";
  const [user, password] = [decoded(url.username), decoded(url.password)];
  const basic = Buffer.from(`${user}:${password}`).toString("base64");
  const headers = {
    ...(user === "" && password === "" ? {} : { authorization: `Basic ${basic}` }),
    ...Object.fromEntries(Object.entries(more).map(([name, value]) => [name.toLowerCase(), value])),
  };
  const queries = [...url.searchParams.values()];
  // Of "Bearer abc" also the second word by itself.
  const words = Object.values(headers).flatMap((value) => [value, ...value.split(/\s+/).slice(1)]);
  const secrets = [...words, user, password, url.username, url.password, basic, ...queries]
    .filter((secret) => secret.length >= minSecret)
    .sort((a, b) => b.length - a.length);
  url.username = "";
  url.password = "";
  url.hash = "";
  return {
    url,
    headers,
    shown: `${url.origin}${url.pathname}`,
    mask: (said) =>
      secrets.reduce((masked, secret) => masked.replaceAll(secret, "***"), said).slice(0, maxShown),
  };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
