import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Digest } from "../../base/digest.ts";
import type { Descriptor } from "../../core/image/index.ts";
import {
  checkLayerCount,
  checkUnpackedBytes,
  type ImageLimits,
  limitsOfLayer,
  ratioCountsFromBytes,
} from "./limits.ts";

const GIB = 2 ** 30;
const none: ImageLimits = { layers: 500, unpackedBytes: 0, unpackedRatio: 0, layerEntries: 0 };

function blobOf(bytes: number): Descriptor {
  return { mediaType: "any", digest: `sha256:${"a".repeat(64)}`, sizeBytes: BigInt(bytes) };
}

function diffIds(count: number): readonly Digest[] {
  return Array.from({ length: count }, (_, at) => {
    return `sha256:${String(at).padStart(64, "0")}` as const;
  });
}

describe("checkLayerCount()", () => {
  test("takes as many as the limit, and the same one any number of times", () => {
    checkLayerCount(diffIds(500), none);
    checkLayerCount([...diffIds(500), ...diffIds(500)], none);
    checkLayerCount([], { ...none, layers: 1 });
  });

  test("refuses one more, with number, limit and setting", () => {
    assert.throws(() => checkLayerCount(diffIds(501), none), {
      kind: "failed-precondition",
      message: "it has 501 layers, more than images.max_layers = 500: build it with fewer layers",
    });
  });
});

describe("checkUnpackedBytes()", () => {
  test("refuses what is beyond the limit, and nothing without one", () => {
    checkUnpackedBytes(10, { ...none, unpackedBytes: 10 });
    checkUnpackedBytes(Number.MAX_SAFE_INTEGER, none);
    assert.throws(() => checkUnpackedBytes(11, { ...none, unpackedBytes: 10 }), {
      kind: "failed-precondition",
      message: "its layers have 11 bytes, more than images.max_unpacked_bytes = 10",
    });
  });
});

describe("limitsOfLayer()", () => {
  test("without settings there is none", () => {
    assert.deepEqual(limitsOfLayer(none, blobOf(1), 0), {});
  });

  test("the ratio counts from 16 GiB on only", () => {
    const limits = { ...none, unpackedRatio: 100 };
    const most = (blob: number): number | undefined =>
      limitsOfLayer(limits, blobOf(blob), 0).bytes?.most;
    assert.equal(most(1), ratioCountsFromBytes);
    assert.equal(most(GIB / 8), ratioCountsFromBytes);
    assert.equal(most(GIB), 100 * GIB);
    assert.equal(
      limitsOfLayer(limits, blobOf(1), 0).bytes?.why,
      "17179869184 bytes for a blob of 1 bytes (images.max_unpacked_ratio = 100)",
    );
  });

  test("the bytes of the image are what its other layers leave, and never below 0", () => {
    const limits = { ...none, unpackedBytes: 1000 };
    assert.deepEqual(limitsOfLayer(limits, blobOf(1), 0).bytes, {
      most: 1000,
      why: "the image's images.max_unpacked_bytes = 1000 bytes",
    });
    assert.deepEqual(limitsOfLayer(limits, blobOf(1), 400).bytes, {
      most: 600,
      why: "the image's images.max_unpacked_bytes = 1000 bytes, of which other layers have 400",
    });
    assert.equal(limitsOfLayer(limits, blobOf(1), 1001).bytes?.most, 0);
  });

  test("of two limits the smaller one counts", () => {
    const limits = { ...none, unpackedBytes: 20 * GIB, unpackedRatio: 100 };
    assert.match(limitsOfLayer(limits, blobOf(1), 0).bytes?.why ?? "", /max_unpacked_ratio/);
    assert.match(limitsOfLayer(limits, blobOf(GIB), 0).bytes?.why ?? "", /max_unpacked_bytes/);
  });

  test("entries have the number and the setting in their words", () => {
    assert.deepEqual(limitsOfLayer({ ...none, layerEntries: 7 }, blobOf(1), 0), {
      entries: { most: 7, why: "images.max_layer_entries = 7 entries" },
    });
  });
});
