import type { Digest } from "../../base/digest.ts";
import { type ErrorKind, kindOf, messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type Clock, systemClock } from "../../base/time.ts";
import type {
  BlobStream,
  Descriptor,
  ImageReference,
  ImageSource,
  RegistryAuth,
  ResolvedImage,
} from "../../core/image/index.ts";
import { formatReference, repositoryName } from "../../core/image/index.ts";
import { Authorizer } from "./authorizer.ts";
import { BlobGrants, checkSizeAnswer, grantOf, sizeQuestions } from "./blob-grants.ts";
import { readWhole } from "./body.ts";
import { Connections, type ProxyEnv } from "./connections.ts";
import { type Credentials, credentialsFor } from "./credentials.ts";
import { failedPull, HostFailure, type HostTry } from "./failure.ts";
import { HostClient, type HostRequest, type RegistryTiming } from "./host-client.ts";
import type { Capability } from "./hosts-file.ts";
import {
  digestOf,
  type ImageIndex,
  type ImageManifest,
  manifestAccept,
  parseManifest,
  pickEntry,
} from "./manifest.ts";
import { type Platform, thisPlatform } from "./platform.ts";
import { RegistryBlob, type UseAnswer } from "./registry-blob.ts";
import { hostsOf, type RegistryHost } from "./registry-hosts.ts";

const maxManifestBytes = 4 * 1024 * 1024;
const maxConfigBytes = 8 * 1024 * 1024;
const maxIndexDepth = 3;
/** How long a host that did not answer is asked after the others. */
const avoidMs = 30_000;

const defaultTiming: RegistryTiming = {
  dialTimeoutMs: 30_000,
  answerTimeoutMs: 60_000,
  idleTimeoutMs: 60_000,
  rateWindowMs: 60_000,
  minBytesPerSecond: 1024,
  backoffMs: [200, 1000],
};

/** What a {@link Registry} needs to know. */
export interface RegistryOptions {
  /** `images.registry_config_path`; need not exist. */
  readonly configDir: string;
  readonly log: Logger;
  /** Tokens expire by it. */
  readonly clock?: Clock;
  /** Whose images are chosen from an index. This machine's, if not given. */
  readonly platform?: Platform;
  readonly timing?: Partial<RegistryTiming>;
  /** The daemon's environment, for `HTTPS_PROXY` and its kin. No proxy, if not given. */
  readonly proxyEnv?: ProxyEnv;
}

/** Everything that the requests of one call have in common. */
interface Pull {
  readonly reference: ImageReference;
  readonly auth: RegistryAuth | undefined;
  readonly signal: AbortSignal;
}

/** What a call wants from whichever host has it. */
interface Wanted<T> {
  /** GET, if not given. */
  readonly method?: HostRequest["method"];
  /** What the host must be able to do. */
  readonly capability: Capability;
  /** `/manifests/latest`, `/blobs/sha256:...`. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly what: string;
  readonly use: UseAnswer<T>;
}

/** What is known of a manifest before it is fetched. */
interface ManifestName extends Partial<Omit<Descriptor, "digest">> {
  readonly digest: Digest | undefined;
}

interface Manifest {
  readonly descriptor: Descriptor;
  readonly content: ImageManifest | ImageIndex;
}

/**
 * Images from registries that speak the OCI distribution specification or Docker's v2 of it.
 *
 * Each request goes to the hosts of {@link hostsFor} in their order until one grants it; whatever
 * a host does wrong, lies and nonsense included, makes the next one be asked. Nothing is cached
 * but connections, tokens, which hosts did not answer lately and which blobs were granted.
 */
export class Registry implements ImageSource, Disposable {
  readonly #configDir: string;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #platform: Platform;
  readonly #timing: RegistryTiming;
  readonly #connections: Connections;
  readonly #client: HostClient;
  /** Until when a host is asked last, by its root. Milliseconds of the clock. */
  readonly #avoided = new Map<string, number>();
  readonly #grants: BlobGrants;

  constructor(options: RegistryOptions) {
    this.#configDir = options.configDir;
    this.#log = options.log;
    this.#clock = options.clock ?? systemClock;
    this.#platform = options.platform ?? thisPlatform();
    this.#timing = { ...defaultTiming, ...options.timing };
    const clock = this.#clock;
    this.#grants = new BlobGrants(clock);
    const connections = new Connections(options.proxyEnv ?? {});
    this.#connections = connections;
    const userAgent = "davit";
    const limits = { timeoutMs: this.#timing.answerTimeoutMs, pace: this.#timing };
    const authorizer = new Authorizer({ connections, clock, userAgent, limits });
    const timing = this.#timing;
    this.#client = new HostClient({ connections, authorizer, timing, userAgent, log: this.#log });
  }

  /** Closes all connections: what is still being read fails. */
  [Symbol.dispose](): void {
    this.#connections[Symbol.dispose]();
  }

  /**
   * The hosts that would be asked for the image, in this order, with where each is configured.
   * `failed-precondition` with file and key for a configuration that cannot be used.
   */
  hostsFor(reference: ImageReference): Promise<readonly RegistryHost[]> {
    return hostsOf(reference.registry, this.#configDir);
  }

  async resolve(
    reference: ImageReference,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<ResolvedImage> {
    const pull = { reference, auth, signal };
    let fetched = await this.#fetchManifest(pull, { digest: reference.digest });
    const { digest } = fetched.descriptor;
    for (let depth = 0; depth <= maxIndexDepth; depth += 1) {
      const { descriptor, content } = fetched;
      if (content.kind === "manifest") {
        return { digest, manifest: descriptor, config: content.config, layers: content.layers };
      }
      fetched = await this.#fetchManifest(pull, this.#pick(pull, content));
    }
    throw new RuntimeError(
      "failed-precondition",
      `resolve "${formatReference(reference)}": it is an index of indexes, more than ${maxIndexDepth} deep`,
    );
  }

  async fetchConfig(
    reference: ImageReference,
    config: Descriptor,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    if (config.sizeBytes > BigInt(maxConfigBytes)) {
      throw new RuntimeError(
        "failed-precondition",
        `fetch config of "${formatReference(reference)}": it has ${config.sizeBytes} bytes, more than ${maxConfigBytes}`,
      );
    }
    return this.#ask(
      { reference, auth, signal },
      {
        capability: "pull",
        path: `/blobs/${config.digest}`,
        headers: {},
        what: `config ${config.digest}`,
        use: async (message) => {
          const bytes = await readWhole(message, maxConfigBytes, this.#timing);
          checkDigest("config", bytes, config.digest);
          checkSize("config", bytes, config.sizeBytes);
          return bytes;
        },
      },
    );
  }

  async hasBlob(
    reference: ImageReference,
    blob: Descriptor,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<boolean> {
    const grant = grantOf(reference, blob, auth);
    if (this.#grants.has(grant)) return true;
    const pull = { reference, auth, signal };
    for (const question of sizeQuestions) {
      try {
        await this.#ask(pull, {
          ...question,
          capability: "pull",
          path: `/blobs/${blob.digest}`,
          what: `size of blob ${blob.digest}`,
          use: (message) => {
            checkSizeAnswer(message, blob);
            // After a HEAD nothing comes, and the connection is free for the next request.
            if (question.method === "HEAD") message.resume();
            else message.destroy();
          },
        });
        this.#grants.add(grant);
        return true;
      } catch (error) {
        if (signal.aborted) throw error;
        // Asked in another way, it would say the same, and one that limits the rate would limit it more.
        if (["unavailable", "unauthenticated", "resource-exhausted"].includes(kindOf(error))) {
          return false;
        }
      }
    }
    return false;
  }

  async openBlob(
    reference: ImageReference,
    blob: Descriptor,
    options: {
      readonly auth: RegistryAuth | undefined;
      readonly offset: bigint;
      readonly signal: AbortSignal;
    },
  ): Promise<BlobStream> {
    const { auth, signal, offset } = options;
    const pull = { reference, auth, signal };
    return RegistryBlob.open(blob, offset, {
      pace: this.#timing,
      log: this.#log,
      signal,
      request: (at, use) =>
        this.#ask(pull, {
          capability: "pull",
          path: `/blobs/${blob.digest}`,
          headers: at > 0n ? { range: `bytes=${at}-` } : {},
          what: `blob ${blob.digest}${at > 0n ? ` from byte ${at}` : ""}`,
          use,
        }),
      avoid: (host) => this.#avoid(host),
      fail: (host, error) => this.#failure(pull, `read blob ${blob.digest} of`, [{ host, error }]),
    });
  }

  /**
   * A manifest by digest, or by the reference's tag where there is none. An index is checked by
   * its digest, so what it says of the media type and size of its entries counts, not what the
   * server says.
   */
  #fetchManifest(
    pull: Pull,
    { digest, mediaType, sizeBytes }: ManifestName | Descriptor,
  ): Promise<Manifest> {
    const name = digest ?? pull.reference.tag ?? "latest";
    return this.#ask(pull, {
      capability: digest === undefined ? "resolve" : "pull",
      path: `/manifests/${name}`,
      headers: { accept: manifestAccept },
      what: `manifest ${name}`,
      use: async (message) => {
        const bytes = await readWhole(message, maxManifestBytes, this.#timing);
        const said = message.headers["docker-content-digest"];
        if (digest !== undefined) checkDigest("manifest", bytes, digest);
        if (sizeBytes !== undefined) checkSize("manifest", bytes, sizeBytes);
        // Other algorithms than sha256 cannot be compared with what the bytes are known by here.
        if (typeof said === "string" && said.startsWith("sha256:")) {
          checkDigest("manifest", bytes, said);
        }
        const content = parseManifest(bytes, mediaType ?? message.headers["content-type"] ?? "");
        const found = { digest: digestOf(bytes), sizeBytes: BigInt(bytes.length) };
        return { descriptor: { mediaType: content.mediaType, ...found }, content };
      },
    });
  }

  /** Asks one host after the other until one grants the request and `use` takes its answer. */
  async #ask<T>(pull: Pull, wanted: Wanted<T>): Promise<T> {
    const { reference, auth, signal } = pull;
    const doing = `fetch ${wanted.what} of`;
    const all = await this.hostsFor(reference);
    const hosts = all.filter(({ capabilities }) => capabilities.includes(wanted.capability));
    if (hosts.length === 0) {
      throw new RuntimeError(
        "failed-precondition",
        `${doing} "${formatReference(reference)}": no host has the capability "${wanted.capability}" in "${all[0]?.source ?? ""}"`,
      );
    }
    const tries: HostTry[] = [];
    for (const host of this.#inOrder(hosts)) {
      const credentials = credentialsFor(auth, host.name);
      try {
        const result = await this.#client.get(
          {
            method: wanted.method ?? "GET",
            host,
            credentials,
            scope: `repository:${reference.repository}:pull`,
            path: `/${reference.repository}${wanted.path}`,
            headers: wanted.headers,
            what: `${repositoryName(reference)} ${wanted.what}`,
            signal,
          },
          (message, elsewhere) => wanted.use(message, host, elsewhere),
        );
        this.#avoided.delete(host.root);
        return result;
      } catch (error) {
        if (signal.aborted) throw wrap(`${doing} "${formatReference(reference)}"`, error);
        if (kindOf(error) === "unavailable") this.#avoid(host);
        tries.push({ host: host.name, error: withCredentials(error, credentials) });
      }
    }
    // Hosts that were put off stand last here, and the kind must be that of the registry itself.
    tries.sort((a, b) => indexOf(hosts, a) - indexOf(hosts, b));
    throw this.#failure(pull, doing, tries);
  }

  #inOrder(hosts: readonly RegistryHost[]): readonly RegistryHost[] {
    const nowMs = this.#clock.nowMs();
    const isAvoided = ({ root }: RegistryHost): boolean => (this.#avoided.get(root) ?? 0) > nowMs;
    return [...hosts.filter((host) => !isAvoided(host)), ...hosts.filter(isAvoided)];
  }

  #avoid(host: RegistryHost): void {
    const nowMs = this.#clock.nowMs();
    for (const [root, untilMs] of this.#avoided) if (untilMs <= nowMs) this.#avoided.delete(root);
    this.#avoided.set(host.root, nowMs + avoidMs);
  }

  #pick(pull: Pull, index: ImageIndex): Descriptor {
    try {
      return pickEntry(index, this.#platform).descriptor;
    } catch (error) {
      const { registry } = pull.reference;
      throw this.#failure(pull, "resolve", [{ host: registry, error }]);
    }
  }

  #failure(pull: Pull, doing: string, tries: readonly HostTry[]): RuntimeError {
    const { reference, auth } = pull;
    const file = `${this.#configDir}/${reference.registry}/hosts.toml`;
    const advice: Partial<Record<ErrorKind, string>> = {
      "not-found": "check the image's name and tag, and that its registry has it for this platform",
      unauthenticated:
        auth === undefined
          ? `the image may be private: give the pod an imagePullSecret for "${reference.registry}"`
          : "check the user name and password or token of the pull secret",
      "permission-denied": "these credentials may not read the image: ask the registry's owner",
      "resource-exhausted": `wait, log in with a pull secret, or set a mirror in "${file}"`,
      unavailable: `check this node's network and name resolution, or set a mirror in "${file}"`,
      "data-loss": "what the registry has is damaged: push the image again, or check its mirrors",
    };
    return failedPull(`${doing} "${formatReference(reference)}"`, tries, advice);
  }
}

function indexOf(hosts: readonly RegistryHost[], { host }: HostTry): number {
  return hosts.findIndex(({ name }) => name === host);
}

/** Says which credentials a host has refused: the question behind most failed pulls. */
function withCredentials(error: unknown, { kind, username, source }: Credentials): unknown {
  const isRefusal = ["unauthenticated", "permission-denied"].includes(kindOf(error));
  if (!(error instanceof HostFailure) || !isRefusal) return error;
  const user = kind === "password" ? ` for user ${JSON.stringify(username)}` : "";
  return new HostFailure(error.kind, `${messageOf(error)} (credentials: ${source}${user})`, {
    cause: error,
  });
}

function checkSize(what: string, bytes: Uint8Array, wanted: bigint): void {
  if (BigInt(bytes.length) === wanted) return;
  throw new HostFailure(
    "data-loss",
    `sent a ${what} of ${bytes.length} bytes instead of ${wanted}`,
  );
}

function checkDigest(what: string, bytes: Uint8Array, wanted: string): void {
  const found = digestOf(bytes);
  if (found === wanted) return;
  throw new HostFailure("data-loss", `sent a ${what} with digest ${found} instead of ${wanted}`);
}
