import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Failure } from "../../page/view.ts";
import type { PageFile } from "./page-file.ts";

/** The policy of every response: nothing is loaded from anywhere, and no page may frame it. */
const closedPolicy =
  "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** The headers of every response. */
export const commonHeaders: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "content-security-policy": closedPolicy,
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

/**
 * The policy of the page: only the script and style of the build run, the page connects to its own server
 * alone, and the browser refuses to turn text into HTML (trusted types).
 */
function pagePolicy({ script, style }: PageFile): string {
  return [
    closedPolicy,
    `script-src '${script}'`,
    `style-src '${style}'`,
    "connect-src 'self'",
    // The icon of the tab.
    "img-src data:",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; ");
}

/** Responds with the page. */
export function sendPage(response: ServerResponse, page: PageFile): void {
  response.writeHead(200, {
    ...commonHeaders,
    "content-security-policy": pagePolicy(page),
    "content-type": "text/html; charset=utf-8",
  });
  response.end(page.html);
}

/** Responds with a value. */
export function sendJson(
  response: ServerResponse,
  value: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(200, {
    ...commonHeaders,
    ...headers,
    "content-type": "application/json; charset=utf-8",
  });
  response.end(JSON.stringify(value));
}

/** Responds with an error. Node.js reads and drops the rest of the request, until its timeout. */
export function sendFailure(response: ServerResponse, code: number, error: string): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const failure: Failure = { error };
  response.writeHead(code, {
    ...commonHeaders,
    "content-type": "application/json; charset=utf-8",
  });
  response.end(JSON.stringify(failure));
}

/**
 * Refuses an upgrade with a status such as `404 Not Found`, and closes the connection, although the client may keep
 * its end open.
 */
export function refuseUpgrade(transport: Duplex, status: string): void {
  transport.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`, () => transport.destroy());
}
