// Probes registries with the requests of a pull.
import { messageOf } from "../base/errors.ts";
import { silentLogger } from "../base/logger.ts";
import { parseReference } from "../core/image/index.ts";
import { Registry } from "../drivers/registry/index.ts";

export { type HostTrial, type RegistryTrial, tryRegistry } from "../drivers/registry/index.ts";

/** The result of resolving an image's name at its registry. */
export interface ImageProbe {
  readonly image: string;
  readonly ms: number;
  readonly digest?: string;
  readonly error?: string;
}

/** Resolves an image's name without credentials, within `timeoutMs` and without a retry. */
export async function probeImage(
  image: string,
  options: {
    readonly configDir: string;
    readonly proxyEnv: Readonly<Record<string, string | undefined>>;
    readonly timeoutMs: number;
  },
): Promise<ImageProbe> {
  const { configDir, proxyEnv, timeoutMs } = options;
  const startedMs = performance.now();
  const timing = { dialTimeoutMs: timeoutMs, answerTimeoutMs: timeoutMs, backoffMs: [] };
  using registry = new Registry({ configDir, proxyEnv, log: silentLogger, timing });
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const { image: found } = await registry.resolve(parseReference(image), undefined, signal);
    return { image, ms: performance.now() - startedMs, digest: found.digest };
  } catch (error) {
    return { image, ms: performance.now() - startedMs, error: messageOf(error) };
  }
}
