// Probes registries with the requests of a pull.
import { messageOf } from "../base/errors.ts";
import { silentLogger } from "../base/logger.ts";
import type { ImagesConfig } from "../config/config.ts";
import { configuredRegistry } from "../drivers/registry/index.ts";

export { type HostTrial, type RegistryTrial, tryRegistry } from "../drivers/registry/index.ts";

/** The result of resolving an image's name at its registry. */
export interface ImageProbe {
  readonly image: string;
  readonly ms: number;
  readonly digest?: string;
  readonly error?: string;
}

/** Resolves an image's name as a pull without credentials of its own does, within `timeoutMs` and without a retry. */
export async function probeImage(
  image: string,
  options: {
    readonly settings: ImagesConfig;
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly timeoutMs: number;
  },
): Promise<ImageProbe> {
  const { settings, env, timeoutMs } = options;
  const startedMs = performance.now();
  const timing = { dialTimeoutMs: timeoutMs, answerTimeoutMs: timeoutMs, backoffMs: [] };
  const names = configuredRegistry(settings, { env, log: silentLogger, timing });
  using registry = names.source;
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const { image: found } = await registry.resolve(names.referenceOf(image), undefined, signal);
    return { image, ms: performance.now() - startedMs, digest: found.digest };
  } catch (error) {
    return { image, ms: performance.now() - startedMs, error: messageOf(error) };
  }
}
