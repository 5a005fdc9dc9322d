import { type ErrorKind, kindOf, messageOf, RuntimeError } from "../../base/errors.ts";
import { registryUnavailable } from "../../core/image/index.ts";
import type { Credentials } from "./credentials.ts";
import { type Secrets, withoutQueries } from "./secrets.ts";

/** Why one host did not grant a request. {@link failedPull} makes the caller's error of it. */
export class HostFailure extends RuntimeError {
  /** True when the same request may well succeed a moment later. */
  readonly retryable: boolean;

  constructor(
    kind: ErrorKind,
    message: string,
    options: { readonly retryable?: boolean; readonly cause?: unknown } = {},
  ) {
    super(kind, message, { cause: options.cause });
    this.name = "HostFailure";
    this.retryable = options.retryable ?? false;
  }
}

const shownCharacters = 300;
const maxPageCharacters = 8192;

/**
 * The error that a registry sent: the codes and messages of its JSON (distribution-spec,
 * "Error Codes"), else the text itself; in one line, shortened, with none of the `secrets` and no
 * value of a query in it.
 */
export function registryText(body: string, secrets: Secrets): RegistryText {
  const errors = parseErrors(body);
  const said = errors.map(({ code, message }) => [code, message].filter(Boolean).join(": "));
  return {
    codes: errors.map(({ code }) => code),
    // Masked before it is cut: a part of a secret would not be recognised.
    text: shown(said.length > 0 ? said.join("; ") : withoutMarkup(secrets.mask(body)), secrets),
  };
}

/**
 * The error of a token service: as {@link registryText}, but only where it is the JSON of an error. A
 * registry may name any address as its token service, one that only this node reaches too, and
 * must not see the pages of other servers.
 */
export function tokenServiceText(body: string, secrets: Secrets): RegistryText {
  return parseErrors(body).length > 0 ? registryText(body, secrets) : { codes: [], text: "" };
}

/**
 * The error of a host that a registry redirects to: only the codes of its errors, those of JSON or of
 * the XML of object stores, for the reason of {@link tokenServiceText}.
 */
export function redirectedText(body: string): RegistryText {
  const inXml = [/<Code>([^<]*)<\/Code>/.exec(body)?.[1] ?? ""];
  const codes = [...parseErrors(body).map(({ code }) => code), ...inXml];
  // Not codes of the distribution specification: another host does not speak for the registry.
  return { codes: [], text: codes.filter((code) => /^[A-Za-z_]{1,64}$/.test(code)).join("; ") };
}

function shown(text: string, secrets: Secrets): string {
  const masked = withoutQueries(secrets.mask(text));
  // Control characters must not reach a terminal.
  const line = masked.replace(/[\u0000-\u001f\u007f-\u009f\s]+/g, " ").trim();
  return line.length > shownCharacters ? `${line.slice(0, shownCharacters)}...` : line;
}

/** The part of an error answer for messages and for {@link statusFailure}. */
interface RegistryText {
  readonly codes: readonly string[];
  readonly text: string;
}

/** What an HTTP answer other than the wanted one means. */
export function statusFailure(
  status: number,
  said: RegistryText,
  headers: { readonly "retry-after"?: string | undefined },
): HostFailure {
  const kind = kindOfAnswer(status, said.codes);
  const text = said.text === "" ? "" : ` ${JSON.stringify(said.text)}`;
  const wait = waitingTime(headers["retry-after"] ?? "");
  return new HostFailure(kind, `answered ${status}${text}${wait}`, {
    retryable: kind === "unavailable",
  });
}

/** The text of a `Retry-After` (RFC 9110, section 10.2.3); nothing for an invalid one. */
function waitingTime(retryAfter: string): string {
  if (/^\d{1,9}$/.test(retryAfter)) return `, asks to wait ${retryAfter} s`;
  const isDate = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/.test(retryAfter);
  return isDate ? `, asks to wait until ${JSON.stringify(retryAfter)}` : "";
}

/** The failure of a host that was redirected to: without its name it would be the registry's own. */
export function afterRedirect(error: unknown, host: string): unknown {
  if (!(error instanceof HostFailure)) return error;
  const { retryable, cause } = error;
  // No credentials are sent there, so that none can be refused.
  const kind = error.kind === "unauthenticated" ? "permission-denied" : error.kind;
  const message = `redirects to "${host}", which ${error.message}`;
  return new HostFailure(kind, message, { retryable, cause });
}

const kindOfStatus: Readonly<Record<number, ErrorKind>> = {
  401: "unauthenticated",
  403: "permission-denied",
  404: "not-found",
  408: "unavailable",
  410: "not-found",
  416: "out-of-range",
  429: "resource-exhausted",
  501: "failed-precondition",
};

const kindOfCode: Readonly<Record<string, ErrorKind>> = {
  BLOB_UNKNOWN: "not-found",
  DENIED: "permission-denied",
  MANIFEST_UNKNOWN: "not-found",
  NAME_UNKNOWN: "not-found",
  TOOMANYREQUESTS: "resource-exhausted",
  UNAUTHORIZED: "unauthenticated",
};

function kindOfAnswer(status: number, codes: readonly string[]): ErrorKind {
  const byStatus = kindOfStatus[status];
  if (byStatus !== undefined) return byStatus;
  if (status >= 500) return "unavailable";
  const known = codes.find((code) => Object.hasOwn(kindOfCode, code));
  return (known === undefined ? undefined : kindOfCode[known]) ?? "failed-precondition";
}

function parseErrors(body: string): readonly { code: string; message: string }[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return []; // a proxy's page, or nothing at all
  }
  const record = asRecord(parsed);
  const list = record?.["errors"];
  if (Array.isArray(list)) return list.slice(0, 5).map(parseError);
  // Token services answer {"details": ...} or OAuth2's {"error": ..., "error_description": ...}.
  const message = ["error_description", "details", "message", "error"]
    .map((key) => record?.[key])
    .find((value) => typeof value === "string");
  return typeof message === "string" ? [{ code: "", message }] : [];
}

function parseError(raw: unknown): { code: string; message: string } {
  const record = asRecord(raw);
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  return { code: text(record?.["code"]), message: text(record?.["message"]) };
}

/** The text in the beginning of a page: more of it is not shown, and could keep the expressions busy. */
function withoutMarkup(page: string): string {
  return page
    .slice(0, maxPageCharacters)
    .replace(/<(style|script)[\s\S]*?<\/\1>/gi, " ")
    .replace(/<[^>]{0,500}>/g, " ");
}

/** `raw` as a JSON object, or undefined for anything else. */
export function asRecord(raw: unknown): Readonly<Record<string, unknown>> | undefined {
  // An object that is neither null nor a list came out of a JSON object.
  return typeof raw === "object" && raw !== null && !Array.isArray(raw)
    ? (raw as Record<string, unknown>)
    : undefined;
}

/** A host with why it failed, in the order of the tries. */
export interface HostTry {
  readonly host: string;
  readonly error: unknown;
  /** Those that it got. */
  readonly credentials?: Credentials;
  /** Where it is configured. */
  readonly source?: string;
}

/**
 * The error of a request that no host granted. Its kind is that of the last host, which is the
 * registry itself wherever there are mirrors.
 */
export function failedPull(
  doing: string,
  tries: readonly HostTry[],
  advice: Partial<Record<ErrorKind, string>>,
): RuntimeError {
  const last = tries.at(-1);
  const kind = kindOf(last?.error);
  const reasons = tries.map(({ host, error }) => `"${host}" ${messageOf(error)}`).join("; ");
  const next = advice[kind];
  const marker = kind === "unavailable" ? registryUnavailable : "";
  const message = `${marker}${doing}: ${reasons}${next === undefined ? "" : `; ${next}`}`;
  return new RuntimeError(kind, message, { cause: last?.error });
}

/** The error of a caller that gave up: `deadline-exceeded` for its timeout, else `canceled`. */
export function abortedError(signal: AbortSignal): RuntimeError {
  const { reason } = signal as { readonly reason: unknown };
  const kind = kindOf(reason);
  return new RuntimeError(
    kind === "unknown" ? "canceled" : kind,
    `stopped by its caller: ${messageOf(reason)}`,
    { cause: reason },
  );
}

/** Texts for the errno and OpenSSL codes of a failed connection. */
const connectionReasons: Readonly<Record<string, string>> = {
  EAI_AGAIN: "has a name that could not be resolved for now",
  ECONNREFUSED: "refused the connection",
  ECONNRESET: "closed the connection",
  EHOSTUNREACH: "cannot be reached",
  ENETUNREACH: "cannot be reached: there is no route",
  ENOTFOUND: "has no address by that name",
  EPIPE: "closed the connection",
  ETIMEDOUT: "did not answer",
};

const trustCodes =
  /^(CERT_|ERR_TLS_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH|INVALID_CA)/;

/** The error for a connection that failed or broke. */
export function connectionFailure(cause: unknown): HostFailure {
  if (cause instanceof HostFailure) return cause;
  const code = codeOf(cause);
  // A proxy's address may hold a password.
  const reason = reasonOf(cause).replace(/\/\/[^\s/@]*@/g, "//***@");
  const detail = `${reason}${code === "" ? "" : ` (${code})`}`;
  if (trustCodes.test(code)) {
    const fix = 'name its CA with "ca" in hosts.toml';
    return new HostFailure(
      "unavailable",
      `has a certificate that is not trusted: ${detail}; ${fix}`,
      {
        cause,
      },
    );
  }
  const what = connectionReasons[code] ?? "failed";
  return new HostFailure("unavailable", `${what}: ${detail}`, {
    retryable: code !== "ENOTFOUND",
    cause,
  });
}

// OpenSSL's messages contain source locations; the reason is a separate property.
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.message === "") return reasonOf(error.errors.at(-1));
  return "reason" in error && typeof error.reason === "string" ? error.reason : error.message;
}

/** The code of a Node.js error: an errno name, or OpenSSL's. Empty where there is none. */
export function codeOf(error: unknown): string {
  // A connection tried on several addresses fails with all their errors at once.
  if (error instanceof AggregateError) return codeOf(error.errors.at(-1));
  if (!(error instanceof Error) || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}
