// A door for `davit doctor`: whether the registries answer, as a pull would ask them.
import { messageOf } from "../base/errors.ts";
import { silentLogger } from "../base/logger.ts";
import { parseReference } from "../core/image/index.ts";
import { Registry } from "../drivers/registry/index.ts";

export { type HostTrial, type RegistryTrial, tryRegistry } from "../drivers/registry/index.ts";

/** Whether an image can be pulled from here. */
export interface ImageTrial {
  readonly image: string;
  readonly ms: number;
  readonly digest?: string;
  readonly error?: string;
}

/** Resolves an image's name without credentials, within the time and without a second try. */
export async function tryImage(
  image: string,
  options: {
    readonly configDir: string;
    readonly proxyEnv: Readonly<Record<string, string | undefined>>;
    readonly timeoutMs: number;
  },
): Promise<ImageTrial> {
  const { configDir, proxyEnv, timeoutMs } = options;
  const begun = performance.now();
  const timing = { dialTimeoutMs: timeoutMs, answerTimeoutMs: timeoutMs, backoffMs: [] };
  using registry = new Registry({ configDir, proxyEnv, log: silentLogger, timing });
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const { image: found } = await registry.resolve(parseReference(image), undefined, signal);
    return { image, ms: performance.now() - begun, digest: found.digest };
  } catch (error) {
    return { image, ms: performance.now() - begun, error: messageOf(error) };
  }
}
