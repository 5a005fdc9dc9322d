const firstMs = 1_000;
const mostMs = 60_000;
/** Names are a plugin's own choice. */
const maxNames = 64;

/**
 * How long a plugin that failed in Synchronize waits for the next one. No pod or container is created while a
 * plugin is synchronized, so that one that connects again and again, and hangs each time, would stop the node.
 */
export class SyncBackOff {
  readonly #failures = new Map<string, number>();

  /** 0 for a plugin whose last Synchronize succeeded, in milliseconds. */
  delayMs(plugin: string): number {
    const failures = this.#failures.get(plugin) ?? 0;
    return failures === 0 ? 0 : Math.min(firstMs * 2 ** (failures - 1), mostMs);
  }

  failed(plugin: string): void {
    const failures = this.#failures.get(plugin) ?? 0;
    this.#failures.delete(plugin);
    const [oldest] = this.#failures.keys();
    if (oldest !== undefined && this.#failures.size === maxNames) this.#failures.delete(oldest);
    this.#failures.set(plugin, failures + 1);
  }

  succeeded(plugin: string): void {
    this.#failures.delete(plugin);
  }
}
