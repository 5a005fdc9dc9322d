import {
  type ErrorKind,
  isKind,
  kindOf,
  messageOf,
  RuntimeError,
  wrap,
} from "../../base/errors.ts";
import type { Clock } from "../../base/time.ts";
import {
  type ExplainedHost,
  formatReference,
  type ImageReference,
  type RegistryAuth,
  repositoryName,
} from "../../core/image/index.ts";
import { type CredentialChain, shownSource } from "./credential-chain.ts";
import { type Credentials, serverName } from "./credentials.ts";
import { failedPull, HostFailure, type HostTry } from "./failure.ts";
import type { HostClient, HostRequest } from "./host-client.ts";
import type { Capability } from "./hosts-file.ts";
import type { RegistriesConf } from "./registries-conf/registries-conf.ts";
import type { UseAnswer } from "./registry-blob.ts";
import { hostsOf, type RegistryHost } from "./registry-hosts.ts";

/** How long a host that did not answer is tried last. */
const avoidMs = 30_000;

/** What a {@link FallbackClient} works with. */
interface FallbackClientDeps {
  /** `images.registry_config_path`; need not exist. */
  readonly configDir: string;
  readonly client: HostClient;
  readonly credentials: CredentialChain;
  /** Its hosts come instead of those of `configDir`, where it has any. */
  readonly registriesConf: RegistriesConf | undefined;
  readonly clock: Clock;
}

/** The image that requests are for, and the credentials of the client that asked for it. */
export interface PullSubject {
  readonly reference: ImageReference;
  readonly auth: RegistryAuth | undefined;
}

/** A request that any host with the capability may answer. */
interface FallbackRequest<T> {
  /** GET, if not given. */
  readonly method?: HostRequest["method"];
  /** What the host must be able to do. */
  readonly capability: Capability;
  /** `/manifests/latest`, `/blobs/sha256:...`. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly what: string;
  /** Reads the answer; throws to refuse it. */
  readonly use: UseAnswer<T>;
  /** Gets the host whose answer was used, and the credentials that it accepted. */
  readonly granted?: (host: RegistryHost, credentials: Credentials) => void;
  readonly signal: AbortSignal;
}

/**
 * Sends each request to the hosts of a registry in their order until one grants it. Any failure of a
 * host, wrong content included, leads to the next one. Hosts that did not answer lately come last.
 */
export class FallbackClient {
  readonly #configDir: string;
  readonly #client: HostClient;
  readonly #credentials: CredentialChain;
  readonly #registriesConf: RegistriesConf | undefined;
  readonly #clock: Clock;
  /** Until when a host is asked last, by its root. Milliseconds of the clock. */
  readonly #avoided = new Map<string, number>();

  constructor(deps: FallbackClientDeps) {
    this.#configDir = deps.configDir;
    this.#client = deps.client;
    this.#credentials = deps.credentials;
    this.#registriesConf = deps.registriesConf;
    this.#clock = deps.clock;
  }

  /** See {@link Registry.hostsFor}. */
  async hostsFor(reference: ImageReference): Promise<readonly RegistryHost[]> {
    const others = await this.#registriesConf?.hostsOf(reference);
    return others ?? hostsOf(reference.registry, this.#configDir);
  }

  /**
   * Asks one host after the other until one grants the request and `use` accepts its answer. Rejects
   * with all their failures; see {@link failedPull} for the kind of the error.
   */
  async ask<T>(subject: PullSubject, request: FallbackRequest<T>): Promise<T> {
    const { reference } = subject;
    const { signal } = request;
    const doing = `fetch ${request.what} of`;
    const all = await this.hostsFor(reference);
    const hosts = all.filter(({ capabilities }) => capabilities.includes(request.capability));
    if (hosts.length === 0) {
      throw new RuntimeError(
        "failed-precondition",
        `${doing} "${formatReference(reference)}": no host has the capability "${request.capability}" in "${all[0]?.source ?? ""}"`,
      );
    }
    const tries: HostTry[] = [];
    for (const host of this.#inOrder(hosts)) {
      let credentials: Credentials | undefined;
      try {
        credentials = await this.credentialsFor(subject, host, signal);
        const result = await this.#get(subject, request, host, credentials);
        this.#avoided.delete(host.root);
        request.granted?.(host, credentials);
        return result;
      } catch (error) {
        if (signal.aborted) {
          // The next request must not wait for this host again: a start has less time than a dial takes.
          if (credentials !== undefined && isKind(signal.reason, "deadline-exceeded")) {
            this.avoid(host);
          }
          throw wrap(`${doing} "${formatReference(reference)}"`, error);
        }
        // The client's credentials cannot be read: no host would get them.
        if (credentials === undefined) throw error;
        if (kindOf(error) === "unavailable") this.avoid(host);
        if (isRefusal(error)) await this.#credentials.refused(credentials);
        const shown = withCredentials(error, credentials);
        tries.push({ host: host.name, error: shown, credentials, source: host.source });
      }
    }
    // Avoided hosts were asked last; the kind of the error must be that of the registry itself.
    tries.sort((a, b) => indexOf(hosts, a) - indexOf(hosts, b));
    throw this.failure(subject, doing, tries);
  }

  /** See {@link ImageSource.hosts}. */
  async explain(subject: PullSubject, signal: AbortSignal): Promise<readonly ExplainedHost[]> {
    const hosts = this.#inOrder(await this.hostsFor(subject.reference));
    const credentials = await Promise.all(
      hosts.map((host) => this.credentialsFor(subject, host, signal)),
    );
    return hosts.map((host, index) =>
      explained(subject.reference, host, this.#isAvoided(host), credentials[index]),
    );
  }

  /** The credentials that a host would get. Rejects when those of the client cannot be read. */
  credentialsFor(
    { reference, auth }: PullSubject,
    host: RegistryHost,
    signal: AbortSignal,
  ): Promise<Credentials> {
    const repository = host.repository ?? reference.repository;
    return this.#credentials.find(auth, { host, repository }, signal);
  }

  #get<T>(
    { reference }: PullSubject,
    request: FallbackRequest<T>,
    host: RegistryHost,
    credentials: Credentials,
  ): Promise<T> {
    const repository = host.repository ?? reference.repository;
    return this.#client.get(
      {
        method: request.method ?? "GET",
        host,
        credentials,
        scope: `repository:${repository}:pull`,
        path: `/${repository}${request.path}`,
        headers: request.headers,
        what: `${repositoryName(reference)} ${request.what}`,
        signal: request.signal,
      },
      (message, elsewhere) => request.use(message, host, elsewhere),
    );
  }

  /** Has the host asked after the others for a while. */
  avoid(host: RegistryHost): void {
    const nowMs = this.#clock.nowMs();
    for (const [root, untilMs] of this.#avoided) if (untilMs <= nowMs) this.#avoided.delete(root);
    this.#avoided.set(host.root, nowMs + avoidMs);
  }

  /** The error for the client, with what each host answered and what to do about it. */
  failure(subject: PullSubject, doing: string, tries: readonly HostTry[]): RuntimeError {
    const { reference, auth } = subject;
    const { credentials: used, source = "default" } = tries.at(-1) ?? {};
    const own = `${this.#configDir}/${reference.registry}/hosts.toml`;
    const file = source === "default" ? own : source;
    const advice: Partial<Record<ErrorKind, string>> = {
      "not-found": "check the image's name and tag, and that its registry has it for this platform",
      unauthenticated:
        used?.isOfNode === true
          ? "check these credentials on this node, or give the pod an imagePullSecret"
          : auth === undefined
            ? `the image may be private: give the pod an imagePullSecret for "${reference.registry}"`
            : "check the user name and password or token of the pull secret",
      "permission-denied": "these credentials may not read the image: ask the registry's owner",
      "resource-exhausted": `wait, log in with a pull secret, or set a mirror in "${file}"`,
      unavailable: `check this node's network and name resolution, or set a mirror in "${file}"`,
      "data-loss": "what the registry has is damaged: push the image again, or check its mirrors",
    };
    return failedPull(`${doing} "${formatReference(reference)}"`, tries, advice);
  }

  #inOrder(hosts: readonly RegistryHost[]): readonly RegistryHost[] {
    const avoided = new Set(hosts.filter((host) => this.#isAvoided(host)));
    return [...hosts.filter((host) => !avoided.has(host)), ...avoided];
  }

  #isAvoided({ root }: RegistryHost): boolean {
    return (this.#avoided.get(root) ?? 0) > this.#clock.nowMs();
  }
}

function indexOf(hosts: readonly RegistryHost[], { host }: HostTry): number {
  return hosts.findIndex(({ name }) => name === host);
}

function explained(
  reference: ImageReference,
  host: RegistryHost,
  isAvoided: boolean,
  credentials: Credentials | undefined,
): ExplainedHost {
  const { name, root, capabilities, tls, mayBePlain, source } = host;
  const user =
    credentials?.kind === "password" ? ` for user ${JSON.stringify(credentials.username)}` : "";
  const shown = credentials === undefined ? "none" : shownSource(host, credentials);
  return {
    name,
    root,
    repository: host.repository ?? reference.repository,
    capabilities,
    isMirror: serverName(name) !== serverName(reference.registry),
    isInsecure: tls.skipVerify || mayBePlain || root.startsWith("http:"),
    isAvoided,
    source,
    credentials: `${shown}${user}`,
  };
}

function isRefusal(error: unknown): error is HostFailure {
  const isIt = ["unauthenticated", "permission-denied"].includes(kindOf(error));
  return error instanceof HostFailure && isIt;
}

/** Adds which credentials a host has refused: the question behind most failed pulls. */
function withCredentials(error: unknown, { kind, username, source }: Credentials): unknown {
  if (!isRefusal(error)) return error;
  const user = kind === "password" ? ` for user ${JSON.stringify(username)}` : "";
  return new HostFailure(error.kind, `${messageOf(error)} (credentials: ${source}${user})`, {
    cause: error,
  });
}
