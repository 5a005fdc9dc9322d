import { createHash } from "node:crypto";

import { RuntimeError } from "../../base/errors.ts";
import type { RegistryAuth } from "../../core/image/index.ts";

/** What a request may authenticate with. Only {@link Credentials.source} is ever logged. */
export interface Credentials {
  readonly kind: "none" | "password" | "identity-token" | "registry-token";
  readonly username: string;
  readonly secret: string;
  /** Their origin, or why there are none, for messages: has no secret in it. */
  readonly source: string;
  /** Identifies the credentials without containing them. */
  readonly key: string;
  /** They are of this node's configuration, not of the request. */
  readonly isOfNode: boolean;
}

/**
 * The credentials of a request that may go to `host` (`registry.example:5000`). Those with a
 * server address go to that server only, to none of its mirrors; those without are used wherever the
 * image is searched, as kubelet passes them.
 *
 * `invalid-argument` for an `auth` that is not base64 of `username:password`.
 */
export function credentialsFor(auth: RegistryAuth | undefined, host: string): Credentials {
  if (auth === undefined) return none("none");
  const found = readAuth(auth);
  if (found.kind === "none") return found;
  const server = auth.serverAddress;
  if (server !== "" && serverName(server) !== serverName(host)) {
    return none(`none (the request's are for ${JSON.stringify(serverName(server))} only)`);
  }
  return found;
}

/**
 * The credentials in an `auth`, whatever server they are for. `nodeFile` is the part of this node's
 * configuration that they are from, for messages; not given for those of a request. Errors as {@link credentialsFor}.
 */
export function readAuth(auth: RegistryAuth, nodeFile?: string): Credentials {
  const some = (kind: StoredKind, username: string, secret: string): Credentials =>
    made(kind, username, secret, nodeFile);
  if (auth.registryToken !== "") return some("registry-token", "", auth.registryToken);
  if (auth.username !== "") return some("password", auth.username, auth.password);
  if (auth.identityToken !== "") return some("identity-token", "", auth.identityToken);
  if (auth.auth === "") return none("none");
  const text = Buffer.from(auth.auth, "base64").toString("utf8").replace(/\0+$/, "");
  const colon = text.indexOf(":");
  if (colon < 0) {
    throw new RuntimeError(
      "invalid-argument",
      'read registry credentials: "auth" is not base64 of USERNAME:PASSWORD; make the pull secret again',
    );
  }
  return some("password", text.slice(0, colon), text.slice(colon + 1));
}

type StoredKind = Exclude<Credentials["kind"], "none">;

function made(
  kind: StoredKind,
  username: string,
  secret: string,
  nodeFile: string | undefined,
): Credentials {
  const key = createHash("sha256")
    .update(JSON.stringify([kind, username, secret]))
    .digest("hex");
  const source = `${kind.replace("-", " ")} of ${nodeFile ?? "the request"}`;
  return { kind, username, secret, source, key, isOfNode: nodeFile !== undefined };
}

/** No credentials, with the reason for messages. */
export function none(source: string): Credentials {
  return { kind: "none", username: "", secret: "", source, key: "", isOfNode: false };
}

/** The value of a Basic authorization (RFC 7617). */
export function basicAuthorization(credentials: Credentials): string {
  const pair = `${credentials.username}:${credentials.secret}`;
  return `Basic ${Buffer.from(pair, "utf8").toString("base64")}`;
}

// Docker's own registry has several names, and its pull secrets use the oldest of them.
const dockerNames = new Set(["docker.io", "index.docker.io", "registry-1.docker.io"]);

/** The host in the address of a server, in one spelling. */
export function serverName(address: string): string {
  const host = address
    .replace(/^https?:\/\//i, "")
    .replace(/[/?#].*$/s, "")
    .toLowerCase()
    .replace(/:443$/, "");
  return dockerNames.has(host) ? "docker.io" : host;
}
