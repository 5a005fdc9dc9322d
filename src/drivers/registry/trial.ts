import { messageOf } from "../../base/errors.ts";
import type { ProxyEnv } from "../../wire/local-address.ts";
import { Connections } from "./connections.ts";
import { codeOf } from "./failure.ts";
import { hostsOf, type RegistryHost } from "./registry-hosts.ts";

/** The answer of one host to a request for its API's root, or why there is none. */
export interface HostTrial {
  /** The API's root that was asked: `https://mirror.example:5000/v2`. */
  readonly root: string;
  readonly ms: number;
  /** The HTTP status; undefined exactly when there is an `error`. */
  readonly status?: number;
  readonly error?: string;
  /** What kind of error: its name is unknown, its certificate is not trusted, or another one. */
  readonly problem?: "name" | "certificate" | "connection";
}

/** The answers of a registry's hosts, in the order in which a pull asks them. */
export interface RegistryTrial {
  readonly registry: string;
  /** The registry's own directory of configuration. */
  readonly file: string;
  readonly hosts: readonly HostTrial[];
  /** Why the configuration of the registry cannot be used; `hosts` is empty then. */
  readonly error?: string;
}

/**
 * Asks each host that a pull from `registry` would ask for its API's root (distribution-spec,
 * "Determining Support"), in parallel and without credentials. Never rejects.
 */
export async function tryRegistry(
  registry: string,
  options: {
    readonly configDir: string;
    readonly proxyEnv: ProxyEnv;
    /** For each host. */
    readonly timeoutMs: number;
  },
): Promise<RegistryTrial> {
  const file = `${options.configDir}/${registry}`;
  let hosts: readonly RegistryHost[];
  try {
    hosts = await hostsOf(registry, options.configDir);
  } catch (error) {
    return { registry, file, hosts: [], error: messageOf(error) };
  }
  using connections = new Connections(options.proxyEnv);
  const trials = hosts.map(async (host) => {
    const first = await askRoot(connections, host, host.root, options.timeoutMs);
    const isPlainTried = host.mayBePlain && first.error !== undefined;
    if (!isPlainTried) return first;
    const plain = host.root.replace(/^https:/, "http:");
    const second = await askRoot(connections, host, plain, options.timeoutMs);
    return second.error === undefined ? second : first;
  });
  return { registry, file, hosts: await Promise.all(trials) };
}

async function askRoot(
  connections: Connections,
  host: RegistryHost,
  root: string,
  timeoutMs: number,
): Promise<HostTrial> {
  const begun = performance.now();
  const elapsed = (): number => performance.now() - begun;
  try {
    const message = await connections.send({
      url: new URL(`${root}/`),
      method: "GET",
      headers: { ...host.headers, "user-agent": "davit" },
      body: undefined,
      tls: host.tls,
      dialTimeoutMs: timeoutMs,
      answerTimeoutMs: timeoutMs,
      refuseLocal: false,
      signal: AbortSignal.timeout(timeoutMs),
    });
    message.destroy();
    return { root, ms: elapsed(), status: message.statusCode ?? 0 };
  } catch (error) {
    return { root, ms: elapsed(), error: messageOf(error), problem: problemOf(error) };
  }
}

function problemOf(error: unknown): "name" | "certificate" | "connection" {
  if (/certificate/.test(messageOf(error))) return "certificate";
  const code = error instanceof Error ? codeOf(error.cause) : "";
  return code === "ENOTFOUND" || code === "EAI_AGAIN" ? "name" : "connection";
}
