import type { Digest } from "../../base/digest.ts";
import type { LayerChecker, LayerProblem } from "../../core/snapshot/index.ts";
import type { FakeLayers } from "./fake-layers.ts";

/** Finds the layers that a test calls broken, and those that are missing. */
export class FakeChecker implements LayerChecker {
  /** The problem of a broken layer, until it is removed. */
  readonly broken = new Map<Digest, string>();
  /** Whether the last check was a deep one. */
  wasDeep: boolean | undefined;
  readonly #layers: FakeLayers;

  constructor(layers: FakeLayers) {
    this.#layers = layers;
  }

  async *check(
    layers: readonly Digest[],
    { deep }: { readonly deep: boolean },
    signal: AbortSignal,
  ): AsyncGenerator<LayerProblem> {
    this.wasDeep = deep;
    for (const layer of layers) {
      signal.throwIfAborted();
      await Promise.resolve();
      const problem = this.#layers.has(layer) ? this.broken.get(layer) : "missing";
      if (problem !== undefined) yield { layer, problem };
    }
  }
}
