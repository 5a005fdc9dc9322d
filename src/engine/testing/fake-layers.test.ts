import { systemClock } from "../../base/time.ts";
import type { LayerSource } from "../../core/snapshot/index.ts";
import { describeSnapshots } from "../../core/snapshot/testing/snapshot-contract.ts";
import { FakeHost } from "./fake-host.ts";
import { compressed, digestOf, FakeLayers } from "./fake-layers.ts";
import { FakeRoots } from "./fake-roots.ts";

function sourceOf(text: string): LayerSource {
  const bytes = compressed(text);
  return {
    blob: { mediaType: "layer", digest: digestOf(bytes), sizeBytes: BigInt(bytes.length) },
    diffId: digestOf(text),
    registry: "registry.test",
    limits: {},
    chunks: (async function* () {
      yield await Promise.resolve(bytes);
    })(),
  };
}

describeSnapshots("FakeLayers and FakeRoots", () => {
  const layers = new FakeLayers(systemClock);
  return Promise.resolve({
    layers,
    roots: new FakeRoots(new FakeHost(), layers),
    source: sourceOf,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
});
