import type { PullObserver } from "../../../core/image/index.ts";
import { BoundedValues } from "../bounded-values.ts";
import type { Counter, Family, Registry } from "../registry.ts";

/** Registries with series of their own; a node uses a few. */
const maxRegistries = 16;

/** What pulls receive, reuse, and why they fail, by registry. */
export class PullSeries implements PullObserver {
  readonly #registries = new BoundedValues(maxRegistries);
  /** Apart from the others: an image name can have any registry, and must not take the place of one that serves. */
  readonly #failing = new BoundedValues(maxRegistries);
  readonly #bytes: Family<Counter>;
  readonly #layers: Family<Counter>;
  readonly #failures: Family<Counter>;
  /** The counter of bytes that was used last: bytes arrive in chunks. */
  #last: { readonly registry: string; readonly bytes: Counter } | undefined;

  constructor(registry: Registry) {
    this.#bytes = registry.counter({
      name: "davit_image_pull_bytes_total",
      help: "Compressed bytes of image layers that were received from registries.",
      labels: ["registry"],
    });
    this.#layers = registry.counter({
      name: "davit_image_pull_layers_total",
      help: "Layers of pulled images: fetched, or reused because they were on the node.",
      labels: ["registry", "source"],
    });
    this.#failures = registry.counter({
      name: "davit_image_pull_failures_total",
      help: "Pulls that failed, by registry and the kind of the error.",
      labels: ["registry", "reason"],
    });
  }

  readonly received = (registry: string, bytes: number): void => {
    if (this.#last?.registry !== registry) {
      this.#last = { registry, bytes: this.#bytes.with(this.#registries.of(registry)) };
    }
    this.#last.bytes.add(bytes);
  };

  readonly layer = (registry: string, source: "fetched" | "reused"): void => {
    this.#layers.with(this.#registries.of(registry), source).add();
  };

  /** A pull has failed. `reason` is the kind of its error. */
  readonly failed = (registry: string, reason: string): void => {
    const isServing = this.#registries.has(registry);
    this.#failures.with(isServing ? registry : this.#failing.of(registry), reason).add();
  };
}
