import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Clock } from "../../../base/time.ts";
import { type Credentials, none, serverName } from "../credentials.ts";
import type { RegistryHost } from "../registry-hosts.ts";
import { Answers } from "./answers.ts";
import { askHelper } from "./credential-helper.ts";
import {
  authOf,
  type DockerConfig,
  type Helper,
  helperOf,
  helperServer,
  maxDockerConfigBytes,
  parseDockerConfig,
} from "./docker-config.ts";
import { matchesImage } from "./match-image.ts";
import { ParsedFile } from "../parsed-file.ts";
import { ProgramFailure } from "./program.ts";
import { askProvider, authFor, type ProviderAnswer, questionsOf } from "./provider.ts";
import { maxProviderConfigBytes, parseProviderConfig, type Provider } from "./provider-config.ts";

/** What a node has for registries. Empty texts stand for nothing. */
export interface NodeCredentialSettings {
  /** `images.docker_config`. */
  readonly dockerConfig: string;
  /** `images.credential_providers_config` and `images.credential_providers_bin_dir`. */
  readonly providersConfig: string;
  readonly providersBinDir: string;
  /** The daemon's environment: programs get its PATH, HOME and proxies. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** For a program of Docker: 10 s, if not given. Milliseconds. */
  readonly helperMs?: number;
  /** For a provider: a minute, as kubelet has it, if not given. Milliseconds. */
  readonly providerMs?: number;
}

/** The place that credentials are for. */
export interface CredentialTarget {
  readonly host: RegistryHost;
  /** In that host. */
  readonly repository: string;
}

type DockerFile = ParsedFile<{
  readonly config: DockerConfig;
  readonly answers: Answers<Credentials | undefined>;
}>;

const passed = ["PATH", "HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
/** Files that the hosts.toml of registries name. */
const maxFiles = 100;

/**
 * The credentials of this node, in this order: those that hosts.toml has for the host, those of
 * `images.docker_config`, those of the credential providers. One that cannot be used is logged and left
 * out, as Docker and kubelet do: an image may be public. Files are read again when they have changed.
 */
export class NodeCredentials {
  readonly #settings: NodeCredentialSettings;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #env: Readonly<Record<string, string>>;
  readonly #dockerFiles = new Map<string, DockerFile>();
  readonly #ofHosts: Answers<Credentials | undefined>;
  readonly #providers: ParsedFile<readonly Asked[]>;
  /** Errors that were logged: each is one object for as long as it is remembered. */
  readonly #warned = new WeakSet<Error>();

  constructor(options: {
    readonly settings: NodeCredentialSettings;
    readonly clock: Clock;
    readonly log: Logger;
  }) {
    this.#settings = options.settings;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#env = environmentOf(options.settings.env);
    this.#ofHosts = new Answers(options.clock);
    this.#providers = new ParsedFile(options.settings.providersConfig, {
      maxBytes: maxProviderConfigBytes,
      parse: (text, path) =>
        parseProviderConfig(text, path).map((provider) => ({
          provider,
          answers: new Answers(options.clock),
        })),
    });
  }

  /** The credentials for a place, or none with what was tried. Rejects when the signal is aborted. */
  async find(target: CredentialTarget, signal: AbortSignal): Promise<Credentials> {
    const { host } = target;
    const registry = serverName(host.name);
    const image = `${registry}/${target.repository}`;
    const failed: string[] = [];
    const attempt = async (
      find: () => Promise<Credentials | undefined> | Credentials | undefined,
    ): Promise<Credentials | undefined> => {
      try {
        return await find();
      } catch (error) {
        signal.throwIfAborted();
        failed.push(messageOf(error));
        this.#warn(error);
        return undefined;
      }
    };
    for (const source of this.#sources(host, registry, image, signal)) {
      const found = await attempt(source);
      if (found !== undefined) return found;
    }
    for (const { provider, answers } of this.#providersFor(image, failed)) {
      const found = await attempt(() => this.#askProvider(provider, answers, image, signal));
      if (found !== undefined) return found;
    }
    return none(failed.length === 0 ? "none" : `none: ${failed.join("; ")}`);
  }

  /** A registry has refused these: programs are asked again for them, unless they just were. */
  async refused({ key }: Credentials): Promise<void> {
    const isRefused = (found: Credentials | undefined): boolean => found?.key === key;
    const answers = [this.#ofHosts, ...this.#answersOfFiles()];
    for (const each of answers) await each.forget(isRefused);
    for (const { answers: each } of this.#asked([])) {
      await each.forget((auths) => auths.some(({ found }) => isRefused(found)));
    }
  }

  /** The sources before the providers. */
  *#sources(
    host: RegistryHost,
    registry: string,
    image: string,
    signal: AbortSignal,
  ): Iterable<() => Promise<Credentials | undefined> | Credentials | undefined> {
    const { credentialHelper: name } = host;
    if (name !== undefined) {
      const helper = { name, server: helperServer(registry) };
      yield () => this.#askHelper(helper, this.#ofHosts, signal);
    }
    for (const path of [host.dockerConfig ?? "", this.#settings.dockerConfig]) {
      if (path !== "") yield () => this.#ofDockerConfig(path, registry, image, signal);
    }
  }

  async #ofDockerConfig(
    path: string,
    registry: string,
    image: string,
    signal: AbortSignal,
  ): Promise<Credentials | undefined> {
    const { config, answers } = this.#dockerFile(path).readRequired();
    const helper = helperOf(config, registry);
    if (helper !== undefined) return this.#askHelper(helper, answers, signal);
    const found = authOf(config, image);
    if (found !== undefined || config.store === undefined) return found;
    const store = { name: config.store, server: helperServer(registry) };
    return this.#askHelper(store, answers, signal);
  }

  #askHelper(
    helper: Helper,
    answers: Answers<Credentials | undefined>,
    signal: AbortSignal,
  ): Promise<Credentials | undefined> {
    const question = JSON.stringify([helper.name, helper.server]);
    const { helperMs = 10_000 } = this.#settings;
    return answers.get([question], signal, () => askHelper(helper, this.#env, helperMs));
  }

  async #askProvider(
    provider: Provider,
    answers: Answers<ProviderAnswer>,
    image: string,
    signal: AbortSignal,
  ): Promise<Credentials | undefined> {
    const { providersBinDir: binDir, providerMs = 60_000 } = this.#settings;
    const options = { binDir, env: this.#env, timeoutMs: providerMs };
    const auths = await answers.get(questionsOf(image), signal, () =>
      askProvider(provider, image, options),
    );
    return authFor(auths, image);
  }

  #dockerFile(path: string): DockerFile {
    const known = this.#dockerFiles.get(path);
    if (known !== undefined) return known;
    const file: DockerFile = new ParsedFile(path, {
      maxBytes: maxDockerConfigBytes,
      parse: (text, name) => ({
        config: parseDockerConfig(text, name),
        // Of the helpers that this version of the file names.
        answers: new Answers(this.#clock),
      }),
    });
    const [oldest] = this.#dockerFiles.keys();
    if (this.#dockerFiles.size >= maxFiles && oldest !== undefined) {
      this.#dockerFiles.delete(oldest);
    }
    this.#dockerFiles.set(path, file);
    return file;
  }

  #answersOfFiles(): readonly Answers<Credentials | undefined>[] {
    return [...this.#dockerFiles.values()].flatMap((file) => {
      try {
        return [file.readRequired().answers];
      } catch {
        return [];
      }
    });
  }

  /** The providers for an image. What is wrong with their file is added to `failed`. */
  #providersFor(image: string, failed: string[]): readonly Asked[] {
    return this.#asked(failed).filter(({ provider }) => {
      if (!provider.patterns.some((pattern) => matchesImage(pattern, image))) return false;
      if (!provider.needsToken) return true;
      failed.push(
        `provider "${provider.name}" needs a service account token, which only kubelet has`,
      );
      return false;
    });
  }

  #asked(failed: string[]): readonly Asked[] {
    if (this.#settings.providersConfig === "") return [];
    try {
      return this.#providers.readRequired();
    } catch (error) {
      failed.push(messageOf(error));
      this.#warn(error);
      return [];
    }
  }

  #warn(error: unknown): void {
    if (!(error instanceof Error) || this.#warned.has(error)) return;
    this.#warned.add(error);
    const printed =
      error instanceof ProgramFailure && error.printed !== "" ? error.printed : undefined;
    const fields = { error: error.message, ...(printed === undefined ? {} : { printed }) };
    this.#log.warn("credentials of this node cannot be used", fields);
  }
}

/** A provider with its answers. */
interface Asked {
  readonly provider: Provider;
  readonly answers: Answers<ProviderAnswer>;
}

function environmentOf(
  env: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  const names = passed.flatMap((name) => [name, name.toLowerCase()]);
  const entries = names.flatMap((name) => {
    const value = env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  // The programs look for their own configuration there, and systemd sets no HOME.
  return { HOME: "/root", PATH: "/usr/local/bin:/usr/bin:/bin", ...Object.fromEntries(entries) };
}
