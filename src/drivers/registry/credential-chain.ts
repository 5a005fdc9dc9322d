import type { Logger } from "../../base/logger.ts";
import type { Clock } from "../../base/time.ts";
import type { RegistryAuth } from "../../core/image/index.ts";
import { type Credentials, credentialsFor, none } from "./credentials.ts";
import type {
  CredentialTarget,
  NodeCredentials,
  NodeCredentialSettings,
} from "./node-credentials/node-credentials.ts";
import type { RegistryHost } from "./registry-hosts.ts";

/**
 * The credentials of requests: those of the pull's client, else those of this node
 * ({@link NodeCredentials}), whose code is loaded when some are configured.
 */
export class CredentialChain {
  readonly #settings: NodeCredentialSettings;
  readonly #clock: Clock;
  readonly #log: Logger;
  #node: Promise<NodeCredentials> | undefined;

  constructor(options: {
    readonly settings: NodeCredentialSettings;
    readonly clock: Clock;
    readonly log: Logger;
  }) {
    this.#settings = options.settings;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /**
   * The credentials for a place: of `auth`, where it may be sent there, else of the node. Where there are
   * none, their source has what was tried. Errors as {@link credentialsFor}, and the signal's reason.
   */
  async find(
    auth: RegistryAuth | undefined,
    target: CredentialTarget,
    signal: AbortSignal,
  ): Promise<Credentials> {
    const ofRequest = credentialsFor(auth, target.host.name);
    if (ofRequest.kind !== "none" || !this.#isConfigured(target)) return ofRequest;
    const ofNode = await (await this.#load()).find(target, signal);
    if (ofNode.kind !== "none" || ofRequest.source === "none") return ofNode;
    if (ofNode.source === "none") return ofRequest;
    return none(`${ofRequest.source}; ${ofNode.source}`);
  }

  /** A host has refused these. */
  async refused(credentials: Credentials): Promise<void> {
    if (credentials.isOfNode) await (await this.#node)?.refused(credentials);
  }

  #isConfigured({ host }: CredentialTarget): boolean {
    // An Authorization header of hosts.toml is for this host alone, and takes precedence.
    if (host.headers["authorization"] !== undefined) return false;
    const { dockerConfig, providersConfig } = this.#settings;
    return (
      dockerConfig !== "" ||
      providersConfig !== "" ||
      host.dockerConfig !== undefined ||
      host.credentialHelper !== undefined
    );
  }

  #load(): Promise<NodeCredentials> {
    this.#node ??= import("./node-credentials/node-credentials.ts").then(
      ({ NodeCredentials: Loaded }) =>
        new Loaded({ settings: this.#settings, clock: this.#clock, log: this.#log }),
    );
    return this.#node;
  }
}

/** What the log calls the credentials that a host gets: a header of hosts.toml needs none besides. */
export function shownSource(host: RegistryHost, { kind, source }: Credentials): string {
  const hasHeader = host.headers["authorization"] !== undefined;
  return kind === "none" && hasHeader ? "header of hosts.toml" : source;
}
