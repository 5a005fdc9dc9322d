// The page's session with its server, and the requests that have it.
import type { Failure } from "./view.ts";

/** Where the key of the session is kept for reloads. It belongs to this tab and to this origin, port included. */
const storageName = "davit-key";

/** The second secret of the session beside its cookie, which browsers also send to servers on other ports. */
let key = sessionStorage.getItem(storageName) ?? "";

/** Sends a request with the key of the session. */
export function send(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set("x-davit-key", key);
  return fetch(path, { ...init, headers });
}

/** The JSON of a response; throws the server's message if it is an error. */
export async function request<T>(path: string, body?: object): Promise<T> {
  return readJson(await send(path, body === undefined ? {} : post(body)));
}

/** The protocols of a shell's WebSocket, which has no headers for the key. */
export function shellProtocols(): string[] {
  return ["davit-shell", `key.${key}`];
}

/** Exchanges the token in the address for a session, and removes it from the address and the history. */
export async function login(): Promise<void> {
  const token = /[#&]token=([\w-]+)/.exec(location.hash)?.[1];
  if (token === undefined) return;
  history.replaceState(null, "", location.pathname);
  try {
    const session = await readJson<{ readonly key: string }>(
      await fetch("/api/login", post({ token })),
    );
    key = session.key;
    sessionStorage.setItem(storageName, key);
  } catch {
    // A wrong token shows as a refused connection.
  }
}

function post(body: object): RequestInit {
  return {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
}

async function readJson<T>(response: Response): Promise<T> {
  const value = (await response.json()) as T | Failure;
  if (!response.ok) throw new Error((value as Failure).error);
  return value as T;
}
